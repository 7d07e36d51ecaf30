"""What a server lets in, as its callers see it: so many calls, so often, with messages of such a size."""

import time
from collections.abc import Callable, Iterator
from typing import Any

import grpc
import pytest
from google.protobuf.message import Message

from service.access import PRINCIPAL, Principal
from service.interceptors.backlog import Backlog, servers
from service.interceptors.limits import caller
from service.limits.memory import Memory
from spatial.v1 import admin_pb2, admin_pb2_grpc, query_pb2, write_pb2, write_pb2_grpc
from tests.questions import facility, intersects, nearest, radius
from tests.servers import Refusal, Served, refusal, serving
from tests.situations import eventually, locked

LINE = "LINESTRING (" + ", ".join(f"{n / 1000} 0" for n in range(20)) + ")"


@pytest.fixture(scope="module")
def small(filled: str) -> Iterator[Served]:
    """Every limit on what one call may ask for is low."""
    limits = {"max_request_bytes": 2000, "max_vertices": 10, "max_radius": 5000.0, "max_page_size": 3}
    with serving(filled, **limits) as served:
        yield served


def refused(call: Callable[[], object]) -> Refusal:
    with pytest.raises(grpc.RpcError) as error:
        call()
    return refusal(error.value)


def rejected(served: Served, reason: str) -> float:
    return served.metric(f'spatial_requests_rejected_total{{reason="{reason}"}}')


# What one call may ask for.


@pytest.mark.parametrize(
    ("method", "request_", "reason"),
    [
        pytest.param("SearchRadius", radius(meters=5001), "OUT_OF_RANGE", id="radius"),
        pytest.param("SearchIntersects", intersects(LINE), "GEOMETRY_TOO_LARGE", id="vertices"),
    ],
)
def test_a_call_that_asks_for_too_much_is_told_the_limit(
    small: Served, method: str, request_: Message, reason: str
) -> None:
    told = refused(lambda: getattr(small.stub, method)(request_, timeout=20))
    assert (told.code, told.reason) == ("INVALID_ARGUMENT", reason)
    assert told.metadata["limit"] in ("5000", "10")


def test_a_message_that_is_too_long_is_refused_before_it_is_read(small: Served) -> None:
    long = intersects(f"POINT (0 {'0' * 2000}1)")
    with pytest.raises(grpc.RpcError) as error:
        small.stub.SearchIntersects(long, timeout=20)
    assert error.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


@pytest.mark.parametrize(
    ("method", "request_"),
    [
        pytest.param("SearchRadius", radius(meters=5000, page_size=100), id="page"),
        pytest.param("SearchRadius", radius(meters=5000), id="page of the usual size"),
        pytest.param("SearchNearest", nearest(limit=100), id="nearest"),
    ],
)
def test_a_page_has_no_more_features_than_the_server_allows(small: Served, method: str, request_: Message) -> None:
    answer = getattr(small.stub, method)(request_, timeout=20)
    assert len(answer.features) == 3


def test_pages_cut_by_the_server_follow_one_another(small: Served) -> None:
    request, found = radius(meters=5000, page_size=100), []
    while True:
        page = small.stub.SearchRadius(request, timeout=20)
        found += [feature.id for feature in page.features]
        if not page.next_page_token:
            break
        request.page_token = page.next_page_token
    assert found == ["1", "2", "3", "4", "5"]


# How many calls at a time.


def test_calls_beyond_the_most_are_refused_and_health_and_admin_are_not(filled: str) -> None:
    with serving(filled, max_calls=2, lock_timeout=60) as served, locked(filled, "facilities") as unlock:
        running = [served.stub.SearchRadius.future(radius(), timeout=30) for _ in range(2)]
        eventually(lambda: served.metric("spatial_calls_in_flight") == 2)
        told = refused(lambda: served.stub.SearchNearest(facility(1), timeout=20))
        assert (told.code, told.reason) == ("RESOURCE_EXHAUSTED", "TOO_MANY_CALLS")
        assert told.metadata == {"limit": "2"}
        assert told.retry_seconds
        assert rejected(served, "too_many_calls") == 1
        assert served.metric("spatial_concurrency_limit") == 2
        eventually(lambda: served.health() == "SERVING")
        assert explained(served)
        unlock()
        assert all(call.result().features for call in running)
        eventually(lambda: served.metric("spatial_calls_in_flight") == 0)
        assert served.stub.SearchNearest(facility(1), timeout=20).features


def explained(served: Served) -> str:
    """What AdminService says of a search."""
    stub = admin_pb2_grpc.AdminServiceStub(served.channel)
    query = query_pb2.Query(intersects=intersects("POINT (0.5 10.5)").query)
    return str(stub.Explain(admin_pb2.ExplainRequest(query=query), timeout=20))


def test_a_stream_is_a_call_like_any_other_and_gives_its_place_back(filled: str) -> None:
    with serving(filled, max_calls_per_peer=1) as served:
        features = query_pb2.StreamFeaturesRequest(query=query_pb2.LayerQuery(layer="facilities"))
        for _ in range(3):
            assert list(served.stub.StreamFeatures(features, timeout=20))
            eventually(lambda: served.metric("spatial_calls_in_flight") == 0)
        with locked(filled, "facilities"):
            stream = served.stub.StreamFeatures(features, timeout=30)
            eventually(lambda: served.metric("spatial_calls_in_flight") == 1)
            told = refused(lambda: served.stub.SearchIntersects(intersects("POINT (0.5 10.5)"), timeout=20))
            assert (told.reason, told.metadata) == ("TOO_MANY_CALLS", {"limit": "1"})
            stream.cancel()
        eventually(lambda: served.metric("spatial_calls_in_flight") == 0)
        assert served.stub.SearchIntersects(intersects("POINT (0.5 10.5)"), timeout=20).features


