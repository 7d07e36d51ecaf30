"""Who is calling: known before the call is served, and in its context from then on."""

from collections.abc import Sequence

from service.access import ACCESS, PRINCIPAL, Access, Principal, Scope
from service.errors import PermissionDenied, Reason, SpatialError
from service.interceptors.call import Call, Context, Method, Observer
from service.observability.metrics import Metrics
from service.security.authenticator import Authenticator
from service.security.needed import needed

HEADER = "authorization"


class Authentication(Observer):
    """Refuses callers that are not known, and those whose credentials lack the scope that the RPC needs. Which layers
    these cover is checked where a layer is looked up: in the catalog."""

    def __init__(self, authenticator: Authenticator, metrics: Metrics) -> None:
        self._authenticator = authenticator
        self._count = metrics.authentications
        self._needed: dict[Method, Scope | None] = {}

    def expect(self, method: Method) -> None:
        """Fails for a method of which nobody has said what it needs."""
        self._needed[method] = needed(method.service, method.name)

    def started(self, call: Call) -> None:
        scope = self._needed[call.method]
        if scope is None:
            return
        try:
            principal = self._principal(call.context)
            PRINCIPAL.set(principal)
            _check(principal, scope)
        except SpatialError as refusal:
            self._count.labels(refusal.reason.lower()).inc()
            raise
        self._count.labels("accepted").inc()
        ACCESS.set(Access(principal.grants, scope))

    def _principal(self, context: Context) -> Principal:
        certificate = _names(context) if self._authenticator.mutual else ()
        return self._authenticator.principal(_authorizations(context), certificate)


def _check(principal: Principal, scope: Scope) -> None:
    if not principal.grants.has(scope):
        raise PermissionDenied(
            Reason.INSUFFICIENT_SCOPE, f"these credentials lack {scope}", metadata={"scope": str(scope)}
        )


def _authorizations(context: Context) -> list[str]:
    return [value for name, value in context.invocation_metadata() or () if name == HEADER and isinstance(value, str)]


def _names(context: Context) -> Sequence[str]:
    """The common name in the client's certificate, if it has one, and the alternative ones."""
    found = context.auth_context()
    names = (*found.get("x509_common_name", ()), *found.get("x509_subject_alternative_name", ()))
    return [name.decode(errors="replace") for name in names]
