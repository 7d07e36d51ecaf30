"""`spatial serve --workers 2`: one service, whatever happens to its processes."""

import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from spatial.v1 import query_pb2, query_pb2_grpc
from spatial_client import SpatialClient
from tests.callers import Callers, calling, connected
from tests.conftest import NewDatabase
from tests.processes import Serving, spatial, spatial_serve
from tests.questions import facility, fill, radius
from tests.situations import blocked, eventually, fetch, locked
from tests.streams import features, stream, whole

SAMPLE = re.compile(r"(?P<name>\w+)(?P<labels>{.*})? (?P<value>\S+)")
CENTER = (0.06, 0.0)
POSTS = """
CREATE SCHEMA extra;
CREATE TABLE extra.posts (id int PRIMARY KEY, place geometry(Point, 4326));
CREATE INDEX ON extra.posts USING gist (place);
"""
HANDLED = "grpc_server_handled_total"


@pytest.fixture(scope="module")
def database(new_database: NewDatabase) -> Iterator[str]:
    with new_database() as url:
        fill(url)
        yield url


@pytest.fixture(scope="module")
def two(database: str) -> Iterator[Serving]:
    """Whose callers connect anew every half second or so, so that to lead them away takes no longer."""
    settings = {"max_connection_age": "0.5", "grace_seconds": "3", "lock_timeout": "60", "expected_replicas": "9"}
    with spatial_serve(database_url=database, workers="2", **settings) as serving:
        assert serving.address
        yield serving
        serving.process.terminate()
        assert serving.process.wait(30) == 0


def samples(serving: Serving) -> dict[str, float]:
    """By name and labels."""
    found = (SAMPLE.fullmatch(line) for line in serving.page().splitlines() if not line.startswith("#"))
    return {match["name"] + (match["labels"] or ""): float(match["value"]) for match in found if match}


def summed(found: dict[str, float], *parts: str) -> float:
    return sum(value for name, value in found.items() if all(part in name for part in parts))


def handled(serving: Serving) -> float:
    return summed(samples(serving), HANDLED, "SearchNearest")


def pids(serving: Serving) -> list[int]:
    """Of the workers that live, by their numbers."""
    latest = {line["worker"]: line["pid"] for line in serving.told("worker started")}
    return [latest[number] for number in sorted(latest)]


def roll(serving: Serving) -> None:
    before = len(serving.told("rolled"))
    serving.process.send_signal(signal.SIGHUP)
    eventually(lambda: len(serving.told("rolled")) > before, within=60)
    assert serving.told("rolled")[-1]["workers"] == 2


def test_calls_are_spread_and_their_counts_add_up(two: Serving) -> None:
    before = samples(two)
    with connected(two.address, 24) as stubs:
        for stub in stubs * 20:
            stub.SearchNearest(facility(1), timeout=30)
    after = samples(two)

    def rise(*parts: str) -> float:
        return summed(after, *parts) - summed(before, *parts)

    assert rise(HANDLED, "SearchNearest", 'grpc_code="OK"') == 24 * 20
    assert rise("grpc_server_handling_seconds_count", "SearchNearest") == 24 * 20
    # Both were asked: each opens connections of its own.
    assert after['spatial_pool_connects_total{pool="read"}'] >= 2
    assert all(rise(f'process_cpu_seconds_total{{worker="{number}"}}') > 0.05 for number in (1, 2))


