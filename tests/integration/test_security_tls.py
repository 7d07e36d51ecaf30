"""TLS as clients meet it: who is trusted, who is let in, and certificates that change under a server that runs."""

import re
import socket
import ssl
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from os import getpid
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from service.reflected import ConfigurationError
from service.security import watch
from service.security.certificates import Certificates
from service.security.errors import SecurityProblem
from service.security.watch import Watch
from service.server import CannotListen, running_server
from service.settings import Settings
from spatial.v1 import query_pb2, query_pb2_grpc
from spatial_client import TLS, SpatialClient, Unavailable
from tests.certificates import Authority, Pair, channel
from tests.clients import Blocking
from tests.servers import Served, refusal, serving
from tests.situations import eventually

BOTH = pytest.mark.parametrize("kind", [SpatialClient, Blocking], ids=["threads", "asyncio"])
OURS, THEIRS, CLIENTS = (Authority(name) for name in ("ours", "theirs", "clients"))
SERVER = OURS.pair("localhost", "localhost", "127.0.0.1")
HEALTH = f"unix-abstract:spatial-tests-{getpid()}"
TOKEN = "a-static-token-for-the-tests"


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tls")
    (folder / "ours.crt").write_bytes(OURS.pem)
    (folder / "theirs.crt").write_bytes(THEIRS.pem)
    (folder / "clients.crt").write_bytes(CLIENTS.pem)
    (folder / "callers.yaml").write_text(
        f"callers:\n- {{name: billing, token: {TOKEN}, scopes: spatial.read:zones}}\n"
        "- {name: tiles, certificate: tiles.internal, scopes: spatial.read:parcels}\n"
        "- {name: alternative, certificate: second.name, scopes: spatial.read:districts}"
    )
    CLIENTS.pair("loader").write(folder, "client")
    return folder


@pytest.fixture(scope="module")
def encrypted(module_database: str, files: Path) -> Iterator[Served]:
    settings = {**SERVER.write(files), "tokens_file": str(files / "callers.yaml")}
    with serving(module_database, **settings) as served:
        yield served


@pytest.fixture(scope="module")
def mutual(module_database: str, files: Path) -> Iterator[Served]:
    settings = {
        **SERVER.write(files, "mutual"),
        "tls_client_ca": str(files / "clients.crt"),
        "tls_client_scopes": "spatial.read:facilities",
        "tokens_file": str(files / "callers.yaml"),
        "health_listen": HEALTH,
    }
    with serving(module_database, **settings) as served:
        yield served


def asked(port: int, trusted: bytes, shown: Pair | None = None, name: str = "localhost", layer: str = "zones") -> str:
    """How a call ended: its reason where the service wrote one, else gRPC's code."""
    with channel(port, trusted, shown, name) as opened:
        try:
            request = query_pb2.GetLayerRequest(name=layer)
            answer: query_pb2.Layer = query_pb2_grpc.SpatialServiceStub(opened).GetLayer(request, timeout=10)
        except grpc.RpcError as error:
            return refusal(error).reason if "x-request-id" in str(error.trailing_metadata()) else error.code().name
    return answer.name


def certificate_of(port: int, version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3) -> bytes:
    """What a server shows, as DER, to a client that speaks up to a version of TLS."""
    context = ssl.create_default_context(cadata=OURS.pem.decode())
    context.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
    context.maximum_version = version
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.set_alpn_protocols(["h2"])
    with (
        socket.create_connection(("127.0.0.1", port), 10) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as connection,
    ):
        shown = connection.getpeercert(binary_form=True)
        assert shown
        return shown


@BOTH
def test_the_client_calls_over_tls_with_a_token(kind: Any, encrypted: Served, files: Path) -> None:
    with kind(encrypted.address, tls=TLS(files / "ours.crt"), token=TOKEN) as client:
        assert client.get_layer("zones").name == "zones"
        assert client.stream_features("zones").to_arrow().num_rows == 0 if kind is SpatialClient else True


@BOTH
def test_the_client_asks_for_its_token_anew_for_each_call(kind: Any, encrypted: Served, files: Path) -> None:
    tokens = iter([TOKEN, "expired-meanwhile-and-refused", TOKEN])
    with kind(encrypted.address, tls=TLS(files / "ours.crt"), token=lambda: next(tokens)) as client:
        assert client.get_layer("zones").name == "zones"
        with pytest.raises(Exception, match="nobody here has it"):
            client.get_layer("zones")
        assert client.get_layer("zones").name == "zones"


