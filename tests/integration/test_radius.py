"""SearchRadius against distances worked out by GeographicLib, the haversine formula and GEOS."""

from collections.abc import Iterator
from dataclasses import dataclass
from math import nextafter
from typing import Any

import numpy as np
import pytest
import shapely
from shapely.geometry.base import BaseGeometry

from tests.oracle import SPHERE, SPHEROID, Outline, Points, disordered, geometries, holds, surrounds
from tests.searches import MODELS, box, point, radius, shape, within
from tests.servers import serving
from tests.world import NAMED, scattered, settle

# PostGIS and GeographicLib agree to nanometres on the spheroid; the sphere's arcs lose a little more near antipodes.
AGREEMENT = {"SPHEROID": 1e-6, "SPHERE": 1e-3, "PLANAR": 1e-9}
# PostGIS looks for the nearest place of an edge on a sphere, then measures to it on the spheroid.
EDGE_TOLERANCE = 2e-3
CITIES = {"Berlin": (13.4, 52.5), "New York": (-73.98, 40.75), "Quito": (-78.5, -0.2), "Suva": (178.44, -18.13)}
CENTERS = {
    "north pole": (0.0, 90.0),
    "north pole under another longitude": (123.0, 90.0),
    "south pole": (0.0, -90.0),
    "antimeridian from the east": (-180.0, 10.0),
    "antimeridian from the west": (180.0, 10.0),
    "beside the antimeridian": (179.9995, 0.0),
    "duplicates": (10.0, 10.0),
    "the origin": (0.0, 0.0),
}


@dataclass(frozen=True)
class World:
    stub: Any
    points: Points


@pytest.fixture(scope="module")
def demo(demo_database: str) -> Iterator[Any]:
    with serving(demo_database) as served:
        yield served.stub


@pytest.fixture(scope="module")
def world(module_database: str) -> Iterator[World]:
    points = settle(module_database)
    with serving(module_database) as served:
        yield World(served.stub, points)


def assert_found(
    found: list[tuple[int, float]], points: Points, model: str, center: tuple[float, float], reach: float
) -> None:
    """All within reach, nothing else, in order, each with its distance; where the oracles differ at the border by less
    than they agree to, either is right."""
    agreement = AGREEMENT[model]
    expected = dict(zip(points.keys.tolist(), points.distances(model, *center).tolist(), strict=True))
    assert [(key, expected[key]) for key, _ in found] == [
        (key, pytest.approx(distance, abs=agreement)) for key, distance in found
    ]
    keys = {key for key, _ in found}
    assert len(keys) == len(found)
    assert keys >= {key for key, distance in expected.items() if distance < reach - agreement}
    assert keys <= {key for key, distance in expected.items() if distance <= reach + agreement}
    assert disordered(found) == []


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("city", CITIES)
def test_places_around_a_city(demo: Any, demo_database: str, city: str, model: str) -> None:
    reach = 3.0 if model == "PLANAR" else 300_000.0
    found = within(demo, radius("facilities", point(*CITIES[city]), reach, model))

    assert found
    assert_found(found, Points.of(demo_database), model, CITIES[city], reach)


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("center", CENTERS)
def test_the_ends_of_the_map_are_no_ends(world: World, center: str, model: str) -> None:
    for reach in (1.0, 60.0) if model == "PLANAR" else (1.0, 120_000.0, 5_000_000.0):
        found = within(world.stub, radius("facilities", point(*CENTERS[center]), reach, model))

        assert_found(found, world.points, model, CENTERS[center], reach)
    assert found


@pytest.mark.parametrize("model", MODELS)
def test_centers_all_over_the_earth(world: World, model: str) -> None:
    reach = 20.0 if model == "PLANAR" else 2_500_000.0
    for center in scattered(25, seed=3):
        found = within(world.stub, radius("facilities", point(*center), reach, model))
        assert_found(found, world.points, model, center, reach)


def test_the_largest_radius_covers_the_earth(world: World) -> None:
    found = within(world.stub, radius("facilities", point(12.0, -34.0), 20_100_000))

    assert sorted(key for key, _ in found) == world.points.keys.tolist()


