"""`spatial serve` as a process: how it starts, and how it ends."""

import signal
import socket
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from spatial.v1 import query_pb2_grpc
from tests.processes import Serving, health, invoked, spatial, spatial_serve
from tests.proxy import proxied
from tests.questions import facility, radius, zone
from tests.servers import refusal
from tests.situations import SESSIONS, blocked, eventually, locked, quiet, sessions

SOON = 15  # seconds: before the grace period of 20 s is over


@contextmanager
def client(serving: Serving) -> Iterator[tuple[grpc.Channel, Any]]:
    with grpc.insecure_channel(serving.address) as channel:
        yield channel, query_pb2_grpc.SpatialServiceStub(channel)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_running_calls_finish_and_meanwhile_health_says_not_serving(filled: str, number: signal.Signals) -> None:
    with (
        spatial_serve(database_url=filled, lock_timeout="60") as serving,
        client(serving) as (channel, stub),
        locked(filled, "facilities") as unlock,
    ):
        watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest())
        assert next(watch).status == health_pb2.HealthCheckResponse.SERVING
        calls = [stub.SearchNearest.future(facility(number), timeout=30) for number in (1, 2, 3)]
        eventually(blocked(filled))
        serving.process.send_signal(number)
        assert next(watch).status == health_pb2.HealthCheckResponse.NOT_SERVING
        assert serving.process.poll() is None
        unlock()
        assert [[feature.id for feature in call.result().features] for call in calls] == [["1"], ["2"], ["3"]]
        # The watch still stands: it must not hold up the end.
        assert serving.process.wait(SOON) == 0
    assert serving.lines[-1] | {"message": "stopped", "finished": True} == serving.lines[-1]
    eventually(lambda: not sessions(filled, SESSIONS))


def test_a_call_that_outlives_the_grace_period_is_cut_off_and_the_exit_code_says_so(filled: str) -> None:
    with (
        spatial_serve(database_url=filled, lock_timeout="60", grace_seconds="0.5") as serving,
        client(serving) as (_, stub),
        locked(filled, "facilities"),
    ):
        call = stub.SearchRadius.future(radius(), timeout=30)
        eventually(blocked(filled))
        started = time.monotonic()
        serving.process.terminate()
        assert serving.process.wait(SOON) == 1
        assert time.monotonic() - started >= 0.4
        assert call.exception().code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED)
        eventually(quiet(filled))
    assert serving.lines[-1] | {"message": "stopped", "finished": False} == serving.lines[-1]


def test_without_calls_it_ends_at_once(filled: str) -> None:
    with spatial_serve(database_url=filled) as serving:
        assert serving.address
        serving.process.terminate()
        assert serving.process.wait(SOON) == 0


def test_calls_that_come_during_the_grace_period_are_told_to_go_elsewhere(filled: str) -> None:
    """As soon as the connection that they come over has reached its age."""
    with (
        spatial_serve(database_url=filled, lock_timeout="60", max_connection_age="0.5") as serving,
        client(serving) as (_, stub),
        locked(filled, "facilities") as unlock,
    ):
        running = stub.SearchRadius.future(radius(), timeout=30)
        eventually(blocked(filled))
        serving.process.terminate()
        eventually(lambda: "stopping" in serving.messages())
        eventually(lambda: new_call_code(stub) is grpc.StatusCode.UNAVAILABLE)
        unlock()
        assert running.result().features
        assert serving.process.wait(SOON) == 0


def new_call_code(stub: Any) -> grpc.StatusCode | None:
    try:
        stub.SearchIntersects(zone(1), timeout=2)
    except grpc.RpcError as error:
        return error.code()
    return None


@pytest.mark.parametrize("setting", ["listen", "metrics_listen"])
def test_a_port_that_is_taken_is_named(filled: str, setting: str) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        ports = {"listen": "127.0.0.1:0", "metrics_listen": "127.0.0.1:0", setting: address}
        ended = spatial("serve", database_url=filled, **ports)
    assert ended.returncode == 1
    assert address in ended.stderr
    assert "Traceback" not in ended.stderr


def test_two_servers_do_not_share_a_port(filled: str) -> None:
    with spatial_serve(database_url=filled) as first:
        ended = spatial("serve", database_url=filled, listen=first.address, metrics_listen="127.0.0.1:0")
        assert ended.returncode == 1
        assert first.address in ended.stderr


def test_without_a_database_it_says_what_to_set() -> None:
    ended = spatial("serve")
    assert ended.returncode == 1
    assert "SPATIAL_DATABASE_URL" in ended.stderr
    assert "--embedded" in ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize(
    ("setting", "value", "complaint"),
    [
        ("pool_size", "0", "SPATIAL_POOL_SIZE"),
        ("log_format", "xml", "SPATIAL_LOG_FORMAT"),
        ("grace_seconds", "soon", "SPATIAL_GRACE_SECONDS"),
    ],
)
def test_a_setting_that_cannot_be_used_is_named(setting: str, value: str, complaint: str) -> None:
    ended = invoked("serve", **{setting: value})
    assert ended.returncode == 1
    assert complaint in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_database_that_comes_after_the_server_makes_it_ready(filled: str) -> None:
    with (
        proxied(filled, listening=False) as proxy,
        spatial_serve(database_url=proxy.url, connect_timeout="2") as serving,
        client(serving) as (channel, stub),
    ):
        assert health(channel, "liveness") == "SERVING"
        assert health(channel) == "NOT_SERVING"
        assert health(channel, "spatial.v1.SpatialService") == "NOT_SERVING"
        with pytest.raises(grpc.RpcError) as refused:
            stub.SearchRadius(radius(), timeout=10)
        told = refusal(refused.value)
        assert (told.code, told.reason, told.retry_seconds) == ("UNAVAILABLE", "DATABASE_UNAVAILABLE", 1.0)
        proxy.listen()
        eventually(lambda: health(channel) == "SERVING")
        assert health(channel, "spatial.v1.SpatialService") == "SERVING"
        assert stub.SearchRadius(radius(), timeout=10).features
        serving.process.terminate()
        assert serving.process.wait(SOON) == 0
    assert "ready" in serving.messages()
