"""What geometries a layer takes, what becomes of them, and how the rest is refused."""

import math
import struct
from typing import Any

import numpy as np
import pytest
import shapely
from google.protobuf.struct_pb2 import Struct

from service.catalog import Layer
from service.codec import wkb_curves, wkb_rows
from service.codec.arriving.geometries import ArrivalReader
from service.codec.systems import KnownSystems
from service.codec.wkb_types import GeometryLimits, WkbError
from service.errors import InvalidArgument
from spatial.v1 import geometry_pb2
from tests.arriving import AS_IT_IS, DIMENSIONS, LIMITS, READER, SHAPES, layer, text

BOW_TIE = "POLYGON ((0 0, 2 2, 2 0, 0 2, 0 0))"
TWO_TRIANGLES = "MULTIPOLYGON (((0 2, 1 1, 0 0, 0 2)), ((2 0, 1 1, 2 2, 2 0)))"
HIGH_TIE = "POLYGON Z ((0 0 1, 2 2 1, 2 0 1, 0 2 1, 0 0 1))"
TWO_HIGH_TRIANGLES = "MULTIPOLYGON Z (((0 2 1, 1 1 1, 0 0 1, 0 2 1)), ((2 0 1, 1 1 1, 2 2 1, 2 0 1)))"
SPIKE = "POLYGON ((0 0, 4 0, 4 4, 2 4, 2 9, 2 4, 0 4, 0 0))"


def wkt(text_: str, srid: int | None = None) -> geometry_pb2.Geometry:
    return geometry_pb2.Geometry(wkt=text_, srid=srid)


def wkb(form: str, *values: float) -> geometry_pb2.Geometry:
    return geometry_pb2.Geometry(wkb=struct.pack(form, *values))


def refusal(geometry: geometry_pb2.Geometry, held: Layer, **options: bool) -> InvalidArgument:
    with pytest.raises(InvalidArgument) as caught:
        READER.read(geometry, held, **{**AS_IT_IS, **options})
    return caught.value


def read(geometry: geometry_pb2.Geometry, held: Layer, **options: bool) -> Any:
    return shapely.from_wkb(READER.read(geometry, held, **{**AS_IT_IS, **options}).hexewkb)


MISMATCHES = {
    "another type": ("LINESTRING (0 0, 1 1)", "POINT", "LINESTRING", "POINT"),
    "several where there is one": ("MULTIPOINT ((0 0))", "POINT", "MULTIPOINT", "POINT"),
    "another type than the members": ("POINT (0 0)", "MULTIPOLYGON", "POINT", "MULTIPOLYGON"),
    "Z where there is none": ("POINT Z (0 0 1)", "POINT", "POINTZ", "POINT"),
    "no Z where there is one": ("POINT (0 0)", "POINTZ", "POINT", "POINTZ"),
    "M for Z": ("POINT M (0 0 1)", "POINTZ", "POINTM", "POINTZ"),
    "any type, but with Z": ("POINT (0 0)", "GEOMETRYZ", "POINT", "GEOMETRYZ"),
    "one shape in a collection": ("POINT (0 0)", "GEOMETRYCOLLECTION", "POINT", "GEOMETRYCOLLECTION"),
}


@pytest.mark.parametrize("case", MISMATCHES)
def test_a_geometry_has_the_type_and_the_dimensions_of_the_column(case: str) -> None:
    sent, held, actual, expected = MISMATCHES[case]

    error = refusal(wkt(sent), layer(held))

    assert (error.reason, error.field) == ("GEOMETRY_TYPE_MISMATCH", "wkt")
    assert error.metadata == {"actual": actual, "expected": expected}


