"""Whether it is safe to listen where the settings say, with what they say of callers."""

import logging
from ipaddress import ip_address
from urllib.parse import urlsplit

from service.security.errors import SecurityProblem
from service.settings import Settings

log = logging.getLogger("spatial.security")

_WAYS = (
    "Say who may call (SPATIAL_TOKENS_FILE, SPATIAL_JWKS, or SPATIAL_TLS_CLIENT_CA for client certificates), "
    "listen on loopback alone (SPATIAL_LISTEN=127.0.0.1:50051), or set SPATIAL_INSECURE=1 where the network itself "
    "keeps others out"
)


def authenticates(settings: Settings) -> bool:
    """Whether callers must say who they are."""
    return bool(settings.tokens_file or settings.jwks or settings.tls_client_ca)


def check(settings: Settings) -> None:
    """Raises what makes these settings unsafe, and logs what whoever runs the service should know of them."""
    _check_tls(settings)
    _check_jwt(settings)
    if is_local(settings.listen):
        return
    if not authenticates(settings):
        if not settings.insecure:
            raise SecurityProblem(f"not listening on {settings.listen}: anybody there could read and write. {_WAYS}")
        log.warning("anybody who reaches %s may do anything: SPATIAL_INSECURE is set", settings.listen)
    elif not settings.tls_certificate:
        log.warning("tokens travel in the clear to %s, unless something before it ends TLS", settings.listen)


def is_local(address: str) -> bool:
    """Whether only this machine reaches an address."""
    if address.startswith(("unix:", "unix-abstract:")):
        return True
    host = address.rpartition(":")[0].strip("[]")
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _check_tls(settings: Settings) -> None:
    if bool(settings.tls_certificate) != bool(settings.tls_key):
        raise SecurityProblem("SPATIAL_TLS_CERTIFICATE and SPATIAL_TLS_KEY need each other")
    if not settings.tls_client_ca:
        return
    if not settings.tls_certificate:
        raise SecurityProblem("SPATIAL_TLS_CLIENT_CA needs SPATIAL_TLS_CERTIFICATE and SPATIAL_TLS_KEY")
    if not (settings.tls_client_scopes or settings.tokens_file or settings.jwks):
        raise SecurityProblem(
            "SPATIAL_TLS_CLIENT_CA alone lets nobody do anything: say what every certificate may do "
            "(SPATIAL_TLS_CLIENT_SCOPES, for instance spatial.read), or what each may (SPATIAL_TOKENS_FILE)"
        )


def _check_jwt(settings: Settings) -> None:
    if settings.jwks is None:
        return
    if not (settings.jwt_issuer and settings.jwt_audience):
        raise SecurityProblem(
            "SPATIAL_JWKS needs SPATIAL_JWT_ISSUER and SPATIAL_JWT_AUDIENCE: a token that was made for another service "
            "must not be good for this one"
        )
    url = urlsplit(settings.jwks)
    if url.scheme == "http" and not is_local(f"{url.hostname}:80"):
        log.warning("keys are fetched in the clear from %s: who changes them on the way makes any token", url.hostname)
