"""The public keys of an issuer of tokens: a JSON Web Key Set, of which only what signs asymmetrically is taken.

Which algorithms a key is good for is said by its type, never by the token: so no public key is ever taken for the
secret of an HMAC, and `none` is no algorithm.
"""

import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jwt
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from service.security.errors import SecurityProblem

log = logging.getLogger("spatial.security")

_RSA = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512")
_ALGORITHMS: Mapping[tuple[str, str | None], tuple[str, ...]] = {
    ("RSA", None): _RSA,
    ("EC", "P-256"): ("ES256",),
    ("EC", "P-384"): ("ES384",),
    ("EC", "P-521"): ("ES512",),
    ("OKP", "Ed25519"): ("EdDSA",),
}
SHORTEST_RSA = 2048


class Key(NamedTuple):
    id: str | None
    algorithms: tuple[str, ...]
    key: Any


class KeySet(NamedTuple):
    keys: Sequence[Key] = ()

    def find(self, id_: str | None, algorithm: str) -> Key | None:
        """The key that a token says it is signed with. One that says none may be signed with the only one there is."""
        fitting = [key for key in self.keys if algorithm in key.algorithms]
        if id_ is None:
            return fitting[0] if len(fitting) == 1 else None
        return next((key for key in fitting if key.id == id_), None)


def read_key_set(data: bytes) -> KeySet:
    try:
        parsed = json.loads(data)
        found = parsed["keys"]
    except (ValueError, KeyError, TypeError, RecursionError):
        found = None
    if not isinstance(found, list):
        raise SecurityProblem("this is no JSON Web Key Set: an object with a list `keys`")
    keys = KeySet(tuple(_keys(found)))
    if not keys.keys:
        raise SecurityProblem("none of these keys can check a signature: public keys of RSA, EC or Ed25519 do")
    return keys


def _keys(found: Sequence[Any]) -> Iterator[Key]:
    for number, given in enumerate(found, 1):
        try:
            key = _key(given)
        except (jwt.PyJWTError, ValueError, TypeError, KeyError, AttributeError):
            key = None
        if key is not None:
            yield key
        else:
            log.info("key %d of the issuer's is not used: it is none that checks signatures", number)


def _key(given: Any) -> Key | None:
    if given.get("use", "sig") != "sig" or "verify" not in given.get("key_ops", ["verify"]):
        return None
    algorithms = _ALGORITHMS.get((given["kty"], given.get("crv")), ())
    if "alg" in given:
        algorithms = tuple(each for each in algorithms if each == given["alg"])
    if not algorithms or "d" in given:  # a private key has no place here, and would be everybody's
        return None
    key = jwt.PyJWK(given, algorithms[0]).key
    if isinstance(key, RSAPublicKey) and key.key_size < SHORTEST_RSA:
        return None
    id_ = given.get("kid")
    return Key(id_ if isinstance(id_, str) else None, algorithms, key)
