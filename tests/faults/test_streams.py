"""Streams are bounded, end with their readers, and leave nothing behind, however they end."""

import logging
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, nullcontext
from threading import Event, Thread
from typing import Any

import grpc
import pytest
from prometheus_client import CollectorRegistry
from psycopg2.extensions import TRANSACTION_STATUS_IDLE

from service.db.engine import Pool, bulk_pool, read_pool, write_pool
from service.db.lane import driver_connection
from service.embedded import EmbeddedPostgres
from service.observability.metrics import Metrics
from service.settings import Settings
from spatial.v1 import query_pb2_grpc
from tests.clusters import PREPARED, throw_away
from tests.conftest import NewDatabase
from tests.crashes import SETTINGS
from tests.proxy import proxied
from tests.questions import facility, fill, zone
from tests.servers import Served, refusal, serving
from tests.situations import blocked, cancelled, eventually, expiring, fetch, locked, sessions, soonest
from tests.streams import (
    BULK_IN_USE,
    BULK_RUNNING,
    BULK_SESSIONS,
    IDLE_IN_TRANSACTION,
    IN_FLIGHT,
    LONG_IDLE_IN_TRANSACTION,
    ids,
    stream,
    whole,
)

FAT = 300
HANDLED = (
    'grpc_server_handled_total{{grpc_code="{}",grpc_method="StreamFeatures"'
    ',grpc_service="spatial.v1.SpatialService",grpc_type="server_stream"}}'
)
IDLE = 'spatial_pool_connections{pool="bulk",state="idle"}'


def fatten(url: str) -> None:
    """Parcels of 100 KB each, 30 MB that no window and no buffer holds; on disk they are small."""
    fetch(
        url,
        "DELETE FROM parcels; INSERT INTO parcels (number, name, land_use, district_id, boundary)"
        " SELECT n, repeat('x', 100000), 'park', 1, ST_MakeEnvelope(0, 0, 1, 1, 4326)"
        f" FROM generate_series(1, {FAT}) n",
    )


PARCELS = whole("parcels")
ZONES = whole("zones")


@pytest.fixture(scope="module")
def fat(new_database: NewDatabase) -> Iterator[str]:
    with new_database() as url:
        fill(url)
        fatten(url)
        yield url


def begun(served: Served, timeout: float | None = 60) -> Any:
    """A stream that has delivered its first batch and cannot end before it is read on."""
    call = stream(served.stub, PARCELS, timeout)
    assert ids(next(call))
    return call


def refused(call: Any) -> Any:
    with pytest.raises(grpc.RpcError) as error:
        for _ in call:
            pass
    return refusal(error.value)


def code(call: Any) -> str:
    """What a stream ended with, read to its end."""
    try:
        for _ in call:
            pass
    except grpc.RpcError as error:
        return str(error.code().name)
    return "OK"


def at_rest(served: Served) -> bool:
    return served.metric(IN_FLIGHT) == 0 and served.metric(BULK_IN_USE) == 0


def assert_nothing_is_left(served: Served, url: str) -> None:
    eventually(lambda: at_rest(served))
    eventually(lambda: not sessions(url, BULK_RUNNING))
    eventually(lambda: len(sessions(url, BULK_SESSIONS)) == served.metric(IDLE))
    eventually(lambda: not sessions(url, IDLE_IN_TRANSACTION))


# How many there may be.


def read_to_the_end(url: str, call: Any) -> None:
    assert code(call) == "OK"


def cancel(url: str, call: Any) -> None:
    call.cancel()


def break_its_connection(url: str, call: Any) -> None:
    for backend in sessions(url, BULK_RUNNING):
        fetch(url, "SELECT pg_terminate_backend(%s)", backend)
    assert code(call) == "UNAVAILABLE"


@pytest.mark.parametrize("end", [read_to_the_end, cancel, break_its_connection])
def test_beyond_the_most_streams_one_is_refused_until_another_has_ended(
    fat: str, end: Callable[[str, Any], None]
) -> None:
    with serving(fat, max_streams=2) as served:
        calls = [begun(served), begun(served)]
        assert served.metric(IN_FLIGHT) == 2
        told = refused(stream(served.stub, ZONES))
        assert (told.code, told.reason, told.metadata) == ("RESOURCE_EXHAUSTED", "TOO_MANY_STREAMS", {"limit": "2"})
        assert told.retry_seconds == 1.0
        assert served.metric('spatial_requests_rejected_total{reason="too_many_streams"}') == 1
        end(fat, calls[0])
        eventually(lambda: served.metric(IN_FLIGHT) < 2)
        assert code(stream(served.stub, ZONES)) == "OK"
        cancel(fat, calls[1])
        assert_nothing_is_left(served, fat)


