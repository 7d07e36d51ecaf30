"""Streams of probes when something goes wrong: with one of them, with the caller, with the database."""

import queue
import threading
import time
from collections.abc import Iterator
from typing import Any

import grpc
import pytest

from spatial.v1.query_pb2 import MatchProbe, MatchRequest, Output
from tests.conftest import NewDatabase
from tests.matching import in_messages, keyed, match, matches, opening, refused, told
from tests.questions import fill, point, radius, wkt
from tests.searches import intersects, nearest
from tests.servers import Served, refusal, serving
from tests.situations import blocked, eventually, expiring, fetch, locked, quiet, sessions

IN_USE = 'spatial_pool_connections{pool="bulk",state="in_use"}'
ALWAYS_OPEN: "queue.SimpleQueue[None]" = queue.SimpleQueue()

FACILITIES = nearest("facilities", point())
ZONES = intersects("zones", point())


@pytest.fixture
def served(filled: str) -> Iterator[Served]:
    with serving(filled, lock_timeout=60) as served:
        yield served


def endless(*requests: MatchRequest) -> Iterator[MatchRequest]:
    """A stream that its caller never closes."""
    yield from requests
    ALWAYS_OPEN.get()


def asking(asked: Any, probes: int = 1000, **fields: Any) -> MatchRequest:
    request = opening(asked, **fields)
    request.probes.extend(keyed([point(number % 10 + 0.5, 10.5) for number in range(probes)]))
    return request


def assert_nothing_is_left(served: Served, url: str) -> None:
    eventually(quiet(url))
    eventually(lambda: served.metric(IN_USE) == 0)
    eventually(lambda: served.metric("spatial_lane_depth") == 0)
    assert fetch(url, "SELECT count(*) FROM pg_locks WHERE NOT granted") == [(0,)]


# One probe.


@pytest.fixture(scope="module")
def unsound(new_database: NewDatabase) -> Iterator[str]:
    """A zone whose two parts overlap, which the table would refuse: GEOS cannot relate it to a polygon."""
    with new_database() as url:
        fill(url)
        parts = "((0 0, 10 0, 10 9, 0 9, 0 0)), ((5 5, 15 5, 15 9, 5 9, 5 5))"
        fetch(url, "ALTER TABLE zones DROP CONSTRAINT ck_zones_boundary_valid")
        fetch(
            url,
            "INSERT INTO zones (code, name, category, boundary)"
            f" VALUES ('X', 'Unsound', 'test', ST_GeomFromText('MULTIPOLYGON ({parts})', 4326))",
        )
        yield url


def test_a_topology_error_is_that_of_its_probe_alone(unsound: str) -> None:
    poison = wkt("POLYGON ((4 4, 12 6, 11 8, 4 4))")
    good = [wkt(f"POLYGON (({n} 10.2, {n}.5 10.2, {n}.5 10.5, {n} 10.2))") for n in range(10)]
    probes = keyed([*good[:5], poison, *good[5:]])
    with serving(unsound) as served:
        found = matches(served.stub, in_messages(opening(intersects("zones", point(), "OVERLAPS")), probes, 11))
        found += matches(served.stub, in_messages(opening(intersects("zones", point())), probes, 11))

    assert [each.key for each in found] == [probe.key for probe in probes] * 2
    refused_ = [each for each in found if each.HasField("error")]
    assert {each.key for each in refused_} == {"5"}
    assert [told(each) for each in refused_] == [("FAILED_PRECONDITION", "TOPOLOGY_ERROR", "")] * 2
    by_key = {each.key: [feature.id for feature in each.features] for each in found[11:]}
    assert by_key == {str(n + (n >= 5)): [str(n + 1)] for n in range(10)} | {"5": []}


def test_a_probe_whose_statement_takes_too_long_is_refused_and_the_others_are_not(filled: str) -> None:
    with serving(filled, lock_timeout=60, statement_timeout=0.3) as served:
        with locked(filled, "zones"):
            found = matches(served.stub, [asking(ZONES, probes=2)])
        assert [told(each) for each in found] == [("DEADLINE_EXCEEDED", "STATEMENT_TIMEOUT", "")] * 2
        eventually(quiet(filled))
        assert [feature.id for each in match(served.stub, ZONES, [point(3.5, 10.5)]) for feature in each.features] == [
            "4"
        ]


# The caller.


def test_cancelling_a_stream_ends_its_statements(served: Served, filled: str) -> None:
    with locked(filled, "facilities"):
        call = served.stub.MatchFeatures(endless(asking(FACILITIES)), timeout=30)
        eventually(blocked(filled, 2))
        call.cancel()
        assert_nothing_is_left(served, filled)
    assert match(served.stub, FACILITIES, [point()])[0].features


def test_cancelling_between_answers_leaves_nothing_behind(served: Served, filled: str) -> None:
    for _ in range(20):
        call = served.stub.MatchFeatures(endless(asking(FACILITIES, probes=3000)), timeout=30)
        next(call)
        call.cancel()
    assert_nothing_is_left(served, filled)


