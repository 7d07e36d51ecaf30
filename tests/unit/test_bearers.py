"""JSON Web Tokens: which are accepted, and what is said of those that are not."""

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Callable
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization

from service.access import Principal, Scope
from service.errors import Unauthenticated
from service.security import bearers
from service.security.bearers import Bearers
from service.security.callers import token_digest
from service.security.errors import SecurityProblem
from service.security.keys import KeySet, read_key_set
from tests.issuing import AUDIENCE, ISSUER, claims, jwk, key_set, private_key, token

LEEWAY = 30.0


class Given:
    """Keys that are there or not; remembers what it was asked for."""

    def __init__(self, *keys: dict[str, Any]) -> None:
        self.current = read_key_set(key_set(*keys)) if keys else KeySet()
        self.asked: list[str | None] = []

    def unknown(self, id_: str | None) -> float | None:
        self.asked.append(id_)
        return 0.5


ALL = (
    jwk("RSA", "rsa"),
    jwk("P-256", "one"),
    jwk("P-384", "p384"),
    jwk("P-521", "p521"),
    jwk("Ed25519", "ed"),
)


def checked(made: str, *keys: dict[str, Any], leeway: float = LEEWAY) -> Principal:
    return Bearers(Given(*(keys or ALL)), ISSUER, [AUDIENCE, "other-name"], leeway).principal(made, token_digest(made))


def unsigned(**header: Any) -> str:
    parts = [json.dumps(each).encode() for each in ({"typ": "JWT", "kid": "one", **header}, claims())]
    return ".".join([*(base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in parts), ""])


def confused(algorithm: str = "HS256") -> str:
    """Signed with the public key, as if that were a secret."""
    pem = (
        private_key("RSA")
        .public_key()
        .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    )
    head = unsigned(alg=algorithm, kid="rsa").rstrip(".")
    signature = hmac.new(pem, head.encode(), hashlib.sha256).digest()
    return f"{head}.{base64.urlsafe_b64encode(signature).rstrip(b'=').decode()}"


def edited(made: str, **given: Any) -> str:
    head, _, signature = made.split(".")
    body = base64.urlsafe_b64encode(json.dumps(claims(**given)).encode()).rstrip(b"=").decode()
    return f"{head}.{body}.{signature}"


@pytest.mark.parametrize(
    ("kind", "id_", "algorithm"),
    [
        *(("RSA", "rsa", f"{family}{bits}") for family in ("RS", "PS") for bits in (256, 384, 512)),
        ("P-256", "one", "ES256"),
        ("P-384", "p384", "ES384"),
        ("P-521", "p521", "ES512"),
        ("Ed25519", "ed", "EdDSA"),
    ],
)
def test_every_asymmetric_algorithm_is_accepted(kind: str, id_: str, algorithm: str) -> None:
    assert checked(token(kind, algorithm, id_)).name == "alice"


@pytest.mark.parametrize(
    "given",
    [
        {"aud": ["spatial", "another"]},
        {"aud": "other-name"},
        {"iat": None},
    ],
    ids=str,
)
def test_a_token_is_accepted_with(given: dict[str, Any]) -> None:
    assert checked(token(**given)).name == "alice"


@pytest.mark.parametrize(
    ("claim", "seconds"),
    [("exp", 10 - LEEWAY), ("exp", 60.5), ("nbf", LEEWAY - 10), ("iat", LEEWAY - 10)],
)
def test_clocks_may_be_off_by_the_leeway(claim: str, seconds: float) -> None:
    given: dict[str, Any] = {claim: time.time() + seconds}
    assert checked(token(**given)).name == "alice"


