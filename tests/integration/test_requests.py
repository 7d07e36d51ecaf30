"""What each RPC refuses, and how it says so; and the id that goes with every call."""

import logging
import struct
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
    CountFeaturesRequest,
    GetFeatureRequest,
    GetLayerRequest,
    IntersectsQuery,
    LayerQuery,
    NearestQuery,
    Output,
    Query,
    RadiusQuery,
    SearchIntersectsRequest,
    SearchNearestRequest,
    SearchRadiusRequest,
)
from tests.conftest import NewDatabase
from tests.questions import facility, fill, intersects, point, radius, wkt
from tests.servers import Served, refusal, serving

SQUARE = "POLYGON ((0 0, 1 0, 1 1, 0 1, 0 0))"
BOWTIE = "POLYGON ((0 0, 1 1, 1 0, 0 1, 0 0))"
MIXED = "GEOMETRYCOLLECTION (POINT (0 0), LINESTRING (0 0, 1 1))"
DEEP = "GEOMETRYCOLLECTION (" * 9 + "POINT (0 0)" + ")" * 9
LONG = "LINESTRING (" + ", ".join(f"{n / 100} 0" for n in range(101)) + ")"
NAN = struct.pack("<BIdd", 1, 1, float("nan"), 1.0)


@pytest.fixture(scope="module")
def served(new_database: NewDatabase) -> Iterator[Served]:
    with new_database() as url:
        fill(url)
        with serving(url, max_vertices=100, max_request_bytes=100_000, max_response_bytes=20_000) as served:
            yield served


def search_radius(query: RadiusQuery | None = None, **fields: Any) -> SearchRadiusRequest:
    return SearchRadiusRequest(query=query or radius().query, **fields)


def around(probe: geometry_pb2.Probe | None = None, **fields: Any) -> SearchRadiusRequest:
    return search_radius(
        RadiusQuery(**{"layer": "facilities", "center": probe or point(), "radius_meters": 1, **fields})
    )


def nearest_to(probe: geometry_pb2.Probe | None = None, **fields: Any) -> SearchNearestRequest:
    return SearchNearestRequest(query=NearestQuery(**{"layer": "zones", "center": probe or point(), **fields}))


def meeting(probe: geometry_pb2.Probe | None = None, **fields: Any) -> SearchIntersectsRequest:
    return SearchIntersectsRequest(query=IntersectsQuery(**{"layer": "zones", "probe": probe or point(), **fields}))


def counting(**fields: Any) -> CountFeaturesRequest:
    return CountFeaturesRequest(query=Query(**fields))


def box(west: float, south: float, east: float, north: float) -> geometry_pb2.Probe:
    return geometry_pb2.Probe(bbox=geometry_pb2.BoundingBox(west=west, south=south, east=east, north=north))


def wkb(data: bytes) -> geometry_pb2.Probe:
    return geometry_pb2.Probe(geometry=geometry_pb2.Geometry(wkb=data))


def geojson(**fields: Any) -> geometry_pb2.Probe:
    probe = geometry_pb2.Probe()
    probe.geometry.geojson.update(fields)
    return probe


