"""Geometries in each of their encodings: sound ones of every type, ones that parsers have choked on, and mutants."""

import json
import struct
from collections.abc import Mapping
from itertools import product
from pathlib import Path
from typing import Any

import shapely
from google.protobuf.json_format import ParseDict
from google.protobuf.struct_pb2 import Struct
from hypothesis import strategies as st

from tests.fuzz.edges import DOUBLES

DATA = Path(__file__).parents[1] / "data"
_PLACES = ("0 0", "0.5 0.05", "2.5 10.5", "9 10", "-180 90", "180 -90", "179.9 10", "1e-9 0", "0 1e-300")
_SQUARE = "0 0, 1 0, 1 1, 0 1, 0 0"
TEXTS = (
    *(f"POINT ({place})" for place in _PLACES),
    "LINESTRING (0 0, 1 1)",
    "LINESTRING (179 0, -179 0)",
    "LINESTRING (0 0, 0 0)",
    f"POLYGON (({_SQUARE}))",
    "POLYGON ((0 0, 9 0, 9 9, 0 9, 0 0), (1 1, 1 2, 2 2, 2 1, 1 1))",
    "POLYGON ((-180 -90, 180 -90, 180 90, -180 90, -180 -90))",
    "POLYGON ((0 0, 1 1, 1 0, 0 1, 0 0))",
    "POLYGON ((0 0, 1 0, 2 0, 0 0))",
    "MULTIPOINT (0 0, 1 0.05, 0 0)",
    "MULTILINESTRING ((0 0, 1 1), (1 0, 0 1))",
    f"MULTIPOLYGON ((({_SQUARE})), ((50 50, 51 50, 51 51, 50 51, 50 50)))",
    f"MULTIPOLYGON ((({_SQUARE})), (({_SQUARE})))",
    "GEOMETRYCOLLECTION (POINT (0 0), LINESTRING (0 0, 1 1))",
    f"GEOMETRYCOLLECTION (POLYGON (({_SQUARE})), GEOMETRYCOLLECTION (POINT (3 3)))",
    "POINT EMPTY",
    "POLYGON EMPTY",
    "GEOMETRYCOLLECTION EMPTY",
    "GEOMETRYCOLLECTION (POINT EMPTY, LINESTRING EMPTY)",
    "MULTIPOINT (0 0, EMPTY)",
)
ODD_TEXTS = ("", "POINT", "SRID=4326;POINT (0 0)", "SRID=0;POINT(1 1)", "POINT Z (0 0 1)", "LINEARRING (0 0, 1 0, 0 0)")
_DIMENSIONS = ("", " Z", " M", " ZM")


def _lines(name: str, key: str) -> list[str]:
    return [json.loads(line)[key] for line in (DATA / name).read_text().splitlines()]


def _raised(text: str, dimensions: str) -> str:
    """The same with so many more ordinates to each position."""
    kind, parenthesis, rest = text.partition("(")
    if not parenthesis or "EMPTY" in text or kind.startswith("GEOMETRYCOLLECTION"):
        return text
    more = " 7" * len(dimensions.strip())
    return f"{kind}{dimensions}({rest.replace(',', more + ',').replace(')', more + ')', 1)}"


def _written(text: str) -> set[bytes]:
    """As ISO WKB and EWKB, in either order of bytes."""
    geometry = shapely.from_wkt(text)
    with_srid = shapely.set_srid(geometry, 4326)
    plain = {shapely.to_wkb(geometry, output_dimension=4, byte_order=order, flavor="iso") for order in (0, 1)}
    return plain | {
        shapely.to_wkb(each, output_dimension=4, byte_order=order, flavor="extended", include_srid=True)
        for each, order in product((geometry, with_srid), (0, 1))
    }


def _readable(text: str) -> bool:
    try:
        shapely.from_wkt(text)
    except shapely.GEOSException:
        return False
    return True


WKT = [each for text in TEXTS for each in dict.fromkeys(_raised(text, more) for more in _DIMENSIONS)]
WKB = sorted({data for text in WKT if _readable(text) for data in _written(text)})
BAD_WKB = [bytes.fromhex(data) for data in _lines("malformed_wkb.jsonl", "hex")]
BAD_WKT = _lines("malformed_wkt.jsonl", "wkt")
PLAIN_WKB = [shapely.to_wkb(shapely.from_wkt(text)) for text in TEXTS[: len(_PLACES) + 8]]
_BY_KIND = {
    kind: [
        shapely.to_wkb(shapely.from_wkt(text)) for text in TEXTS if text.startswith(f"{kind} (") and "EMPTY" not in text
    ]
    for kind in ("POINT", "LINESTRING", "POLYGON", "MULTIPOINT", "MULTILINESTRING", "MULTIPOLYGON")
}


