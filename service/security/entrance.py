"""The way in: the connections that are taken, and the callers that are known."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from prometheus_client.core import GaugeMetricFamily

from service.access import Grants
from service.observability.metrics import Metrics
from service.security import exposure
from service.security.authenticator import Authenticator
from service.security.bearers import Bearers
from service.security.callers import Callers, read_scopes
from service.security.certificates import Certificates
from service.security.errors import SecurityProblem
from service.security.issuer import FetchedKeys, FileKeys
from service.security.watch import Watch
from service.settings import Settings


class Entrance:
    """Made of settings that are safe, and files that can be used; raises SecurityProblem where they are not.

    `authenticator` is None where everybody is let in.
    """

    def __init__(self, settings: Settings, metrics: Metrics) -> None:
        exposure.check(settings)
        self._settings = settings
        self._metrics = metrics
        self._watch = Watch()
        self._fetched: FetchedKeys | None = None
        self._certificates = self._read_certificates()
        self.authenticator = self._authenticator() if exposure.authenticates(settings) else None

    @property
    def problem(self) -> str | None:
        """Why nobody's token can be checked."""
        if self._fetched is None or self._fetched.current.keys:
            return None
        return "the keys of SPATIAL_JWKS could not be fetched yet"

    async def start(self) -> None:
        """Begins to watch files and to fetch keys; waits a moment for the first ones."""
        self._watch.start()
        if self._fetched is not None:
            self._fetched.start()
            await asyncio.to_thread(self._fetched.wait)

    def close(self) -> None:
        self._watch.close()
        if self._fetched is not None:
            self._fetched.close()

    def listen(self, server: Any) -> int:
        """Adds the port of the settings to a server; its number."""
        address = self._settings.listen
        if self._certificates is None:
            port: int = server.add_insecure_port(address)
        else:
            port = server.add_secure_port(address, self._certificates.credentials())
        return port

    def _read_certificates(self) -> Certificates | None:
        certificate, key, client_ca = (
            None if name is None else Path(name)
            for name in (self._settings.tls_certificate, self._settings.tls_key, self._settings.tls_client_ca)
        )
        if certificate is None or key is None:
            return None
        certificates = Certificates(certificate, key, client_ca, self._watch)
        self._metrics.watch(lambda: _expiry(certificates))
        return certificates

    def _authenticator(self) -> Authenticator:
        settings = self._settings
        callers = Callers(Path(settings.tokens_file), self._watch) if settings.tokens_file else None
        try:
            certified = read_scopes(settings.tls_client_scopes) if settings.tls_client_scopes else Grants.of(())
        except SecurityProblem as problem:
            raise SecurityProblem(f"SPATIAL_TLS_CLIENT_SCOPES: {problem}") from None
        return Authenticator(callers, self._bearers(), certified, mutual=settings.tls_client_ca is not None)

    def _bearers(self) -> Bearers | None:
        settings = self._settings
        if not (settings.jwks and settings.jwt_issuer and settings.jwt_audience):
            return None
        keys: FileKeys | FetchedKeys
        if urlsplit(settings.jwks).scheme in ("http", "https"):
            keys = self._fetched = FetchedKeys(settings.jwks, self._count_fetch)
        else:
            keys = FileKeys(Path(settings.jwks), self._watch)
        return Bearers(keys, settings.jwt_issuer, settings.jwt_audience.split(), settings.jwt_leeway)

    def _count_fetch(self, succeeded: bool) -> None:
        self._metrics.key_fetches.labels("ok" if succeeded else "failed").inc()


def _expiry(certificates: Certificates) -> Iterator[GaugeMetricFamily]:
    yield GaugeMetricFamily(
        "spatial_tls_certificate_expiry_seconds",
        "When the certificate ends, in unix time.",
        value=certificates.expires,
    )