@pytest.mark.parametrize(
    ("given", "reads", "writes"),
    [
        ({"scope": "openid spatial.read"}, True, False),
        ({"scope": None, "scp": ["spatial.read", "spatial.write"]}, True, True),
        ({"scope": None, "scp": "spatial.write"}, False, True),
        ({"scope": None, "scopes": ["spatial.read:zones"]}, True, False),
        ({"scope": None}, False, False),
        ({"scope": 7, "scp": [None, 3, {"a": 1}], "scopes": {"spatial.read": True}}, False, False),
    ],
    ids=str,
)
def test_scopes_are_where_issuers_put_them(given: dict[str, Any], reads: bool, writes: bool) -> None:
    grants = checked(token(**given)).grants
    assert (grants.cover(Scope.READ, "zones"), grants.cover(Scope.WRITE, "zones")) == (reads, writes)


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ({"sub": "bob"}, "bob"),
        ({"sub": None, "client_id": "loader"}, "loader"),
        ({"sub": "", "azp": "app"}, "app"),
        ({"sub": None}, "someone"),
        ({"sub": "a\nb\x1b[31m"}, "a?b?[31m"),
        ({"sub": "x" * 500}, "x" * 128),
    ],
)
def test_a_caller_is_called_what_the_token_says(given: dict[str, Any], name: str) -> None:
    assert checked(token(**given)).name == name


