"""An issuer of JSON Web Tokens, and where its keys are published."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

ISSUER, AUDIENCE = "https://issuer.example", "spatial"
_MAKERS = {
    "RSA": lambda: rsa.generate_private_key(65537, 2048),
    "P-256": lambda: ec.generate_private_key(ec.SECP256R1()),
    "P-384": lambda: ec.generate_private_key(ec.SECP384R1()),
    "P-521": lambda: ec.generate_private_key(ec.SECP521R1()),
    "Ed25519": ed25519.Ed25519PrivateKey.generate,
}
_FAMILIES = {"RSA": "RS256", "P-256": "ES256", "P-384": "ES384", "P-521": "ES512", "Ed25519": "EdDSA"}


@cache
def private_key(kind: str, number: int = 0) -> Any:
    """Made once a run: RSA keys take their time."""
    return _MAKERS[kind]()


def jwk(kind: str = "P-256", id_: str | None = "one", number: int = 0, **more: Any) -> dict[str, Any]:
    """A public key as an issuer publishes it."""
    algorithm = jwt.get_algorithm_by_name(_FAMILIES[kind])
    key: dict[str, Any] = algorithm.to_jwk(private_key(kind, number).public_key(), as_dict=True)
    return {**key, **({} if id_ is None else {"kid": id_}), **more}


def key_set(*keys: dict[str, Any]) -> bytes:
    return json.dumps({"keys": keys or [jwk()]}).encode()


def claims(**given: Any) -> dict[str, Any]:
    """Those of a token that is good for ten minutes; a claim that is None is left out."""
    now = int(time.time())
    usual = {"iss": ISSUER, "aud": AUDIENCE, "sub": "alice", "iat": now, "exp": now + 600, "scope": "spatial.read"}
    return {name: value for name, value in {**usual, **given}.items() if value is not None}


def token(
    kind: str = "P-256", algorithm: str | None = None, id_: str | None = "one", number: int = 0, **given: Any
) -> str:
    headers = {} if id_ is None else {"kid": id_}
    return jwt.encode(claims(**given), private_key(kind, number), algorithm or _FAMILIES[kind], headers)


class Publisher:
    """Answers with `keys`; with an error where they are None."""

    def __init__(self, keys: bytes | None) -> None:
        self.keys = keys
        self.asked = 0
        self.url = ""


@contextmanager
def publishing(keys: bytes | None) -> Iterator[Publisher]:
    publisher = Publisher(keys)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            publisher.asked += 1
            self.send_response(503 if publisher.keys is None else 200)
            self.end_headers()
            self.wfile.write(publisher.keys or b"")

        def log_message(self, *_: Any) -> None:
            """Quietly."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        publisher.url = f"http://127.0.0.1:{server.server_port}/keys"
        thread = Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield publisher
        finally:
            server.shutdown()
            thread.join()