def test_what_is_shown_of_all_is_what_monitoring_takes(two: Serving, tool: Callable[[str], str]) -> None:
    checked = subprocess.run(
        [tool("promtool"), "check", "metrics"], input=two.page(), capture_output=True, text=True, check=False
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr
    found = samples(two)
    assert found['spatial_workers{state="serving"}'] == 2
    assert found['spatial_pool_size{pool="read"}'] == 2 * 6
    assert found["spatial_ready"] == 1
    assert [value for name, value in found.items() if name.startswith("spatial_build_info")] == [1]
    of_processes = {name for name in found if name.startswith("process_resident_memory_bytes")}
    assert of_processes == {f'process_resident_memory_bytes{{worker="{who}"}}' for who in ("1", "2", "supervisor")}
    assert "<th>ready<td>yes" in two.page("/")
    assert "<th>workers<td>2 serving" in two.page("/")


def test_layers_that_one_is_told_of_are_served_by_all(database: str) -> None:
    with (
        spatial_serve(database_url=database, workers="2", layers="extra.*") as serving,
        connected(serving.address, 12) as stubs,
    ):
        fetch(database, POSTS)
        stubs[0].RefreshLayers(query_pb2.RefreshLayersRequest(), timeout=30)
        for stub in stubs[1:]:
            assert stub.GetLayer(query_pb2.GetLayerRequest(name="extra.posts"), timeout=30).name == "extra.posts"


def test_more_connections_than_the_database_has_are_warned_of(two: Serving) -> None:
    eventually(lambda: [line for line in two.lines if line["logger"] == "spatial.connections"], within=20)
    (line,) = [line for line in two.lines if line["logger"] == "spatial.connections"]
    assert "9 replicas x 2 workers x 24 connections = 432" in line["message"]
    assert "max_connections" in line["message"]


def test_a_call_goes_on_where_its_connection_has_reached_its_age(two: Serving, database: str) -> None:
    with connected(two.address, 1) as (stub,), locked(database, "parcels") as unlock:
        waiting = stream(stub, whole("parcels"))
        until = time.monotonic() + 1.5
        while time.monotonic() < until:
            assert stub.SearchNearest(facility(3), timeout=30).features
        unlock()
        assert _ids(waiting) == _ids(stream(stub, whole("parcels"))) != []


def _ids(batches: Any) -> list[str]:
    return sorted((found.id for batch in batches for found in features(batch, "parcels")), key=int)


def test_rolled_under_load_no_call_fails(two: Serving, database: str) -> None:
    before = pids(two)
    with (
        grpc.insecure_channel(two.address) as channel,
        locked(database, "parcels") as unlock,
        calling(two.address, reusing=16, anew=2) as callers,
    ):
        stub = query_pb2_grpc.SpatialServiceStub(channel)
        long = stream(stub, whole("parcels"), timeout=60)
        eventually(blocked(database), within=20)
        roll(two)
        assert not set(pids(two)) & set(before)
        answered = callers.answered
        eventually(lambda: callers.answered > answered + 100, within=30)
        # It has outlived the turn of the worker that serves it.
        assert samples(two)['spatial_workers{state="draining"}'] == 1
        unlock()
        assert _ids(long) == [str(number) for number in range(1, 11)]
        eventually(lambda: samples(two)['spatial_workers{state="draining"}'] == 0, within=30)
    assert not callers.failed
    assert callers.answered > 200


def test_a_worker_that_is_killed_under_load_is_replaced_and_what_it_counted_stays(two: Serving) -> None:
    restarts = 'spatial_worker_restarts_total{cause="killed"}'
    with calling(two.address) as callers:
        eventually(lambda: callers.answered > 100, within=30)
        time.sleep(1.2)  # so long may pass between looks at what a worker has counted
        (victim, _), counted, killed = pids(two), handled(two), samples(two)[restarts]
        os.kill(victim, signal.SIGKILL)
        eventually(lambda: victim not in pids(two), within=30)
        seen = [handled(two) for _ in range(5)]
        assert [counted, *seen] == sorted([counted, *seen])
        eventually(lambda: samples(two)['spatial_workers{state="serving"}'] == 2, within=30)
        eventually(lambda: undisturbed(callers), within=30)
    assert samples(two)[restarts] == killed + 1
    # Those that it was at, and those whose connection it held; gRPC had sent them, so that it cannot tell. A
    # caller whose next connection was begun as the process died hears so at once, call by call, until gRPC tries again.
    assert {code for code, _ in callers.failed} <= {"UNAVAILABLE"}
    unconnected = sum(count for (_, why), count in callers.failed.items() if "failed to connect" in (why or ""))
    assert callers.failed.total() - unconnected <= 16, callers.failed
    (line,) = [line for line in two.told("worker ended") if line["pid"] == victim]
    assert line["why"] == "by signal 9 (SIGKILL)"


def undisturbed(callers: Callers) -> bool:
    """Whether a second goes by in which calls are answered and none fails."""
    answered, failed = callers.answered, callers.failed.total()
    time.sleep(1.0)
    return callers.answered > answered and callers.failed.total() == failed


def test_callers_with_the_client_do_not_notice_that_a_worker_is_killed(two: Serving) -> None:
    with SpatialClient(two.address) as client:
        until, killed = time.monotonic() + 1.0, False
        while time.monotonic() < until:
            assert client.search_nearest("facilities", CENTER, limit=1)
            if not killed:
                os.kill(pids(two)[1], signal.SIGKILL)
                killed = True
    eventually(lambda: samples(two)['spatial_workers{state="serving"}'] == 2, within=30)


def test_ten_successors_need_no_more_than_the_first(two: Serving) -> None:
    def needed() -> tuple[int, int]:
        kept = sum(len([*Path(f"/proc/{pid}/fd").iterdir()]) for pid in (two.process.pid, *pids(two)))
        return kept, _kilobytes(two.process.pid)

    roll(two)
    files, memory = needed()
    for _ in range(4):
        roll(two)
    more_files, more_memory = needed()
    assert more_files <= files + 4
    assert more_memory <= memory + 4 * 1024


def _kilobytes(pid: int) -> int:
    (line,) = [line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmRSS")]
    return int(line.split()[1])


def test_without_a_supervisor_no_worker_stays(database: str) -> None:
    with spatial_serve(database_url=database, workers="2") as serving:
        address, workers = serving.address, pids(serving)
        serving.process.kill()
        eventually(lambda: not any(map(_lives, workers)), within=10)
        # Nor does anything keep the port.
        with spatial_serve(database_url=database, workers="2", listen=address) as next_one:
            assert next_one.address == address


def _lives(pid: int) -> bool:
    return Path(f"/proc/{pid}/cmdline").exists() and b"spatial" in Path(f"/proc/{pid}/cmdline").read_bytes()


def test_all_finish_their_calls_when_told_to_stop(database: str) -> None:
    with (
        spatial_serve(database_url=database, workers="2", lock_timeout="60") as serving,
        connected(serving.address, 8) as stubs,
        locked(database, "facilities") as unlock,
    ):
        calls = [stub.SearchNearest.future(facility(5), timeout=60) for stub in stubs]
        eventually(blocked(database, 2), within=20)
        serving.process.terminate()
        eventually(lambda: "stopping" in serving.messages(), within=20)
        unlock()
        assert [call.result().features[0].id for call in calls] == ["5"] * 8
        assert serving.process.wait(20) == 0
    assert serving.lines[-1] | {"message": "stopped", "finished": True} == serving.lines[-1]


def test_one_that_cannot_finish_in_time_makes_the_exit_code_1(database: str) -> None:
    with (
        spatial_serve(database_url=database, workers="2", lock_timeout="60", grace_seconds="0.5") as serving,
        connected(serving.address, 1) as (stub,),
        locked(database, "facilities"),
    ):
        call = stub.SearchRadius.future(radius(), timeout=60)
        eventually(blocked(database), within=20)
        serving.process.terminate()
        assert serving.process.wait(20) == 1
        assert call.exception().code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED)


def test_workers_that_fail_again_and_again_end_the_service_with_the_reason(database: str) -> None:
    with spatial_serve(database_url=database, workers="2") as serving:
        assert serving.address
        killed = set()
        while serving.process.poll() is None:
            for line in list(serving.told("worker started")):
                if line["worker"] == 2 and line["pid"] not in killed:
                    killed.add(line["pid"])
                    os.kill(line["pid"], signal.SIGKILL)
            time.sleep(0.01)
        assert serving.process.returncode == 1
    assert len(killed) == 5
    assert serving.rest == ["Error: worker 2 failed 5 times in a row, each time soon; the last by signal 9 (SIGKILL)"]


@pytest.mark.parametrize("setting", ["listen", "metrics_listen"])
def test_a_port_that_another_service_has_is_not_shared(two: Serving, database: str, setting: str) -> None:
    ports = {"listen": "127.0.0.1:0", "metrics_listen": "127.0.0.1:0"}
    taken = two.address if setting == "listen" else f"127.0.0.1:{two.told('serving')[0]['metrics_port']}"
    ended = spatial("serve", "--workers", "2", database_url=database, **{**ports, setting: taken})
    assert ended.returncode == 1
    assert taken in ended.stderr
    assert "Traceback" not in ended.stderr


def test_what_keeps_a_worker_from_beginning_is_said_once(database: str) -> None:
    ended = spatial("serve", "--workers", "2", database_url=database, listen="127.0.0.1:0", layers="absent.yaml")
    assert ended.returncode == 1
    assert ended.stderr.count("Error: ") == 1
    assert "absent.yaml" in ended.stderr.splitlines()[-1]


def test_a_client_with_two_addresses_loses_no_call_when_one_service_stops(database: str) -> None:
    settings = {"database_url": database, "max_connection_age": "1"}
    with spatial_serve(workers="2", **settings) as first, spatial_serve(workers="1", **settings) as second:
        addresses = ",".join(each.address for each in (first, second))
        with SpatialClient(f"ipv4:{addresses}") as client:
            until, told = time.monotonic() + 3.0, False
            while time.monotonic() < until or first.process.poll() is None:
                assert client.search_nearest("facilities", CENTER, limit=1)
                if not told:
                    first.process.terminate()
                    told = True
        assert first.process.wait(20) == 0
