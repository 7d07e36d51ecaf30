"""Nobody waits any more: the statement ends in PostgreSQL too, and nobody else's does."""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from threading import Event
from typing import Any

import grpc
import pytest

from tests.questions import count, facility, intersects, nearest, radius, zone
from tests.servers import Served, refusal, serving
from tests.situations import (
    BLOCKED,
    SESSIONS,
    blocked,
    cancelled,
    eventually,
    expiring,
    fetch,
    locked,
    quiet,
    sessions,
    soonest,
)

CANCELLED = 'spatial_statements_cancelled_total{cause="abandoned"}'
IN_USE = 'spatial_pool_connections{pool="read",state="in_use"}'
IDLE = 'spatial_pool_connections{pool="read",state="idle"}'
HANDLED = (
    'grpc_server_handled_total{{grpc_code="{code}",grpc_method="{method}"'
    ',grpc_service="spatial.v1.SpatialService",grpc_type="unary"}}'
)

# A call of each way in which statements are run: shared, alone, alone since it counts, an errand.
Start = Callable[[Served, float], Any]
CALLS: dict[str, Start] = {
    "a shared search": lambda served, timeout: served.stub.SearchRadius.future(radius(), timeout=timeout),
    "a heavy search": lambda served, timeout: served.stub.SearchRadius.future(radius(meters=2e6), timeout=timeout),
    "a count": lambda served, timeout: served.stub.CountFeatures.future(count(), timeout=timeout),
}


@pytest.fixture
def served(filled: str) -> Iterator[Served]:
    # Calls wait for locked tables here, as many as come.
    with serving(filled, lock_timeout=60, lane_queue=5000) as served:
        yield served


@pytest.mark.parametrize("start", CALLS.values(), ids=CALLS)
def test_a_statement_ends_with_its_callers_cancellation(served: Served, filled: str, start: Start) -> None:
    with locked(filled, "facilities"):
        call = start(served, 30)
        eventually(blocked(filled))
        call.cancel()
        eventually(quiet(filled))
        assert served.metric(CANCELLED) == 1
    assert served.stub.SearchNearest(facility(7), timeout=20).features[0].id == "7"


@pytest.mark.parametrize("start", CALLS.values(), ids=CALLS)
def test_a_statement_ends_with_its_callers_deadline(served: Served, filled: str, start: Start) -> None:
    with locked(filled, "facilities"):
        call = expiring(lambda seconds: start(served, seconds), blocked(filled))
        assert call.exception().code() is grpc.StatusCode.DEADLINE_EXCEEDED
        eventually(quiet(filled))
    assert served.stub.SearchNearest(facility(7), timeout=20).features[0].id == "7"


@pytest.mark.parametrize("end", [cancelled, expiring])
@pytest.mark.parametrize("start", CALLS.values(), ids=CALLS)
def test_a_statement_that_nobody_waits_for_ends_within_a_second(
    served: Served, filled: str, start: Start, end: Any
) -> None:
    def seconds() -> float:
        eventually(end(lambda seconds: start(served, seconds), blocked(filled)).done)
        return eventually(quiet(filled))

    with locked(filled, "facilities"):
        assert soonest(seconds) < 1


def test_a_lost_caller_is_a_cancellation_too(served: Served, filled: str) -> None:
    with locked(filled, "facilities"):
        with grpc.insecure_channel(served.address) as channel:
            lost = type(served)(served.server, served.loop, channel).stub.SearchRadius.future(radius(), timeout=30)
            eventually(blocked(filled))
        eventually(quiet(filled))
        assert lost.done()


@pytest.fixture
def narrow(filled: str) -> Iterator[Served]:
    """One lane, so that a test decides which calls share a statement."""
    with serving(filled, lanes=1, lock_timeout=60) as served:
        yield served


