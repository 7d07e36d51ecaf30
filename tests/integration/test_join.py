"""StreamJoin as its callers see it: every pair once, whole, in pieces, with features and without."""

from collections.abc import Iterator
from typing import Any

import grpc
import pytest
import shapely

from spatial.v1 import query_pb2
from spatial.v1.query_pb2 import JoinQuery, Output, StreamJoinRequest
from tests.oracle import fetch, geometries
from tests.servers import Served, refusal, serving

NAME = Output(properties=["name"], view="GEOMETRY_VIEW_NONE")
MOST_BYTES = 2 * 1024 * 1024
Pairs = list[tuple[int, int]]


@pytest.fixture(scope="module")
def served(demo_database: str) -> Iterator[Served]:
    with serving(demo_database) as served:
        yield served


@pytest.fixture(scope="module")
def inside(demo_database: str) -> Pairs:
    """Each country with the facilities in it, as GEOS finds them."""
    zones, facilities = (
        geometries(demo_database, "zones", "boundary"),
        geometries(demo_database, "facilities", "location"),
    )
    zone_keys, facility_keys = [*zones], [*facilities]
    near = shapely.STRtree([*facilities.values()]).query([*zones.values()], "intersects")
    return sorted((zone_keys[zone], facility_keys[facility]) for zone, facility in near.T)


def request(left: str = "zones", right: str = "facilities", **fields: Any) -> StreamJoinRequest:
    stream = {name: fields.pop(name) for name in [*fields] if name in StreamJoinRequest.DESCRIPTOR.fields_by_name}
    return StreamJoinRequest(query=JoinQuery(left_layer=left, right_layer=right, **fields), **stream)


def batches(served: Served, asked: StreamJoinRequest) -> list[query_pb2.JoinBatch]:
    return [*served.stub.StreamJoin(asked, timeout=60)]


def pairs(found: list[query_pb2.JoinBatch]) -> Pairs:
    return [(int(pair.left_id), int(pair.right_id)) for batch in found for pair in batch.pairs]


def test_every_pair_is_delivered_once(served: Served, inside: Pairs) -> None:
    found = batches(served, request())

    assert sorted(pairs(found)) == inside
    assert {batch.resume_token for batch in found} == {""}
    assert all(batch.pairs for batch in found)
    assert {field.name for field, _ in found[0].pairs[0].ListFields()} == {"left_id", "right_id"}


def test_a_predicate_is_read_from_left_to_right(served: Served, inside: Pairs) -> None:
    turned = sorted((facility, zone) for zone, facility in inside)

    assert sorted(pairs(batches(served, request("facilities", "zones", predicate="PREDICATE_COVERED_BY")))) == turned
    assert batches(served, request("facilities", "zones", predicate="PREDICATE_COVERS")) == []


def test_a_resumable_join_comes_in_order_and_goes_on_after_any_of_its_batches(served: Served, inside: Pairs) -> None:
    asked = request(resumable=True, left_output=NAME, right_output=NAME)
    found = batches(served, asked)
    assert pairs(found) == inside
    assert len(found) > 3

    delivered = 0
    for batch in found:
        delivered += len(batch.pairs)
        asked.resume_token = batch.resume_token
        assert pairs(batches(served, asked)) == inside[delivered:]


def test_distances_are_those_that_a_search_finds(served: Served, demo_database: str) -> None:
    expected = {
        (left, right): distance
        for left, right, distance in fetch(
            demo_database,
            "SELECT z.id, f.id, ST_Distance(geography(z.centroid), geography(f.location))"
            " FROM zones z, facilities f WHERE ST_DWithin(geography(z.centroid), geography(f.location), 20000)",
        )
    }
    found = batches(served, request("zone_centroids", "facilities", distance_meters=20_000))

    measured = {
        (int(pair.left_id), int(pair.right_id)): pair.distance_meters for batch in found for pair in batch.pairs
    }
    assert measured == pytest.approx(expected)
    assert len(expected) > 100


