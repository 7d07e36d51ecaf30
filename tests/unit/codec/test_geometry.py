"""What a probe reader accepts, what it makes of it, and how it refuses the rest."""

import json
import math
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shapely
from google.protobuf.struct_pb2 import Struct
from google.type import latlng_pb2
from hypothesis import given
from hypothesis import strategies as st

from service.codec.geometry import GeometryLimits, ProbeGeometry, ProbeReader, Stored
from service.codec.systems import KnownSystems
from service.errors import InvalidArgument, Reason
from spatial.v1 import geometry_pb2

LIMITS = GeometryLimits(max_bytes=1_000_000, max_vertices=20_000, max_depth=3)
READER = ProbeReader(LIMITS, KnownSystems([4326, 3857, 2263]))
MALFORMED = [
    json.loads(line) for line in (Path(__file__).parents[2] / "data" / "malformed_wkt.jsonl").read_text().splitlines()
]
# A sign that PostGIS refuses, GEOS reads, and nobody misunderstands.
HARMLESS = "POINT(+1 2)"


def geojson(value: dict[str, Any]) -> Struct:
    struct = Struct()
    struct.update(value)
    return struct


def probe(text: str, srid: int | None = None) -> geometry_pb2.Probe:
    return geometry_pb2.Probe(geometry=geometry_pb2.Geometry(wkt=text, srid=srid))


def read(source: geometry_pb2.Probe, srid: int = 4326, *, geodetic: bool = False) -> ProbeGeometry:
    return READER.read(source, srid=srid, geodetic=geodetic)


def refusal(source: geometry_pb2.Probe, srid: int = 4326, *, geodetic: bool = False) -> InvalidArgument:
    with pytest.raises(InvalidArgument) as caught:
        read(source, srid, geodetic=geodetic)
    return caught.value


def test_a_point_becomes_little_endian_ewkb() -> None:
    found = read(geometry_pb2.Probe(point=latlng_pb2.LatLng(latitude=52.5, longitude=13.4)))
    assert (found.kind, found.vertices) == ("POINT", 1)
    assert shapely.to_wkt(shapely.from_wkb(found.hexewkb), rounding_precision=-1) == "POINT (13.4 52.5)"
    assert shapely.get_srid(shapely.from_wkb(found.hexewkb)) == 4326


@pytest.mark.parametrize(("latitude", "longitude"), [(90, 180), (-90, -180), (0, 0)])
def test_points_on_the_rim_of_the_range_are_points(latitude: float, longitude: float) -> None:
    found = read(geometry_pb2.Probe(point=latlng_pb2.LatLng(latitude=latitude, longitude=longitude)))
    assert shapely.from_wkb(found.hexewkb).equals(shapely.Point(longitude, latitude))


@pytest.mark.parametrize(
    ("latitude", "longitude", "reason", "field"),
    [
        (90.1, 0, Reason.COORDINATE_OUT_OF_RANGE, "point.latitude"),
        (0, -180.1, Reason.COORDINATE_OUT_OF_RANGE, "point.longitude"),
        (math.nan, 0, Reason.NON_FINITE_COORDINATE, "point.latitude"),
        (0, math.inf, Reason.NON_FINITE_COORDINATE, "point.longitude"),
    ],
)
def test_points_out_of_range_are_refused(latitude: float, longitude: float, reason: Reason, field: str) -> None:
    error = refusal(geometry_pb2.Probe(point=latlng_pb2.LatLng(latitude=latitude, longitude=longitude)))
    assert (error.reason, error.field) == (reason, field)


def test_a_point_keeps_its_crs_for_a_layer_in_another_one() -> None:
    found = read(geometry_pb2.Probe(point=latlng_pb2.LatLng(latitude=52.5, longitude=13.4)), srid=2263)
    assert (found.srid, int(shapely.get_srid(shapely.from_wkb(found.hexewkb)))) == (4326, 4326)


def test_a_point_is_refused_for_a_layer_without_a_crs() -> None:
    error = refusal(geometry_pb2.Probe(point=latlng_pb2.LatLng()), srid=0)
    assert (error.reason, error.field, error.metadata["expected"]) == (Reason.SRID_MISMATCH, "point", "0")


