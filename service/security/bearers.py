"""JSON Web Tokens, checked against the keys of their issuer."""

from collections.abc import Iterator, Mapping
from time import time
from typing import Any, NamedTuple

import jwt

from service.access import Grants, Principal
from service.errors import Reason, Unauthenticated
from service.security.issuer import Keys
from service.security.keys import Key, KeySet

REMEMBERED = 10_000
_SCOPE_CLAIMS = ("scope", "scp", "scopes")
_NAME_CLAIMS = ("sub", "client_id", "azp")

# What may be said of a token; the most specific class wins.
_PROBLEMS: Mapping[type[Exception], str] = {
    jwt.InvalidAudienceError: "it is meant for another audience",
    jwt.InvalidIssuerError: "it is from another issuer",
    jwt.InvalidSignatureError: "its signature is wrong",
    jwt.MissingRequiredClaimError: "it lacks one of exp, iss and aud",
    jwt.PyJWTError: "it is malformed",
}
# Beside its own, the library lets through what some odd claims or headers end in.
_FAULTS = (jwt.PyJWTError, ValueError, TypeError, OverflowError, RecursionError)


class _Verified(NamedTuple):
    principal: Principal
    until: float


class Bearers:
    """A token that was verified is remembered, by its digest, until it expires or the keys change: checking a signature
    costs more than a search."""

    def __init__(self, keys: Keys, issuer: str, audiences: list[str], leeway: float) -> None:
        self._keys = keys
        self._issuer = issuer
        self._audiences = audiences
        self._leeway = leeway
        self._verified: dict[bytes, _Verified] = {}
        self._verified_by: KeySet | None = None

    def principal(self, token: str, digest: bytes) -> Principal:
        keys = self._keys.current
        if keys is not self._verified_by:
            self._verified.clear()
            self._verified_by = keys
        known = self._verified.get(digest)
        if known is None:
            known = self._verify(token, keys)
            if len(self._verified) >= REMEMBERED:
                self._verified.pop(next(iter(self._verified)))
            self._verified[digest] = known
        elif time() >= known.until:
            del self._verified[digest]
            raise _expired()
        return known.principal

    def _verify(self, token: str, keys: KeySet) -> _Verified:
        try:
            key = self._key(jwt.get_unverified_header(token), keys)
            claims = self._claims(token, key)
            return _Verified(_principal(claims), float(claims["exp"]) + self._leeway)
        except (jwt.ExpiredSignatureError, jwt.ImmatureSignatureError):
            raise _expired() from None
        except _FAULTS as error:
            why = next((_PROBLEMS[kind] for kind in type(error).__mro__ if kind in _PROBLEMS), "it is malformed")
            raise _refused(why) from None

    def _key(self, header: Mapping[str, Any], keys: KeySet) -> Key:
        id_ = header.get("kid")
        found = keys.find(id_, str(header.get("alg")))
        if found is None:
            if not keys.keys:
                raise _refused("the keys of its issuer are not known yet", retry_after=self._keys.unknown(id_))
            of_that_id = any(key.id == id_ for key in keys.keys)
            retry_after = None if of_that_id or id_ is None else self._keys.unknown(id_)
            raise _refused("no key of its issuer is good for it", retry_after=retry_after)
        return found

    def _claims(self, token: str, key: Key) -> dict[str, Any]:
        claims: dict[str, Any] = jwt.decode(
            token,
            key.key,
            algorithms=list(key.algorithms),
            audience=self._audiences,
            issuer=self._issuer,
            leeway=self._leeway,
            options={"require": ["exp", "iss", "aud"]},
        )
        return claims


def _principal(claims: Mapping[str, Any]) -> Principal:
    names = (claims.get(name) for name in _NAME_CLAIMS)
    name = next((name for name in names if isinstance(name, str) and name), "someone")
    return Principal(_printable(name), Grants.of(_words(claims)))


def _words(claims: Mapping[str, Any]) -> Iterator[str]:
    for name in _SCOPE_CLAIMS:
        given = claims.get(name)
        if isinstance(given, str):
            yield from given.split()
        elif isinstance(given, list):
            yield from (word for word in given if isinstance(word, str))


def _printable(name: str) -> str:
    """It stands in logs."""
    return "".join(each if each.isprintable() else "?" for each in name[:128])


def _expired() -> Unauthenticated:
    return Unauthenticated(Reason.EXPIRED_CREDENTIALS, "this token is good no more, or not yet")


def _refused(why: str, retry_after: float | None = None) -> Unauthenticated:
    return Unauthenticated(Reason.INVALID_CREDENTIALS, f"this token is not accepted: {why}", retry_after=retry_after)