def test_features_come_as_they_are_asked_for(served: Served) -> None:
    output = Output(
        properties=["number", "district_name"], view="GEOMETRY_VIEW_CENTROID", encoding="GEOMETRY_ENCODING_WKT"
    )
    found = batches(served, request("districts", "parcels", left_output=NAME, right_output=output))

    rows = [pair for batch in found for pair in batch.pairs]
    assert len(rows) > 300
    for pair in rows:
        assert (pair.left.id, pair.right.id) == (pair.left_id, pair.right_id)
        assert [*pair.left.properties] == ["name"]
        assert not pair.left.HasField("geometry")
        assert {*pair.right.properties} == {"number", "district_name"}
        assert pair.right.geometry.wkt.startswith("POINT(")


def test_batches_stay_within_their_bounds_though_shapes_are_large(served: Served) -> None:
    """A district's outline is sent with each of its parcels."""
    found = batches(served, request("districts", "parcels", left_output=Output(), resumable=True))

    assert all(batch.ByteSize() <= MOST_BYTES or len(batch.pairs) == 1 for batch in found)
    assert all(batch.resume_token for batch in found)


REFUSALS = {
    "no layer": (request(""), "INVALID_ARGUMENT", "REQUIRED", "query.left_layer"),
    "an unknown layer": (request("zones", "x"), "NOT_FOUND", "LAYER_NOT_FOUND", "query.right_layer"),
    "a negative distance": (
        request(distance_meters=-1),
        "INVALID_ARGUMENT",
        "OUT_OF_RANGE",
        "query.distance_meters",
    ),
    "a distance around the world": (
        request(distance_meters=20_100_001),
        "INVALID_ARGUMENT",
        "OUT_OF_RANGE",
        "query.distance_meters",
    ),
    "an unknown predicate": (request(predicate=10), "INVALID_ARGUMENT", "UNKNOWN_ENUM_VALUE", "query.predicate"),
    "a model without a distance": (
        request(distance_model="DISTANCE_MODEL_PLANAR"),
        "INVALID_ARGUMENT",
        "UNEXPECTED_FIELD",
        "query.distance_model",
    ),
    "an unknown property": (
        request(right_output=Output(properties=["name", "height"])),
        "INVALID_ARGUMENT",
        "UNKNOWN_PROPERTY",
        "right_output.properties[1]",
    ),
    "a torn token": (
        request(resumable=True, resume_token="?"),
        "INVALID_ARGUMENT",
        "INVALID_RESUME_TOKEN",
        "resume_token",
    ),
    "a token where none can be": (
        request(resume_token="AAAA"),
        "INVALID_ARGUMENT",
        "INVALID_RESUME_TOKEN",
        "resume_token",
    ),
}


@pytest.mark.parametrize(("asked", "code", "reason", "field"), REFUSALS.values(), ids=REFUSALS)
def test_a_refusal_names_its_reason_and_the_field(
    served: Served, asked: StreamJoinRequest, code: str, reason: str, field: str
) -> None:
    with pytest.raises(grpc.RpcError) as refused:
        batches(served, asked)
    told = refusal(refused.value)
    assert (told.code, told.reason, told.fields) == (code, reason, (field,))


def test_a_token_belongs_to_its_request(served: Served) -> None:
    token = batches(served, request("districts", "parcels", resumable=True))[0].resume_token
    for other in (
        request("parcels", "districts", resumable=True, resume_token=token),
        request("districts", "parcels", resumable=True, resume_token=token, predicate="PREDICATE_COVERS"),
        request("districts", "parcels", resumable=True, resume_token=token, distance_meters=0),
        request("districts", "parcels", resumable=True, resume_token=token, left_output=Output()),
    ):
        with pytest.raises(grpc.RpcError) as refused:
            batches(served, other)
        told = refusal(refused.value)
        assert (told.code, told.reason) == ("INVALID_ARGUMENT", "INVALID_RESUME_TOKEN")
        assert told.fields == ("resume_token",)
