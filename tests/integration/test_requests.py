"""What each RPC refuses, and how it says so; and the id that goes with every call."""

import logging
from collections.abc import Iterator
from typing import Any, cast

import grpc
import pytest
from google.protobuf.message import Message
from google.type.latlng_pb2 import LatLng

from service.observability.logs import JsonLines
from spatial.v1 import geometry_pb2, query_pb2
from spatial.v1.query_pb2 import (
    BatchGetFeaturesRequest,
    NearestQuery,
    SearchNearestRequest,
)
from tests.conftest import NewDatabase
from tests.questions import facility, fill, point, radius, wkt
from tests.refusals import CASES, MIXED, SQUARE, around, meeting, wkb
from tests.servers import Served, refusal, serving


@pytest.fixture(scope="module")
def served(new_database: NewDatabase) -> Iterator[Served]:
    with new_database() as url:
        fill(url)
        with serving(url, max_vertices=100, max_request_bytes=100_000, max_response_bytes=20_000) as served:
            yield served


def answered(answer: Any) -> None:
    """Of a stream, an error comes with what is read of it."""
    if isinstance(answer, grpc.RpcError):
        list(cast("Any", answer))


@pytest.mark.parametrize(("request_", "code", "reason", "field"), CASES.values(), ids=CASES)
def test_a_refusal_names_its_reason_and_the_field(
    served: Served, request_: Message, code: str, reason: str, field: str
) -> None:
    rpc = getattr(served.stub, request_.DESCRIPTOR.name.removesuffix("Request"))
    with pytest.raises(grpc.RpcError) as refused:
        answered(rpc(request_, timeout=10))
    told = refusal(refused.value)
    assert (told.code, told.reason, told.fields) == (code, reason, (field,) if field else ())
    assert told.retry_seconds is None
    assert told.message.startswith(f"{field}: " if field else "")
    assert "INTERNAL" not in told.message


def test_every_rpc_with_something_to_refuse_is_in_the_table() -> None:
    rpcs = {method.name for method in query_pb2.DESCRIPTOR.services_by_name["SpatialService"].methods}
    tried = {case[0].DESCRIPTOR.name.removesuffix("Request") for case in CASES.values()}
    assert rpcs - tried == {"ListLayers", "RefreshLayers", "MatchFeatures"}, "the last refuses probe by probe"


@pytest.mark.parametrize(
    ("request_", "metadata"),
    [
        (CASES["GetLayer of no layer"][0], {"layer": "rivers"}),
        (CASES["GetFeature that is not there"][0], {"layer": "zones", "id": "11"}),
        (CASES["BatchGetFeatures of too many"][0], {"limit": "1000"}),
        (CASES["SearchIntersects with too many vertices"][0], {"limit": "100"}),
        (CASES["SearchIntersects with a nest"][0], {"limit": "8"}),
        (CASES["SearchNearest in no known CRS"][0], {"srid": "999000"}),
        (CASES["SearchRadius at latitude 91"][0], {"actual": "91.0", "limit": "90"}),
    ],
)
def test_a_program_finds_the_particulars_in_the_metadata(
    served: Served, request_: Message, metadata: dict[str, str]
) -> None:
    with pytest.raises(grpc.RpcError) as refused:
        getattr(served.stub, request_.DESCRIPTOR.name.removesuffix("Request"))(request_, timeout=10)
    assert refusal(refused.value).metadata | metadata == refusal(refused.value).metadata


def test_a_page_token_is_bound_to_its_request(served: Served) -> None:
    first = served.stub.SearchRadius(radius(meters=5000, page_size=2), timeout=10)
    other = radius(meters=5001)
    other.page_token = first.next_page_token
    with pytest.raises(grpc.RpcError) as refused:
        served.stub.SearchRadius(other, timeout=10)
    assert (refusal(refused.value).reason, refusal(refused.value).fields) == ("INVALID_PAGE_TOKEN", ("page_token",))