REFUSED: dict[str, tuple[Callable[[], str], str, str]] = {
    "expired beyond the leeway": (lambda: token(exp=int(time.time() - LEEWAY - 10)), "EXPIRED", "no more"),
    "not yet good": (lambda: token(nbf=int(time.time()) + LEEWAY + 60), "EXPIRED", "not yet"),
    "issued in the future": (lambda: token(iat=int(time.time()) + LEEWAY + 60), "EXPIRED", "not yet"),
    "another issuer": (lambda: token(iss="https://evil.example"), "INVALID", "another issuer"),
    "no issuer": (lambda: token(iss=None), "INVALID", "lacks"),
    "an issuer that is none": (lambda: edited(token(), iss=5), "INVALID", "signature"),
    "another audience": (lambda: token(aud="billing"), "INVALID", "another audience"),
    "no audience": (lambda: token(aud=None), "INVALID", "lacks"),
    "no expiry": (lambda: token(exp=None), "INVALID", "lacks"),
    "an expiry that is none": (lambda: token(exp="soon"), "INVALID", "malformed"),
    "an endless expiry": (lambda: token(exp=1e400), "INVALID", "malformed"),
    "claims that were edited": (lambda: edited(token(), scope="spatial.admin"), "INVALID", "signature is wrong"),
    "a key that nobody knows": (lambda: token(id_="other"), "INVALID", "no key"),
    "another's key under a known id": (lambda: token(number=1), "INVALID", "signature is wrong"),
    "a key of another kind under a known id": (lambda: token("RSA", "RS256", "one"), "INVALID", "no key"),
    "no algorithm": (lambda: unsigned(alg="none"), "INVALID", "no key"),
    "no algorithm at all": (lambda: unsigned(), "INVALID", "no key"),
    "NONE in capitals": (lambda: unsigned(alg="NONE"), "INVALID", "no key"),
    "HMAC with the public key": (confused, "INVALID", "no key"),
    "HMAC said to be RSA": (lambda: confused("RS256"), "INVALID", "signature is wrong"),
    "a critical extension": (lambda: unsigned(alg="ES256", crit=["exp"]) + "AA", "INVALID", "malformed"),
    "an id that is no text": (lambda: unsigned(alg="ES256", kid=7) + "AA", "INVALID", "malformed"),
    "a signature cut off": (lambda: token()[:-10], "INVALID", "signature is wrong"),
    "garbage": (lambda: "a.b.c", "INVALID", "malformed"),
    "nothing between dots": (lambda: "..", "INVALID", "malformed"),
    "a header that is a list": (lambda: "W10.W10.W10", "INVALID", "malformed"),
    "nested without end": (
        lambda: f"{base64.urlsafe_b64encode(b'[' * 6000).decode()}.e30.AA",
        "INVALID",
        "malformed",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_token_is_refused_for(case: str) -> None:
    made, reason, said = REFUSED[case]
    with pytest.raises(Unauthenticated, match=said) as refused:
        checked(made())
    assert refused.value.reason == f"{reason}_CREDENTIALS"


def test_a_token_without_a_key_s_id_needs_that_there_is_only_one() -> None:
    assert checked(token(id_=None), jwk(id_=None)).name == "alice"
    with pytest.raises(Unauthenticated, match="no key"):
        checked(token(id_=None), jwk(), jwk(number=1, id_="two"))


def test_a_key_is_good_for_the_algorithm_that_its_issuer_names_alone() -> None:
    only = jwk("RSA", "rsa", alg="PS256")
    assert checked(token("RSA", "PS256", "rsa"), only).name == "alice"
    with pytest.raises(Unauthenticated, match="no key"):
        checked(token("RSA", "RS256", "rsa"), only)


@pytest.mark.parametrize(
    "unusable",
    [
        pytest.param({"kty": "oct", "k": "c2VjcmV0", "kid": "one"}, id="shared secret"),
        pytest.param({**jwk(), "use": "enc"}, id="for encryption"),
        pytest.param({**jwk(), "key_ops": ["sign"]}, id="for signing"),
        pytest.param({**jwk(), "d": "AAAA"}, id="private"),
        pytest.param({**jwk(), "alg": "HS256"}, id="for another algorithm"),
        pytest.param({**jwk(), "crv": "secp256k1"}, id="another curve"),
        pytest.param({**jwk(), "x": "AA"}, id="not on the curve"),
        pytest.param({"kty": "RSA", "n": "AQAB", "e": "AQAB", "kid": "one"}, id="far too short"),
        pytest.param({}, id="nothing"),
        pytest.param("text", id="no object"),
    ],
)
def test_a_key_that_checks_no_signature_is_passed_over(unusable: Any) -> None:
    assert [key.id for key in read_key_set(key_set(unusable, jwk(id_="good"))).keys] == ["good"]
    with pytest.raises(SecurityProblem, match="none of these keys"):
        read_key_set(key_set(unusable))


@pytest.mark.parametrize("data", [b"", b"{}", b"[]", b'{"keys": 1}', b"<html>", b"\xff", b"[" * 100_000])
def test_what_is_no_key_set_is_refused(data: bytes) -> None:
    with pytest.raises(SecurityProblem, match="no JSON Web Key Set"):
        read_key_set(data)


def test_a_verified_token_is_remembered_until_it_expires(monkeypatch: pytest.MonkeyPatch) -> None:
    made = token(exp=int(time.time()) + 5)
    known = Bearers(Given(*ALL), ISSUER, [AUDIENCE], LEEWAY)
    first = known.principal(made, token_digest(made))
    monkeypatch.setattr(jwt, "decode", None)
    assert known.principal(made, token_digest(made)) is first
    monkeypatch.setattr(bearers, "time", lambda: time.time() + 5 + LEEWAY)
    with pytest.raises(Unauthenticated, match="no more"):
        known.principal(made, token_digest(made))


def test_keys_that_go_take_the_tokens_that_they_verified_with_them() -> None:
    keys = Given(*ALL)
    known, made = Bearers(keys, ISSUER, [AUDIENCE], LEEWAY), token()
    known.principal(made, token_digest(made))
    keys.current = read_key_set(key_set(jwk(id_="two", number=1)))
    with pytest.raises(Unauthenticated, match="no key"):
        known.principal(made, token_digest(made))


def test_only_so_many_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bearers, "REMEMBERED", 3)
    known = Bearers(Given(*ALL), ISSUER, [AUDIENCE], LEEWAY)
    for number in range(6):
        made = token(sub=str(number))
        known.principal(made, token_digest(made))
    assert len(known._verified) == 3


@pytest.mark.parametrize(
    ("keys", "made", "asked"),
    [
        ((), lambda: token(), ["one"]),
        (ALL, lambda: token(id_="new"), ["new"]),
        (ALL, lambda: unsigned(alg="none"), []),
        ((jwk(), jwk(id_="two", number=1)), lambda: token(id_=None), []),
    ],
    ids=["none known yet", "rotated", "of a known key", "without an id"],
)
def test_a_key_that_may_yet_come_is_asked_for_and_the_caller_told_when(keys: Any, made: Any, asked: list[str]) -> None:
    given, text = Given(*keys), made()
    with pytest.raises(Unauthenticated) as refused:
        Bearers(given, ISSUER, [AUDIENCE], LEEWAY).principal(text, token_digest(text))
    assert given.asked == asked
    assert refused.value.retry_after == (0.5 if asked else None)


def test_no_refusal_quotes_the_token() -> None:
    for made, _, _ in REFUSED.values():
        text = made()
        with pytest.raises(Unauthenticated) as refused:
            checked(text)
        parts = [part for part in text.split(".") if len(part) > 3]
        assert not any(part in str(refused.value) for part in parts)