@pytest.mark.parametrize(
    ("source", "field"),
    [(geometry_pb2.Probe(), None), (geometry_pb2.Probe(geometry=geometry_pb2.Geometry()), "geometry")],
)
def test_a_probe_without_a_source_is_refused(source: geometry_pb2.Probe, field: str | None) -> None:
    error = refusal(source)
    assert (error.reason, error.field) == (Reason.REQUIRED, field)


SHAPES = {
    "point": "POINT (1 2)",
    "line": "LINESTRING (1 2, 3 4)",
    "polygon with a hole": "POLYGON ((0 0, 9 0, 9 9, 0 0), (5 1, 6 1, 6 2, 5 1))",
    "points": "MULTIPOINT ((1 2), (3 4))",
    "lines": "MULTILINESTRING ((1 2, 3 4), (5 6, 7 8))",
    "polygons": "MULTIPOLYGON (((0 0, 1 0, 1 1, 0 0)), ((5 5, 6 5, 6 6, 5 5)))",
    "collection": "GEOMETRYCOLLECTION (POINT (1 2), LINESTRING (5 5, 6 6))",
    "nested collection": "GEOMETRYCOLLECTION (GEOMETRYCOLLECTION (POINT (1 2)), POINT (5 5))",
}


def encodings(text: str) -> dict[str, geometry_pb2.Geometry]:
    shape = shapely.from_wkt(text)
    solid = shapely.force_3d(shape, 7.0)
    return {
        "ISO WKB": geometry_pb2.Geometry(wkb=shapely.to_wkb(shape, flavor="iso")),
        "EWKB": geometry_pb2.Geometry(wkb=shapely.to_wkb(shapely.set_srid(shape, 4326), include_srid=True)),
        "big-endian": geometry_pb2.Geometry(wkb=shapely.to_wkb(shape, byte_order=0)),
        "ISO WKB with Z": geometry_pb2.Geometry(wkb=shapely.to_wkb(solid, flavor="iso")),
        "EWKB with Z": geometry_pb2.Geometry(wkb=shapely.to_wkb(solid, byte_order=0)),
        "WKT": geometry_pb2.Geometry(wkt=text),
        "WKT with Z": geometry_pb2.Geometry(wkt=shapely.to_wkt(solid)),
        "EWKT": geometry_pb2.Geometry(wkt=f" srid = 4326 ;{text}"),
        "GeoJSON": geometry_pb2.Geometry(geojson=geojson(json.loads(shapely.to_geojson(shape)))),
        "GeoJSON with Z": geometry_pb2.Geometry(geojson=geojson(json.loads(shapely.to_geojson(solid)))),
    }


@pytest.mark.parametrize("case", SHAPES)
@pytest.mark.parametrize("geodetic", [False, True])
def test_one_shape_is_the_same_in_every_encoding(case: str, geodetic: bool) -> None:
    expected = shapely.from_wkt(SHAPES[case])
    for name, geometry in encodings(SHAPES[case]).items():
        found = read(geometry_pb2.Probe(geometry=geometry), geodetic=geodetic)
        shape = shapely.from_wkb(found.hexewkb)
        assert shapely.equals_exact(shape, expected), name
        assert not shape.has_z, name
        assert shapely.get_srid(shape) == 4326, name
        assert (found.kind, found.vertices) == (
            expected.geom_type.upper(),
            int(shapely.get_num_coordinates(expected)),
        ), name
        assert found.hexewkb.startswith("01"), name


def test_m_is_dropped_as_z_is() -> None:
    shape = shapely.from_wkb(read(probe("LINESTRING ZM (1 2 3 4, 5 6 7 8)")).hexewkb)
    assert shapely.to_wkt(shape) == "LINESTRING (1 2, 5 6)"


# A probe, the layer's SRID, and the SRID that the probe is read in.
SRIDS = {
    "unset means 4326": (probe("POINT (1 2)"), 4326, 4326),
    "unset means 4326 also for a layer in feet": (probe("POINT (1 2)"), 2263, 4326),
    "the field says it": (probe("POINT (1 2)", 2263), 2263, 2263),
    "the text says it": (probe("SRID=2263;POINT (1 2)"), 2263, 2263),
    "both say it": (probe("SRID=2263;POINT (1 2)", 2263), 2263, 2263),
    "the field says another one than the layer's": (probe("POINT (1 2)", 3857), 2263, 3857),
    "the text says another one than the layer's": (probe("SRID=3857;POINT (1 2)"), 4326, 3857),
    "of no CRS, like the layer": (probe("POINT (1 2)", 0), 0, 0),
    "one that only the layer has": (probe("POINT (1 2)", 990_001), 990_001, 990_001),
}