INVALID, MISSING = "INVALID_ARGUMENT", "NOT_FOUND"
Case = tuple[Message, str, str, str]
CASES: dict[str, Case] = {
    "GetLayer without a name": (GetLayerRequest(), INVALID, "REQUIRED", "name"),
    "GetLayer of no layer": (GetLayerRequest(name="rivers"), MISSING, "LAYER_NOT_FOUND", "name"),
    "GetFeature without a layer": (GetFeatureRequest(id="1"), INVALID, "REQUIRED", "layer"),
    "GetFeature of no layer": (GetFeatureRequest(layer="x", id="1"), MISSING, "LAYER_NOT_FOUND", "layer"),
    "GetFeature without an id": (GetFeatureRequest(layer="zones"), INVALID, "INVALID_ID", "id"),
    "GetFeature of a word": (GetFeatureRequest(layer="zones", id="one"), INVALID, "INVALID_ID", "id"),
    "GetFeature of +1": (GetFeatureRequest(layer="zones", id="+1"), INVALID, "INVALID_ID", "id"),
    "GetFeature of 2^63": (GetFeatureRequest(layer="zones", id=str(2**63)), INVALID, "INVALID_ID", "id"),
    "GetFeature that is not there": (GetFeatureRequest(layer="zones", id="11"), MISSING, "FEATURE_NOT_FOUND", ""),
    "GetFeature with an unknown property": (
        GetFeatureRequest(layer="zones", id="1", output=Output(properties=["name", "height"])),
        INVALID,
        "UNKNOWN_PROPERTY",
        "output.properties[1]",
    ),
    "GetFeature with an unknown view": (
        GetFeatureRequest(layer="zones", id="1", output=Output(view=cast("Any", 9))),
        INVALID,
        "UNKNOWN_ENUM_VALUE",
        "output.view",
    ),
    "BatchGetFeatures without ids": (BatchGetFeaturesRequest(layer="zones"), INVALID, "REQUIRED", "ids"),
    "BatchGetFeatures of a word": (
        BatchGetFeaturesRequest(layer="zones", ids=["1", "one"]),
        INVALID,
        "INVALID_ID",
        "ids[1]",
    ),
    "BatchGetFeatures of too many": (
        BatchGetFeaturesRequest(layer="zones", ids=["1"] * 1001),
        INVALID,
        "TOO_MANY_ELEMENTS",
        "ids",
    ),
    "BatchGetFeatures of no layer": (
        BatchGetFeaturesRequest(layer="x", ids=["1"]),
        MISSING,
        "LAYER_NOT_FOUND",
        "layer",
    ),
    "SearchRadius without a query": (SearchRadiusRequest(), INVALID, "REQUIRED", "query"),
    "SearchRadius without a layer": (around(layer=""), INVALID, "REQUIRED", "query.layer"),
    "SearchRadius in no layer": (around(layer="x"), MISSING, "LAYER_NOT_FOUND", "query.layer"),
    "SearchRadius without a center": (
        search_radius(RadiusQuery(layer="zones", radius_meters=1)),
        INVALID,
        "REQUIRED",
        "query.center",
    ),
    "SearchRadius around an empty probe": (around(geometry_pb2.Probe()), INVALID, "REQUIRED", "query.center"),
    "SearchRadius of -1": (around(radius_meters=-1), INVALID, "OUT_OF_RANGE", "query.radius_meters"),
    "SearchRadius of NaN": (around(radius_meters=float("nan")), INVALID, "OUT_OF_RANGE", "query.radius_meters"),
    "SearchRadius of infinity": (around(radius_meters=float("inf")), INVALID, "OUT_OF_RANGE", "query.radius_meters"),
    "SearchRadius around the world": (around(radius_meters=20_100_001), INVALID, "OUT_OF_RANGE", "query.radius_meters"),
    "SearchRadius by an unknown model": (
        around(distance_model=9),
        INVALID,
        "UNKNOWN_ENUM_VALUE",
        "query.distance_model",
    ),
    "SearchRadius at latitude 91": (
        around(point(0, 91)),
        INVALID,
        "COORDINATE_OUT_OF_RANGE",
        "query.center.point.latitude",
    ),
    "SearchRadius at longitude NaN": (
        around(point(float("nan"))),
        INVALID,
        "NON_FINITE_COORDINATE",
        "query.center.point.longitude",
    ),
    "SearchRadius around WKB with NaN": (
        around(wkb(NAN)),
        INVALID,
        "NON_FINITE_COORDINATE",
        "query.center.geometry.wkb",
    ),
    "SearchRadius with a negative page": (search_radius(page_size=-1), INVALID, "OUT_OF_RANGE", "page_size"),
    "SearchRadius with a torn token": (search_radius(page_token="?"), INVALID, "INVALID_PAGE_TOKEN", "page_token"),
    "SearchRadius with an unknown encoding": (
        search_radius(output=Output(encoding=cast("Any", 7))),
        INVALID,
        "UNKNOWN_ENUM_VALUE",
        "output.encoding",
    ),
    "SearchNearest without a query": (SearchNearestRequest(), INVALID, "REQUIRED", "query"),
    "SearchNearest with a negative limit": (
        SearchNearestRequest(query=facility(1).query, limit=-1),
        INVALID,
        "OUT_OF_RANGE",
        "limit",
    ),
    "SearchNearest within -1": (
        nearest_to(max_distance_meters=-1),
        INVALID,
        "OUT_OF_RANGE",
        "query.max_distance_meters",
    ),
    "SearchNearest to an empty WKT": (
        nearest_to(wkt("POINT EMPTY")),
        INVALID,
        "EMPTY_GEOMETRY",
        "query.center.geometry.wkt",
    ),
    "SearchNearest in another CRS": (
        nearest_to(wkt("POINT (0 0)", srid=3857)),
        INVALID,
        "SRID_MISMATCH",
        "query.center.geometry.srid",
    ),
    "SearchIntersects without a probe": (
        SearchIntersectsRequest(query=IntersectsQuery(layer="zones")),
        INVALID,
        "REQUIRED",
        "query.probe",
    ),
    "SearchIntersects by an unknown predicate": (
        meeting(predicate=10),
        INVALID,
        "UNKNOWN_ENUM_VALUE",
        "query.predicate",
    ),
    "SearchIntersects of a collection by WITHIN": (
        meeting(wkt(MIXED), predicate="PREDICATE_WITHIN"),
        INVALID,
        "UNSUPPORTED_GEOMETRY_TYPE",
        "query.probe.geometry",
    ),
    "SearchIntersects of members apart by COVERS": (
        meeting(wkt("GEOMETRYCOLLECTION (POINT (9 9), LINESTRING (0 0, 1 1))"), predicate="PREDICATE_COVERS"),
        INVALID,
        "UNSUPPORTED_GEOMETRY_TYPE",
        "query.probe.geometry",
    ),
    "SearchIntersects with a torn WKB": (
        meeting(wkb(NAN[:-1])),
        INVALID,
        "INVALID_ENCODING",
        "query.probe.geometry.wkb",
    ),
    "SearchIntersects with a torn WKT": (
        meeting(wkt("POINT (0")),
        INVALID,
        "INVALID_ENCODING",
        "query.probe.geometry.wkt",
    ),
    "SearchIntersects with half a GeoJSON": (
        meeting(geojson(type="Point")),
        INVALID,
        "INVALID_ENCODING",
        "query.probe.geometry.geojson.coordinates",
    ),
    "SearchIntersects with a contradicting SRID": (
        meeting(wkt("SRID=3857;POINT (0 0)", srid=4326)),
        INVALID,
        "SRID_MISMATCH",
        "query.probe.geometry.srid",
    ),
    "SearchIntersects with an invalid polygon": (
        meeting(wkt(BOWTIE)),
        INVALID,
        "INVALID_GEOMETRY",
        "query.probe.geometry.wkt",
    ),
    "SearchIntersects with too many vertices": (
        meeting(wkt(LONG)),
        INVALID,
        "GEOMETRY_TOO_LARGE",
        "query.probe.geometry.wkt",
    ),
    "SearchIntersects with a nest": (meeting(wkt(DEEP)), INVALID, "GEOMETRY_TOO_DEEP", "query.probe.geometry.wkt"),
    "SearchIntersects with a curve": (
        meeting(wkt("CIRCULARSTRING (0 0, 1 1, 2 0)")),
        INVALID,
        "UNSUPPORTED_GEOMETRY_TYPE",
        "query.probe.geometry.wkt",
    ),
    "SearchIntersects with a box upside down": (
        meeting(box(0, 1, 1, 0)),
        INVALID,
        "OUT_OF_RANGE",
        "query.probe.bbox.south",
    ),
    "SearchIntersects with a torn token": (
        SearchIntersectsRequest(query=intersects(SQUARE).query, page_token="x"),
        INVALID,
        "INVALID_PAGE_TOKEN",
        "page_token",
    ),
    "CountFeatures without a query": (CountFeaturesRequest(), INVALID, "REQUIRED", "query"),
    "CountFeatures of an empty query": (CountFeaturesRequest(query=Query()), INVALID, "REQUIRED", "query.kind"),
    "CountFeatures in no layer": (
        counting(layer=LayerQuery(layer="x")),
        MISSING,
        "LAYER_NOT_FOUND",
        "query.layer.layer",
    ),
    "CountFeatures in a box beyond the Earth": (
        counting(layer=LayerQuery(layer="zones", bbox=geometry_pb2.BoundingBox(east=181))),
        INVALID,
        "COORDINATE_OUT_OF_RANGE",
        "query.layer.bbox.east",
    ),
    "CountFeatures within -1": (
        counting(radius=RadiusQuery(layer="zones", center=point(), radius_meters=-1)),
        INVALID,
        "OUT_OF_RANGE",
        "query.radius.radius_meters",
    ),
    "CountFeatures in an unknown way": (
        CountFeaturesRequest(query=Query(layer=LayerQuery(layer="zones")), mode=cast("Any", 5)),
        INVALID,
        "UNKNOWN_ENUM_VALUE",
        "mode",
    ),
}


