"""What `spatial query` and `spatial export` make of coordinates, areas and features, against pyproj and GEOS."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import pytest
import shapely
from shapely.geometry.base import BaseGeometry

from tests.oracle import Points, geometries
from tests.processes import invoked
from tests.projections import MERCATOR, NEW_YORK_FEET, moved
from tests.servers import Served

MANHATTAN = "-74.02,40.70,-73.99,40.72"
GERMANY = shapely.box(6, 47.5, 15, 54.8)
BERLIN = (13.4, 52.5)
BRITAIN, IN_BRITAIN = "zones/77", "facilities/29"
TOLERANCE = 0.001
COLUMNS = {"facilities": "location", "parcels": "boundary", "districts": "boundary", "zones": "boundary"}
Shapes = dict[int, BaseGeometry]


@pytest.fixture(scope="module")
def stored(demo_database: str) -> dict[str, Shapes]:
    return {layer: geometries(demo_database, layer, column) for layer, column in COLUMNS.items()}


@pytest.fixture(scope="module")
def points(demo_database: str) -> Points:
    return Points.of(demo_database)


def printed(server: Served, *words: object) -> str:
    shown = invoked(*map(str, words), target=server.address)
    assert (shown.returncode, shown.stderr) == (0, "")
    return shown.stdout


def queried(server: Served, *words: object) -> list[Any]:
    features: list[Any] = json.loads(printed(server, "query", *words, "--format", "geojson"))["features"]
    return features


def exported(server: Served, *words: object) -> list[Any]:
    """What an export writes as GeoJSONSeq."""
    return [json.loads(line) for line in printed(server, "export", words[0], "-", *words[1:]).splitlines()]


def shapes(features: Iterable[Any]) -> Shapes:
    return {int(feature["id"]): shapely.geometry.shape(feature["geometry"]) for feature in features}


def distances(features: Iterable[Any]) -> dict[int, float]:
    return {int(feature["id"]): feature["properties"]["distance_meters"] for feature in features}


def nearest(points: Points, here: tuple[float, float], count: int, among: Any = slice(None)) -> dict[int, float]:
    """By the lengths of geodesics."""
    metres, keys = points.distances("SPHEROID", *here)[among], points.keys[among]
    return {int(keys[each]): float(metres[each]) for each in np.argsort(metres)[:count]}


def assert_moved(found: Shapes, stored: Shapes, srid: int, off: float = 1e-3) -> None:
    assert found
    for key, shape in found.items():
        expected = shapely.set_srid(moved(stored[key], 4326, srid), 0)
        assert shapely.equals_exact(shape.normalize(), expected.normalize(), tolerance=off), key


def assert_simplified(found: Shapes, stored: Shapes) -> None:
    """By no more than was allowed, and by something."""
    assert found
    for key, shape in found.items():
        assert shape.is_valid
        assert shapely.hausdorff_distance(shape, stored[key]) <= TOLERANCE + 1e-8
    before, after = (sum(shapely.get_num_coordinates(each[key]) for key in found) for each in (stored, found))
    assert after < 0.9 * before


@pytest.mark.parametrize("srid", [MERCATOR, NEW_YORK_FEET])
def test_a_query_is_answered_in_another_system(demo_server: Served, stored: dict[str, Shapes], srid: int) -> None:
    found = shapes(queried(demo_server, "intersects", "parcels", "--bbox", MANHATTAN, "--srid", srid))

    assert_moved(found, stored["parcels"], srid)


def test_a_query_is_answered_with_simpler_shapes(demo_server: Served, stored: dict[str, Shapes]) -> None:
    found = shapes(queried(demo_server, "nearest", "districts", "--at", "40.7,-74", "--simplify", TOLERANCE))

    assert set(found) == set(stored["districts"])
    assert_simplified(found, stored["districts"])


@pytest.mark.parametrize(("srid", "digits"), [(4326, 2), (MERCATOR, 0)])
def test_a_table_has_the_digits_that_were_asked_for(
    demo_server: Served, stored: dict[str, Shapes], srid: int, digits: int
) -> None:
    words = ("nearest", "facilities", "--at", "40.7,-74", "--property", "name", "--limit", 5)
    lines = printed(demo_server, "query", *words, "--srid", srid, "--digits", digits).splitlines()[1:]

    assert len(lines) == 5
    for line in lines:
        ((x, y),) = shapely.get_coordinates(moved(stored["facilities"][int(line.split()[0])], 4326, srid))
        written = (np.format_float_positional(round(number, digits), trim="-") for number in (x, y))
        assert line.endswith(f"  POINT({' '.join(written)})")


def test_a_query_may_be_about_a_feature_of_another_layer(demo_server: Served, stored: dict[str, Shapes]) -> None:
    words = ("intersects", "facilities", "--feature", BRITAIN, "--predicate", "within", "--limit", 1000)
    found = shapes(queried(demo_server, *words))

    britain = stored["zones"][77]
    assert set(found) == {key for key, place in stored["facilities"].items() if britain.contains(place)}
    assert 10 < len(found) < 1000


def test_the_nearest_to_a_feature_are_nearest_to_where_it_is(
    demo_server: Served, stored: dict[str, Shapes], points: Points
) -> None:
    found = distances(queried(demo_server, "nearest", "facilities", "--feature", IN_BRITAIN, "--limit", 50))

    place: Any = stored["facilities"][29]
    assert found == pytest.approx(nearest(points, (place.x, place.y), 50), abs=1e-6)


def test_the_nearest_may_have_to_be_inside_an_area(demo_server: Served, points: Points) -> None:
    words = ("--at", "52.5,13.4", "--limit", 50, "--inside", GERMANY.wkt)
    found = distances(queried(demo_server, "nearest", "facilities", *words))

    inside = shapely.intersects_xy(GERMANY, points.longitudes, points.latitudes)
    assert found == pytest.approx(nearest(points, BERLIN, 50, inside), abs=1e-6)
    assert set(found) != set(nearest(points, BERLIN, 50))


@pytest.mark.parametrize("suffix", [".gpkg", ".parquet"])
def test_a_file_is_written_in_another_system(
    demo_server: Served, stored: dict[str, Shapes], suffix: str, tmp_path: Path
) -> None:
    path = tmp_path / f"file{suffix}"
    printed(demo_server, "export", "parcels", path, "--srid", NEW_YORK_FEET)
    frame = geopandas.read_parquet(path) if suffix == ".parquet" else geopandas.read_file(path)

    assert frame.crs.to_epsg() == NEW_YORK_FEET
    found = dict(zip(frame["id"].astype(int), frame.geometry, strict=True))
    assert set(found) == set(stored["parcels"])
    assert_moved(found, stored["parcels"], NEW_YORK_FEET)


def test_an_export_has_simpler_shapes_and_as_geojson_is_in_degrees(
    demo_server: Served, stored: dict[str, Shapes]
) -> None:
    found = shapes(exported(demo_server, "districts", "--simplify", TOLERANCE, "--srid", MERCATOR))

    assert set(found) == set(stored["districts"])
    assert_simplified(found, stored["districts"])
