"""The scanner against shapely's writer, and against everything that a parser has ever choked on."""

import json
import math
import struct
from pathlib import Path
from typing import Literal

import pytest
import shapely
from hypothesis import example, given
from hypothesis import strategies as st
from shapely.geometry.base import BaseGeometry

from service.codec import wkb
from service.codec import wkb_types as types
from service.codec.wkb_types import GeometryLimits, WkbError
from service.errors import Reason

Flavor = Literal["iso", "extended"]
FLAVORS: tuple[Flavor, ...] = ("iso", "extended")
LIMITS = GeometryLimits(max_bytes=100_000, max_vertices=1000, max_depth=3)
MALFORMED = [
    json.loads(line) for line in (Path(__file__).parents[2] / "data" / "malformed_wkb.jsonl").read_text().splitlines()
]
REASONS = {
    "absurd-count": {Reason.INVALID_ENCODING, Reason.UNSUPPORTED_GEOMETRY_TYPE},
    "byte-order": {Reason.INVALID_ENCODING},
    "dimension": {Reason.INVALID_ENCODING, Reason.UNSUPPORTED_GEOMETRY_TYPE},
    "fuzz": {Reason.INVALID_ENCODING},
    "garbage": {Reason.INVALID_ENCODING},
    "mixed-srid": {Reason.SRID_MISMATCH},
    "nan": {Reason.NON_FINITE_COORDINATE},
    "short-line": {Reason.INVALID_GEOMETRY},
    "short-ring": {Reason.INVALID_GEOMETRY},
    "srid": {Reason.INVALID_ENCODING},
    # Its ring has no points, which comes before what trails it.
    "trailing-bytes": {Reason.EMPTY_GEOMETRY},
    "truncated": {Reason.INVALID_ENCODING},
    "unclosed-ring": {Reason.INVALID_GEOMETRY},
    "unknown-type": {Reason.INVALID_ENCODING, Reason.UNSUPPORTED_GEOMETRY_TYPE},
    "wrong-element-type": {Reason.INVALID_ENCODING, Reason.UNSUPPORTED_GEOMETRY_TYPE},
}
TEXTS = (
    "POINT{} (1 2{})",
    "LINESTRING{} (1 2{}, 3 4{})",
    "POLYGON{} ((0 0{}, 9 0{}, 9 9{}, 0 0{}), (5 1{}, 6 1{}, 6 2{}, 5 1{}))",
    "MULTIPOINT{} ((1 2{}), (3 4{}))",
    "MULTILINESTRING{} ((1 2{}, 3 4{}), (5 6{}, 7 8{}, -9 0{}))",
    "MULTIPOLYGON{} (((0 0{}, 1 0{}, 1 1{}, 0 0{})), ((5 5{}, 6 5{}, 6 6{}, 5 5{})))",
    "GEOMETRYCOLLECTION{0} (POINT{0} (1 2{1}), GEOMETRYCOLLECTION{0} (LINESTRING{0} (1 2{1}, 3 4{1})))",
)
DIMENSIONS = {"XY": ("", ""), "XYZ": (" Z", " 7"), "XYM": (" M", " 7"), "XYZM": (" ZM", " 7 8")}


def written(text: str, dimensions: str) -> BaseGeometry:
    tag, more = DIMENSIONS[dimensions]
    if "{0}" in text:
        return shapely.from_wkt(text.format(tag, more))
    return shapely.from_wkt(text.format(tag, *[more] * (text.count("{}") - 1)))


def fault(data: bytes, limits: GeometryLimits = LIMITS) -> WkbError:
    with pytest.raises(WkbError) as caught:
        wkb.scan(data, limits)
    return caught.value


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("dimensions", DIMENSIONS)
@pytest.mark.parametrize("flavor", FLAVORS)
@pytest.mark.parametrize("byte_order", [0, 1])
def test_every_type_dimension_and_byte_order_is_read_as_shapely_wrote_it(
    text: str, dimensions: str, flavor: Flavor, byte_order: int
) -> None:
    geometry = written(text, dimensions)
    data = shapely.to_wkb(geometry, output_dimension=4, byte_order=byte_order, flavor=flavor)
    found = wkb.scan(data, LIMITS)
    assert found.kind == text.partition("{")[0]
    assert found.vertices == shapely.get_num_coordinates(geometry)
    assert (found.west, found.south, found.east, found.north) == geometry.bounds
    assert found.srid is None
    assert found.plain == (dimensions == "XY" and byte_order == 1)


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("byte_order", [0, 1])
def test_the_srid_of_ewkb_is_found(text: str, byte_order: int) -> None:
    geometry = shapely.set_srid(written(text, "XYZ"), 2263)
    data = shapely.to_wkb(geometry, byte_order=byte_order, include_srid=True)
    assert wkb.scan(data, LIMITS).srid == 2263


