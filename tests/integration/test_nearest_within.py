"""The nearest within an area, against distances and relations worked out by GeographicLib and GEOS."""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import grpc
import numpy as np
import pytest
import shapely

from spatial.v1 import geometry_pb2 as geometry
from tests.matching import match, opening, pairs, refused
from tests.oracle import Points, geometries
from tests.projections import MERCATOR, UTM_33N, message, moved
from tests.searches import MODELS, count, nearest, point, ranked
from tests.servers import refusal, serving

GERMANY = shapely.box(6, 47.5, 15, 54.8)
TWO_COASTS = shapely.MultiPolygon([shapely.box(-125, 32, -115, 49), shapely.box(-80, 25, -70, 45)])
FAR_AWAY = shapely.box(150, -40, 155, -30)
TOLERANCES = {"SPHEROID": 1e-6, "SPHERE": 1e-3, "PLANAR": 1e-9}


class World(NamedTuple):
    stub: Any
    points: Points
    parcels: Mapping[int, shapely.Geometry]


@pytest.fixture(scope="module")
def world(demo_database: str) -> Iterator[World]:
    parcels = geometries(demo_database, "parcels", "boundary")
    with serving(demo_database) as served:
        yield World(served.stub, Points.of(demo_database), parcels)


def asked(layer: str, center: tuple[float, float], area: Any, model: str = "UNSPECIFIED", **fields: Any) -> Any:
    made = nearest(layer, point(*center), model, **fields)
    made.within.CopyFrom(area if isinstance(area, geometry.Geometry) else message(area))
    return made


def inside(world: World, area: shapely.Geometry) -> Any:
    return shapely.intersects(area, shapely.points(world.points.longitudes, world.points.latitudes))


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("limit", [1, 10, 1000])
@pytest.mark.parametrize("area", [GERMANY, TWO_COASTS, FAR_AWAY], ids=["one", "two", "far away"])
def test_nothing_outside_is_found_and_nothing_inside_is_missed(
    world: World, area: shapely.Geometry, limit: int, model: str
) -> None:
    center = (13.4, 52.5)
    found = ranked(world.stub, asked("facilities", center, area, model), limit)

    there = inside(world, area)
    keys, distances = world.points.keys[there], world.points.distances(model, *center)[there]
    assert len(found) == min(limit, len(keys)) > 0
    assert np.allclose([each for _, each in found], np.sort(distances)[:limit], rtol=0, atol=TOLERANCES[model])
    expected = dict(zip(keys.tolist(), distances.tolist(), strict=True))
    assert all(abs(expected[key] - each) <= TOLERANCES[model] for key, each in found)


def test_shapes_that_meet_the_area_are_ranked_by_their_edges(world: World) -> None:
    area, center = shapely.box(-74.0, 40.7, -73.95, 40.75), (-74.05, 40.68)
    here = shapely.Point(center)
    meeting = {key: here.distance(shape) for key, shape in world.parcels.items() if area.intersects(shape)}
    expected = sorted(meeting.items(), key=lambda each: (each[1], each[0]))

    found = ranked(world.stub, asked("parcels", center, area, "PLANAR"), 1000)

    assert len(found) == len(expected) > 5
    assert np.allclose([each for _, each in found], [each for _, each in expected], rtol=0, atol=1e-12)
    assert {key for key, _ in found} == set(meeting)
    on_earth = ranked(world.stub, asked("parcels", center, area), 1000)
    assert {key for key, _ in on_earth} == set(meeting)
    assert [each for _, each in on_earth] == sorted(each for _, each in on_earth)


@pytest.mark.parametrize("encoding", ["wkb", "ewkt"])
@pytest.mark.parametrize("srid", [MERCATOR, UTM_33N])
def test_the_area_may_be_in_any_crs(world: World, srid: int, encoding: str) -> None:
    there = moved(GERMANY, 4326, srid)
    back = shapely.set_srid(moved(there, srid, 4326), 0)

    found = ranked(world.stub, asked("facilities", (13.4, 52.5), message(there, encoding)), 1000)

    assert {key for key, _ in found} == set(world.points.keys[inside(world, back)].tolist())


