"""Boxes, in the plane exactly and on the spheroid within a metre, judged by pyproj's geodesics."""

import math
from itertools import pairwise

import pytest
import shapely
from pyproj import Geod

from service.codec.box import DEVIATION_METERS
from service.codec.geometry import GeometryLimits, ProbeGeometry, ProbeReader
from service.errors import InvalidArgument, Reason
from spatial.v1 import geometry_pb2

READER = ProbeReader(GeometryLimits(1000, 1000, 1))
WGS84 = Geod(ellps="WGS84")


def read(west: float, south: float, east: float, north: float, srid: int = 4326, *, geodetic: bool) -> ProbeGeometry:
    bbox = geometry_pb2.BoundingBox(west=west, south=south, east=east, north=north)
    return READER.read(geometry_pb2.Probe(bbox=bbox), srid=srid, geodetic=geodetic)


PLANAR = {
    "a box": ((1, 2, 3, 4), "POLYGON ((1 2, 3 2, 3 4, 1 4, 1 2))"),
    "a point": ((1, 2, 1, 2), "POINT (1 2)"),
    "a stretch of a parallel": ((1, 2, 3, 2), "LINESTRING (1 2, 3 2)"),
    "a stretch of a meridian": ((1, 2, 1, 4), "LINESTRING (1 2, 1 4)"),
    "across the antimeridian": (
        (170, 2, -160, 4),
        "MULTIPOLYGON (((170 2, 180 2, 180 4, 170 4, 170 2)), ((-180 2, -160 2, -160 4, -180 4, -180 2)))",
    ),
    "a parallel across the antimeridian": ((170, 2, -160, 2), "MULTILINESTRING ((170 2, 180 2), (-180 2, -160 2))"),
    "from the antimeridian, called 180": ((180, 2, -160, 4), "POLYGON ((-180 2, -160 2, -160 4, -180 4, -180 2))"),
    "to the antimeridian, called -180": ((170, 2, -180, 4), "POLYGON ((170 2, 180 2, 180 4, 170 4, 170 2))"),
    "the antimeridian": ((180, 2, -180, 4), "MULTILINESTRING ((180 2, 180 4), (-180 2, -180 4))"),
    "a point on the antimeridian": ((180, 2, -180, 2), "MULTIPOINT ((180 2), (-180 2))"),
    "359 degrees wide": (
        (1, 2, 0, 4),
        "MULTIPOLYGON (((1 2, 180 2, 180 4, 1 4, 1 2)), ((-180 2, 0 2, 0 4, -180 4, -180 2)))",
    ),
    "the world": ((-180, -90, 180, 90), "POLYGON ((-180 -90, 180 -90, 180 90, -180 90, -180 -90))"),
}


@pytest.mark.parametrize("case", PLANAR)
def test_in_the_plane_a_box_is_exact_and_valid(case: str) -> None:
    box, expected = PLANAR[case]
    found = read(*box, geodetic=False)
    shape = shapely.from_wkb(found.hexewkb)
    assert shapely.equals_exact(shape, shapely.from_wkt(expected))
    assert shapely.is_valid(shape)
    assert shapely.get_srid(shape) == 4326
    assert (found.kind, found.vertices) == (shape.geom_type.upper(), int(shapely.get_num_coordinates(shape)))


@pytest.mark.parametrize("box", [(0, 0, 5e-324, 1), (0, 0, 1, 5e-324), (0, 0, 5e-324, 5e-324)], ids=str)
def test_on_the_spheroid_a_box_may_be_as_small_as_numbers_are(box: tuple[float, float, float, float]) -> None:
    found = shapely.from_wkb(read(*box, geodetic=True).hexewkb)
    assert (found.geom_type, found.bounds) == ("Polygon", box)