def fitting(kind: str) -> list[bytes]:
    """WKB for a column of this kind; and for others, whose geometries may be probes."""
    return [*_BY_KIND.get(kind.upper(), []), *PLAIN_WKB]


_COUNTS = (0, 1, 2, 3, 4, 5, 6, 7, 15, 1001, 3001, 0x20000001, 0x80000001, 0xE0000006, 0x7FFFFFFF, 0xFFFFFFFF)
_CHANGES = st.lists(
    st.tuples(
        st.sampled_from(["byte", "count", "double", "cut", "drop", "repeat", "nest"]),
        st.integers(0, 255),
        st.integers(0, 255),
    ),
    min_size=1,
    max_size=3,
)


def mutated(data: bytes, changes: list[tuple[str, int, int]]) -> bytes:
    """`data` after some changes, each a kind, where, and what to."""
    for kind, where, what in changes:
        at = where % (len(data) or 1)
        if kind == "byte":
            data = data[:at] + bytes([what]) + data[at + 1 :]
        elif kind == "count":
            data = data[:at] + struct.pack("<I", _COUNTS[what % len(_COUNTS)]) + data[at + 4 :]
        elif kind == "double":
            at = 5 + 4 * (where % max(1, (len(data) - 5) // 4))
            data = data[:at] + struct.pack("<d", DOUBLES[what % len(DOUBLES)]) + data[at + 8 :]
        elif kind == "cut":
            data = data[:at]
        elif kind == "drop":
            data = data[:at] + data[at + 1 + what % 9 :]
        elif kind == "repeat":
            data = data[:at] + data[at : at + 1 + what % 64] * 2 + data[at + 1 + what % 64 :]
        else:
            data = struct.pack("<BII", 1, 4 + what % 4, 1 + where % 2) + data
    return data


wkbs = (
    st.sampled_from(PLAIN_WKB)
    | st.sampled_from(WKB)
    | st.builds(mutated, st.sampled_from(WKB), _CHANGES)
    | st.sampled_from(BAD_WKB)
    | st.builds(mutated, st.sampled_from(BAD_WKB), _CHANGES)
    | st.binary(max_size=40)
)
_LETTERS = "POINTLESRGMUCAYDZ ,.()0123456789e+-;=EMPTY"
wkts = (
    st.sampled_from(TEXTS)
    | st.sampled_from(WKT)
    | st.sampled_from([f"SRID={srid};{text}" for srid in (4326, 3857, 0, -1, 999999) for text in TEXTS[:12]])
    | st.sampled_from(BAD_WKT)
    | st.sampled_from(ODD_TEXTS)
    | st.text(_LETTERS, max_size=30)
)


def _geojson(text: str) -> dict[str, object]:
    found: dict[str, object] = json.loads(shapely.to_geojson(shapely.from_wkt(text)))
    return found


_GEOJSON = [_geojson(text) for text in TEXTS if "EMPTY" not in text]
_ordinates = st.sampled_from([0.0, 1.0, 10.5, -180.0, 90.0, *DOUBLES[:8]]) | st.floats(allow_nan=False, width=32)
_coordinates: st.SearchStrategy[object] = st.recursive(
    st.lists(_ordinates, max_size=4), lambda inner: st.lists(inner, max_size=5), max_leaves=8
) | st.sampled_from([None, "0", True, {}])
_KINDS = [
    "Point",
    "LineString",
    "Polygon",
    "MultiPoint",
    "MultiLineString",
    "MultiPolygon",
    "GeometryCollection",
    "Feature",
    "point",
    "",
]
_odd = st.fixed_dictionaries(
    {},
    optional={
        "type": st.sampled_from(_KINDS),
        "coordinates": _coordinates,
        "geometries": st.lists(st.sampled_from(_GEOJSON), max_size=3),
        "crs": st.just({"type": "name"}),
        "bbox": st.lists(_ordinates, max_size=5),
    },
)


def struct_bytes(value: Mapping[str, Any]) -> bytes:
    """A google.protobuf.Struct, whose numbers need not be finite."""
    made = Struct()
    try:
        ParseDict(dict(value), made)
    except ValueError:
        made.update({"type": "Point"})
        made.get_or_create_list("coordinates").extend([float("nan"), float("inf")])
    return made.SerializeToString()


def geojson_seeds() -> list[bytes]:
    return [struct_bytes(each) for each in _GEOJSON]


geojsons = (st.sampled_from(_GEOJSON) | _odd).map(struct_bytes)