def test_the_distance_may_be_limited_besides(world: World) -> None:
    everywhere = ranked(world.stub, asked("facilities", (13.4, 52.5), GERMANY), 1000)
    expected = [each for each in everywhere if each[1] <= 300_000]

    assert ranked(world.stub, asked("facilities", (13.4, 52.5), GERMANY, farthest=300_000), 1000) == expected
    assert 0 < len(expected) < len(everywhere)


def test_those_that_could_be_ranked_are_counted(world: World) -> None:
    there = inside(world, GERMANY)
    close = there & (world.points.distances("SPHEROID", 13.4, 52.5) <= 300_000)

    assert count(world.stub, nearest=asked("facilities", (13.4, 52.5), GERMANY)) == there.sum()
    assert count(world.stub, nearest=asked("facilities", (13.4, 52.5), GERMANY, farthest=300_000)) == close.sum()
    assert count(world.stub, "ESTIMATED", nearest=asked("facilities", (13.4, 52.5), GERMANY)) > 0


def test_each_of_many_probes_is_answered_within_the_area(world: World) -> None:
    centers = [(13.4, 52.5), (8.0, 48.0), (100.0, 0.0), (-170.0, -80.0)]
    made = asked("facilities", (0, 0), GERMANY)

    found = match(world.stub, made, [point(*center) for center in centers], limit=5)

    for center, each in zip(centers, found, strict=True):
        assert pairs(each) == ranked(world.stub, asked("facilities", center, GERMANY), 5)


def test_a_large_area_is_as_good_as_a_small_one(world: World) -> None:
    circle = shapely.Point(10, 50).buffer(5, quad_segs=2000)

    found = ranked(world.stub, asked("facilities", (13.4, 52.5), circle), 1000)

    assert {key for key, _ in found} == set(world.points.keys[inside(world, circle)].tolist())


REFUSED = {
    "a line": (geometry.Geometry(wkt="LINESTRING(0 0, 1 1)"), "UNSUPPORTED_GEOMETRY_TYPE", "within"),
    "a collection": (
        geometry.Geometry(wkt="GEOMETRYCOLLECTION(POLYGON((0 0, 1 0, 1 1, 0 0)))"),
        "UNSUPPORTED_GEOMETRY_TYPE",
        "within",
    ),
    "nothing": (geometry.Geometry(), "REQUIRED", "within"),
    "empty": (geometry.Geometry(wkt="POLYGON EMPTY"), "EMPTY_GEOMETRY", "within.wkt"),
    "invalid": (geometry.Geometry(wkt="POLYGON((0 0, 1 1, 1 0, 0 1, 0 0))"), "INVALID_GEOMETRY", "within.wkt"),
    "of an unknown SRID": (
        geometry.Geometry(wkt="POLYGON((0 0, 1 0, 1 1, 0 0))", srid=31),
        "UNKNOWN_SRID",
        "within.srid",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_no_area_is_refused_with_its_field(world: World, case: str) -> None:
    area, reason, field = REFUSED[case]
    made = asked("facilities", (0, 0), area)

    with pytest.raises(grpc.RpcError) as raised:
        ranked(world.stub, made)
    told = refusal(raised.value)
    assert (told.code, told.reason, told.fields) == ("INVALID_ARGUMENT", reason, (f"query.{field}",))

    with pytest.raises(grpc.RpcError) as raised:
        count(world.stub, nearest=made)
    assert refusal(raised.value).fields == (f"query.nearest.{field}",)

    ended = refusal(refused(world.stub, [opening(made)]))
    assert (ended.reason, ended.fields) == (reason, (f"query.nearest.{field}",))
