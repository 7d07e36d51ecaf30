"""Behind PgBouncer a read whose connection is lost is asked once more, over another; a change is not."""

from concurrent.futures import ThreadPoolExecutor
from functools import partial

import grpc
import pytest

from spatial.v1 import write_pb2, write_pb2_grpc
from tests.calls import CALLS, Caller
from tests.pooler import PgBouncer
from tests.proxy import proxied
from tests.questions import zone
from tests.servers import Refusal, Served, refusal, serving
from tests.situations import BLOCKED, blocked, eventually, fetch, locked, quiet, sessions
from tests.streams import BULK_RUNNING, stream, whole

TABLES = ("facilities", "zones", "districts")
READS = (
    *("GetFeature", "BatchGetFeatures", "SearchRadius", "SearchNearest", "SearchIntersects", "CountFeatures"),
    *("StreamRadius", "StreamIntersects", "StreamFeatures", "StreamJoin", "AggregateGrid", "MatchFeatures"),
)
AWAY = ("UNAVAILABLE", "DATABASE_UNAVAILABLE")


def end_what_is_blocked(url: str) -> set[int]:
    """The backends that there were: PgBouncer closes the connections of those who had them."""
    backends = set(sessions(url, BLOCKED))
    for backend in backends:
        fetch(url, "SELECT pg_terminate_backend(%s)", backend)
    return backends


def others_are_blocked(url: str, lost: set[int]) -> bool:
    return bool(set(sessions(url, BLOCKED)) - lost)


def told(error: grpc.RpcError | None) -> tuple[str, str]:
    assert error is not None
    refused: Refusal = refusal(error)
    return refused.code, refused.reason


@pytest.mark.parametrize("method", READS)
def test_a_read_is_answered_though_its_connection_is_lost(served: Served, url: str, method: str) -> None:
    with ThreadPoolExecutor(1) as thread, locked(url, *TABLES) as unlock:
        call = thread.submit(CALLS[method], Caller(served.channel))
        eventually(blocked(url))
        lost = end_what_is_blocked(url)
        eventually(partial(others_are_blocked, url, lost))
        unlock()
        call.result()


def test_a_read_is_answered_though_the_network_forgets_its_connection(url: str, bouncer: PgBouncer) -> None:
    with (
        proxied(bouncer.url) as proxy,
        serving(proxy.url, pooler="transaction", lock_timeout=60) as served,
        locked(url, "zones") as unlock,
    ):
        call = served.stub.SearchIntersects.future(zone(3), timeout=30)
        eventually(blocked(url))
        lost = set(sessions(url, BLOCKED))
        proxy.cut_all()
        eventually(partial(others_are_blocked, url, lost))
        unlock()
        assert [each.id for each in call.result().features] == ["3"]


def test_a_read_that_loses_a_second_connection_is_unavailable(served: Served, url: str) -> None:
    with locked(url, "zones"):
        call = served.stub.SearchIntersects.future(zone(3), timeout=30)
        lost: set[int] = set()
        for _ in range(2):
            eventually(partial(others_are_blocked, url, lost))
            lost |= end_what_is_blocked(url)
        assert told(call.exception()) == AWAY
        eventually(quiet(url))


def test_a_stream_that_has_begun_ends_with_its_connection(served: Served, url: str) -> None:
    call = stream(served.stub, whole("endless"))
    next(call)
    for backend in sessions(url, BULK_RUNNING):
        fetch(url, "SELECT pg_terminate_backend(%s)", backend)
    with pytest.raises(grpc.RpcError) as ended:
        list(call)
    assert told(ended.value) == AWAY
    eventually(quiet(url))


def test_a_change_is_not_tried_again(served: Served, url: str) -> None:
    request = write_pb2.DeleteFeatureRequest(layer="facilities", id="100")
    with locked(url, "facilities"):
        call = write_pb2_grpc.FeatureServiceStub(served.channel).DeleteFeature.future(request, timeout=30)
        eventually(blocked(url))
        end_what_is_blocked(url)
        assert told(call.exception()) == AWAY
        eventually(quiet(url))
    assert fetch(url, "SELECT count(*) FROM facilities WHERE id = 100") == [(1,)]
