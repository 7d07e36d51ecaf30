"""Turns a GeoJSON geometry into WKB. What is wrong is refused with the path to it."""

import math
from typing import Final

from google.protobuf.struct_pb2 import ListValue, Struct, Value

from service.codec import wkb_writer
from service.codec.wkb_types import (
    COLLECTION,
    LINESTRING,
    MULTILINESTRING,
    MULTIPOINT,
    MULTIPOLYGON,
    POINT,
    POLYGON,
    GeometryLimits,
)
from service.errors import InvalidArgument, Reason

_CODES: Final = {
    "Point": POINT,
    "LineString": LINESTRING,
    "Polygon": POLYGON,
    "MultiPoint": MULTIPOINT,
    "MultiLineString": MULTILINESTRING,
    "MultiPolygon": MULTIPOLYGON,
    "GeometryCollection": COLLECTION,
}
Position = tuple[float, float]


def to_wkb(geojson: Struct, limits: GeometryLimits) -> bytes:
    """The WKB of `geojson`; third and fourth ordinates are dropped."""
    return _Reader(limits).geometry(geojson, "", 1)


def with_heights(geojson: Struct, limits: GeometryLimits) -> tuple[bytes, list[float]]:
    """The two-dimensional WKB of `geojson`, and the third ordinates in the order of its vertices; a fourth one, which
    GeoJSON has no meaning for, is refused."""
    reader = _Reader(limits)
    data = reader.geometry(geojson, "", 1)
    if reader.most > 3:
        raise InvalidArgument(Reason.INVALID_ENCODING, f"a position has 2 or 3 numbers, not {reader.most}")
    if reader.heights and len(reader.heights) != reader.vertices:
        raise InvalidArgument(Reason.INVALID_ENCODING, "some positions have a third number, and others have not")
    return data, reader.heights


class _Reader:
    def __init__(self, limits: GeometryLimits) -> None:
        self.limits = limits
        self.vertices = 0
        self.heights: list[float] = []
        self.most = 2

    def geometry(self, value: Struct, path: str, depth: int) -> bytes:
        code = _code(value, path)
        if code == COLLECTION:
            return self._collection(value, f"{path}geometries", depth)
        path = f"{path}coordinates"
        coordinates = _list(value.fields.get("coordinates"), path)
        if code == POINT:
            return wkb_writer.point(*self._position(coordinates, path))
        if code == LINESTRING:
            return wkb_writer.line(self._positions(coordinates, path))
        if code == POLYGON:
            return self._polygon(coordinates, path)
        return self._multiple(code, coordinates, path)

    def _collection(self, value: Struct, path: str, depth: int) -> bytes:
        if depth > self.limits.max_depth:
            limit = str(self.limits.max_depth)
            problem = f"collections nest deeper than the {limit} allowed"
            raise InvalidArgument(Reason.GEOMETRY_TOO_DEEP, problem, field=path, metadata={"limit": limit})
        members = []
        for index, member in enumerate(_list(value.fields.get("geometries"), path).values):
            at = f"{path}[{index}]"
            if member.WhichOneof("kind") != "struct_value":
                raise InvalidArgument(Reason.INVALID_ENCODING, "not a GeoJSON geometry", field=at)
            members.append(self.geometry(member.struct_value, f"{at}.", depth + 1))
        return wkb_writer.collection(COLLECTION, members)

    def _multiple(self, code: int, coordinates: ListValue, path: str) -> bytes:
        members = []
        for index, value in enumerate(coordinates.values):
            at = f"{path}[{index}]"
            part = _list(value, at)
            if code == MULTIPOINT:
                members.append(wkb_writer.point(*self._position(part, at)))
            elif code == MULTILINESTRING:
                members.append(wkb_writer.line(self._positions(part, at)))
            else:
                members.append(self._polygon(part, at))
        return wkb_writer.collection(code, members)

    def _polygon(self, coordinates: ListValue, path: str) -> bytes:
        rings = []
        for index, ring in enumerate(coordinates.values):
            at = f"{path}[{index}]"
            rings.append(self._positions(_list(ring, at), at))
        return wkb_writer.polygon(rings)

    def _positions(self, coordinates: ListValue, path: str) -> list[Position]:
        positions = []
        for index, position in enumerate(coordinates.values):
            at = f"{path}[{index}]"
            positions.append(self._position(_list(position, at), at))
        return positions

    def _position(self, position: ListValue, path: str) -> Position:
        self.vertices += 1
        if self.vertices > self.limits.max_vertices:
            limit = str(self.limits.max_vertices)
            problem = f"the geometry has more than the {limit} vertices allowed"
            raise InvalidArgument(Reason.GEOMETRY_TOO_LARGE, problem, field=path, metadata={"limit": limit})
        if not position.values:
            raise InvalidArgument(Reason.EMPTY_GEOMETRY, "a position is empty", field=path)
        if not 2 <= len(position.values) <= 4:
            problem = f"a position has 2 to 4 numbers, not {len(position.values)}"
            raise InvalidArgument(Reason.INVALID_ENCODING, problem, field=path)
        numbers = [_number(value, path) for value in position.values]
        self.heights += numbers[2:3]
        self.most = max(self.most, len(numbers))
        return numbers[0], numbers[1]


def _code(value: Struct, path: str) -> int:
    kind = value.fields["type"].string_value if "type" in value.fields else None
    if kind is None:
        raise InvalidArgument(Reason.INVALID_ENCODING, "GeoJSON has a `type`", field=f"{path}type")
    if kind not in _CODES:
        problem = f"{kind!r} is not the type of a GeoJSON geometry"
        raise InvalidArgument(Reason.UNSUPPORTED_GEOMETRY_TYPE, problem, field=f"{path}type")
    if "crs" in value.fields:
        problem = "the coordinate reference system is said in `srid`, not in `crs`"
        raise InvalidArgument(Reason.INVALID_ENCODING, problem, field=f"{path}crs")
    return _CODES[kind]


def _list(value: Value | None, path: str) -> ListValue:
    if value is None or value.WhichOneof("kind") != "list_value":
        raise InvalidArgument(Reason.INVALID_ENCODING, "an array is needed here", field=path)
    return value.list_value


def _number(value: Value, path: str) -> float:
    if value.WhichOneof("kind") != "number_value":
        raise InvalidArgument(Reason.INVALID_ENCODING, "a position consists of numbers", field=path)
    if not math.isfinite(value.number_value):
        actual = str(value.number_value)
        problem = f"{actual} is not finite"
        raise InvalidArgument(Reason.NON_FINITE_COORDINATE, problem, field=path, metadata={"actual": actual})
    return value.number_value
