"""Where the service listens without knowing who calls, and where it refuses to."""

from typing import Any

import pytest

from service.security.errors import SecurityProblem
from service.security.exposure import check, is_local
from service.settings import Settings

EVERYWHERE = {"listen": "0.0.0.0:50051"}
TLS = {"tls_certificate": "a.crt", "tls_key": "a.key"}
JWT = {"jwks": "https://issuer/keys", "jwt_issuer": "https://issuer", "jwt_audience": "spatial"}


@pytest.mark.parametrize(
    ("address", "local"),
    [
        ("127.0.0.1:50051", True),
        ("127.8.8.8:1", True),
        ("[::1]:50051", True),
        ("localhost:0", True),
        ("unix:/run/spatial.sock", True),
        ("unix-abstract:spatial", True),
        ("0.0.0.0:50051", False),
        ("[::]:50051", False),
        ("10.0.0.1:50051", False),
        ("127.0.0.1.example.com:50051", False),
        ("localhost.example.com:50051", False),
        ("spatial:50051", False),
        (":50051", False),
        ("127.1:50051", False),
        ("", False),
    ],
)
def test_an_address_is_local_if_only_this_machine_reaches_it(address: str, local: bool) -> None:
    assert is_local(address) is local


@pytest.mark.parametrize(
    ("settings", "warned"),
    [
        ({}, ""),
        ({"listen": "unix:/tmp/x"}, ""),
        (TLS, ""),
        ({**EVERYWHERE, "tokens_file": "callers.yaml"}, "tokens travel in the clear"),
        ({**EVERYWHERE, **TLS, "tokens_file": "callers.yaml"}, ""),
        ({**EVERYWHERE, **TLS, **JWT}, ""),
        ({**EVERYWHERE, **TLS, **JWT, "jwks": "http://issuer/keys"}, "keys are fetched in the clear from issuer"),
        ({**JWT, "jwks": "http://127.0.0.1:8080/keys"}, ""),
        ({**EVERYWHERE, **TLS, "tls_client_ca": "ca.crt", "tls_client_scopes": "spatial.read"}, ""),
        ({**EVERYWHERE, **TLS, "tls_client_ca": "ca.crt", "tokens_file": "callers.yaml"}, ""),
        ({**EVERYWHERE, "insecure": True}, "may do anything"),
    ],
    ids=str,
)
def test_it_is_safe_to_listen_with(settings: dict[str, Any], warned: str, caplog: pytest.LogCaptureFixture) -> None:
    check(Settings(**settings))
    assert (warned in caplog.text) if warned else not caplog.text


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (EVERYWHERE, "not listening on 0.0.0.0:50051: anybody there could read and write"),
        ({"listen": "[::]:1"}, "SPATIAL_TOKENS_FILE, SPATIAL_JWKS, or SPATIAL_TLS_CLIENT_CA"),
        ({"listen": "spatial:50051"}, "SPATIAL_INSECURE=1"),
        ({**EVERYWHERE, **TLS}, "anybody there"),
        ({"tls_certificate": "a.crt"}, "SPATIAL_TLS_CERTIFICATE and SPATIAL_TLS_KEY need each other"),
        ({"tls_key": "a.key"}, "need each other"),
        ({"tls_client_ca": "ca.crt", "tokens_file": "a"}, "SPATIAL_TLS_CLIENT_CA needs"),
        ({**TLS, "tls_client_ca": "ca.crt"}, "SPATIAL_TLS_CLIENT_CA alone lets nobody do anything"),
        ({**JWT, "jwt_audience": None}, "SPATIAL_JWKS needs SPATIAL_JWT_ISSUER and SPATIAL_JWT_AUDIENCE"),
        ({**JWT, "jwt_issuer": None}, "SPATIAL_JWKS needs"),
        ({**EVERYWHERE, "insecure": True, **JWT, "jwt_issuer": ""}, "SPATIAL_JWKS needs"),
    ],
    ids=str,
)
def test_it_is_not_safe_to_listen_with(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(SecurityProblem) as refused:
        check(Settings(**settings))
    assert said in str(refused.value)