def test_grpc_knows_of_calls_that_have_begun_and_not_ended(filled: str) -> None:
    others = servers()
    with serving(filled, lock_timeout=60) as served:
        backlog = Backlog(others)
        with locked(filled, "facilities"):
            running = [served.stub.SearchRadius.future(radius(), timeout=30) for _ in range(3)]
            eventually(lambda: backlog.calls() == 3)
        assert all(call.result().features for call in running)
        eventually(lambda: backlog.calls() == 0)
    assert backlog.calls() == 0


# How often.


def test_a_caller_that_calls_too_often_hears_when_its_next_call_is_due(filled: str) -> None:
    with serving(filled, rate=0.5, rate_burst=2) as served:
        for _ in range(2):
            served.stub.SearchNearest(facility(1), timeout=20)
        told = refused(lambda: served.stub.SearchNearest(facility(1), timeout=20))
        assert (told.code, told.reason, told.metadata) == ("RESOURCE_EXHAUSTED", "RATE_LIMITED", {"limit": "0.5"})
        assert told.retry_seconds is not None
        assert 0 < told.retry_seconds <= 2
        assert rejected(served, "rate_limited") == 1
        assert [served.health() for _ in range(5)] == ["SERVING"] * 5
        time.sleep(told.retry_seconds)
        assert served.stub.SearchNearest(facility(1), timeout=20).features


class Peer:
    def __init__(self, address: str) -> None:
        self._address = address

    def peer(self) -> str:
        return self._address


@pytest.mark.parametrize(
    ("address", "name"),
    [
        ("ipv4:192.0.2.7:40002", "ipv4:192.0.2.7"),
        ("ipv6:%5B2001:db8::7%5D:40002", "ipv6:%5B2001:db8::7%5D"),
        ("unix:/run/spatial.sock", "unix:/run/spatial.sock"),
    ],
)
def test_whoever_is_not_known_is_an_address(address: str, name: str) -> None:
    call: Any = type("ACall", (), {"context": Peer(address)})
    assert caller(call) == name


def test_whoever_is_known_is_its_name() -> None:
    call: Any = type("ACall", (), {"context": Peer("ipv4:192.0.2.7:1")})
    token = PRINCIPAL.set(Principal("reports", grants=None))  # type: ignore[arg-type]
    try:
        assert caller(call) == "reports"
    finally:
        PRINCIPAL.reset(token)


# How much memory.


class Squeeze:
    """How much of the memory is used, in percent."""

    def __init__(self) -> None:
        self.percent = 1

    def reader(self, *_: object) -> Callable[[], Memory]:
        return lambda: Memory(self.percent, 100)

    def to(self, served: Served, percent: int) -> None:
        self.percent = percent
        eventually(lambda: served.metric("spatial_memory_used_ratio") == percent / 100)


@pytest.fixture
def squeeze(monkeypatch: pytest.MonkeyPatch) -> Squeeze:
    squeeze = Squeeze()
    monkeypatch.setattr("service.server.memory_reader", squeeze.reader)
    return squeeze


def test_short_of_memory_a_server_refuses_what_brings_much_and_then_everything(filled: str, squeeze: Squeeze) -> None:
    with serving(filled) as served:
        stream = query_pb2.StreamFeaturesRequest(query=query_pb2.LayerQuery(layer="facilities"))
        large = radius(meters=5000, page_size=1000)
        squeeze.to(served, 86)
        for call in (lambda: list(served.stub.StreamFeatures(stream)), lambda: served.stub.SearchRadius(large)):
            told = refused(call)
            assert (told.code, told.reason) == ("RESOURCE_EXHAUSTED", "MEMORY_PRESSURE")
            assert told.retry_seconds
        assert served.stub.SearchRadius(radius(), timeout=20).features
        squeeze.to(served, 96)
        assert refused(lambda: served.stub.SearchRadius(radius())).reason == "MEMORY_PRESSURE"
        eventually(lambda: served.health() == "SERVING")
        assert explained(served)
        assert served.metric("spatial_memory_used_ratio") == 0.96
        assert rejected(served, "memory_pressure") == 3
        squeeze.to(served, 50)
        assert list(served.stub.StreamFeatures(stream))
        assert served.stub.SearchRadius(large, timeout=20).features


def test_every_refusal_is_counted_from_the_start(small: Served) -> None:
    scraped = small.scrape()
    for reason in ("overloaded", "rate_limited", "too_many_calls", "memory_pressure"):
        assert f'spatial_requests_rejected_total{{reason="{reason}"}} 0.0' in scraped


def test_no_import_begins_where_memory_is_short(filled: str, squeeze: Squeeze) -> None:
    with serving(filled) as served:
        squeeze.to(served, 86)
        stub = write_pb2_grpc.FeatureServiceStub(served.channel)
        told = refused(lambda: stub.ImportFeatures(iter([write_pb2.ImportFeaturesRequest()]), timeout=20))
        assert told.reason == "MEMORY_PRESSURE"