def test_an_answer_that_cannot_be_paged_is_refused_when_it_is_too_large(served: Served) -> None:
    request = SearchNearestRequest(query=NearestQuery(layer="facilities", center=point()), limit=1000)
    with pytest.raises(grpc.RpcError) as refused:
        served.stub.SearchNearest(request, timeout=10)
    told = refusal(refused.value)
    assert (told.code, told.reason, told.metadata) == ("RESOURCE_EXHAUSTED", "RESPONSE_TOO_LARGE", {"limit": "20000"})


def test_a_message_above_the_limit_is_refused_by_grpc(served: Served) -> None:
    with pytest.raises(grpc.RpcError) as refused:
        served.stub.SearchIntersects(meeting(wkb(bytes(100_001))), timeout=10)
    assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


def test_what_is_just_within_the_limits_is_answered(served: Served) -> None:
    assert served.stub.SearchRadius(around(point(180, 90)), timeout=10).features == []
    assert served.stub.SearchRadius(around(radius_meters=20_100_000), timeout=10).features
    assert served.stub.SearchNearest(SearchNearestRequest(query=facility(1).query, limit=0), timeout=10).features
    assert served.stub.SearchIntersects(meeting(wkt(MIXED), layer="districts"), timeout=10).features
    many = served.stub.BatchGetFeatures(BatchGetFeaturesRequest(layer="zones", ids=["1"] * 1000), timeout=10)
    assert len(many.features) == 1


@pytest.mark.parametrize("predicate", geometry_pb2.Predicate.values())
def test_every_predicate_is_answered(served: Served, predicate: int) -> None:
    served.stub.SearchIntersects(meeting(wkt(SQUARE), predicate=predicate), timeout=10)


@pytest.mark.parametrize("model", geometry_pb2.DistanceModel.values())
def test_every_distance_model_is_answered(served: Served, model: int) -> None:
    assert served.stub.SearchRadius(around(distance_model=model), timeout=10).features


# Request ids.


def call_with_id(served: Served, *ids: str | bytes, wrong: bool = False) -> str:
    """The id that comes back."""
    request = around(radius_meters=-1) if wrong else around()
    metadata = tuple(("x-request-id", value) for value in ids)
    call = served.stub.SearchRadius.future(request, timeout=10, metadata=metadata)
    assert call.code() is (grpc.StatusCode.INVALID_ARGUMENT if wrong else grpc.StatusCode.OK)
    (found,) = [value for key, value in call.trailing_metadata() if key == "x-request-id"]
    return str(found)


@pytest.mark.parametrize("wrong", [False, True], ids=["answered", "refused"])
@pytest.mark.parametrize("given", ["a", "x" * 128, "7f3c-2b!~#"])
def test_a_callers_request_id_comes_back(served: Served, given: str, wrong: bool) -> None:
    assert call_with_id(served, given, wrong=wrong) == given


@pytest.mark.parametrize("wrong", [False, True], ids=["answered", "refused"])
@pytest.mark.parametrize("given", ["", "x" * 129, "two words", " "])
def test_an_unsuitable_request_id_is_replaced(served: Served, given: str, wrong: bool) -> None:
    made = call_with_id(served, given, wrong=wrong)
    assert made != given
    assert 10 <= len(made) <= 40


def test_request_ids_that_are_made_differ(served: Served) -> None:
    assert len({call_with_id(served) for _ in range(20)}) == 20


def test_the_request_id_is_in_the_calls_log_line(served: Served, caplog: pytest.LogCaptureFixture) -> None:
    lines: list[str] = []

    class Lines(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(JsonLines().format(record))

    log = logging.getLogger("spatial.call")
    handler = Lines()
    log.addHandler(handler)
    try:
        with caplog.at_level(logging.INFO, "spatial.call"):
            call_with_id(served, "find-me", wrong=True)
    finally:
        log.removeHandler(handler)
    (line,) = lines
    assert '"request_id": "find-me"' in line
    assert '"reason": "OUT_OF_RANGE"' in line


def test_a_latlng_of_zero_is_a_place(served: Served) -> None:
    probe = geometry_pb2.Probe(point=LatLng())
    assert [feature.id for feature in served.stub.SearchRadius(around(probe), timeout=10).features] == ["1"]