REFUSED = {
    "nothing": (geometry_pb2.Geometry(), "POINT", "REQUIRED", None),
    "empty": (wkt("POINT EMPTY"), "POINT", "EMPTY_GEOMETRY", "wkt"),
    "an empty member": (wkt("MULTIPOINT ((1 1), EMPTY)"), "MULTIPOINT", "EMPTY_GEOMETRY", "wkt"),
    "an empty collection": (wkt("GEOMETRYCOLLECTION EMPTY"), "GEOMETRY", "EMPTY_GEOMETRY", "wkt"),
    "infinite": (wkb("<BI2d", 1, 1, math.inf, 0), "POINT", "NON_FINITE_COORDINATE", "wkb"),
    "an infinite Z": (wkt("POINT Z (0 0 1e999)"), "POINTZ", "NON_FINITE_COORDINATE", "wkt"),
    "an open ring": (wkt("POLYGON ((0 0, 1 0, 1 1, 0 1))"), "POLYGON", "INVALID_GEOMETRY", "wkt"),
    "beyond the date line": (wkt("POINT (180.1 0)"), "POINT", "COORDINATE_OUT_OF_RANGE", "wkt"),
    "beyond the pole": (wkt("LINESTRING (0 0, 0 -90.1)"), "LINESTRING", "COORDINATE_OUT_OF_RANGE", "wkt"),
    "invalid": (wkt(BOW_TIE), "POLYGON", "INVALID_GEOMETRY", "wkt"),
    "a curve as text": (wkt("CIRCULARSTRING (0 0, 1 1, 2 0)"), "GEOMETRY", "UNSUPPORTED_GEOMETRY_TYPE", "wkt"),
    "bytes behind it": (wkb("<BI2dx", 1, 1, 0, 0), "POINT", "INVALID_ENCODING", "wkb"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_a_column_had_better_not_have_is_refused(case: str) -> None:
    geometry, held, reason, field = REFUSED[case]

    error = refusal(geometry, layer(held))

    assert (error.reason, error.field) == (reason, field)


@pytest.mark.parametrize("case", [case for case in REFUSED if REFUSED[case][0].wkb])
def test_it_is_refused_among_many_just_so(case: str) -> None:
    geometry, held, reason, _ = REFUSED[case]
    fine = shapely.to_wkb(shapely.Point(1, 2), byte_order=1)

    found, refused = READER.read_many([fine, geometry.wkb, b"", fine], layer(held), srid=4326, **AS_IT_IS)

    assert [each is None for each in found] == [False, True, True, False]
    assert {row: error.reason for row, error in refused.items()} == {1: reason}


def test_what_is_invalid_is_said_with_what_and_where() -> None:
    error = refusal(wkt(BOW_TIE), layer("POLYGON"))

    assert error.metadata == {"detail": "Self-intersection", "location": "POINT(1 1)"}


def test_degrees_are_checked_of_degrees_alone() -> None:
    assert read(wkt("POINT (200000 200000)", 3857), layer("POINT")).x == 200000


# The SRID that is said, that the text carries, the layer's, and what comes of it.
SYSTEMS = {
    "unset is 4326": (None, "", 4326, 4326),
    "another CRS is kept": (3857, "", 4326, 3857),
    "carried": (None, "SRID=3857;", 4326, 3857),
    "of no CRS, like the layer": (0, "", 0, 0),
}


@pytest.mark.parametrize("case", SYSTEMS)
def test_a_geometry_keeps_its_crs(case: str) -> None:
    srid, carried, layers, expected = SYSTEMS[case]

    placed = READER.read(wkt(f"{carried}POINT (1 2)", srid), layer("POINT", layers), **AS_IT_IS)

    assert (placed.srid, int(shapely.get_srid(shapely.from_wkb(placed.hexewkb)))) == (expected, expected)


NO_SYSTEMS = {
    "only the layer's is wanted": (wkt("POINT (1 2)", 3857), 4326, True, "SRID_MISMATCH", "srid"),
    "only the layer's is wanted, and it is carried": (
        wkt("SRID=3857;POINT (1 2)"),
        4326,
        True,
        "SRID_MISMATCH",
        "wkt",
    ),
    "contradicted": (wkt("SRID=3857;POINT (1 2)", 4326), 4326, False, "SRID_MISMATCH", "srid"),
    "none to transform from": (wkt("POINT (1 2)", 0), 4326, False, "SRID_MISMATCH", "srid"),
    "none to transform to": (wkt("POINT (1 2)"), 0, False, "SRID_MISMATCH", "wkt"),
    "unknown": (wkt("POINT (1 2)", 2263), 4326, False, "UNKNOWN_SRID", "srid"),
}


@pytest.mark.parametrize("case", NO_SYSTEMS)
def test_another_crs_is_refused_where_it_is_not_wanted_or_of_no_use(case: str) -> None:
    geometry, srid, own, reason, field = NO_SYSTEMS[case]

    error = refusal(geometry, layer("POINT", srid), own_srid_only=own)

    assert (error.reason, error.field) == (reason, field)


def test_of_many_one_may_carry_its_own_crs() -> None:
    points = [shapely.Point(1, 2), shapely.set_srid(shapely.Point(1, 2), 3857), shapely.set_srid(shapely.Point(), 1)]
    wkbs = [shapely.to_wkb(point, include_srid=True) for point in points[:2]]

    found, refused = READER.read_many(wkbs, layer("POINT"), srid=4326, **AS_IT_IS)
    assert [int(shapely.get_srid(shapely.from_wkb(each))) for each in found] == [4326, 3857]
    assert refused == {}

    _, refused = READER.read_many(wkbs, layer("POINT"), srid=4326, repair=False, own_srid_only=True)
    assert {row: error.reason for row, error in refused.items()} == {1: "SRID_MISMATCH"}


def test_an_edge_between_antipodes_is_refused_where_geography_is_indexed() -> None:
    sent = wkt("LINESTRING (0 0, 180 0)")
    (many,), refused = READER.read_many(
        [shapely.to_wkb(shapely.from_wkt(sent.wkt))], layer("GEOMETRY", geography=True), srid=4326, **AS_IT_IS
    )

    assert refusal(sent, layer("LINESTRING", geography=True)).reason == "INVALID_GEOMETRY"
    assert (many, refused[0].metadata["detail"]) == (None, "An edge joins antipodal points")
    assert read(sent, layer("LINESTRING")).length == 180


def test_inner_srids_and_big_endian_members_become_plain() -> None:
    inner = shapely.to_wkb(shapely.set_srid(shapely.Point(1, 2), 4326), include_srid=True, byte_order=0)
    sent = struct.pack("<BIiI", 1, 4 | 0x20000000, 4326, 1) + inner

    placed = READER.read(geometry_pb2.Geometry(wkb=sent), layer("MULTIPOINT"), **AS_IT_IS)

    expected = shapely.set_srid(shapely.MultiPoint([(1, 2)]), 4326)
    assert placed.hexewkb == shapely.to_wkb(expected, include_srid=True, byte_order=1, hex=True).lower()


REPAIRS = {
    "a bow tie, where there are several": (BOW_TIE, "MULTIPOLYGON", TWO_TRIANGLES),
    "a spike": (SPIKE, "POLYGON", "POLYGON ((0 0, 4 0, 4 4, 2 4, 0 4, 0 0))"),
    "a line of one place, in anything": ("LINESTRING (1 1, 1 1)", "GEOMETRY", "POINT (1 1)"),
    "what is valid": ("POLYGON ((0 0, 1 0, 1 1, 0 0))", "POLYGON", "POLYGON ((0 0, 1 0, 1 1, 0 0))"),
    "with Z": (HIGH_TIE, "MULTIPOLYGONZ", TWO_HIGH_TRIANGLES),
}


@pytest.mark.parametrize("case", REPAIRS)
def test_a_repair_keeps_what_has_the_dimension_of_the_column(case: str) -> None:
    sent, held, expected = REPAIRS[case]

    found = read(wkt(sent), layer(held), repair=True)

    assert found.has_z == (held[-1] == "Z")
    assert shapely.to_wkt(shapely.normalize(found)) == shapely.to_wkt(shapely.normalize(shapely.from_wkt(expected)))


BEYOND_REPAIR = {
    "two parts for one": (BOW_TIE, "POLYGON", "it becomes a MultiPolygon of 2 parts"),
    "no area left": ("POLYGON ((0 0, 1 1, 2 2, 0 0))", "POLYGON", "it becomes a MultiLineString"),
    "M": ("POLYGON M ((0 0 1, 2 2 1, 2 0 1, 0 2 1, 0 0 1))", "MULTIPOLYGONM", "Z or M would be lost"),
}


@pytest.mark.parametrize("case", BEYOND_REPAIR)
def test_what_no_repair_makes_fit_is_refused_with_what_came_of_it(case: str) -> None:
    sent, held, outcome = BEYOND_REPAIR[case]

    error = refusal(wkt(sent), layer(held), repair=True)

    assert (error.reason, error.field) == ("INVALID_GEOMETRY", "wkt")
    assert error.message.endswith(f"; repaired, {outcome}")
    assert "location" in error.metadata


def test_what_would_take_long_to_repair_is_refused() -> None:
    scribble = shapely.Polygon(np.random.default_rng(7).uniform(0, 1, (400, 2)))
    sent = geometry_pb2.Geometry(wkb=shapely.to_wkb(scribble))

    assert refusal(sent, layer("MULTIPOLYGON"), repair=True).reason == "GEOMETRY_TOO_LARGE"
    assert refusal(sent, layer("MULTIPOLYGON")).reason == "INVALID_GEOMETRY"


def test_a_long_shape_with_one_fault_is_repaired() -> None:
    angles = np.linspace(0, 2 * np.pi, 20_000 - 4)[:-1]
    places = [*np.c_[np.cos(angles), np.sin(angles)] * 10, (11, 1), (11, -1), (12, 0)]
    sent = geometry_pb2.Geometry(wkb=shapely.to_wkb(shapely.Polygon(places)))

    assert refusal(sent, layer("MULTIPOLYGON")).reason == "INVALID_GEOMETRY"
    assert read(sent, layer("MULTIPOLYGON"), repair=True).is_valid


def test_heights_in_geojson_are_all_there_or_none() -> None:
    def sent(*positions: Any) -> geometry_pb2.Geometry:
        value = Struct()
        value.update({"type": "LineString", "coordinates": list(positions)})
        return geometry_pb2.Geometry(geojson=value)

    assert read(sent([1, 2, 3], [4, 5, 6]), layer("LINESTRINGZ")).wkt == "LINESTRING Z (1 2 3, 4 5 6)"
    for positions in ([1, 2, 3], [4, 5]), ([1, 2, 3, 4], [5, 6, 7, 8]):
        error = refusal(sent(*positions), layer())
        assert (error.reason, error.field) == ("INVALID_ENCODING", "geojson")


@pytest.mark.parametrize("dimensions", DIMENSIONS)
@pytest.mark.parametrize("name", [name for name in SHAPES if name != "GEOMETRYCOLLECTION"])
@pytest.mark.parametrize("flavor", ["iso", "extended", "with SRID"])
def test_many_are_read_without_a_step_for_each(name: str, dimensions: str, flavor: str) -> None:
    """And are what they would be one by one."""
    shape = shapely.from_wkt(text(name, dimensions))
    form: dict[str, Any] = {"include_srid": True} if flavor == "with SRID" else {"flavor": flavor}
    wkbs = [shapely.to_wkb(shapely.set_srid(shape, 4326), output_dimension=4, byte_order=1, **form)] * 3
    held = layer(name + dimensions)
    found: list[bytes | None] = [None] * 3

    assert wkb_rows.read_plain(wkbs, found, held, 4326, LIMITS) == []
    assert [each and each.hex() for each in found] == [
        READER.read(geometry_pb2.Geometry(wkb=each), held, **AS_IT_IS).hexewkb for each in wkbs
    ]


def test_whatever_is_cut_or_changed_is_read_among_many_as_by_itself() -> None:
    """Every prefix, and every byte turned round, of every type."""
    for name in SHAPES:
        whole = shapely.to_wkb(shapely.from_wkt(text(name, "")), byte_order=1)
        spoilt = [whole[:size] for size in range(1, len(whole))]
        spoilt += [whole[:at] + bytes([whole[at] ^ 0xFF]) + whole[at + 1 :] for at in range(len(whole))]
        found, refused = READER.read_many([*spoilt, whole], layer(), srid=4326, **AS_IT_IS)
        assert found[-1] is not None
        alone = [by_itself(each) for each in spoilt]
        among = [refused[row].reason if row in refused else found[row] for row in range(len(spoilt))]
        assert among == alone, name


def by_itself(data: bytes) -> bytes | str:
    """What is made of it, or why it is refused."""
    try:
        return bytes.fromhex(READER.read(geometry_pb2.Geometry(wkb=data), layer(), **AS_IT_IS).hexewkb)
    except InvalidArgument as error:
        return error.reason


def test_limits_hold_among_many() -> None:
    reader = ArrivalReader(GeometryLimits(max_bytes=200, max_vertices=5, max_depth=1), KnownSystems())
    lines = [shapely.LineString(np.c_[np.arange(size), np.arange(size)]) for size in (5, 6, 40)]

    found, refused = reader.read_many(list(shapely.to_wkb(lines)), layer(), srid=4326, **AS_IT_IS)

    assert found[0] is not None
    assert {row: (error.reason, error.metadata["limit"]) for row, error in refused.items()} == {
        1: ("GEOMETRY_TOO_LARGE", "5"),
        2: ("GEOMETRY_TOO_LARGE", "200"),
    }


def arcs(*positions: tuple[float, float]) -> bytes:
    return struct.pack("<BII", 1, 8, len(positions)) + struct.pack(f"<{2 * len(positions)}d", *sum(positions, ()))


def line(*positions: tuple[float, float]) -> bytes:
    return struct.pack("<BII", 1, 2, len(positions)) + struct.pack(f"<{2 * len(positions)}d", *sum(positions, ()))


def of(code: int, *members: bytes) -> bytes:
    return struct.pack("<BII", 1, code, len(members)) + b"".join(members)


ARCS = arcs((0, 0), (1, 1), (2, 0))
NO_CURVES = {
    "two points": (arcs((0, 0), (1, 1)), "INVALID_GEOMETRY"),
    "an even number of points": (arcs((0, 0), (1, 1), (2, 0), (3, 3)), "INVALID_GEOMETRY"),
    "parts that do not meet": (of(9, ARCS, line((5, 0), (6, 0))), "INVALID_GEOMETRY"),
    "a part that is no curve": (of(9, struct.pack("<BI2d", 1, 1, 0, 0)), "INVALID_ENCODING"),
    "an open ring": (of(10, ARCS), "INVALID_GEOMETRY"),
    "a ring of three points": (of(10, line((0, 0), (1, 1), (0, 0))), "INVALID_GEOMETRY"),
    "a curve within itself": (of(9, of(9, ARCS)), "INVALID_ENCODING"),
    "no parts": (of(9), "EMPTY_GEOMETRY"),
    "not finite": (arcs((0, 0), (math.nan, 1), (2, 0)), "NON_FINITE_COORDINATE"),
    "a triangle of two rings": (struct.pack("<BII", 1, 17, 2) + bytes(200), "INVALID_ENCODING"),
    "an empty triangle": (of(16, struct.pack("<BII", 1, 17, 0)), "EMPTY_GEOMETRY"),
    "cut": (of(12, of(10, ARCS))[:-3], "INVALID_ENCODING"),
}


@pytest.mark.parametrize("case", NO_CURVES)
def test_curves_and_surfaces_have_the_structure_of_their_type(case: str) -> None:
    data, reason = NO_CURVES[case]
    with pytest.raises(WkbError) as caught:
        wkb_curves.scan(data, LIMITS)
    assert caught.value.reason == reason


def test_curves_of_many_parts_are_read() -> None:
    ring = of(9, ARCS, line((2, 0), (0, 0)))
    found = wkb_curves.scan(of(7, of(12, of(10, ring)), of(11, ring, line((0, 0), (1, 1)))), LIMITS)
    assert (found.kind, found.vertices, found.curved) == ("GEOMETRYCOLLECTION", 12, True)


def test_the_earth_has_no_curves() -> None:
    data = of(9, ARCS)
    error = refusal(geometry_pb2.Geometry(wkb=data), layer(geography=True))
    assert (error.reason, error.metadata["actual"]) == ("UNSUPPORTED_GEOMETRY_TYPE", "COMPOUNDCURVE")