@pytest.mark.parametrize("case", SRIDS)
def test_a_geometry_keeps_its_srid(case: str) -> None:
    source, layer, expected = SRIDS[case]

    found = read(source, layer)

    assert (found.srid, int(shapely.get_srid(shapely.from_wkb(found.hexewkb)))) == (expected, expected)


NO_SRIDS = {
    "they contradict each other": (
        probe("SRID=4326;POINT (1 2)", 2263),
        2263,
        Reason.SRID_MISMATCH,
        "geometry.srid",
        {"actual": "4326", "expected": "2263"},
    ),
    "zero is not unset": (
        probe("POINT (1 2)", 0),
        4326,
        Reason.SRID_MISMATCH,
        "geometry.srid",
        {"actual": "0", "expected": "4326"},
    ),
    "an embedded zero is not unset": (
        probe("SRID=0;POINT (1 2)"),
        4326,
        Reason.SRID_MISMATCH,
        "geometry.wkt",
        {"actual": "0", "expected": "4326"},
    ),
    "a layer without a CRS": (
        probe("POINT (1 2)"),
        0,
        Reason.SRID_MISMATCH,
        "geometry.wkt",
        {"actual": "4326", "expected": "0"},
    ),
    "unknown": (probe("POINT (1 2)", 2264), 4326, Reason.UNKNOWN_SRID, "geometry.srid", {"srid": "2264"}),
    "unknown in the text": (
        probe("SRID=2264;POINT (1 2)"),
        2263,
        Reason.UNKNOWN_SRID,
        "geometry.wkt",
        {"srid": "2264"},
    ),
    "negative": (probe("POINT (1 2)", -1), 4326, Reason.UNKNOWN_SRID, "geometry.srid", {"srid": "-1"}),
}


@pytest.mark.parametrize("case", NO_SRIDS)
def test_srids_that_cannot_be_are_refused(case: str) -> None:
    source, layer, reason, field, metadata = NO_SRIDS[case]

    error = refusal(source, layer)

    assert (error.reason, error.field, error.metadata) == (reason, field, metadata)


def test_degrees_are_checked_of_a_probe_in_degrees_whatever_the_layer_is_in() -> None:
    error = refusal(probe("LINESTRING (0 0, 0 -91)"), 3857)
    assert (error.reason, error.field) == (Reason.COORDINATE_OUT_OF_RANGE, "geometry.wkt")
    # From -180 to 180, as degrees the antipodal edge that it is on the equator of a layer on the Earth.
    across = "LINESTRING (-90 0, 90 0)"
    assert refusal(probe(across), geodetic=True).reason is Reason.INVALID_GEOMETRY
    assert read(probe(across, 3857), geodetic=True).srid == 3857


FEATURE = geometry_pb2.Probe(feature=geometry_pb2.FeatureRef(layer="zones", id="1"))


def stored(text: str, srid: int = 4326) -> Stored:
    return Stored(shapely.to_wkb(shapely.from_wkt(text), flavor="iso"), srid)


@pytest.mark.parametrize("text", ["POINT (1 2)", "POLYGON ((0 0, 9 0, 9 9, 0 0))", "LINESTRING Z (1 2 3, 4 5 6)"])
@pytest.mark.parametrize("srid", [4326, 2263])
def test_a_feature_is_read_as_what_the_database_has(text: str, srid: int) -> None:
    found = READER.read(FEATURE, srid=4326, geodetic=False, stored=stored(text, srid))

    expected = shapely.set_srid(shapely.force_2d(shapely.from_wkt(text)), srid)
    assert found.hexewkb == shapely.to_wkb(expected, hex=True, byte_order=1, include_srid=True).lower()
    assert found.srid == srid


def test_a_feature_may_be_larger_than_what_a_caller_sends() -> None:
    line = shapely.LineString(np.stack((np.linspace(0, 1, 70_000), np.zeros(70_000)), axis=1))

    found = READER.read(FEATURE, srid=4326, geodetic=False, stored=Stored(shapely.to_wkb(line), 4326))

    assert found.vertices == 70_000 > LIMITS.max_vertices
    assert len(found.hexewkb) > 2 * LIMITS.max_bytes