@pytest.mark.parametrize(("request_", "code", "reason", "field"), CASES.values(), ids=CASES)
def test_a_refusal_names_its_reason_and_the_field(
    served: Served, request_: Message, code: str, reason: str, field: str
) -> None:
    rpc = getattr(served.stub, request_.DESCRIPTOR.name.removesuffix("Request"))
    with pytest.raises(grpc.RpcError) as refused:
        rpc(request_, timeout=10)
    told = refusal(refused.value)
    assert (told.code, told.reason, told.fields) == (code, reason, (field,) if field else ())
    assert told.retry_seconds is None
    assert told.message.startswith(f"{field}: " if field else "")
    assert "INTERNAL" not in told.message


def test_every_rpc_with_something_to_refuse_is_in_the_table() -> None:
    rpcs = {method.name for method in query_pb2.DESCRIPTOR.services_by_name["SpatialService"].methods}
    tried = {case[0].DESCRIPTOR.name.removesuffix("Request") for case in CASES.values()}
    assert rpcs - tried == {"ListLayers"}


@pytest.mark.parametrize(
    ("request_", "metadata"),
    [
        (CASES["GetLayer of no layer"][0], {"layer": "rivers"}),
        (CASES["GetFeature that is not there"][0], {"layer": "zones", "id": "11"}),
        (CASES["BatchGetFeatures of too many"][0], {"limit": "1000"}),
        (CASES["SearchIntersects with too many vertices"][0], {"limit": "100"}),
        (CASES["SearchIntersects with a nest"][0], {"limit": "8"}),
        (CASES["SearchNearest in another CRS"][0], {"actual": "3857", "expected": "4326"}),
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