def test_a_stream_that_is_refused_holds_no_place(fat: str) -> None:
    with serving(fat, max_streams=1) as served:
        for _ in range(3):
            assert refused(stream(served.stub, whole("rivers"))).reason == "LAYER_NOT_FOUND"
        assert code(stream(served.stub, ZONES)) == "OK"


def test_a_stream_without_a_connection_is_refused_while_lookups_go_on(fat: str) -> None:
    with serving(fat, bulk_pool_size=1, max_streams=5, pool_timeout=0.3) as served:
        holder = begun(served)
        started = time.monotonic()
        told = refused(stream(served.stub, ZONES))
        assert 0.3 <= time.monotonic() - started < 5
        assert (told.code, told.reason, told.retry_seconds) == ("RESOURCE_EXHAUSTED", "POOL_EXHAUSTED", 0.3)
        assert served.metric('spatial_pool_timeouts_total{pool="bulk"}') == 1
        assert served.metric('spatial_requests_rejected_total{reason="pool_exhausted"}') == 1
        assert served.stub.SearchNearest(facility(7), timeout=20).features[0].id == "7"
        holder.cancel()
        eventually(lambda: at_rest(served))
        assert code(stream(served.stub, ZONES)) == "OK"


# Readers that stall.


def test_a_reader_that_takes_nothing_is_ended_and_told_so_when_it_reads_on(fat: str) -> None:
    with serving(fat, stall_timeout=0.5) as served:
        call = begun(served)
        assert_nothing_is_left(served, fat)  # whether it reads on or not
        eventually(lambda: served.metric(HANDLED.format("DEADLINE_EXCEEDED")) == 1)
        told = refused(call)
        assert (told.code, told.reason) == ("DEADLINE_EXCEEDED", "STREAM_STALLED")
        assert "0.5 s" in told.message
        assert code(stream(served.stub, PARCELS)) == "OK"


def test_a_reader_that_has_no_room_for_the_first_batch_is_told_so(fat: str) -> None:
    small = [("grpc.http2.bdp_probe", 0), ("grpc.http2.lookahead_bytes", 0)]
    with serving(fat, stall_timeout=0.5) as served, grpc.insecure_channel(served.address, small) as channel:
        call = stream(query_pb2_grpc.SpatialServiceStub(channel), PARCELS)
        assert_nothing_is_left(served, fat)
        told = refused(call)
        assert (told.code, told.reason) == ("DEADLINE_EXCEEDED", "STREAM_STALLED")


def test_a_server_stops_at_once_whoever_is_stalled(fat: str) -> None:
    with ExitStack() as stack:
        with serving(fat, stall_timeout=0.3) as served:
            call = begun(served)
            eventually(lambda: at_rest(served))
            stack.callback(call.cancel)
            started = time.monotonic()
        assert time.monotonic() - started < 10
    assert not sessions(fat, BULK_SESSIONS)


def test_a_reader_that_is_slow_but_takes_something_is_not_ended(fat: str) -> None:
    """Most clients take megabytes ahead, and then nothing until half of them are read; this one says so at once."""
    prompt = [("grpc.http2.bdp_probe", 0), ("grpc.max_receive_message_length", -1)]
    with serving(fat, stall_timeout=1) as served, grpc.insecure_channel(served.address, prompt) as channel:
        call = stream(query_pb2_grpc.SpatialServiceStub(channel), PARCELS)
        for _ in range(8):
            time.sleep(0.3)
            next(call)
        assert served.metric(BULK_IN_USE) == 1, "there is more than the reader took"
        assert code(call) == "OK"


# Readers that leave.


def test_a_cancelled_stream_leaves_nothing_behind(fat: str) -> None:
    with serving(fat) as served:
        begun(served).cancel()
        assert_nothing_is_left(served, fat)
        eventually(lambda: served.metric(HANDLED.format("CANCELLED")) == 1)