REFUSED = {
    "south beyond north": ((0, 2, 1, 1), 4326, Reason.OUT_OF_RANGE, "south"),
    "a longitude beyond 180": ((0, 0, 181, 1), 4326, Reason.COORDINATE_OUT_OF_RANGE, "east"),
    "a latitude beyond 90": ((0, -90.5, 1, 1), 4326, Reason.COORDINATE_OUT_OF_RANGE, "south"),
    "NaN": ((math.nan, 0, 1, 1), 4326, Reason.NON_FINITE_COORDINATE, "west"),
    "infinity": ((0, 0, 1, math.inf), 2263, Reason.NON_FINITE_COORDINATE, "north"),
    "west beyond east in a plane": ((2, 0, 1, 1), 2263, Reason.OUT_OF_RANGE, "west"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_impossible_boxes_are_refused(case: str) -> None:
    box, srid, reason, field = REFUSED[case]
    with pytest.raises(InvalidArgument) as caught:
        read(*box, srid, geodetic=False)
    assert (caught.value.reason, caught.value.field) == (reason, f"bbox.{field}")


def test_a_box_in_feet_knows_no_range() -> None:
    shape = shapely.from_wkb(read(980_000, 200_000, 990_000, 210_000, 2263, geodetic=False).hexewkb)
    assert shape.bounds == (980_000, 200_000, 990_000, 210_000)


BOXES = {
    "a city": (13.0, 52.3, 13.8, 52.7),
    "Europe": (-10, 35, 40, 70),
    "a band of 359 degrees": (-179.5, 44, 179.5, 46),
    "359 degrees across the antimeridian": (1, -46, 0, -44),
    "the tropics": (-180, -23, 180, 23),
    "the world": (-180, -90, 180, 90),
    "the arctic": (-180, 66.5, 180, 90),
    "around the south pole, 1 m wide": (-180, -90, 180, -89.99999),
    "Fiji": (177, -20, -178, -15),
    "a sliver": (0, 45, 90, 45.000001),
    "a parallel": (-100, 60, 100, 60),
    "a meridian from pole to pole": (7, -90, 7, 90),
    "half the world": (0, -90, 180, 90),
}


def lines(shape: shapely.Geometry) -> list[list[tuple[float, float]]]:
    parts = shapely.get_parts(shape)
    return [list((part.exterior if part.geom_type == "Polygon" else part).coords) for part in parts]


@pytest.mark.parametrize("case", BOXES)
def test_on_the_spheroid_edges_keep_within_a_metre_of_parallels_and_meridians(case: str) -> None:
    for line in lines(shapely.from_wkb(read(*BOXES[case], geodetic=True).hexewkb)):
        for (x, y), (to_x, to_y) in pairwise(line):
            for longitude, latitude in WGS84.npts(x, y, to_x, to_y, 3):
                if y == to_y:
                    assert WGS84.inv(longitude, latitude, longitude, y)[2] <= DEVIATION_METERS
                elif abs(y) != 90 and abs(to_y) != 90:
                    assert WGS84.inv(longitude, latitude, x, latitude)[2] <= 0.001


@pytest.mark.parametrize("case", BOXES)
def test_on_the_spheroid_no_edge_and_no_piece_is_wide_enough_to_be_misread(case: str) -> None:
    for line in lines(shapely.from_wkb(read(*BOXES[case], geodetic=True).hexewkb)):
        for start, end in pairwise(line):
            assert 0 < WGS84.inv(*start, *end)[2] < 3_400_000
        longitudes = [x for x, _ in line]
        if line[0] == line[-1]:
            assert max(longitudes) - min(longitudes) <= 60
            latitudes = [y for _, y in line]
            assert max(latitudes) - min(latitudes) <= 90


@pytest.mark.parametrize("case", BOXES)
def test_on_the_spheroid_the_pieces_cover_the_box(case: str) -> None:
    west, south, east, north = BOXES[case]
    shape = shapely.from_wkb(read(west, south, east, north, geodetic=True).hexewkb)
    pieces = shapely.get_parts(shape)
    assert shapely.is_valid(pieces).all()
    width = east - west if west <= east else east - west + 360
    if width * (north - south) > 0 and south > -90 and north < 90:
        assert shapely.area(pieces).sum() == pytest.approx(width * (north - south))
    assert (shape.bounds[1], shape.bounds[3]) == (south, north)


DEGENERATE = {
    "a point": ((5, 6, 5, 6), "POINT (5 6)"),
    "a pole": ((-180, 90, 180, 90), "POINT (-180 90)"),
    "a short meridian": ((5, 6, 5, 7), "LINESTRING (5 6, 5 7)"),
}


@pytest.mark.parametrize("case", DEGENERATE)
def test_on_the_spheroid_boxes_without_area_are_points_and_lines(case: str) -> None:
    box, expected = DEGENERATE[case]
    assert shapely.to_wkt(shapely.from_wkb(read(*box, geodetic=True).hexewkb)) == expected


@pytest.mark.parametrize(
    ("case", "most"), [("a city", 30), ("Europe", 1200), ("the world", 110), ("the tropics", 8000)]
)
def test_the_price_of_closeness_in_vertices_is_bounded(case: str, most: int) -> None:
    assert read(*BOXES[case], geodetic=True).vertices <= most
