"""How the clients connect: channels, TLS, tokens; and what they do when the service is busy, silent or away."""

import asyncio
import subprocess
import threading
import time
from collections.abc import Iterator
from concurrent import futures
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest

from spatial.v1 import feature_pb2, query_pb2, query_pb2_grpc
from spatial_client import (
    TLS,
    AsyncSpatialClient,
    DeadlineExceeded,
    ResourceExhausted,
    Retry,
    SpatialClient,
    Unavailable,
)
from spatial_client._channels import Settings, channel_options, service_config
from tests.clients import Blocking
from tests.servers import serving
from tests.situations import blocked, eventually, locked

BOTH = pytest.mark.parametrize("kind", [SpatialClient, Blocking], ids=["threads", "asyncio"])


class Recorder(query_pb2_grpc.SpatialServiceServicer):
    """A small server that remembers who called, and is silent where it is asked to stream."""

    def __init__(self) -> None:
        self.peers: list[str] = []
        self.metadata: list[dict[str, Any]] = []
        self.silence = threading.Event()

    def ListLayers(self, request: Any, context: Any) -> query_pb2.ListLayersResponse:  # noqa: N802
        self.peers.append(context.peer())
        self.metadata.append(dict(context.invocation_metadata()))
        return query_pb2.ListLayersResponse()

    def StreamFeatures(self, request: Any, context: Any) -> Iterator[feature_pb2.FeatureBatch]:  # noqa: N802
        yield feature_pb2.FeatureBatch(rows=feature_pb2.FeatureRows(features=[feature_pb2.Feature(id="1")]))
        self.silence.wait(20)


@contextmanager
def recording(credentials: grpc.ServerCredentials | None = None) -> Iterator[tuple[Recorder, str]]:
    recorder = Recorder()
    server = grpc.server(futures.ThreadPoolExecutor(8))
    query_pb2_grpc.add_SpatialServiceServicer_to_server(recorder, server)
    if credentials is None:
        port = server.add_insecure_port("127.0.0.1:0")
    else:
        port = server.add_secure_port("127.0.0.1:0", credentials)
    server.start()
    try:
        yield recorder, f"127.0.0.1:{port}"
    finally:
        recorder.silence.set()
        server.stop(None).wait()


@BOTH
@pytest.mark.parametrize("channels", [1, 4])
def test_calls_take_turns_on_the_channels(kind: Any, channels: int) -> None:
    with recording() as (recorder, address), kind(address, channels=channels) as client:
        for _ in range(2 * channels):
            client.list_layers()

    assert len(set(recorder.peers)) == channels
    assert recorder.peers[:channels] == recorder.peers[channels:]


@BOTH
def test_a_token_and_metadata_go_with_every_call(kind: Any) -> None:
    with recording() as (recorder, address), kind(address, token="secret", metadata={"x-tenant": "a"}) as client:
        client.list_layers()

    (sent,) = recorder.metadata
    assert (sent["authorization"], sent["x-tenant"]) == ("Bearer secret", "a")
    assert sent["user-agent"].startswith("spatial-client/")


@BOTH
def test_a_token_s_function_is_asked_for_every_call(kind: Any) -> None:
    tokens = iter(["first", "second"])
    with recording() as (recorder, address), kind(address, token=lambda: next(tokens)) as client:
        client.list_layers()
        client.list_layers()

    assert [each["authorization"] for each in recorder.metadata] == ["Bearer first", "Bearer second"]


async def test_a_token_s_function_may_be_a_coroutine_function() -> None:
    async def token() -> str:
        await asyncio.sleep(0)
        return "fetched"

    with recording() as (recorder, address):
        async with AsyncSpatialClient(address, token=token) as client:
            await client.list_layers()

    assert recorder.metadata[0]["authorization"] == "Bearer fetched"


@BOTH
def test_a_stream_may_be_silent_for_so_long(kind: Any) -> None:
    with recording() as (_, address), kind(address, idle_timeout=0.3) as client:
        features = iter(client.stream_features("zones"))
        assert next(features).id == "1"
        began = time.monotonic()
        with pytest.raises(DeadlineExceeded, match=r"nothing came for 0.3 seconds"):
            next(features)

    assert 0.2 < time.monotonic() - began < 5


