"""Streams are bounded, end those that stall, and outlive the database."""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import grpc
import pytest

from service.embedded import EmbeddedPostgres
from spatial.v1 import query_pb2_grpc
from tests.clusters import PREPARED, throw_away
from tests.crashes import SETTINGS
from tests.fat_streams import HANDLED, PARCELS, ZONES, assert_nothing_is_left, at_rest, begun, code, fatten, refused
from tests.questions import facility, fill, zone
from tests.servers import serving
from tests.situations import eventually, fetch, sessions
from tests.streams import (
    BULK_IN_USE,
    BULK_RUNNING,
    BULK_SESSIONS,
    IN_FLIGHT,
    stream,
    whole,
)

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
