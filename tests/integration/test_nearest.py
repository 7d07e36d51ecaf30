"""SearchNearest against distances worked out by GeographicLib, the haversine formula and GEOS."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import psycopg2
import pytest
import shapely
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.oracle import Outline, Points, disordered, fetch, geometries, holds, surrounds
from tests.searches import MODELS, Found, box, nearest, point, ranked, shape
from tests.servers import serving
from tests.world import NAMED, scattered, settle

# See test_radius.py.
AGREEMENT = {"SPHEROID": 1e-6, "SPHERE": 1e-3, "PLANAR": 1e-9}
EDGE_TOLERANCE = 2e-3
DUPLICATES = [key for key, place in enumerate(NAMED, 1) if place == (10.0, 10.0)]


@dataclass(frozen=True)
class World:
    url: str
    stub: Any
    points: Points


@pytest.fixture(scope="module")
def demo(demo_database: str) -> Iterator[World]:
    with serving(demo_database) as served:
        yield World(demo_database, served.stub, Points.of(demo_database))


@pytest.fixture(scope="module")
def world(module_database: str) -> Iterator[World]:
    points = settle(module_database)
    with serving(module_database) as served:
        yield World(module_database, served.stub, points)


def is_nearest(
    found: Found, points: Points, model: str, center: tuple[float, float], limit: int, reach: float = np.inf
) -> bool:
    """Whether `found` is right in its length, order and distances, and nothing that is left out is nearer."""
    agreement = AGREEMENT[model]
    expected = points.distances(model, *center, nearest=limit)
    keys, distances = [key for key, _ in found], np.array([distance for _, distance in found])
    chosen = np.searchsorted(points.keys, keys)
    left_out = np.delete(expected, chosen)
    border = reach if len(found) < limit else distances[-1]
    return bool(
        len(found) == len(set(keys)) == min(limit, np.count_nonzero(expected <= reach))
        and (np.abs(expected[chosen] - distances) <= agreement).all()
        and (left_out >= border - agreement).all()
        and disordered(found) == []
    )


@pytest.mark.parametrize("model", MODELS)
def test_the_nearest_of_many_places(demo: World, model: str) -> None:
    for center in scattered(60, seed=4):
        found = ranked(demo.stub, nearest("facilities", point(*center), model))
        assert is_nearest(found, demo.points, model, center, 10), center


def test_the_order_of_the_index_alone_would_not_pass(demo: World, demo_database: str) -> None:
    """`<->` measures on a sphere: if none of these lists differed, the test above would prove nothing."""
    by_index = (
        "SELECT id, ST_Distance(geography(location), place) FROM facilities,"
        " (SELECT geography(ST_SetSRID(ST_MakePoint(%s, %s), 4326)) AS place OFFSET 0) AS probe"
        " ORDER BY geography(location) <-> place LIMIT 10"
    )
    wrong = 0
    with closing(psycopg2.connect(demo_database)) as connection, connection.cursor() as cursor:
        for center in scattered(60, seed=4):
            cursor.execute(by_index, center)
            wrong += not is_nearest(cursor.fetchall(), demo.points, "SPHEROID", center, 10)
    assert wrong > 3


@pytest.mark.parametrize("limit", [1, 3, 100, 1000])
def test_as_many_as_are_asked_for(demo: World, limit: int) -> None:
    for center in scattered(5, seed=5):
        found = ranked(demo.stub, nearest("facilities", point(*center)), limit)
        assert is_nearest(found, demo.points, "SPHEROID", center, limit)


def test_more_than_1000_are_coerced(demo: World) -> None:
    assert len(ranked(demo.stub, nearest("facilities", point(0, 0)), 5000)) == 1000


def test_more_than_there_are_gives_all(world: World) -> None:
    found = ranked(world.stub, nearest("facilities", point(5, 5)), 1000)

    assert is_nearest(found, world.points, "SPHEROID", (5, 5), 1000)
    assert len(found) == len(world.points.keys)


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize(
    "center",
    [(0.0, 90.0), (123.0, 90.0), (0.0, -90.0), (180.0, 10.0), (-180.0, 10.0), (179.9995, 0.0)],
)
def test_the_ends_of_the_map_are_no_ends(world: World, center: tuple[float, float], model: str) -> None:
    found = ranked(world.stub, nearest("facilities", point(*center), model), 12)

    assert is_nearest(found, world.points, model, center, 12)


@pytest.mark.parametrize(
    "place", [(13.0, 50.3), (0.0, 51.5), (0.0, 0.0), (77.1, 0.0), (90.0, -33.0), (-90.0, 0.0), (180.0, -41.0)]
)
@pytest.mark.parametrize("apart", [1e-16, 1e-14, 1e-13, 1e-12, 1e-11, 1e-10, 1e-9, 1e-7])
def test_a_feature_all_but_at_the_probe_is_found(world: World, place: tuple[float, float], apart: float) -> None:
    """Where PostGIS's index and its distances disagree by a rounding error."""
    beside = (place[0] - apart, place[1] - apart)
    with extra(world, beside) as key:
        found = ranked(world.stub, nearest("facilities", point(*place)), 1 + NAMED.count(place))

    assert key in dict(found)
    assert dict(found)[key] == pytest.approx(0, abs=0.02)