@BOTH
def test_a_reader_s_own_time_is_no_silence(kind: Any, demo_database: str) -> None:
    with serving(demo_database) as served, kind(served.address, idle_timeout=2.0) as client:
        batches = client.stream_features("facilities").batches()
        found = len(next(batches))
        time.sleep(2.4)
        found += sum(map(len, batches))

    assert found == 16_081


@BOTH
def test_a_call_that_is_shed_is_made_again_when_the_service_says(kind: Any, demo_database: str) -> None:
    with (
        serving(demo_database, bulk_pool_size=1, max_streams=1) as served,
        kind(served.address, retry=Retry(attempts=20)) as client,
        SpatialClient(served.address) as other,
    ):
        occupying = other.stream_features("facilities", resumable=True).batches()
        next(occupying)
        timer = threading.Timer(0.5, occupying.close)
        timer.start()
        began = time.monotonic()

        found = sum(1 for _ in client.stream_features("districts"))
        waited = time.monotonic() - began
        timer.join()

        rejected = served.metric('spatial_requests_rejected_total{reason="too_many_streams"}')
    assert found == 5
    assert waited > 0.4
    assert 1 <= rejected < 20


@BOTH
def test_a_call_that_is_shed_until_its_timeout_says_so(kind: Any, demo_database: str) -> None:
    with (
        serving(demo_database, max_streams=1) as served,
        kind(served.address) as client,
        SpatialClient(served.address) as other,
        closing(other.stream_features("facilities", resumable=True).batches()) as occupying,
    ):
        next(occupying)
        began = time.monotonic()
        with pytest.raises(ResourceExhausted) as caught:
            list(client.stream_features("districts", timeout=1.5))

    assert caught.value.reason == "TOO_MANY_STREAMS"
    assert caught.value.retry_after
    assert time.monotonic() - began < 5


@BOTH
def test_a_lookup_that_finds_the_pool_full_comes_again(kind: Any, database: str) -> None:
    with (
        serving(database, pool_size=1, pool_timeout=0.2, lock_timeout=60) as served,
        kind(served.address, timeout=15, retry=Retry(attempts=50)) as client,
        SpatialClient(served.address, timeout=20) as other,
        locked(database, "zones") as unlock,
        futures.ThreadPoolExecutor(1) as pool,
    ):
        holder = pool.submit(other.count_features, "zones")
        eventually(blocked(database))
        timer = threading.Timer(0.5, unlock)
        timer.start()

        assert client.search_nearest("facilities", (0, 0)) == []
        assert holder.result(20) == 0
        timer.join()
        assert served.metric('spatial_requests_rejected_total{reason="pool_exhausted"}') >= 1


@BOTH
def test_a_service_that_comes_up_late_is_found(kind: Any, demo_database: str, unused_tcp_port: int) -> None:
    address = f"127.0.0.1:{unused_tcp_port}"
    options = [("grpc.initial_reconnect_backoff_ms", 100), ("grpc.min_reconnect_backoff_ms", 100)]

    def ask() -> int:
        patient = Retry(attempts=5, first_pause=1, longest_pause=2)
        with kind(address, timeout=20, retry=patient, options=options) as client:
            return len(client.list_layers())

    with futures.ThreadPoolExecutor(1) as pool:
        asked = pool.submit(ask)
        time.sleep(0.3)
        assert not asked.done()
        with serving(demo_database, listen=address):
            assert asked.result(20) == 5


def settings(target: str = "127.0.0.1:1", retry: Retry = Retry(), **others: Any) -> Settings:  # noqa: B008
    return Settings(target, 1, 10, 60, others.pop("tls", None), None, {}, retry, **others)


def test_the_names_of_a_dns_target_take_turns() -> None:
    assert service_config(settings("dns:///spatial:50051"))["loadBalancingConfig"] == [{"round_robin": {}}]
    assert "loadBalancingConfig" not in service_config(settings("spatial:50051"))


