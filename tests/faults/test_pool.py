"""More callers than connections: they wait for one another, and are told when the wait is too long."""

import time
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import grpc
import pytest

from tests.questions import facility, radius, zone
from tests.servers import Served, refusal, serving
from tests.situations import SESSIONS, blocked, eventually, locked, sessions

WAITS = 'spatial_pool_checkout_seconds_bucket{le="0.0005",pool="read"}'
ALL_CHECKOUTS = 'spatial_pool_checkout_seconds_count{pool="read"}'
IN_USE = 'spatial_pool_connections{pool="read",state="in_use"}'
TIMEOUTS = 'spatial_pool_timeouts_total{pool="read"}'


def ask_for(served: Served, barrier: Barrier, number: int) -> str:
    barrier.wait()
    (feature,) = served.stub.SearchNearest(facility(number), timeout=10).features
    return str(feature.id)


def test_sixteen_callers_at_once_through_a_pool_of_four_are_all_answered_rightly(filled: str) -> None:
    callers = 16
    with (
        serving(filled, pool_size=4, lanes=16, lanes_per_shape=16, pool_timeout=10, lock_timeout=60) as served,
        ThreadPoolExecutor(callers) as threads,
    ):
        with locked(filled, "facilities"):
            barrier = Barrier(callers)
            answers = [threads.submit(ask_for, served, barrier, number) for number in range(1, callers + 1)]
            eventually(blocked(filled, 4))
            eventually(lambda: served.metric("spatial_lane_depth") == callers)
            assert served.metric(IN_USE) == 4
            assert len(sessions(filled, SESSIONS)) == 4
        assert [answer.result() for answer in answers] == [str(number) for number in range(1, callers + 1)]
        assert served.metric(ALL_CHECKOUTS) - served.metric(WAITS) >= callers - 4, "the waits are not in the metrics"
        eventually(lambda: served.metric(IN_USE) == 0)


def test_callers_that_never_pause_do_not_starve_one_another_of_connections(filled: str) -> None:
    """Each caller asks again as soon as it is answered, for longer than a call may wait for a connection."""
    callers, timeout = 16, 1.0
    settings = {"pool_size": 4, "lanes": 16, "lanes_per_shape": 16, "pool_timeout": timeout}

    def ask_on_and_on(caller: int) -> set[str]:
        end = time.monotonic() + 3 * timeout
        barrier.wait()
        found = set()
        while time.monotonic() < end:
            found |= {feature.id for feature in served.stub.SearchNearest(facility(caller), timeout=10).features}
        return found

    with serving(filled, **settings) as served, ThreadPoolExecutor(callers) as threads:
        barrier = Barrier(callers)
        answers = list(threads.map(ask_on_and_on, range(1, callers + 1)))
        assert answers == [{str(number)} for number in range(1, callers + 1)]
        assert served.metric(TIMEOUTS) == 0


def test_a_call_that_finds_the_pool_held_full_is_refused_within_its_timeout(filled: str) -> None:
    with serving(filled, pool_size=1, pool_timeout=0.3, lock_timeout=60) as served, locked(filled, "zones") as unlock:
        holder = served.stub.SearchIntersects.future(zone(1), timeout=30)
        eventually(blocked(filled))
        started = time.monotonic()
        with pytest.raises(grpc.RpcError) as refused:
            served.stub.SearchNearest(facility(1), timeout=30)
        assert 0.3 <= time.monotonic() - started < 5
        told = refusal(refused.value)
        assert (told.code, told.reason, told.retry_seconds) == ("RESOURCE_EXHAUSTED", "POOL_EXHAUSTED", 0.3)
        assert served.metric(TIMEOUTS) == 1
        assert served.metric('spatial_requests_rejected_total{reason="pool_exhausted"}') == 1
        unlock()
        assert [feature.id for feature in holder.result().features] == ["1"]
        assert [feature.id for feature in served.stub.SearchNearest(facility(1), timeout=20).features] == ["1"]


def test_a_call_beyond_the_queue_is_refused_at_once(filled: str) -> None:
    with serving(filled, lane_queue=2, lock_timeout=60) as served, locked(filled, "facilities") as unlock:
        waiting = [served.stub.SearchRadius.future(radius(), timeout=30) for _ in range(2)]
        eventually(lambda: served.metric("spatial_lane_depth") == 2)
        started = time.monotonic()
        with pytest.raises(grpc.RpcError) as refused:
            served.stub.SearchRadius(radius(), timeout=30)
        assert time.monotonic() - started < 10
        told = refusal(refused.value)
        assert (told.code, told.reason) == ("RESOURCE_EXHAUSTED", "OVERLOADED")
        assert told.retry_seconds is not None
        assert 0 < told.retry_seconds < 5
        assert served.metric('spatial_requests_rejected_total{reason="overloaded"}') == 1
        unlock()
        assert [[feature.id for feature in call.result().features] for call in waiting] == [["1"], ["1"]]
        assert served.stub.SearchRadius(radius(), timeout=20).features


def test_a_connection_comes_back_to_the_pool_whatever_became_of_its_call(filled: str) -> None:
    with serving(filled, pool_size=1, lock_timeout=0.1) as served:
        with locked(filled, "facilities"):
            for _ in range(3):
                with pytest.raises(grpc.RpcError) as refused:
                    served.stub.SearchRadius(radius(), timeout=20)
                assert refusal(refused.value).reason == "DATABASE_UNAVAILABLE"
        assert served.stub.SearchRadius(radius(), timeout=20).features
        eventually(lambda: served.metric(IN_USE) == 0)
        assert served.metric('spatial_pool_connects_total{pool="read"}') == 1