def test_an_expired_stream_leaves_nothing_behind(fat: str) -> None:
    with serving(fat) as served:
        call = begun(served, timeout=3.0)
        eventually(call.done)
        assert_nothing_is_left(served, fat)
        assert code(call) == "DEADLINE_EXCEEDED"
        eventually(lambda: served.metric(HANDLED.format("DEADLINE_EXCEEDED")) == 1)


@pytest.mark.parametrize(("end", "ends_with"), [(cancelled, "CANCELLED"), (expiring, "DEADLINE_EXCEEDED")])
def test_a_stream_that_has_nothing_to_deliver_yet_leaves_nothing_behind(fat: str, end: Any, ends_with: str) -> None:
    with serving(fat, lock_timeout=60) as served, locked(fat, "parcels"):
        call = end(lambda seconds: stream(served.stub, PARCELS, seconds), blocked(fat))
        assert code(call) == ends_with
        assert_nothing_is_left(served, fat)


def test_a_stream_that_waits_for_a_connection_leaves_without_one(fat: str) -> None:
    with serving(fat, bulk_pool_size=1, pool_timeout=5) as served:
        holder = begun(served)
        waiting = stream(served.stub, ZONES)
        eventually(lambda: served.metric(IN_FLIGHT) == 2)
        waiting.cancel()
        eventually(lambda: served.metric(IN_FLIGHT) == 1)
        holder.cancel()
        assert_nothing_is_left(served, fat)
        assert code(stream(served.stub, ZONES)) == "OK"


READER = """
import sys, time
import grpc
from tests.streams import stream, whole
from spatial.v1 import query_pb2_grpc

with grpc.insecure_channel(sys.argv[1]) as channel:
    batches = stream(query_pb2_grpc.SpatialServiceStub(channel), whole(sys.argv[2]), timeout=None)
    next(batches)
    print("reading", flush=True)
    time.sleep(60)
"""


def cancel_reading(served: Served) -> None:
    begun(served).cancel()


def run_out_of_time(served: Served) -> None:
    eventually(begun(served, timeout=3.0).done)


def kill_the_reader(served: Served) -> None:
    reader = subprocess.Popen(
        [sys.executable, "-c", READER, served.address, "parcels"], stdout=subprocess.PIPE, text=True
    )
    with reader:
        assert reader.stdout
        assert reader.stdout.readline() == "reading\n"
        assert served.metric(IN_FLIGHT) == 1
        reader.send_signal(signal.SIGKILL)


@pytest.mark.parametrize("leave", [cancel_reading, run_out_of_time, kill_the_reader])
def test_a_reader_that_leaves_frees_its_connection_within_a_second(fat: str, leave: Callable[[Served], None]) -> None:
    with serving(fat) as served:

        def seconds() -> float:
            leave(served)
            return eventually(lambda: at_rest(served) and not sessions(fat, BULK_RUNNING))

        assert soonest(seconds) < 1
        assert_nothing_is_left(served, fat)


def test_the_stream_of_a_reader_whose_network_went_silent_ends_as_a_stalled_one(fat: str) -> None:
    with (
        serving(fat, stall_timeout=0.7) as served,
        proxied(f"tcp://any:one@{served.address}") as proxy,
        grpc.insecure_channel(f"127.0.0.1:{proxy.port}") as channel,
    ):
        call = stream(query_pb2_grpc.SpatialServiceStub(channel), PARCELS)
        next(call)
        proxy.mode = "swallow"
        call.cancel()  # nobody hears of it
        assert_nothing_is_left(served, fat)


# Many at once.


@contextmanager
def innocents(served: Served, number: int) -> Iterator[None]:
    """Streams that are read to their ends, one after the other, while the block runs; each must be whole."""
    over = Event()

    def read_on_and_on() -> int:
        read = 0
        while not over.is_set() or not read:
            delivered = [key for batch in stream(served.stub, PARCELS) for key in ids(batch)]
            assert len(set(delivered)) == len(delivered) == FAT
            read += 1
        return read

    with ThreadPoolExecutor(number) as threads:
        reading = [threads.submit(read_on_and_on) for _ in range(number)]
        try:
            yield
        finally:
            over.set()
        assert all(each.result() for each in reading)