def test_grpc_itself_repeats_what_is_unavailable_but_for_streams() -> None:
    (config,) = service_config(settings())["methodConfig"]

    assert config["retryPolicy"]["retryableStatusCodes"] == ["UNAVAILABLE"]
    assert "SearchRadius" in {each["method"] for each in config["name"]}
    assert not {each["method"] for each in config["name"]} & {"StreamFeatures", "StreamJoin", "MatchFeatures"}
    assert {each["service"] for each in config["name"]} == {"spatial.v1.SpatialService"}, "a change may not be repeated"
    assert "methodConfig" not in service_config(settings(retry=Retry(attempts=1)))


def test_options_of_the_caller_win() -> None:
    options = dict(channel_options(settings(options=[("grpc.keepalive_time_ms", 5)])))

    assert options["grpc.keepalive_time_ms"] == 5
    assert options["grpc.max_receive_message_length"] == -1


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An authority, and a server and a client that it vouches for."""
    folder = tmp_path_factory.mktemp("certificates")

    def openssl(*words: str) -> None:
        subprocess.run(["openssl", *words], cwd=folder, check=True, capture_output=True)

    new = ("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
    openssl(*new, "-x509", "-days", "2", "-subj", "/CN=authority", "-keyout", "authority.key", "-out", "authority.pem")
    for name in ("server", "client"):
        (folder / f"{name}.ext").write_text("subjectAltName=DNS:spatial.test\n")
        openssl(*new, "-subj", f"/CN={name}", "-keyout", f"{name}.key", "-out", f"{name}.csr")
        signing = ("x509", "-req", "-days", "2", "-CA", "authority.pem", "-CAkey", "authority.key", "-CAcreateserial")
        openssl(*signing, "-in", f"{name}.csr", "-out", f"{name}.pem", "-extfile", f"{name}.ext")
    return folder


def server_credentials(folder: Path, *, mutual: bool) -> grpc.ServerCredentials:
    pair = ((folder / "server.key").read_bytes(), (folder / "server.pem").read_bytes())
    roots = (folder / "authority.pem").read_bytes() if mutual else None
    return grpc.ssl_server_credentials([pair], root_certificates=roots, require_client_auth=mutual)


@BOTH
def test_tls_with_an_authority_of_one_s_own(kind: Any, certificates: Path) -> None:
    tls = TLS(root_certificates=certificates / "authority.pem", server_name="spatial.test")

    server = server_credentials(certificates, mutual=False)
    with recording(server) as (recorder, address), kind(address, tls=tls, token="secret") as client:
        assert client.list_layers() == []

    assert recorder.metadata[0]["authorization"] == "Bearer secret"


@BOTH
@pytest.mark.parametrize(
    "wrong",
    [
        pytest.param(lambda _: None, id="no TLS"),
        pytest.param(lambda _: TLS(), id="an unknown authority"),
        pytest.param(lambda folder: TLS(root_certificates=folder / "authority.pem"), id="another name"),
    ],
)
def test_a_server_that_is_not_to_be_trusted_is_not_spoken_to(kind: Any, certificates: Path, wrong: Any) -> None:
    server, tls = server_credentials(certificates, mutual=False), wrong(certificates)
    with (
        recording(server) as (recorder, address),
        kind(address, tls=tls, retry=Retry(attempts=1)) as client,
        pytest.raises(Unavailable),
    ):
        client.list_layers()

    assert recorder.metadata == []


@BOTH
def test_a_client_shows_its_certificate_where_one_is_asked_for(kind: Any, certificates: Path) -> None:
    trusted = TLS(root_certificates=certificates / "authority.pem", server_name="spatial.test")
    shown = TLS(
        root_certificates=str(certificates / "authority.pem"),
        certificate=certificates / "client.pem",
        key=certificates / "client.key",
        server_name="spatial.test",
    )
    with recording(server_credentials(certificates, mutual=True)) as (_, address):
        with kind(address, tls=shown) as client:
            assert client.list_layers() == []
        with kind(address, tls=trusted, retry=Retry(attempts=1)) as client, pytest.raises(Unavailable):
            client.list_layers()