@BOTH
@pytest.mark.parametrize(
    "tls",
    [
        pytest.param(lambda files: TLS(files / "theirs.crt"), id="another authority"),
        pytest.param(lambda files: TLS(files / "ours.crt", server_name="spatial.example"), id="another name"),
        pytest.param(lambda files: TLS(), id="authorities of the world"),
        pytest.param(lambda files: None, id="no TLS"),
    ],
)
def test_a_client_does_not_talk_to_a_server_that_it_does_not_trust(
    kind: Any, tls: Any, encrypted: Served, files: Path
) -> None:
    with kind(encrypted.address, tls=tls(files), token=TOKEN, timeout=3) as client, pytest.raises(Unavailable):
        client.get_layer("zones")


def test_an_address_is_a_name_too(encrypted: Served) -> None:
    assert asked(encrypted.server.port, OURS.pem, name="127.0.0.1") == "MISSING_CREDENTIALS"


def test_a_certificate_that_has_ended_is_served_with_an_error_in_the_log_and_trusted_by_nobody(
    module_database: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    expired = OURS.pair("localhost", ends=timedelta(days=-1))
    with serving(module_database, **expired.write(tmp_path)) as served:
        assert asked(served.server.port, OURS.pem) == "UNAVAILABLE"
        assert served.metric("spatial_tls_certificate_expiry_seconds") < datetime.now(UTC).timestamp()
    assert "the certificate of SPATIAL_TLS_CERTIFICATE ended" in caplog.text


@pytest.mark.parametrize(
    ("version", "spoken"),
    [
        (ssl.TLSVersion.TLSv1_1, False),
        (ssl.TLSVersion.TLSv1_2, True),
        (ssl.TLSVersion.TLSv1_3, True),
    ],
)
@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1:DeprecationWarning")
def test_nothing_older_than_tls_1_2_is_spoken(encrypted: Served, version: ssl.TLSVersion, spoken: bool) -> None:
    if spoken:
        assert certificate_of(encrypted.server.port, version)
        return
    with pytest.raises((ssl.SSLError, ConnectionResetError)):
        certificate_of(encrypted.server.port, version)


@pytest.mark.parametrize(
    ("shown", "layer", "expected"),
    [
        (None, "zones", "UNAVAILABLE"),
        (THEIRS.pair("tiles.internal"), "zones", "UNAVAILABLE"),
        (CLIENTS.pair("tiles.internal", ends=timedelta(days=-1)), "zones", "UNAVAILABLE"),
        (CLIENTS.pair("tiles.internal"), "parcels", "parcels"),
        (CLIENTS.pair("tiles.internal"), "facilities", "LAYER_NOT_ALLOWED"),
        (CLIENTS.pair("other", "first.name", "second.name"), "districts", "districts"),
        (CLIENTS.pair("somebody"), "facilities", "facilities"),
        (CLIENTS.pair("somebody"), "zones", "LAYER_NOT_ALLOWED"),
    ],
    ids=["none", "another's", "ended", "named", "named, elsewhere", "by its second name", "any", "any, elsewhere"],
)
def test_a_client_s_certificate_says_who_it_is(mutual: Served, shown: Pair | None, layer: str, expected: str) -> None:
    assert asked(mutual.server.port, OURS.pem, shown, layer=layer) == expected


@BOTH
def test_a_token_says_more_than_the_certificate_that_it_comes_with(kind: Any, mutual: Served, files: Path) -> None:
    tls = TLS(files / "ours.crt", files / "client.crt", files / "client.key")
    with kind(mutual.address, tls=tls, token=TOKEN) as client:
        assert client.get_layer("zones").name == "zones"
    with kind(mutual.address, tls=tls) as client:
        assert client.get_layer("facilities").name == "facilities"


def test_health_is_told_in_the_clear_at_its_own_address_and_nothing_else_is(mutual: Served) -> None:
    with grpc.insecure_channel(HEALTH) as opened:
        answer = health_pb2_grpc.HealthStub(opened).Check(health_pb2.HealthCheckRequest(), timeout=10)
        assert answer.status == health_pb2.HealthCheckResponse.SERVING
        with pytest.raises(grpc.RpcError) as refused:
            query_pb2_grpc.SpatialServiceStub(opened).ListLayers(query_pb2.ListLayersRequest(), timeout=10)
        assert refused.value.code() is grpc.StatusCode.UNIMPLEMENTED


def test_a_new_certificate_is_shown_to_new_connections_and_standing_ones_go_on(
    module_database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(watch, "LOOK_SECONDS", 0.02)
    caplog.set_level("INFO")
    settings = SERVER.write(tmp_path)
    with serving(module_database, **settings) as served, channel(served.server.port, OURS.pem) as standing:
        stub, request = query_pb2_grpc.SpatialServiceStub(standing), query_pb2.GetLayerRequest(name="zones")
        stub.GetLayer(request, timeout=10)
        before = certificate_of(served.server.port)
        ends = served.metric("spatial_tls_certificate_expiry_seconds")
        assert ends == pytest.approx((datetime.now(UTC) + timedelta(days=30)).timestamp(), abs=600)

        Path(settings["tls_certificate"]).write_text("torn")
        eventually(lambda: "so what was read before stays: SPATIAL_TLS_CERTIFICATE is no PEM" in caplog.text)
        assert certificate_of(served.server.port) == before

        OURS.pair("localhost", ends=timedelta(days=90)).write(tmp_path)
        eventually(lambda: certificate_of(served.server.port) != before)
        assert served.metric("spatial_tls_certificate_expiry_seconds") > ends
        assert asked(served.server.port, OURS.pem) == "zones"
        assert stub.GetLayer(request, timeout=10).name == "zones"


def test_an_authority_of_clients_can_be_replaced(
    module_database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "LOOK_SECONDS", 0.02)
    (tmp_path / "ca.crt").write_bytes(CLIENTS.pem)
    settings = {
        **SERVER.write(tmp_path),
        "tls_client_ca": str(tmp_path / "ca.crt"),
        "tls_client_scopes": "spatial.read",
    }
    with serving(module_database, **settings) as served:
        port = served.server.port
        assert asked(port, OURS.pem, THEIRS.pair("a")) == "UNAVAILABLE"
        (tmp_path / "ca.crt").write_bytes(THEIRS.pem)
        eventually(lambda: asked(port, OURS.pem, THEIRS.pair("a")) == "zones")
        assert asked(port, OURS.pem, CLIENTS.pair("a")) == "UNAVAILABLE"


OTHER = OURS.pair("localhost")


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("tls.crt", b"", "SPATIAL_TLS_CERTIFICATE is no PEM file of certificates"),
        ("tls.crt", SERVER.key, "SPATIAL_TLS_CERTIFICATE is no PEM file of certificates"),
        ("tls.key", b"", "SPATIAL_TLS_KEY is no PEM file of a private key"),
        ("tls.key", SERVER.certificate, "SPATIAL_TLS_KEY is no PEM file of a private key"),
        ("tls.key", OTHER.key, "the key of SPATIAL_TLS_KEY is not that of the first certificate"),
        ("ca.crt", b"", "SPATIAL_TLS_CLIENT_CA is no PEM file of certificates"),
        ("tls.key", None, "No such file or directory"),
    ],
)
def test_files_that_cannot_be_used_are_refused_by_name(
    tmp_path: Path, name: str, content: bytes | None, said: str
) -> None:
    SERVER.write(tmp_path)
    (tmp_path / "ca.crt").write_bytes(CLIENTS.pem)
    (tmp_path / name).unlink() if content is None else (tmp_path / name).write_bytes(content)
    with pytest.raises(SecurityProblem) as refused:
        Certificates(tmp_path / "tls.crt", tmp_path / "tls.key", tmp_path / "ca.crt", Watch())
    assert said in str(refused.value)
    assert "PRIVATE" not in str(refused.value)


