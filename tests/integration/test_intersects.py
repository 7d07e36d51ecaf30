"""SearchIntersects against GEOS on the same geometries: the demo data, and pairs made for their edges."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import pytest
import shapely
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from shapely.geometry.base import BaseGeometry

from spatial.v1 import geometry_pb2 as geometry
from tests.oracle import fetch, geometries
from tests.searches import box, ids, intersects, point, shape
from tests.servers import serving

# Read as *feature PREDICATE probe*.
PREDICATES: dict[str, Callable[..., Any]] = {
    "INTERSECTS": shapely.intersects,
    "WITHIN": shapely.within,
    "CONTAINS": shapely.contains,
    "COVERS": shapely.covers,
    "COVERED_BY": shapely.covered_by,
    "TOUCHES": shapely.touches,
    "CROSSES": shapely.crosses,
    "OVERLAPS": shapely.overlaps,
    "EQUALS": shapely.equals,
}
SQUARES = {
    "square": "POLYGON ((0 0, 4 0, 4 4, 0 4, 0 0))",
    "the same square, begun elsewhere": "POLYGON ((4 4, 0 4, 0 0, 4 0, 4 4))",
    "neighbour": "POLYGON ((4 0, 8 0, 8 4, 4 4, 4 0))",
    "neighbour along half a side": "POLYGON ((4 2, 8 2, 8 6, 4 6, 4 2))",
    "meets at a corner": "POLYGON ((4 4, 8 4, 8 8, 4 8, 4 4))",
    "overlaps": "POLYGON ((2 2, 6 2, 6 6, 2 6, 2 2))",
    "nested": "POLYGON ((1 1, 3 1, 3 3, 1 3, 1 1))",
    "nested along a side": "POLYGON ((0 1, 2 1, 2 3, 0 3, 0 1))",
    "around": "POLYGON ((-1 -1, 5 -1, 5 5, -1 5, -1 -1))",
    "with a hole": "POLYGON ((-2 -2, 6 -2, 6 6, -2 6, -2 -2), (0 0, 4 0, 4 4, 0 4, 0 0))",
    "with a smaller hole": "POLYGON ((-2 -2, 6 -2, 6 6, -2 6, -2 -2), (1 1, 3 1, 3 3, 1 3, 1 1))",
    "apart": "POLYGON ((20 20, 21 20, 21 21, 20 21, 20 20))",
    "its box meets, it does not": "POLYGON ((4.5 4.5, 9 0, 9 9, 4.5 4.5))",
    "an L around": "POLYGON ((-1 -1, 9 -1, 9 -0.5, -0.5 -0.5, -0.5 9, -1 9, -1 -1))",
    "west of the antimeridian": "POLYGON ((178 0, 180 0, 180 2, 178 2, 178 0))",
    "east of the antimeridian": "POLYGON ((-180 0, -178 0, -178 2, -180 2, -180 0))",
    "near the antimeridian": "POLYGON ((170 0, 171 0, 171 2, 170 2, 170 0))",
    "arctic": "POLYGON ((-180 80, 180 80, 180 90, -180 90, -180 80))",
}
PROBES = {
    **SQUARES,
    "a point inside": "POINT (2 2)",
    "a point on a side": "POINT (4 1)",
    "a point on a corner": "POINT (4 4)",
    "a point in no square": "POINT (30 30)",
    "points inside and outside": "MULTIPOINT ((2 2), (30 30))",
    "points on a side": "MULTIPOINT ((4 1), (4 2))",
    "a line through": "LINESTRING (-1 2, 9 2)",
    "a line along a side": "LINESTRING (4 0, 4 4)",
    "a line that ends on a side": "LINESTRING (4 2, 9 7)",
    "a line inside": "LINESTRING (1 1, 3 3)",
    "a square's own outline": "LINESTRING (0 0, 4 0, 4 4, 0 4, 0 0)",
    "lines": "MULTILINESTRING ((-1 2, 9 2), (20 20, 21 21))",
    "two of the squares": "MULTIPOLYGON (((0 0, 4 0, 4 4, 0 4, 0 0)), ((20 20, 21 20, 21 21, 20 21, 20 20)))",
    "the square without its middle": "POLYGON ((0 0, 4 0, 4 4, 0 4, 0 0), (1 1, 3 1, 3 3, 1 3, 1 1))",
}


@dataclass(frozen=True)
class Layers:
    """A server and what its layers hold, as GEOS has it."""

    stub: Any
    stored: dict[str, dict[int, BaseGeometry]]

    @cached_property
    def _trees(self) -> dict[str, shapely.STRtree]:
        return {layer: shapely.STRtree([*held.values()]) for layer, held in self.stored.items()}

    def expected(self, layer: str, predicate: str, probe: BaseGeometry) -> list[int]:
        tree, keys = self._trees[layer], [*self.stored[layer]]
        near = tree.query(probe)  # by their boxes
        return sorted(keys[each] for each in near[PREDICATES[predicate](tree.geometries[near], probe)])

    def found(self, layer: str, predicate: str, probe: geometry.Probe) -> list[int]:
        return ids(self.stub, intersects(layer, probe, predicate))


@pytest.fixture(scope="module")
def demo(demo_database: str) -> Iterator[Layers]:
    columns = {"facilities": "location", "zones": "boundary", "districts": "boundary", "parcels": "boundary"}
    stored = {layer: geometries(demo_database, layer, column) for layer, column in columns.items()}
    stored["zone_centroids"] = geometries(demo_database, "zones", "centroid")
    with serving(demo_database) as served:
        yield Layers(served.stub, stored)


@pytest.fixture(scope="module")
def squares(module_database: str) -> Iterator[Layers]:
    fetch(
        module_database,
        "INSERT INTO districts (name, boundary) VALUES ('all', ST_Multi(ST_MakeEnvelope(-9, -9, 9, 9, 4326)))",
    )
    fetch(
        module_database,
        "INSERT INTO parcels (number, name, land_use, district_id, boundary)"
        " SELECT number, 'square', 'test', (SELECT id FROM districts), ST_GeomFromText(wkt, 4326)"
        " FROM unnest(%s, %s) AS given (number, wkt)",
        [*SQUARES],
        [*SQUARES.values()],
    )
    fetch(
        module_database,
        "INSERT INTO facilities (name, kind, location)"
        " SELECT 'point', 'test', ST_SetSRID(ST_MakePoint(x, y), 4326) FROM unnest(%s, %s) AS place (x, y)",
        [2.0, 4.0, 4.0, 30.0],
        [2.0, 1.0, 4.0, 30.0],
    )
    stored = {
        "parcels": geometries(module_database, "parcels", "boundary"),
        "facilities": geometries(module_database, "facilities", "location"),
    }
    with serving(module_database) as served:
        yield Layers(served.stub, stored)


@pytest.mark.parametrize("predicate", PREDICATES)
@pytest.mark.parametrize("case", PROBES)
def test_every_predicate_at_every_edge(squares: Layers, case: str, predicate: str) -> None:
    probe = shapely.from_wkt(PROBES[case])

    assert squares.found("parcels", predicate, shape(probe)) == squares.expected("parcels", predicate, probe)


def test_points_in_and_on_a_square(squares: Layers) -> None:
    for predicate in PREDICATES:
        for wkt in PROBES.values():
            expected = squares.expected("facilities", predicate, shapely.from_wkt(wkt))
            assert squares.found("facilities", predicate, shape(wkt)) == expected, (predicate, wkt)


def test_no_predicate_stands_for_another(squares: Layers) -> None:
    """Each pair of predicates is told apart by some probe: if not, the tests above could not tell them apart either."""
    answers = {
        tuple(
            tuple(squares.expected(layer, name, shapely.from_wkt(wkt)))
            for wkt in PROBES.values()
            for layer in ("parcels", "facilities")
        )
        for name in PREDICATES
    }
    assert len(answers) == len(PREDICATES)
    assert all(any(answer) for answer in answers)


def test_a_predicate_is_read_from_the_feature_to_the_probe(squares: Layers) -> None:
    keys = {name: key for key, name in enumerate(SQUARES, 1)}
    inside_nested = shape("POLYGON ((1.5 1.5, 2.5 1.5, 2.5 2.5, 1.5 2.5, 1.5 1.5))")

    assert keys["nested"] in squares.found("parcels", "CONTAINS", inside_nested)
    assert squares.found("parcels", "WITHIN", inside_nested) == []
    assert keys["nested"] in squares.found("parcels", "WITHIN", shape(SQUARES["square"]))
    assert keys["nested"] not in squares.found("parcels", "CONTAINS", shape(SQUARES["square"]))


def test_unspecified_means_intersects(squares: Layers) -> None:
    for wkt in PROBES.values():
        probe = shape(wkt)
        assert squares.found("parcels", "UNSPECIFIED", probe) == squares.found("parcels", "INTERSECTS", probe)


@pytest.mark.parametrize("predicate", PREDICATES)
def test_a_box_is_its_rectangle(squares: Layers, predicate: str) -> None:
    for sides in [(0, 0, 4, 4), (4, 0, 8, 4), (1, 1, 2, 2), (-10, -10, 30, 30), (4, 4, 4, 4), (4, 0, 4, 4)]:
        rectangle = shapely.from_wkt(degenerate(*sides)) if sides[0] == sides[2] else shapely.box(*sides)
        assert squares.found("parcels", predicate, box(*sides)) == squares.expected("parcels", predicate, rectangle)


def degenerate(west: float, south: float, east: float, north: float) -> str:
    return f"POINT ({west} {south})" if south == north else f"LINESTRING ({west} {south}, {east} {north})"


@pytest.mark.parametrize("predicate", PREDICATES)
def test_a_box_across_the_antimeridian_is_two_rectangles(squares: Layers, predicate: str) -> None:
    rectangles = shapely.MultiPolygon([shapely.box(175, -5, 180, 5), shapely.box(-180, -5, -170, 5)])
    keys = {name: key for key, name in enumerate(SQUARES, 1)}

    found = squares.found("parcels", predicate, box(175, -5, -170, 5))

    assert found == squares.expected("parcels", predicate, rectangles)
    if predicate in ("INTERSECTS", "WITHIN", "COVERED_BY"):
        assert found == [keys["west of the antimeridian"], keys["east of the antimeridian"]]


@pytest.mark.parametrize("predicate", PREDICATES)
@pytest.mark.parametrize("layer", ["facilities", "zones", "parcels"])
def test_demo_data_against_points_lines_and_polygons(demo: Layers, layer: str, predicate: str) -> None:
    probes = [
        "POINT (-73.98 40.75)",
        "LINESTRING (-74.2 40.6, -73.7 40.9)",
        "POLYGON ((-74 40.6, -73.8 40.65, -73.9 40.85, -74.05 40.7, -74 40.6))",
        "MULTIPOINT ((-73.98 40.75), (13.4 52.5), (2.35 48.85))",
        "MULTIPOLYGON (((-75 40, -73 40, -73 42, -75 42, -75 40)), ((5 45, 15 45, 15 55, 5 55, 5 45)))",
        "POLYGON ((-180 -90, 180 -90, 180 90, -180 90, -180 -90))",
    ]
    for wkt in probes:
        probe = shapely.from_wkt(wkt)
        assert demo.found(layer, predicate, shape(wkt)) == demo.expected(layer, predicate, probe), wkt


@pytest.mark.parametrize("predicate", PREDICATES)
@pytest.mark.parametrize("layer", ["zones", "parcels"])
def test_demo_data_against_features_of_their_own(demo: Layers, layer: str, predicate: str) -> None:
    """Neighbours share borders, and every feature equals itself."""
    stored = demo.stored[layer]
    small = sorted(stored, key=lambda key: shapely.get_num_coordinates(stored[key]))
    for key in [*small[:2], small[len(small) // 2], small[-1]]:
        found = demo.found(layer, predicate, shape(stored[key]))
        assert found == demo.expected(layer, predicate, stored[key]), key
        assert (key in found) == (predicate not in ("TOUCHES", "CROSSES", "OVERLAPS"))


def test_a_point_probe_is_longitude_and_latitude(demo: Layers) -> None:
    assert demo.found("zones", "CONTAINS", point(13.4, 52.5)) == demo.expected(
        "zones", "CONTAINS", shapely.Point(13.4, 52.5)
    )
    assert len(demo.found("zones", "CONTAINS", point(13.4, 52.5))) == 1


def test_every_encoding_of_a_probe_asks_the_same(demo: Layers) -> None:
    polygon = shapely.box(5, 45, 15, 55)
    asked = geometry.Geometry()
    asked.geojson.update({"type": "Polygon", "coordinates": [[list(xy) for xy in polygon.exterior.coords]]})
    encodings = [
        geometry.Geometry(wkt=polygon.wkt),
        geometry.Geometry(wkt=f"SRID=4326;{polygon.wkt}"),
        geometry.Geometry(wkb=shapely.to_wkb(polygon, byte_order=0)),
        geometry.Geometry(wkb=shapely.to_wkb(shapely.set_srid(polygon, 4326), include_srid=True)),
        geometry.Geometry(wkb=shapely.to_wkb(shapely.force_3d(polygon))),
        asked,
    ]
    expected = demo.expected("facilities", "INTERSECTS", polygon)
    for each in encodings:
        assert demo.found("facilities", "INTERSECTS", geometry.Probe(geometry=each)) == expected
    assert expected


corner = st.integers(-3, 9)


@settings(max_examples=80, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    corners=st.lists(st.tuples(corner, corner), min_size=3, max_size=6, unique=True),
    predicate=st.sampled_from([*PREDICATES]),
)
def test_whatever_the_polygon(squares: Layers, corners: list[tuple[int, int]], predicate: str) -> None:
    probe = shapely.MultiPoint(corners).convex_hull

    assert squares.found("parcels", predicate, shape(probe)) == squares.expected("parcels", predicate, probe)
