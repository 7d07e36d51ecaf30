"""GeoJSON that is refused, and the path at which it goes wrong."""

import math
from typing import Any

import pytest
from google.protobuf.struct_pb2 import Struct, Value

from service.codec.geometry import GeometryLimits, ProbeReader
from service.errors import InvalidArgument, Reason
from spatial.v1 import geometry_pb2

READER = ProbeReader(GeometryLimits(max_bytes=1_000_000, max_vertices=20_000, max_depth=3))


def geojson(value: dict[str, Any]) -> Struct:
    struct = Struct()
    struct.update(value)
    return struct


def refusal(source: geometry_pb2.Probe) -> InvalidArgument:
    with pytest.raises(InvalidArgument) as caught:
        READER.read(source, srid=4326, geodetic=False)
    return caught.value


def nested_list(depth: int) -> Value:
    value = Value(number_value=1)
    for _ in range(depth):
        outer = Value()
        outer.list_value.values.append(value)
        value = outer
    return value


def collected(depth: int) -> dict[str, Any]:
    value: dict[str, Any] = {"type": "Point", "coordinates": [1, 2]}
    for _ in range(depth):
        value = {"type": "GeometryCollection", "geometries": [value]}
    return value


DEEP_LIST = Struct(fields={"type": Value(string_value="MultiPolygon"), "coordinates": nested_list(40)})
ODD_GEOJSON: dict[str, tuple[dict[str, Any], Reason, str]] = {
    "nothing": ({}, Reason.INVALID_ENCODING, "type"),
    "a feature": ({"type": "Feature", "geometry": None}, Reason.UNSUPPORTED_GEOMETRY_TYPE, "type"),
    "a type in capitals": ({"type": "POINT", "coordinates": [1, 2]}, Reason.UNSUPPORTED_GEOMETRY_TYPE, "type"),
    "a number as type": ({"type": 1, "coordinates": [1, 2]}, Reason.UNSUPPORTED_GEOMETRY_TYPE, "type"),
    "a crs": ({"type": "Point", "coordinates": [1, 2], "crs": {}}, Reason.INVALID_ENCODING, "crs"),
    "no coordinates": ({"type": "Point"}, Reason.INVALID_ENCODING, "coordinates"),
    "null": ({"type": "Point", "coordinates": None}, Reason.INVALID_ENCODING, "coordinates"),
    "an empty point": ({"type": "Point", "coordinates": []}, Reason.EMPTY_GEOMETRY, "coordinates"),
    "one number": ({"type": "Point", "coordinates": [1]}, Reason.INVALID_ENCODING, "coordinates"),
    "five numbers": ({"type": "Point", "coordinates": [1, 2, 3, 4, 5]}, Reason.INVALID_ENCODING, "coordinates"),
    "a text as number": ({"type": "Point", "coordinates": ["1", 2]}, Reason.INVALID_ENCODING, "coordinates"),
    "a point too many brackets": ({"type": "Point", "coordinates": [[1, 2]]}, Reason.INVALID_ENCODING, "coordinates"),
    "a line too few brackets": (
        {"type": "LineString", "coordinates": [1, 2]},
        Reason.INVALID_ENCODING,
        "coordinates[0]",
    ),
    "infinity in Z": (
        {"type": "LineString", "coordinates": [[1, 2], [1, 2, math.inf]]},
        Reason.NON_FINITE_COORDINATE,
        "coordinates[1]",
    ),
    "a member that is none": (
        {"type": "GeometryCollection", "geometries": [1]},
        Reason.INVALID_ENCODING,
        "geometries[0]",
    ),
    "a fault in a member": (
        {"type": "GeometryCollection", "geometries": [collected(0), {"type": "Point", "coordinates": [[]]}]},
        Reason.INVALID_ENCODING,
        "geometries[1].coordinates",
    ),
    "collections too deep": (
        collected(4),
        Reason.GEOMETRY_TOO_DEEP,
        "geometries[0].geometries[0].geometries[0].geometries",
    ),
    "too many vertices": (
        {"type": "MultiPoint", "coordinates": [[0, 0]] * 20_001},
        Reason.GEOMETRY_TOO_LARGE,
        "coordinates[20000]",
    ),
}


@pytest.mark.parametrize("case", ODD_GEOJSON)
def test_refused_geojson_names_the_path(case: str) -> None:
    value, reason, path = ODD_GEOJSON[case]
    error = refusal(geometry_pb2.Probe(geometry=geometry_pb2.Geometry(geojson=geojson(value))))
    assert (error.reason, error.field) == (reason, f"geometry.geojson.{path}")


def test_an_array_nested_without_end_is_refused_where_numbers_belong() -> None:
    error = refusal(geometry_pb2.Probe(geometry=geometry_pb2.Geometry(geojson=DEEP_LIST)))
    assert (error.reason, error.field) == (Reason.INVALID_ENCODING, "geometry.geojson.coordinates[0][0][0]")


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ({"type": "Polygon", "coordinates": []}, Reason.EMPTY_GEOMETRY),
        ({"type": "Polygon", "coordinates": [[[0, 0], [1, 0], [1, 1], [0, 1]]]}, Reason.INVALID_GEOMETRY),
        ({"type": "MultiPoint", "coordinates": []}, Reason.EMPTY_GEOMETRY),
        ({"type": "GeometryCollection", "geometries": []}, Reason.EMPTY_GEOMETRY),
        ({"type": "Point", "coordinates": [190, 0]}, Reason.COORDINATE_OUT_OF_RANGE),
    ],
)
def test_geojson_passes_the_same_checks_as_wkb(value: dict[str, Any], reason: Reason) -> None:
    error = refusal(geometry_pb2.Probe(geometry=geometry_pb2.Geometry(geojson=geojson(value))))
    assert (error.reason, error.field) == (reason, "geometry.geojson")
    assert "byte" not in error.message