@pytest.mark.parametrize(
    ("had", "layer", "reason"),
    [
        (stored("POLYGON ((0 0, 1 1, 1 0, 0 1, 0 0))"), 4326, Reason.INVALID_GEOMETRY),
        (stored("POLYGON EMPTY"), 4326, Reason.EMPTY_GEOMETRY),
        (stored("POINT (181 0)"), 4326, Reason.COORDINATE_OUT_OF_RANGE),
        (stored("POINT (1 2)", 0), 4326, Reason.SRID_MISMATCH),
        (stored("POINT (1 2)"), 0, Reason.SRID_MISMATCH),
    ],
    ids=["invalid", "empty", "beyond the Earth", "of no CRS", "in a layer of no CRS"],
)
def test_what_a_feature_has_is_checked_as_what_a_caller_sends(had: Stored, layer: int, reason: Reason) -> None:
    with pytest.raises(InvalidArgument) as caught:
        READER.read(FEATURE, srid=layer, geodetic=False, stored=had)

    assert (caught.value.reason, caught.value.field) == (reason, "feature")


def test_coordinates_beyond_180_and_90_are_right_in_a_plane() -> None:
    assert read(probe("LINESTRING (987000 211000, 990000 200000)", 2263), 2263).vertices == 2


DEEP = "GEOMETRYCOLLECTION(" * 4 + "POINT(1 2)" + ")" * 4
REFUSED = {
    "longitude": ("LINESTRING (0 0, 180.5 0)", Reason.COORDINATE_OUT_OF_RANGE, {"actual": "180.5", "limit": "180"}),
    "latitude": ("LINESTRING (0 0, 0 -91)", Reason.COORDINATE_OUT_OF_RANGE, {"actual": "-91.0", "limit": "90"}),
    "NaN": ("POINT (nan nan)", Reason.NON_FINITE_COORDINATE, {"offset": "7", "actual": "nan"}),
    "minus infinity": ("POINT (1 -Infinity)", Reason.NON_FINITE_COORDINATE, {"offset": "9", "actual": "-Infinity"}),
    "more than a double holds": ("POINT (1 1e400)", Reason.NON_FINITE_COORDINATE, {"actual": "1.0 inf"}),
    "a hexadecimal number": ("POINT (0x10 2)", Reason.INVALID_ENCODING, {"offset": "7"}),
    "text after a NUL": ("POINT (1 2)\0POINT", Reason.INVALID_ENCODING, {"offset": "11"}),
    "letters beyond ASCII": ("SRID=4326;PÖINT (1 2)", Reason.INVALID_ENCODING, {"offset": "11"}),
    "no text": ("", Reason.INVALID_ENCODING, {}),
    "an SRID alone": ("SRID=4326;", Reason.INVALID_ENCODING, {}),
    "empty": ("POINT EMPTY", Reason.EMPTY_GEOMETRY, {}),
    "an empty member": ("MULTIPOINT (EMPTY, (1 0))", Reason.EMPTY_GEOMETRY, {}),
    "curve": ("CIRCULARSTRING (0 0, 1 1, 2 0)", Reason.UNSUPPORTED_GEOMETRY_TYPE, {"actual": "CIRCULARSTRING"}),
    "TIN": ("TIN Z (((0 0 0, 0 0 1, 0 1 0, 0 0 0)))", Reason.UNSUPPORTED_GEOMETRY_TYPE, {"actual": "TIN"}),
    "too deep": (DEEP, Reason.GEOMETRY_TOO_DEEP, {"limit": "3"}),
    "far too deep": ("GEOMETRYCOLLECTION(" * 40_000, Reason.GEOMETRY_TOO_DEEP, {"limit": "3"}),
    "too many vertices": (f"MULTIPOINT ({'0 0,' * 20_000}0 0)", Reason.GEOMETRY_TOO_LARGE, {"limit": "20000"}),
    "too many characters": ("POINT (1 2)" + " " * 1_000_000, Reason.GEOMETRY_TOO_LARGE, {"limit": "1000000"}),
    "an open ring": ("POLYGON ((0 0, 1 0, 1 1, 0 1))", Reason.INVALID_GEOMETRY, {}),
    "a bow tie": (
        "POLYGON ((0 0, 2 2, 2 0, 0 2, 0 0))",
        Reason.INVALID_GEOMETRY,
        {"detail": "Self-intersection", "location": "POINT(1 1)"},
    ),
    "a hole outside": (
        "POLYGON ((0 0, 2 0, 2 2, 0 0), (5 5, 6 5, 6 6, 5 5))",
        Reason.INVALID_GEOMETRY,
        {"detail": "Hole lies outside shell", "location": "POINT(5 5)"},
    ),
    "a line without length": ("LINESTRING (1 1, 1 1)", Reason.INVALID_GEOMETRY, {"location": "POINT(1 1)"}),
    "an invalid member": (
        "GEOMETRYCOLLECTION (POINT (1 1), POLYGON ((0 0, 2 2, 2 0, 0 2, 0 0)))",
        Reason.INVALID_GEOMETRY,
        {"detail": "Self-intersection", "location": "POINT(1 1)"},
    ),
}


