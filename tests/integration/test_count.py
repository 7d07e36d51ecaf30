"""CountFeatures: exactly what the searches find, and estimates that are near it."""

from collections.abc import Iterator
from typing import Any, cast

import grpc
import numpy as np
import pytest
import shapely

from spatial.v1 import geometry_pb2 as geometry
from spatial.v1 import query_pb2 as query
from tests.oracle import Points, geometries
from tests.searches import MODELS, box, count, ids, intersects, nearest, point, radius, shape, within
from tests.servers import refusal, serving

BERLIN = point(13.4, 52.5)
GERMANY = geometry.BoundingBox(west=5.9, south=47.3, east=15.0, north=55.1)


@pytest.fixture(scope="module")
def stub(demo_database: str) -> Iterator[Any]:
    with serving(demo_database) as served:
        yield served.stub


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("layer", ["facilities", "zones", "zone_centroids", "districts", "parcels"])
def test_as_many_as_a_radius_search_finds(stub: Any, layer: str, model: str) -> None:
    for center in (BERLIN, point(-73.98, 40.75)):
        asked = radius(layer, center, 5 if model == "PLANAR" else 500_000, model)
        assert count(stub, radius=asked) == len(within(stub, asked))


@pytest.mark.parametrize("predicate", ["INTERSECTS", "WITHIN", "CONTAINS", "TOUCHES", "OVERLAPS", "EQUALS"])
@pytest.mark.parametrize("layer", ["facilities", "zones", "parcels"])
def test_as_many_as_an_intersects_search_finds(stub: Any, layer: str, predicate: str) -> None:
    for probe in (box(5.9, 47.3, 15.0, 55.1), shape("POLYGON ((-74 40.6, -73.8 40.65, -73.9 40.85, -74 40.6))")):
        asked = intersects(layer, probe, predicate)
        assert count(stub, intersects=asked) == len(ids(stub, asked))


@pytest.mark.parametrize("model", MODELS)
def test_nearest_counts_what_could_be_ranked(stub: Any, demo_database: str, model: str) -> None:
    points = Points.of(demo_database)
    reach = 3.0 if model == "PLANAR" else 300_000.0
    expected = np.count_nonzero(points.distances(model, 13.4, 52.5) <= reach)

    assert count(stub, nearest=nearest("facilities", BERLIN, model)) == len(points.keys)
    assert count(stub, nearest=nearest("facilities", BERLIN, model, reach)) == expected
    assert 0 < expected < len(points.keys)


@pytest.mark.parametrize(
    "condition",
    [
        {"predicate": "PREDICATE_INTERSECTS"},
        {"predicate": "PREDICATE_WITHIN"},
        {"distance_meters": 0.5, "distance_model": "DISTANCE_MODEL_PLANAR"},
    ],
    ids=lambda condition: next(iter(condition)) + str(next(iter(condition.values()))),
)
def test_as_many_pairs_as_a_join_finds(stub: Any, condition: dict[str, Any]) -> None:
    asked = query.JoinQuery(left_layer="facilities", right_layer="zones", right_filter="name < 'D'", **condition)
    pairs = sum(len(batch.pairs) for batch in stub.StreamJoin(query.StreamJoinRequest(query=asked), timeout=30))
    assert count(stub, join=asked) == pairs > 0


def test_an_estimate_of_pairs_says_that_it_is_one(stub: Any) -> None:
    asked = query.Query(join=query.JoinQuery(left_layer="facilities", right_layer="zones"))
    answer = stub.CountFeatures(query.CountFeaturesRequest(query=asked, mode="MODE_ESTIMATED"), timeout=30)
    assert answer.mode == query.CountFeaturesRequest.MODE_ESTIMATED
    assert answer.count > 0