def header(code: int, order: str = "<", srid: int | None = None) -> bytes:
    flags = 0 if srid is None else types.SRID_FLAG
    start = struct.pack(f"{order}BI", order == "<", code | flags)
    return start + (b"" if srid is None else struct.pack(f"{order}i", srid))


def point(x: float = 1, y: float = 2, order: str = "<", srid: int | None = None) -> bytes:
    return header(types.POINT, order, srid) + struct.pack(f"{order}dd", x, y)


def collection(code: int, *members: bytes, order: str = "<", srid: int | None = None) -> bytes:
    return header(code, order, srid) + struct.pack(f"{order}I", len(members)) + b"".join(members)


@pytest.mark.parametrize("code", [types.MULTIPOINT, types.COLLECTION])
def test_members_may_have_byte_orders_of_their_own(code: int) -> None:
    found = wkb.scan(collection(code, point(1, 2), point(3, 4, ">"), point(-5, 6)), LIMITS)
    assert (found.west, found.south, found.east, found.north, found.plain) == (-5, 2, 3, 6, False)


def test_a_member_may_repeat_the_srid_of_its_collection() -> None:
    found = wkb.scan(collection(types.MULTIPOINT, point(srid=4326), point(srid=4326), srid=4326), LIMITS)
    assert (found.srid, found.vertices, found.plain) == (4326, 2, False)


@pytest.mark.parametrize("outer", [None, 4326])
def test_a_member_with_another_srid_than_its_collection_is_refused(outer: int | None) -> None:
    data = collection(types.MULTIPOINT, point(), point(srid=2263), srid=outer)
    assert fault(data).reason is Reason.SRID_MISMATCH


def line(*positions: tuple[float, float]) -> bytes:
    written = b"".join(struct.pack("<dd", *position) for position in positions)
    return header(types.LINESTRING) + struct.pack("<I", len(positions)) + written


def ring(*positions: tuple[float, float]) -> bytes:
    written = b"".join(struct.pack("<dd", *position) for position in positions)
    return header(types.POLYGON) + struct.pack("<II", 1, len(positions)) + written


def nested(depth: int) -> bytes:
    data = point()
    for _ in range(depth):
        data = collection(types.COLLECTION, data)
    return data


