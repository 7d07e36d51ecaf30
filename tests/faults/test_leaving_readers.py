"""Readers that leave, one or many, leave nothing behind, and harm no others."""

import logging
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from threading import Event, Thread
from typing import Any

import grpc
import pytest
from prometheus_client import CollectorRegistry
from psycopg2.extensions import TRANSACTION_STATUS_IDLE

from service.db.engine import Pool, bulk_pool, read_pool, write_pool
from service.db.lane import driver_connection
from service.observability.metrics import Metrics
from service.settings import Settings
from spatial.v1 import query_pb2_grpc
from tests.fat_streams import (
    FAT,
    HANDLED,
    PARCELS,
    ZONES,
    assert_nothing_is_left,
    at_rest,
    begun,
    code,
)
from tests.proxy import proxied
from tests.servers import Served, serving
from tests.situations import blocked, cancelled, eventually, expiring, fetch, locked, sessions, soonest
from tests.streams import (
    BULK_RUNNING,
    IN_FLIGHT,
    LONG_IDLE_IN_TRANSACTION,
    ids,
    stream,
    whole,
)


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
