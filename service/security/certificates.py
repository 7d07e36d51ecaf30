"""The server's certificate and key, and whose clients are let in: read from files, and again when those change."""

import logging
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import grpc
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization

from service.security.errors import SecurityProblem
from service.security.watch import Watch, contents

log = logging.getLogger("spatial.security")


class _Pair(NamedTuple):
    """What a handshake needs, and when the first certificate of the chain to end will have ended."""

    chain: bytes
    key: bytes
    clients: bytes | None
    expires: datetime


class Certificates:
    """A new pair serves the handshakes that begin after it was read; connections that stand keep theirs.

    gRPC speaks TLS 1.2 and 1.3, and offers Python no way to say more.
    """

    def __init__(self, certificate: Path, key: Path, client_ca: Path | None, watch: Watch) -> None:
        self._certificate = certificate
        self._key = key
        self._client_ca = client_ca
        self._pair: _Pair | None = None
        self._handed_on: _Pair | None = None
        watch.add([path for path in (certificate, key, client_ca) if path is not None], self._read)

    @property
    def expires(self) -> float:
        """The unix time at which it can be used no more."""
        assert self._pair is not None
        return self._pair.expires.timestamp()

    def credentials(self) -> Any:
        """For a port of a server; those without a certificate of the client CA's are not let in, if there is one."""
        self._handed_on = self._pair
        assert self._pair is not None
        # gRPC asks before each handshake, on a thread of its own.
        return grpc.dynamic_ssl_server_credentials(
            _configuration(self._pair), self._changed, self._client_ca is not None
        )

    def _changed(self) -> Any:
        """What to use from now on, told once; None where that is what is used already."""
        pair = self._pair
        if pair is None or pair is self._handed_on:
            return None
        self._handed_on = pair
        return _configuration(pair)

    def _read(self) -> None:
        chain = contents(self._certificate, "SPATIAL_TLS_CERTIFICATE")
        key = contents(self._key, "SPATIAL_TLS_KEY")
        clients = None if self._client_ca is None else contents(self._client_ca, "SPATIAL_TLS_CLIENT_CA")
        certificates = _certificates(chain, "SPATIAL_TLS_CERTIFICATE")
        if clients is not None:
            _certificates(clients, "SPATIAL_TLS_CLIENT_CA")
        if certificates[0].public_key() != _public_key(key):
            raise SecurityProblem("the key of SPATIAL_TLS_KEY is not that of the first certificate")
        expires = min(each.not_valid_after_utc for each in certificates)
        if expires < datetime.now(UTC):
            problem = f"the certificate of SPATIAL_TLS_CERTIFICATE ended {expires:%Y-%m-%d %H:%M} UTC"
            if self._pair is not None:
                raise SecurityProblem(problem)
            log.error(problem)
        self._pair = _Pair(chain, key, clients, expires)


def _configuration(pair: _Pair) -> Any:
    return grpc.ssl_server_certificate_configuration([(pair.key, pair.chain)], pair.clients)


def _certificates(pem: bytes, setting: str) -> Sequence[x509.Certificate]:
    parsed: Sequence[x509.Certificate] = _parsed(
        lambda: x509.load_pem_x509_certificates(pem), f"{setting} is no PEM file of certificates"
    )
    return parsed


def _public_key(pem: bytes) -> Any:
    problem = "SPATIAL_TLS_KEY is no PEM file of a private key without a password"
    return _parsed(lambda: serialization.load_pem_private_key(pem, None).public_key(), problem)


def _parsed(parse: Callable[[], Any], problem: str) -> Any:
    try:
        return parse()
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise SecurityProblem(problem) from None