def two_in_one_statement(served: Served, url: str, free_the_lane: Callable[[], None]) -> list[Any]:
    """While zones and facilities are locked apart: the lane is held by a zone's call until both others wait."""
    holder = served.stub.SearchIntersects.future(zone(1), timeout=30)
    eventually(blocked(url))
    pair = [served.stub.SearchNearest.future(facility(number), timeout=30) for number in (11, 22)]
    eventually(lambda: served.metric("spatial_lane_depth") == 3)
    free_the_lane()
    assert [feature.id for feature in holder.result().features] == ["1"]
    eventually(blocked(url))
    assert served.metric('spatial_lane_batch_size_bucket{le="2.0"}') == 2
    assert served.metric('spatial_lane_batch_size_bucket{le="1.0"}') == 1
    return pair


def test_a_statement_goes_on_while_another_caller_waits_for_it(narrow: Served, filled: str) -> None:
    with locked(filled, "facilities") as unlock, locked(filled, "zones") as free_the_lane:
        leaving, staying = two_in_one_statement(narrow, filled, free_the_lane)
        statement = sessions(filled, "wait_event_type = 'Lock'")
        leaving.cancel()
        eventually(lambda: narrow.metric(HANDLED.format(code="CANCELLED", method="SearchNearest")) == 1)
        assert narrow.metric(CANCELLED) == 0
        assert sessions(filled, "wait_event_type = 'Lock'") == statement
        unlock()
        assert [feature.id for feature in staying.result().features] == ["22"]


def test_a_shared_statement_ends_when_the_last_of_its_callers_has_gone(narrow: Served, filled: str) -> None:
    with locked(filled, "facilities"), locked(filled, "zones") as free_the_lane:
        for call in two_in_one_statement(narrow, filled, free_the_lane):
            call.cancel()
        eventually(quiet(filled))
        assert narrow.metric(CANCELLED) == 1


def test_a_call_that_is_cancelled_while_it_waits_for_a_lane_never_reaches_postgresql(
    narrow: Served, filled: str
) -> None:
    with locked(filled, "facilities"), locked(filled, "zones") as free_the_lane:
        holder = narrow.stub.SearchIntersects.future(zone(1), timeout=30)
        eventually(blocked(filled))
        waiting = narrow.stub.SearchNearest.future(facility(1), timeout=30)
        eventually(lambda: narrow.metric("spatial_lane_depth") == 2)
        waiting.cancel()
        eventually(lambda: narrow.metric("spatial_lane_depth") == 1)
        free_the_lane()
        holder.result()
        assert narrow.stub.SearchIntersects(zone(2), timeout=20).features[0].id == "2"
        eventually(quiet(filled))
    assert narrow.metric('spatial_query_seconds_count{layer="facilities",query="nearest"}') == 0


def test_the_servers_own_limit_on_a_statement_is_told_apart_from_the_callers_deadline(filled: str) -> None:
    with serving(filled, statement_timeout=0.3, lock_timeout=60) as served, locked(filled, "facilities"):
        with pytest.raises(grpc.RpcError) as refused:
            served.stub.SearchRadius(radius(), timeout=30)
        told = refusal(refused.value)
        assert (told.code, told.reason) == ("DEADLINE_EXCEEDED", "STATEMENT_TIMEOUT")
        eventually(quiet(filled))


def test_a_table_locked_for_longer_than_the_lock_timeout_is_unavailable(filled: str) -> None:
    with serving(filled, lock_timeout=0.2) as served, locked(filled, "facilities"):
        with pytest.raises(grpc.RpcError) as refused:
            served.stub.SearchRadius(radius(), timeout=30)
        told = refusal(refused.value)
        assert (told.code, told.reason, told.retry_seconds) == ("UNAVAILABLE", "DATABASE_UNAVAILABLE", 1.0)


@contextmanager
def innocents(ask: Callable[[int], tuple[str, str]], callers: int) -> Iterator[None]:
    """Callers that ask one thing after another while the block runs; every answer must be right."""
    over = Event()

    def ask_on_and_on() -> int:
        asked = 0
        while not over.is_set():
            expected, found = ask(asked % 10 + 1)
            assert found == expected
            asked += 1
        return asked

    with ThreadPoolExecutor(callers) as threads:
        answers = [threads.submit(ask_on_and_on) for _ in range(callers)]
        try:
            yield
        finally:
            over.set()
        assert all(answered.result() > 10 for answered in answers)