async def test_an_address_for_health_that_is_taken_is_said_so(module_database: str, encrypted: Served) -> None:
    settings = Settings(listen="127.0.0.1:0", metrics_listen="127.0.0.1:0", health_listen=encrypted.address)
    with pytest.raises(CannotListen, match=f"cannot listen on {encrypted.address}"):
        async with running_server(settings, module_database):
            pass


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"listen": "0.0.0.0:0"}, "not listening on 0.0.0.0:0"),
        ({"tokens_file": "/nowhere.yaml"}, "SPATIAL_TOKENS_FILE: /nowhere.yaml: No such file or directory"),
        ({"tls_certificate": "/nowhere.crt"}, "SPATIAL_TLS_CERTIFICATE and SPATIAL_TLS_KEY need each other"),
        ({"jwks": "https://issuer/keys"}, "SPATIAL_JWKS needs SPATIAL_JWT_ISSUER and SPATIAL_JWT_AUDIENCE"),
    ],
)
async def test_a_server_that_would_not_be_safe_does_not_begin(given: dict[str, Any], said: str) -> None:
    settings = Settings(**{"listen": "127.0.0.1:0", **given})
    with pytest.raises(ConfigurationError, match=re.escape(said)):
        async with running_server(settings, "postgresql://nobody@127.0.0.1:1/nothing"):
            pass