def test_radius_0_finds_what_touches(world: World) -> None:
    duplicates = [key for key, place in enumerate(NAMED, 1) if place == (10.0, 10.0)]

    found = within(world.stub, radius("facilities", point(10, 10), 0))

    assert found == [(key, 0.0) for key in duplicates]


@pytest.mark.parametrize("model", MODELS)
def test_the_border_is_within(world: World, model: str) -> None:
    here, there = NAMED.index((0.0, 0.0)) + 1, NAMED.index((0.5, 0.0)) + 1
    distance = dict(within(world.stub, radius("facilities", point(0, 0), 60_000, model)))[there]

    on_the_border = within(world.stub, radius("facilities", point(0, 0), distance, model))
    short_of_it = within(world.stub, radius("facilities", point(0, 0), nextafter(distance, 0) - 1e-6, model))

    assert on_the_border == [(here, 0.0), (there, distance)]
    assert short_of_it == [(here, 0.0)]


def test_both_sides_of_the_antimeridian_are_one_place(world: World) -> None:
    east, west = (within(world.stub, radius("facilities", point(x, 0), 150_000)) for x in (-180, 180))

    assert east == west
    assert len(east) == 6


AROUND_THE_WORLD = [(13.4, 52.5), (-100.0, 48.0), (179.9, -17.0), (40.0, 88.0), (0.0, -89.0)]


@pytest.mark.parametrize(
    ("model", "layer", "spacing", "reach", "centers"),
    [
        ("SPHEROID", "zones", 20_000.0, 1_500_000.0, AROUND_THE_WORLD),
        ("SPHERE", "zones", 20_000.0, 1_500_000.0, AROUND_THE_WORLD),
        ("SPHEROID", "districts", 100.0, 12_000.0, [(-73.98, 40.75), (-73.9, 40.6), (-74.3, 40.5)]),
        ("SPHEROID", "parcels", 100.0, 5_000.0, [(-73.98, 40.75), (-73.83, 40.61), (-73.95, 40.7)]),
    ],
)
def test_distances_to_a_boundary(
    demo: Any,
    demo_database: str,
    model: str,
    layer: str,
    spacing: float,
    reach: float,
    centers: list[tuple[float, float]],
) -> None:
    geod = SPHEROID if model == "SPHEROID" else SPHERE
    stored = geometries(demo_database, layer, "boundary")
    outlines = {key: Outline.of(geometry, spacing, geod) for key, geometry in stored.items()}
    for center in centers:
        found = within(demo, radius(layer, point(*center), reach, model))
        distances = dict(found)

        assert found
        assert disordered(found) == []
        assert wrong_distances(stored, outlines, center, distances, reach) == {}


def wrong_distances(
    stored: dict[int, BaseGeometry],
    outlines: dict[int, Outline],
    center: tuple[float, float],
    found: dict[int, float],
    reach: float,
) -> dict[int, tuple[float | None, float, float]]:
    """What is found, or not found, against the bounds of its distance: found, lower, upper."""
    wrong = {}
    for key, geometry in stored.items():
        bounds = outlines[key].bounds(*np.array([center]).T)
        lower, upper = float(bounds.lower[0]), float(bounds.upper[0])
        if holds(geometry, *center):
            lower = upper = 0.0
        margin = upper * EDGE_TOLERANCE
        distance = found.get(key)
        right = upper + margin >= reach if distance is None else lower - margin <= distance <= upper + margin
        if not right:
            wrong[key] = (distance, lower, upper)
    return wrong


@pytest.mark.parametrize("layer", ["zones", "districts", "parcels"])
def test_planar_distances_to_a_boundary(demo: Any, demo_database: str, layer: str) -> None:
    stored = geometries(demo_database, layer, "boundary")
    for center in [(-73.98, 40.75), (-73.83, 40.61), (-74.5, 41.0)]:
        expected = dict(zip(stored, shapely.distance([*stored.values()], shapely.Point(center)).tolist(), strict=True))
        found = within(demo, radius(layer, point(*center), 0.5, "PLANAR"))

        assert dict(found) == pytest.approx({key: each for key, each in expected.items() if each <= 0.5}, abs=1e-9)
        assert disordered(found) == []