@pytest.mark.parametrize("probe", ["POINT (180 -47)", "POLYGON ((170 -48, 180 -48, 180 -46, 170 -46, 170 -48))"])
def test_a_feature_on_the_antimeridian_is_found_from_its_other_side(world: World, probe: str) -> None:
    with extra(world, (-180.0, -47.0)) as key:
        assert dict(ranked(world.stub, nearest("facilities", shape(probe)), 5))[key] == 0


@contextmanager
def extra(world: World, place: tuple[float, float]) -> Iterator[int]:
    """The key of a feature that is there for a while."""
    insert = (
        "INSERT INTO facilities (name, kind, location) VALUES ('extra', 'x', ST_SetSRID(ST_MakePoint(%s, %s), 4326))"
        " RETURNING id"
    )
    ((key,),) = fetch(world.url, insert, *place)
    try:
        yield key
    finally:
        fetch(world.url, "DELETE FROM facilities WHERE id = %s", key)


@pytest.mark.parametrize("model", MODELS)
def test_features_in_one_place_come_in_order_of_their_keys(world: World, model: str) -> None:
    found = ranked(world.stub, nearest("facilities", point(10, 10), model), len(DUPLICATES))

    assert found == [(key, 0.0) for key in DUPLICATES]


@pytest.mark.parametrize("model", MODELS)
def test_a_limit_within_a_tie_keeps_the_smallest_keys(world: World, model: str) -> None:
    for limit in range(1, len(DUPLICATES)):
        found = ranked(world.stub, nearest("facilities", point(10.001, 10), model), limit)
        assert [key for key, _ in found] == DUPLICATES[:limit]


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("limit", [3, 100])
def test_what_is_farther_than_the_maximum_is_left_out(world: World, limit: int, model: str) -> None:
    reach = 20.0 if model == "PLANAR" else 2_000_000.0
    for center in scattered(10, seed=6):
        found = ranked(world.stub, nearest("facilities", point(*center), model, reach), limit)
        assert is_nearest(found, world.points, model, center, limit, reach)


def test_the_maximum_distance_is_within(world: World) -> None:
    here, there = NAMED.index((0.0, 0.0)) + 1, NAMED.index((0.5, 0.0)) + 1
    distance = ranked(world.stub, nearest("facilities", point(0, 0)), 2)[1][1]

    assert ranked(world.stub, nearest("facilities", point(0, 0), farthest=distance)) == [(here, 0), (there, distance)]
    assert ranked(world.stub, nearest("facilities", point(0, 0), farthest=distance - 1e-6)) == [(here, 0)]
    assert ranked(world.stub, nearest("facilities", point(0, 0), farthest=0)) == [(here, 0)]
    assert ranked(world.stub, nearest("facilities", point(0.1, 0.1), farthest=0)) == []


@settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    longitude=st.floats(-180, 180, width=32),
    latitude=st.floats(-90, 90, width=32),
    limit=st.integers(1, 30),
    model=st.sampled_from(MODELS),
)
def test_whatever_the_probe(world: World, longitude: float, latitude: float, limit: int, model: str) -> None:
    found = ranked(world.stub, nearest("facilities", point(longitude, latitude), model), limit)

    assert is_nearest(found, world.points, model, (longitude, latitude), limit)