NAN, INFINITY = math.nan, math.inf
REFUSED = {
    "no bytes": (b"", Reason.INVALID_ENCODING, 0),
    "a byte after the end": (point() + b"\0", Reason.INVALID_ENCODING, 21),
    "a geometry after the end": (line((0, 0), (1, 1)) + point(), Reason.INVALID_ENCODING, 41),
    "type 0": (header(0), Reason.INVALID_ENCODING, 1),
    "a curve": (header(8), Reason.UNSUPPORTED_GEOMETRY_TYPE, 1),
    "a TIN in a collection": (
        collection(types.COLLECTION, header(16) + b"\0" * 4),
        Reason.UNSUPPORTED_GEOMETRY_TYPE,
        10,
    ),
    "a point in the empty form": (point(NAN, NAN), Reason.EMPTY_GEOMETRY, 5),
    "an empty line": (line(), Reason.EMPTY_GEOMETRY, 5),
    "an empty polygon": (collection(types.POLYGON), Reason.EMPTY_GEOMETRY, 5),
    "an empty ring": (ring(), Reason.EMPTY_GEOMETRY, 9),
    "an empty collection": (collection(types.COLLECTION), Reason.EMPTY_GEOMETRY, 5),
    "an empty point among points": (collection(types.MULTIPOINT, point(), point(NAN, NAN)), Reason.EMPTY_GEOMETRY, 35),
    "an empty point among others": (
        collection(types.MULTIPOINT, point(order=">"), point(NAN, NAN)),
        Reason.EMPTY_GEOMETRY,
        35,
    ),
    "an empty line among lines": (
        collection(types.MULTILINESTRING, line((0, 0), (1, 1)), line()),
        Reason.EMPTY_GEOMETRY,
        55,
    ),
    "an empty collection in one": (
        collection(types.COLLECTION, collection(types.COLLECTION), point()),
        Reason.EMPTY_GEOMETRY,
        14,
    ),
    "NaN in x": (point(NAN, 1), Reason.NON_FINITE_COORDINATE, 5),
    "infinity in y": (point(1, -INFINITY), Reason.NON_FINITE_COORDINATE, 5),
    "infinity in a line": (line((0, 0), (1, INFINITY)), Reason.NON_FINITE_COORDINATE, 25),
    "NaN throughout a line's vertex": (line((0, 0), (NAN, NAN)), Reason.NON_FINITE_COORDINATE, 25),
    "NaN closing a ring": (ring((0, 0), (1, 0), (1, 1), (NAN, NAN)), Reason.NON_FINITE_COORDINATE, 61),
    "NaN among points": (collection(types.MULTIPOINT, point(), point(1, NAN)), Reason.NON_FINITE_COORDINATE, 35),
    "NaN in Z": (header(1001) + struct.pack("<ddd", 1, 2, NAN), Reason.NON_FINITE_COORDINATE, 5),
    "infinity in M": (header(2001) + struct.pack("<ddd", 1, 2, INFINITY), Reason.NON_FINITE_COORDINATE, 5),
    "a line of one point": (line((1, 2)), Reason.INVALID_GEOMETRY, 9),
    "a closed ring of three points": (ring((0, 0), (1, 1), (0, 0)), Reason.INVALID_GEOMETRY, 13),
    "an open ring": (ring((0, 0), (1, 0), (1, 1), (0, 1)), Reason.INVALID_GEOMETRY, 13),
    "four billion lines": (header(types.MULTILINESTRING) + b"\xff" * 4, Reason.INVALID_ENCODING, 5),
    "four billion points": (header(types.MULTIPOINT) + b"\xff" * 4 + point(), Reason.INVALID_ENCODING, 5),
    "one collection too deep": (nested(4), Reason.GEOMETRY_TOO_DEEP, 32),
    "collections nested 5,000 deep": (nested(5000), Reason.GEOMETRY_TOO_DEEP, 32),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refusals_say_why_and_at_which_byte(case: str) -> None:
    data, reason, offset = REFUSED[case]
    refusal = fault(data)
    assert (refusal.reason, refusal.offset) == (reason, offset)
    assert str(refusal) == f"{refusal.problem} at byte {offset}"


def test_minus_zero_closes_a_ring_that_zero_opened() -> None:
    assert wkb.scan(ring((0.0, 0), (1, 0), (1, 1), (-0.0, 0)), LIMITS).vertices == 4


def test_collections_as_deep_as_allowed_pass() -> None:
    assert wkb.scan(nested(3), LIMITS).kind == "GEOMETRYCOLLECTION"


@pytest.mark.parametrize("data", [point(), line(*[(0, 0)] * 30), collection(types.MULTIPOINT, *[point()] * 30)])
def test_size_and_vertices_are_limited_inclusively(data: bytes) -> None:
    vertices = wkb.scan(data, GeometryLimits(len(data), 30, 0)).vertices
    refusal = fault(data, GeometryLimits(len(data) - 1, 30, 0))
    assert (refusal.reason, refusal.metadata["limit"]) == (Reason.GEOMETRY_TOO_LARGE, str(len(data) - 1))
    if vertices > 1:
        refusal = fault(data, GeometryLimits(len(data), 29, 0))
        assert (refusal.reason, refusal.metadata["limit"]) == (Reason.GEOMETRY_TOO_LARGE, "29")


@pytest.mark.parametrize("case", MALFORMED, ids=lambda case: f"{case['family']}-{case['id']}")
def test_what_parsers_have_choked_on_is_refused(case: dict[str, str]) -> None:
    assert fault(bytes.fromhex(case["hex"])).reason in REASONS[case["family"]]


VALID = [
    shapely.to_wkb(written(text, dimensions), output_dimension=4, byte_order=order)
    for text in TEXTS
    for dimensions in DIMENSIONS
    for order in (0, 1)
]


@st.composite
def mutations(draw: st.DrawFn) -> bytes:
    data = bytearray(draw(st.sampled_from(VALID)))
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(data) - 1))
        data[at : at + draw(st.integers(0, 4))] = draw(st.binary(max_size=4))
        if not data:
            break
    return bytes(data)


@given(st.binary(max_size=200) | mutations())
@example(b"\x01\x07\x00\x00\x00\x01\x00\x00\x00")
def test_whatever_the_bytes_only_a_wkb_error_comes_and_what_passes_is_what_geos_reads(data: bytes) -> None:
    try:
        found = wkb.scan(data, LIMITS)
    except WkbError:
        return
    geometry = shapely.from_wkb(data)
    assert found.kind == geometry.geom_type.upper()
    assert found.vertices == shapely.get_num_coordinates(geometry)
    # GEOS may take what is smaller than any normal number for zero.
    assert (found.west, found.south, found.east, found.north) == pytest.approx(geometry.bounds, rel=0, abs=1e-300)
    assert (found.srid or 0) == shapely.get_srid(geometry)