def test_a_layer_whole_and_through_a_window(stub: Any, demo_database: str) -> None:
    boundaries = [*geometries(demo_database, "zones", "boundary").values()]
    window = shapely.box(GERMANY.west, GERMANY.south, GERMANY.east, GERMANY.north)

    assert count(stub, layer=query.LayerQuery(layer="zones")) == len(boundaries)
    assert count(stub, layer=query.LayerQuery(layer="zones", bbox=GERMANY)) == sum(
        shapely.intersects(shapely.envelope(boundaries), window)
    )


def test_a_window_across_the_antimeridian(stub: Any, demo_database: str) -> None:
    points = Points.of(demo_database)
    window = geometry.BoundingBox(west=170, south=-25, east=-170, north=25)
    held = (np.abs(points.longitudes) >= 170) & (np.abs(points.latitudes) <= 25)

    assert count(stub, layer=query.LayerQuery(layer="facilities", bbox=window)) == np.count_nonzero(held)


def test_nothing_is_counted_as_0(stub: Any) -> None:
    assert count(stub, radius=radius("facilities", point(-140, -40), 10)) == 0


@pytest.mark.parametrize(
    ("name", "asked"),
    [
        ("layer", query.LayerQuery(layer="facilities")),
        ("layer", query.LayerQuery(layer="facilities", bbox=GERMANY)),
        ("intersects", intersects("facilities", box(-10, 35, 40, 70))),
    ],
)
def test_an_estimate_is_near_the_count(stub: Any, name: str, asked: Any) -> None:
    exact = count(stub, **{name: asked})

    assert count(stub, mode="ESTIMATED", **{name: asked}) == pytest.approx(exact, rel=0.5)


@pytest.mark.parametrize(
    ("name", "asked"),
    [
        ("radius", radius("facilities", BERLIN, 100_000)),
        ("nearest", nearest("facilities", BERLIN)),
        ("nearest", nearest("facilities", BERLIN, farthest=10)),
        ("intersects", intersects("zones", BERLIN, "CONTAINS")),
        ("layer", query.LayerQuery(layer="parcels")),
    ],
)
@pytest.mark.parametrize("mode", ["UNSPECIFIED", "EXACT", "ESTIMATED"])
def test_the_answer_says_how_it_was_come_by(stub: Any, name: str, asked: Any, mode: str) -> None:
    request = query.CountFeaturesRequest(query=query.Query(**{name: asked}), mode=f"MODE_{mode}")
    answer = stub.CountFeatures(request, timeout=10)

    assert query.CountFeaturesRequest.Mode.Name(answer.mode) == (
        "MODE_ESTIMATED" if mode == "ESTIMATED" else "MODE_EXACT"
    )
    assert answer.count >= 0


@pytest.mark.parametrize(
    ("asked", "mode", "reason", "field"),
    [
        (None, 0, "REQUIRED", "query"),
        (query.Query(), 0, "REQUIRED", "query.kind"),
        (query.Query(layer=query.LayerQuery(layer="zones")), 9, "UNKNOWN_ENUM_VALUE", "mode"),
        (query.Query(layer=query.LayerQuery()), 0, "REQUIRED", "query.layer.layer"),
        (query.Query(layer=query.LayerQuery(layer="moons")), 0, "LAYER_NOT_FOUND", "query.layer.layer"),
        (query.Query(radius=radius("zones", BERLIN, -1)), 0, "OUT_OF_RANGE", "query.radius.radius_meters"),
        (
            query.Query(layer=query.LayerQuery(layer="zones", bbox=geometry.BoundingBox(south=1))),
            0,
            "OUT_OF_RANGE",
            "query.layer.bbox.south",
        ),
    ],
)
def test_what_cannot_be_counted(stub: Any, asked: Any, mode: int, reason: str, field: str) -> None:
    with pytest.raises(grpc.RpcError) as raised:
        stub.CountFeatures(query.CountFeaturesRequest(query=asked, mode=cast("Any", mode)), timeout=10)

    assert (refusal(raised.value).reason, refusal(raised.value).fields) == (reason, (field,))