def assert_nothing_is_left(served: Served, url: str) -> None:
    eventually(quiet(url))
    eventually(lambda: served.metric("spatial_lane_depth") == 0)
    eventually(lambda: served.metric(IN_USE) == 0)
    # What the pool says it has is what there is.
    eventually(lambda: len(sessions(url, SESSIONS)) == served.metric(IDLE))
    assert fetch(url, "SELECT count(*) FROM pg_locks WHERE NOT granted") == [(0,)]


def calls(served: Served, counter: str, *codes: str) -> float:
    """How many calls the server counts, of those with one of the codes if any are given."""
    counts = [
        float(line.rpartition(" ")[2])
        for line in served.scrape().splitlines()
        if line.startswith(counter) and (not codes or any(f'grpc_code="{code}"' in line for code in codes))
    ]
    return sum(counts)


def running(served: Served) -> float:
    return calls(served, "grpc_server_started_total") - calls(served, "grpc_server_handled_total")


def cut_short(served: Served) -> float:
    return calls(served, "grpc_server_handled_total", "CANCELLED", "DEADLINE_EXCEEDED")


def test_a_thousand_calls_that_are_cancelled_or_expire_leave_nothing_behind(served: Served, filled: str) -> None:
    """They wait for a locked table, shared and heavy ones; others beside them ask about another."""

    def ask_zone(number: int) -> tuple[str, str]:
        return str(number), served.stub.SearchIntersects(zone(number), timeout=10).features[0].id

    innocent, before = 2, cut_short(served)
    with innocents(ask_zone, innocent), locked(filled, "facilities"):
        starts = list(CALLS.values())
        cancelled = [starts[number % len(starts)](served, 30) for number in range(500)]
        expiring = [starts[number % len(starts)](served, 4.0) for number in range(500)]
        eventually(blocked(filled, 5))  # two lanes for heavy calls; three of four for quick ones, the last kept free
        for call in cancelled:
            call.cancel()
        ended = [call.exception().code() for call in expiring]
        assert set(ended) == {grpc.StatusCode.DEADLINE_EXCEEDED}
        # Client and server share a process here: the server takes its time to see a thousand calls end. Of a call that
        # expired on its way it knows nothing.
        eventually(lambda: running(served) <= innocent, within=30)
        assert cut_short(served) >= before + 500
        eventually(lambda: not sessions(filled, BLOCKED))
    assert_nothing_is_left(served, filled)
    assert served.stub.SearchRadius(radius(), timeout=20).features


def test_cancellations_at_any_moment_harm_no_innocent_call_of_the_same_shape(served: Served, filled: str) -> None:
    """Some are cancelled on the way, some in the queue, in a statement that they share with the others, or late."""

    def ask_facility(number: int) -> tuple[str, str]:
        return str(number), served.stub.SearchNearest(facility(number), timeout=10).features[0].id

    with innocents(ask_facility, callers=3):
        for number in range(1000):
            longitude = (number % 100) * 0.01
            leaving = served.stub.SearchNearest.future(nearest(longitude=longitude), timeout=10)
            heavy = served.stub.SearchRadius.future(radius(meters=2e6), timeout=10) if number % 10 == 0 else None
            time.sleep((number % 8) * 0.0005)  # spreads the moments over a call's life; no outcome depends on it
            leaving.cancel()
            if heavy:
                heavy.cancel()
    assert_nothing_is_left(served, filled)
    assert served.metric(HANDLED.format(code="INTERNAL", method="SearchNearest")) == 0
    assert served.metric(HANDLED.format(code="DEADLINE_EXCEEDED", method="SearchNearest")) == 0


def test_an_expired_deadline_is_counted_as_one(served: Served, filled: str) -> None:
    with locked(filled, "facilities"):
        call = expiring(lambda seconds: served.stub.SearchNearest.future(facility(1), timeout=seconds), blocked(filled))
        assert call.exception().code() is grpc.StatusCode.DEADLINE_EXCEEDED
        eventually(lambda: served.metric(HANDLED.format(code="DEADLINE_EXCEEDED", method="SearchNearest")) >= 1)
        assert served.metric(HANDLED.format(code="CANCELLED", method="SearchNearest")) == 0
    assert served.stub.SearchIntersects(intersects("POINT (0.5 10.5)"), timeout=20).features