@pytest.mark.parametrize("case", REFUSED)
@pytest.mark.parametrize("geodetic", [False, True])
def test_refusals_name_the_field_and_the_reason(case: str, geodetic: bool) -> None:
    text, reason, metadata = REFUSED[case]
    error = refusal(probe(text), geodetic=geodetic)
    assert (error.reason, error.field) == (reason, "geometry.wkt")
    assert metadata.items() <= error.metadata.items()


def test_refused_wkb_names_the_byte() -> None:
    error = refusal(geometry_pb2.Probe(geometry=geometry_pb2.Geometry(wkb=b"\x01\x01\0\0\0")))
    assert (error.reason, error.field, error.metadata) == (Reason.INVALID_ENCODING, "geometry.wkb", {"offset": "5"})
    assert error.message == "the geometry ends where coordinates should be: 0 of 16 bytes at byte 5"


@pytest.mark.parametrize("case", MALFORMED, ids=lambda case: case["id"])
def test_what_parsers_of_text_have_choked_on_is_refused(case: dict[str, str]) -> None:
    if case["wkt"] == HARMLESS:
        assert read(probe(case["wkt"])).kind == "POINT"
        return
    assert refusal(probe(case["wkt"])).field == "geometry.wkt"


@given(st.text(max_size=60) | st.text("POINTLESRGMUCA()zm ,.0123456789e+-", max_size=60))
def test_whatever_the_text_only_a_refusal_comes(text: str) -> None:
    with suppress(InvalidArgument):
        found = read(probe(text))
        assert shapely.is_valid(shapely.from_wkb(found.hexewkb))


ANTIPODAL = {
    "along the equator": ("LINESTRING (0 0, 180 0)", "POINT(0.0 0.0)"),
    "from pole to pole": ("LINESTRING (5 -90, 7 90)", "POINT(5.0 -90.0)"),
    "all but 0.1 mm": ("LINESTRING (10 20, -169.999999999 -20)", "POINT(10.0 20.0)"),
    "between rings only": (
        "POLYGON ((-90 -60, 91 -60, 91 61, -90 61, -90 -60), (90 60, 89 60, 89 59, 90 60))",
        None,
    ),
    "in a hole": (
        "POLYGON ((-91 -60, 91 -60, 91 60, -91 60, -91 -60), (-90 0, 90 0, 90 2, -90 0))",
        "POINT(-90.0 0.0)",
    ),
    "in a collection": ("GEOMETRYCOLLECTION (POINT (1 1), LINESTRING (10 20, 0 0, 180 0))", "POINT(0.0 0.0)"),
    "between parts only": ("MULTILINESTRING ((1 1, 0 0), (180 0, 179 1))", None),
    "between points": ("MULTIPOINT ((0 0), (180 0))", None),
}


@pytest.mark.parametrize("case", ANTIPODAL)
def test_an_edge_between_antipodal_points_is_refused_on_the_spheroid_alone(case: str) -> None:
    text, location = ANTIPODAL[case]
    read(probe(text))
    if location is None:
        read(probe(text), geodetic=True)
    else:
        error = refusal(probe(text), geodetic=True)
        assert (error.reason, error.metadata["location"]) == (Reason.INVALID_GEOMETRY, location)