def test_a_deadline_ends_its_statements(served: Served, filled: str) -> None:
    with locked(filled, "facilities"):
        call = expiring(
            lambda seconds: served.stub.MatchFeatures(endless(asking(FACILITIES)), timeout=seconds), blocked(filled, 2)
        )
        with pytest.raises(grpc.RpcError) as expired:
            next(call)
        assert expired.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        assert_nothing_is_left(served, filled)


def test_a_lost_caller_is_a_cancellation_too(served: Served, filled: str) -> None:
    with locked(filled, "facilities"):
        with grpc.insecure_channel(served.address) as channel:
            lost = type(served)(served.server, served.loop, channel).stub.MatchFeatures(endless(asking(FACILITIES)))
            eventually(blocked(filled, 2))
        assert_nothing_is_left(served, filled)
        assert lost.done()


def test_a_caller_that_does_not_read_is_not_read_from_and_holds_no_connection(served: Served, filled: str) -> None:
    """Each probe brings about 40 KiB and takes 20 KiB itself, and there is no end of probes."""
    sent = 0
    gone = threading.Event()
    around = MatchProbe(probe=wkt(f"POLYGON ((-1 -1, 2 -1, 2 1, -1 1, -1 -1{' ' * 20_000}))"))

    def requests() -> Iterator[MatchRequest]:
        nonlocal sent
        asked = intersects("facilities", point())
        yield opening(asked, output=Output(), limit=100)
        while not gone.is_set():
            sent += 1
            yield MatchRequest(probes=[around] * 10)

    def sent_lately() -> int:
        before = sent
        time.sleep(0.5)  # long enough to send thousands, if they were read
        return sent - before

    call = served.stub.MatchFeatures(requests(), timeout=120)
    try:
        first = next(call)
        assert len(first.matches[0].features) == 100
        eventually(lambda: sent_lately() == 0, within=60)
        eventually(lambda: served.metric(IN_USE) == 0, within=60)
        assert served.stub.SearchRadius(radius(), timeout=5).features
        before = sent
        while sent == before:  # HTTP/2 tells the sender of room in large steps
            next(call)
    finally:
        gone.set()
        call.cancel()
    assert_nothing_is_left(served, filled)


# The database.


def test_a_full_pool_ends_the_stream_and_says_when_to_come_back(filled: str) -> None:
    with (
        serving(filled, bulk_pool_size=1, pool_timeout=0.3, lock_timeout=60) as served,
        locked(filled, "zones") as unlock,
    ):
        holder = served.stub.MatchFeatures(iter([asking(ZONES, probes=1)]), timeout=30)
        eventually(blocked(filled))
        started = time.monotonic()
        refusal_ = refusal(refused(served.stub, endless(asking(FACILITIES))))
        assert 0.3 <= time.monotonic() - started < 5
        assert (refusal_.code, refusal_.reason) == ("RESOURCE_EXHAUSTED", "POOL_EXHAUSTED")
        assert refusal_.retry_seconds == 0.3
        unlock()
        assert [feature.id for feature in next(holder).matches[0].features] == ["1"]
        assert match(served.stub, FACILITIES, [point()])[0].features


def test_what_was_answered_before_the_database_went_away_is_delivered(served: Served, filled: str) -> None:
    waiting: queue.SimpleQueue[MatchRequest | None] = queue.SimpleQueue()
    waiting.put(opening(FACILITIES, limit=1))
    call = served.stub.MatchFeatures(iter(waiting.get, None), timeout=30)
    waiting.put(MatchRequest(probes=keyed([point()])))
    assert next(call).matches[0].features[0].id == "1"
    with locked(filled, "facilities"):
        waiting.put(MatchRequest(probes=keyed([point()])))
        eventually(blocked(filled))
        for pid in sessions(filled, "application_name = 'spatial-service/bulk'"):
            fetch(filled, "SELECT pg_terminate_backend(%s)", pid)
        with pytest.raises(grpc.RpcError) as lost:
            next(call)
    waiting.put(None)
    refusal_ = refusal(lost.value)
    assert (refusal_.code, refusal_.reason) == ("UNAVAILABLE", "DATABASE_UNAVAILABLE")
    assert refusal_.retry_seconds == 1.0
    assert match(served.stub, FACILITIES, [point()])[0].features


def test_matches_hold_up_no_lookup(served: Served, filled: str) -> None:
    """Both of their statements wait for a lock, and more probes behind them."""
    with locked(filled, "zones") as unlock:
        calls = [served.stub.MatchFeatures(iter([asking(ZONES, probes=300)]), timeout=30) for _ in range(4)]
        eventually(blocked(filled, 2))
        for _ in range(20):
            assert served.stub.SearchRadius(radius(), timeout=20).features
        unlock()
        assert [sum(len(each.matches) for each in call) for call in calls] == [300] * 4