SHAPES = {
    "a line across the Atlantic": "LINESTRING (-60 10, -40 30, -10 40)",
    "a line over the antimeridian": "LINESTRING (170 10, -170 20)",
    "a polygon": "POLYGON ((20 0, 40 0, 40 30, 20 30, 20 0))",
    "a polygon with a hole": "POLYGON ((0 0, 60 0, 60 50, 0 50, 0 0), (20 10, 40 10, 40 30, 20 30, 20 10))",
    "a polygon over the antimeridian": "POLYGON ((170 -10, -170 -10, -170 20, 170 20, 170 -10))",
    "two polygons": "MULTIPOLYGON (((0 0, 10 0, 10 10, 0 0)), ((100 -40, 120 -40, 110 -20, 100 -40)))",
    "several points": "MULTIPOINT ((0 0), (100 50), (-120 -30))",
    "lines apart": "MULTILINESTRING ((0 0, 10 10), (-100 60, -90 70, -60 75))",
}


@pytest.mark.parametrize("case", SHAPES)
def test_around_a_shape_distance_is_to_its_nearest_place(world: World, case: str) -> None:
    geometry, points, reach = shapely.from_wkt(SHAPES[case]), world.points, 2_000_000.0
    bounds = Outline.of(geometry, 2_000.0).bounds(points.longitudes, points.latitudes)
    held = np.array([surrounds(geometry, *place) for place in zip(points.longitudes, points.latitudes, strict=True)])
    lower, upper = np.where(held, 0, bounds.lower), np.where(held, 0, bounds.upper)

    found = within(world.stub, radius("facilities", shape(SHAPES[case]), reach))

    assert_between(found, points, lower, upper, reach)


BOXES = {
    "a city": (13.0, 52.3, 13.8, 52.7),
    "across the antimeridian": (170.0, -20.0, -170.0, 30.0),
    "arctic cap": (-180.0, 66.0, 180.0, 90.0),
    "antarctic cap": (-180.0, -90.0, 180.0, -70.0),
    "359 degrees": (-179.5, 40.0, 179.5, 50.0),
    "359 degrees across the antimeridian": (1.0, -46.0, 0.0, -30.0),
    "half the Earth": (-90.0, -90.0, 90.0, 90.0),
}


@pytest.mark.parametrize("case", BOXES)
def test_around_a_box_sides_are_parallels_and_meridians(world: World, case: str) -> None:
    sides, points, reach = BOXES[case], world.points, 1_000_000.0
    west, south, east, north = sides
    bounds = Outline.of_box(*sides, spacing=5_000.0).bounds(points.longitudes, points.latitudes)
    x, y = points.longitudes, points.latitudes
    across = (west <= x) & (x <= east) if west <= east else (x >= west) | (x <= east)
    held = across & (south <= y) & (y <= north)

    found = within(world.stub, radius("facilities", box(*sides), reach))

    assert_between(found, points, np.where(held, 0, bounds.lower), np.where(held, 0, bounds.upper), reach)


def assert_between(found: list[tuple[int, float]], points: Points, lower: Any, upper: Any, reach: float) -> None:
    distances, wrong = dict(found), []
    for key, least, most in zip(points.keys.tolist(), lower.tolist(), upper.tolist(), strict=True):
        distance, margin = distances.get(key), most * EDGE_TOLERANCE + 1
        right = most + margin >= reach if distance is None else least - margin <= distance <= most + margin
        if not right:
            wrong.append((key, distance, least, most))
    assert wrong == []
    assert disordered(found) == []
    assert found


@pytest.mark.parametrize("side", [180.0, -180.0])
def test_radius_0_reaches_over_the_antimeridian(world: World, side: float) -> None:
    both = [key for key, place in enumerate(NAMED, 1) if place[1] == 10.0 and abs(place[0]) == 180]

    assert within(world.stub, radius("facilities", point(side, 10), 0)) == [(key, 0.0) for key in both]