SQUARE = "POLYGON ((0 0, 4 0, 4 4, 0 4, 0 0))"
TANGLED = {
    "polygons that overlap": f"GEOMETRYCOLLECTION ({SQUARE}, POLYGON ((2 2, 6 2, 6 6, 2 6, 2 2)))",
    "polygons that share a side": f"GEOMETRYCOLLECTION ({SQUARE}, POLYGON ((4 0, 8 0, 8 4, 4 4, 4 0)))",
    "a line through a polygon": f"GEOMETRYCOLLECTION ({SQUARE}, LINESTRING (-1 1, 8 1))",
    "a point in a polygon": f"GEOMETRYCOLLECTION ({SQUARE}, GEOMETRYCOLLECTION (POINT (1 1)))",
    "one polygon": f"GEOMETRYCOLLECTION ({SQUARE})",
}


@pytest.mark.parametrize("case", TANGLED)
def test_in_the_plane_no_member_of_a_collection_lies_on_another(case: str) -> None:
    shape = shapely.from_wkb(read(probe(TANGLED[case])).hexewkb)
    assert shapely.equals(shape, shapely.from_wkt(TANGLED[case]))
    parts = shapely.get_parts(shape)
    assert not any(
        shapely.relate_pattern(one, other, "T********") for one in parts for other in parts if one is not other
    )
    assert sum(part.geom_type == "Polygon" for part in parts) == 1


@pytest.mark.parametrize("case", TANGLED)
def test_on_the_spheroid_a_collection_stays_as_it_is(case: str) -> None:
    found = read(probe(TANGLED[case]), geodetic=True)
    assert shapely.equals_exact(shapely.from_wkb(found.hexewkb), shapely.from_wkt(TANGLED[case]))


def test_a_tangled_collection_is_refused_where_untangling_it_would_cost_much() -> None:
    circle = shapely.Point(1, 1).buffer(2, quad_segs=300)
    error = refusal(probe(f"GEOMETRYCOLLECTION (POINT (1 1), {circle.wkt})"))
    assert (error.reason, error.metadata["limit"]) == (Reason.GEOMETRY_TOO_LARGE, "1000")
    assert read(probe(f"GEOMETRYCOLLECTION (POINT (5 5), {circle.wkt})")).vertices == 1202


def test_a_collection_of_very_many_members_is_refused_in_the_plane() -> None:
    error = refusal(probe(f"GEOMETRYCOLLECTION (POINT (0 0){', POINT (1 1)' * 1000})"))
    assert (error.reason, error.metadata["limit"]) == (Reason.GEOMETRY_TOO_LARGE, "1000")


def comb(teeth: int) -> shapely.Polygon:
    """Long slanted teeth: valid, but the boxes of any two of its segments overlap."""
    step = np.arange(teeth) * 50.0 / teeth
    ends = np.stack((np.stack((step, -step), 1), np.stack((step + 80, 80 - step), 1)), 1)
    ends[1::2] = ends[1::2, ::-1]
    return shapely.Polygon([*ends.reshape(-1, 2), (ends[-1, -1, 0], -89), (-10, -89), (-10, 1), ends[0, 0]])


def test_a_polygon_whose_check_would_take_very_long_is_refused() -> None:
    error = refusal(geometry_pb2.Probe(geometry=geometry_pb2.Geometry(wkb=shapely.to_wkb(comb(8000)))))
    assert (error.reason, error.metadata["limit"]) == (Reason.GEOMETRY_TOO_LARGE, "20000000")


@pytest.mark.parametrize(
    "shape",
    [
        comb(200),
        shapely.Point(0, 0).buffer(50, quad_segs=4000),
        shapely.LineString(shapely.Point(0, 0).buffer(50, quad_segs=4000).exterior.coords),
        shapely.MultiPoint(np.random.default_rng(1).uniform(-80, 80, (300, 2))).buffer(0.01, quad_segs=15),
    ],
    ids=["a small comb", "a large circle", "a long line", "islands without order"],
)
def test_ordinary_shapes_are_not_taken_for_costly_ones(shape: shapely.Geometry) -> None:
    found = read(geometry_pb2.Probe(geometry=geometry_pb2.Geometry(wkb=shapely.to_wkb(shape))))
    assert found.vertices == shapely.get_num_coordinates(shape)


@pytest.mark.parametrize("size", [1e200, 1.7e308, 5e-324])
def test_coordinates_at_the_ends_of_what_a_double_holds_are_read_or_refused(size: float) -> None:
    for shape in (shapely.box(-size, -size, size, size), shapely.LineString([(-size, 0), (size, size)])):
        with suppress(InvalidArgument):
            read(geometry_pb2.Probe(geometry=geometry_pb2.Geometry(wkb=shapely.to_wkb(shape), srid=2263)), 2263)
