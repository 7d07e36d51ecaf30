"""From what comes with a call to who is calling: a static token, a JSON Web Token, or a client's certificate."""

from collections.abc import Sequence

from service.access import Grants, Principal
from service.errors import Reason, Unauthenticated
from service.security.bearers import Bearers
from service.security.callers import Callers, token_digest

LONGEST_TOKEN = 12 * 1024


class Authenticator:
    """A token says more than the certificate of the connection, which calls on behalf of others may share."""

    def __init__(self, callers: Callers | None, bearers: Bearers | None, certified: Grants, *, mutual: bool) -> None:
        """`certified` is what a client certificate may do that `callers` do not name, `mutual` whether all have one."""
        self._callers = callers
        self._bearers = bearers
        self._certified = certified
        self.mutual = mutual

    def principal(self, authorizations: Sequence[str], certificate: Sequence[str]) -> Principal:
        """`authorizations` are the values of that header, `certificate` the names in the client's, the common first."""
        if authorizations:
            return self._of_token(_token(authorizations))
        if certificate and (found := self._of_certificate(certificate)):
            return found
        raise Unauthenticated(
            Reason.MISSING_CREDENTIALS, "this server wants to know who calls: send `authorization: Bearer TOKEN`"
        )

    def _of_token(self, token: str) -> Principal:
        digest = token_digest(token)
        if self._callers is not None and (found := self._callers.with_token(digest)):
            return found
        if self._bearers is not None and token.count(".") == 2:
            return self._bearers.principal(token, digest)
        raise Unauthenticated(Reason.INVALID_CREDENTIALS, "this token is not accepted: nobody here has it")

    def _of_certificate(self, names: Sequence[str]) -> Principal | None:
        if self._callers is not None and (found := self._callers.with_certificate(names)):
            return found
        return Principal(names[0], self._certified) if self._certified else None


def _token(authorizations: Sequence[str]) -> str:
    kind, _, token = authorizations[0].strip().partition(" ")
    token = token.strip()
    if len(authorizations) > 1 or kind.lower() != "bearer" or not token or len(token) > LONGEST_TOKEN:
        raise Unauthenticated(
            Reason.INVALID_CREDENTIALS,
            f"authorization must be one `Bearer TOKEN`, of at most {LONGEST_TOKEN} characters",
        )
    return token