@pytest.mark.parametrize(
    ("layer", "spacing", "centers"),
    [
        ("zones", 20_000.0, [(-30.0, 45.0), (13.4, 52.5), (179.9, -30.0)]),
        ("districts", 100.0, [(-73.98, 40.75), (-74.3, 40.5)]),
        ("parcels", 100.0, [(-73.98, 40.75), (-74.3, 40.5)]),
    ],
)
def test_the_nearest_boundaries(
    demo: World, demo_database: str, layer: str, spacing: float, centers: list[tuple[float, float]]
) -> None:
    stored = geometries(demo_database, layer, "boundary")
    outlines = {key: Outline.of(geometry, spacing) for key, geometry in stored.items()}
    for center in centers:
        found = ranked(demo.stub, nearest(layer, point(*center)), 5)
        farthest = found[-1][1]
        for key, geometry in stored.items():
            bounds = outlines[key].bounds(*np.array([center]).T)
            inside = holds(geometry, *center)
            lower, upper = (0.0, 0.0) if inside else (float(bounds.lower[0]), float(bounds.upper[0]))
            margin = upper * EDGE_TOLERANCE
            distance = dict(found).get(key, max(farthest, lower))
            assert lower - margin <= distance <= upper + margin, (center, key)
        assert len(found) == 5
        assert disordered(found) == []


@pytest.mark.parametrize("layer", ["zones", "districts", "parcels"])
def test_the_nearest_boundaries_in_the_plane(demo: World, demo_database: str, layer: str) -> None:
    stored = geometries(demo_database, layer, "boundary")
    for center in [(-73.98, 40.75), (-30.0, 45.0)]:
        expected = dict(zip(stored, shapely.distance([*stored.values()], shapely.Point(center)).tolist(), strict=True))
        found = ranked(demo.stub, nearest(layer, point(*center), "PLANAR"), 5)

        assert [distance for _, distance in found] == pytest.approx(sorted(expected.values())[:5], abs=1e-9)
        assert dict(found) == {key: pytest.approx(expected[key], abs=1e-9) for key, _ in found}
        assert disordered(found) == []


PROBES = {
    "a line": "LINESTRING (-60 10, -40 30, -10 40)",
    "a polygon": "POLYGON ((20 0, 40 0, 40 30, 20 30, 20 0))",
    "a polygon over the antimeridian": "POLYGON ((170 -10, -170 -10, -170 20, 170 20, 170 -10))",
    "two polygons": "MULTIPOLYGON (((0 0, 10 0, 10 10, 0 0)), ((100 -40, 120 -40, 110 -20, 100 -40)))",
    "several points": "MULTIPOINT ((0 0), (100 50), (-120 -30))",
    "lines apart": "MULTILINESTRING ((0 0, 10 10), (-100 60, -90 70, -60 75))",
}


@pytest.mark.parametrize("limit", [5, 40])
@pytest.mark.parametrize("case", PROBES)
def test_nearest_to_a_shape(world: World, case: str, limit: int) -> None:
    geometry, points = shapely.from_wkt(PROBES[case]), world.points
    bounds = Outline.of(geometry, 2_000.0).bounds(points.longitudes, points.latitudes)
    held = np.array([surrounds(geometry, *place) for place in zip(points.longitudes, points.latitudes, strict=True)])

    found = ranked(world.stub, nearest("facilities", shape(PROBES[case])), limit)

    assert_nearest_between(found, points, np.where(held, 0, bounds.lower), np.where(held, 0, bounds.upper), limit)


BOXES = {
    "a city": (13.0, 52.3, 13.8, 52.7),
    "across the antimeridian": (170.0, -20.0, -170.0, 30.0),
    "arctic cap": (-180.0, 80.0, 180.0, 90.0),
    "359 degrees": (-179.5, 44.0, 179.5, 46.0),
}


@pytest.mark.parametrize("case", BOXES)
def test_nearest_to_a_box(world: World, case: str) -> None:
    (west, south, east, north), points = BOXES[case], world.points
    bounds = Outline.of_box(west, south, east, north, 5_000.0).bounds(points.longitudes, points.latitudes)
    x, y = points.longitudes, points.latitudes
    across = (west <= x) & (x <= east) if west <= east else (x >= west) | (x <= east)
    held = across & (south <= y) & (y <= north)

    found = ranked(world.stub, nearest("facilities", box(west, south, east, north)), 40)

    assert_nearest_between(found, points, np.where(held, 0, bounds.lower), np.where(held, 0, bounds.upper), 40)


def assert_nearest_between(found: Found, points: Points, lower: Any, upper: Any, limit: int) -> None:
    distances, farthest, wrong = dict(found), found[-1][1], []
    for key, least, most in zip(points.keys.tolist(), lower.tolist(), upper.tolist(), strict=True):
        margin = most * EDGE_TOLERANCE + 1
        distance = distances.get(key)
        right = most + margin >= farthest if distance is None else least - margin <= distance <= most + margin
        if not right:
            wrong.append((key, distance, least, most))
    assert wrong == []
    assert len(found) == len(distances) == limit
    assert disordered(found) == []