@contextmanager
def never_idle_in_transaction(url: str) -> Iterator[None]:
    over = Event()
    seen: list[int] = []

    def watch() -> None:
        while not over.wait(0.02):
            seen.extend(sessions(url, LONG_IDLE_IN_TRANSACTION))

    watcher = Thread(target=watch)
    watcher.start()
    try:
        yield
    finally:
        over.set()
        watcher.join()
    assert not seen


@pytest.mark.parametrize("layout", ["ROWS", "ARROW"])
def test_a_hundred_streams_cancelled_at_any_moment_harm_no_other_and_leave_nothing(
    fat: str, layout: str, caplog: pytest.LogCaptureFixture
) -> None:
    moments = random.Random(7)
    watched = never_idle_in_transaction(fat) if layout == "ROWS" else nullcontext()  # parts share a snapshot
    requests = [whole("parcels", layout=layout), whole("zones", layout=layout)]
    with serving(fat, max_streams=300, bulk_pool_size=12, pool_timeout=20) as served, watched:
        with innocents(served, 2):
            leaving: list[Any] = []
            for _ in range(100):
                leaving.append(stream(served.stub, moments.choice(requests)))
                time.sleep(moments.random() * 0.01)
                if len(leaving) > 20:
                    leaving.pop(moments.randrange(20)).cancel()
            for call in leaving:
                call.cancel()
        assert_nothing_is_left(served, fat)
        assert served.metric(HANDLED.format("INTERNAL")) == 0
        assert served.metric(HANDLED.format("UNAVAILABLE")) == 0
    assert not [line for line in caplog.records if line.levelno >= logging.ERROR]


def test_readers_that_leave_in_the_middle_do_not_bring_the_database_down(fat: str) -> None:
    """Some are cancelled, and others lose their connection while they send."""
    (started,) = fetch(
        fat, "SELECT count(*), max(backend_start) FROM pg_stat_activity WHERE backend_type = 'walwriter'"
    )
    with serving(fat) as served:
        for _ in range(40):
            call = begun(served)
            time.sleep(0.03)
            call.cancel()
        assert_nothing_is_left(served, fat)
    assert [started] == fetch(
        fat, "SELECT count(*), max(backend_start) FROM pg_stat_activity WHERE backend_type = 'walwriter'"
    )


@pytest.mark.parametrize("pool", [read_pool, bulk_pool, write_pool])
def test_a_session_has_postgis_loaded_before_there_is_anything_to_cancel(fat: str, pool: Callable[..., Pool]) -> None:
    """A cancellation that comes in the statement that loads it can bring the database down."""
    engine = pool(Settings(database_url=fat), fat, Metrics(CollectorRegistry())).engine
    with engine.connect() as connection:
        assert driver_connection(connection).info.transaction_status == TRANSACTION_STATUS_IDLE
        # By itself: not everybody may look into another process.
        loaded = connection.exec_driver_sql("SELECT pg_read_file('/proc/self/maps')").scalar_one()
        assert "/postgis-" in loaded
    engine.dispose()


# The database goes.


@pytest.fixture(scope="module")
def cluster() -> Iterator[EmbeddedPostgres]:
    """A cluster that these tests may end as they like: what was written stays."""
    with throw_away(SETTINGS, PREPARED) as cluster:
        fill(cluster.url)
        fatten(cluster.url)
        yield cluster


@pytest.mark.parametrize("mode", ["fast", "immediate"])
def test_a_database_that_restarts_in_the_middle_of_a_stream(cluster: EmbeddedPostgres, mode: Any) -> None:
    with serving(cluster.url) as served:
        call = begun(served)
        cluster.stop(mode)
        told = refused(call)
        assert (told.code, told.reason, told.retry_seconds) == ("UNAVAILABLE", "DATABASE_UNAVAILABLE", 1.0)
        assert told.message == "the database cannot be reached"
        told = refused(stream(served.stub, PARCELS))
        assert (told.code, told.reason, told.retry_seconds) == ("UNAVAILABLE", "DATABASE_UNAVAILABLE", 1.0)
        cluster.start()
        eventually(lambda: code(stream(served.stub, PARCELS)) == "OK")
        assert_nothing_is_left(served, cluster.url)
        assert served.stub.SearchIntersects(zone(1), timeout=5).features
