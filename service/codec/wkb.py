"""Reads WKB and EWKB strictly, before GEOS or PostGIS does.

The scanner walks the structure without recursion and without an object per vertex: every count is held against the
bytes that remain, every ordinate is finite, every ring closed, nothing is empty and nothing follows the geometry.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from struct import Struct
from typing import ClassVar, Final, NamedTuple, NoReturn

import numpy as np
import numpy.typing as npt

from service.codec.wkb_types import (
    COLLECTION,
    LINESTRING,
    M_FLAG,
    MULTILINESTRING,
    MULTIPOINT,
    MULTIPOLYGON,
    NAMES,
    POINT,
    POLYGON,
    SRID_FLAG,
    UNSUPPORTED,
    Z_FLAG,
    GeometryLimits,
    Scan,
    WkbError,
)
from service.errors import Reason

_MEMBERS_OF: Final = {MULTIPOINT: (POINT,), MULTILINESTRING: (LINESTRING,), MULTIPOLYGON: (POLYGON,)}
_SMALLEST_MEMBER: Final = 9
_UINT32: Final = (Struct(">I"), Struct("<I"))
_INT32: Final = (Struct(">i"), Struct("<i"))
_PLAIN_POINT: Final = Struct("<BIdd")
_PLAIN_POINT_START: Final = b"\x01\x01\0\0\0"
_POSITION: Final = (Struct(">dd"), Struct("<dd"))


class Header(NamedTuple):
    code: int
    dimensions: tuple[bool, bool]
    order: int
    srid: int | None

    @property
    def vertex_bytes(self) -> int:
        return 8 * (2 + sum(self.dimensions))


class _Run(NamedTuple):
    """Vertices that lie `stride` bytes apart."""

    offset: int
    vertices: int
    stride: int


@dataclass(slots=True)
class _Open:
    """A collection whose members are being read."""

    header: Header
    left: int
    alike: bytes = b""
    member: Header | None = None


def scan(data: bytes, limits: GeometryLimits, scanner: "type[Scanner] | None" = None) -> Scan:
    """Checks `data` from the first byte to the last; raises WkbError."""
    if len(data) > limits.max_bytes:
        limit = str(limits.max_bytes)
        problem = f"{len(data)} bytes are more than the {limit} allowed"
        raise WkbError(Reason.GEOMETRY_TOO_LARGE, problem, 0, limit=limit, actual=str(len(data)))
    if len(data) == _PLAIN_POINT.size and data.startswith(_PLAIN_POINT_START):
        _, _, x, y = _PLAIN_POINT.unpack(data)
        if math.isfinite(x) and math.isfinite(y):
            return Scan(POINT, None, 1, x, y, x, y, plain=True, body=5)
    return (scanner or Scanner)(data, limits).scan()


class Scanner:
    names: ClassVar[Mapping[int, str]] = NAMES  # of the types that are read
    members_of: ClassVar[Mapping[int, Sequence[int]]] = _MEMBERS_OF

    def __init__(self, data: bytes, limits: GeometryLimits) -> None:
        self.data = data
        self.view = memoryview(data)
        self.limits = limits
        self.offset = 0
        self.vertices = 0
        self.plain = True
        self.open: list[_Open] = []
        self.runs: tuple[list[_Run], list[_Run]] = ([], [])
        self.ordinates: tuple[list[bytes | memoryview], list[bytes | memoryview]] = ([], [])

    def scan(self) -> Scan:
        top = self._header(None)
        body = self.offset
        self._body(top)
        while self.open:
            collection = self.open[-1]
            if collection.left:
                collection.left -= 1
                self._body(self._member(collection))
            else:
                self.open.pop()
        if self.offset < len(self.data):
            self._encoding(f"{len(self.data) - self.offset} bytes follow the geometry")
        return Scan(top.code, top.srid, self.vertices, *self._bounds(top), plain=self.plain, body=body)

    def _member(self, collection: _Open) -> Header:
        """The next member's header, read only if it is not the same bytes as the one before."""
        start = self.offset
        if collection.member and self.data[start : start + 5] == collection.alike:
            self.offset = start + 5
            return collection.member
        header = self._header(collection.header)
        if self.offset == start + 5:
            collection.alike, collection.member = self.data[start : start + 5], header
        return header

    def _header(self, parent: Header | None) -> Header:
        start = self.offset
        order = self._take(1, "a byte-order mark")
        if self.data[order] > 1:
            self._encoding(f"{self.data[order]} is not a byte order (0 or 1)", start)
        little = self.data[order]
        (raw,) = _UINT32[little].unpack_from(self.data, self._take(4, "a type code"))
        code, dimensions = self._type(raw, start + 1)
        srid = None
        if raw & SRID_FLAG:
            (srid,) = _INT32[little].unpack_from(self.data, self._take(4, "an SRID"))
        header = Header(code, dimensions, little, srid)
        if not little or any(dimensions) or (parent and raw & SRID_FLAG):
            self.plain = False
        if parent:
            self._fits(header, parent, start)
            return header._replace(srid=parent.srid)
        return header

    def _type(self, raw: int, at: int) -> tuple[int, tuple[bool, bool]]:
        thousands, code = divmod(raw & ~(Z_FLAG | M_FLAG | SRID_FLAG), 1000)
        if thousands > 3 or (code not in NAMES and code not in UNSUPPORTED):
            self._encoding(f"{raw} is not a geometry type", at)
        if code not in self.names:
            kind = UNSUPPORTED[code]
            raise WkbError(Reason.UNSUPPORTED_GEOMETRY_TYPE, f"{kind} is not supported", at, actual=kind)
        return code, (bool(raw & Z_FLAG) or thousands in (1, 3), bool(raw & M_FLAG) or thousands in (2, 3))

    def _fits(self, member: Header, parent: Header, at: int) -> None:
        if member.code not in self.members_of.get(parent.code, self.names):
            self._encoding(f"a {self.names[member.code]} is a member of a {self.names[parent.code]}", at)
        if member.dimensions != parent.dimensions:
            self._encoding("a member has other dimensions than its collection", at)
        if member.srid is not None and member.srid != parent.srid:
            problem = f"a member has SRID {member.srid}, its collection {parent.srid or 'none'}"
            raise WkbError(Reason.SRID_MISMATCH, problem, at, actual=str(member.srid))

    def _body(self, header: Header) -> None:
        if header.code == POINT:
            self._sequence(header, 1)
        elif header.code == LINESTRING:
            self._line(header)
        elif header.code == POLYGON:
            for _ in range(self._count(header, 4, "rings")):
                self._ring(header)
        else:
            self._members(header)

    def _members(self, header: Header) -> None:
        depth = 1 + sum(collection.header.code == COLLECTION for collection in self.open)
        if header.code == COLLECTION and depth > self.limits.max_depth:
            limit = str(self.limits.max_depth)
            problem = f"collections nest deeper than the {limit} allowed"
            raise WkbError(Reason.GEOMETRY_TOO_DEEP, problem, self.offset, limit=limit)
        count = self._count(header, _SMALLEST_MEMBER, "members")
        if not (header.code == MULTIPOINT and self._alike_points(header, count)):
            self.open.append(_Open(header, count))

    def _alike_points(self, parent: Header, count: int) -> bool:
        """Takes all points of a MULTIPOINT in one step if their headers are the same bytes."""
        size = 5 + parent.vertex_bytes
        if count * size > len(self.data) - self.offset:
            return False
        points = np.frombuffer(self.data, np.uint8, count * size, self.offset).reshape(count, size)
        if (points[:, :5] != points[0, :5]).any() or points[0, 0] > 1:
            return False
        start = self.offset
        header = self._header(parent)
        if self.offset != start + 5:
            self.offset = start
            return False
        self._admit(count)
        self.runs[header.order].append(_Run(self.offset, count, size))
        self.ordinates[header.order].append(points[:, 5:].tobytes())
        self.offset = start + count * size
        return True

    def _line(self, header: Header) -> None:
        count = self._count(header, header.vertex_bytes, "points")
        if count < 2:
            self._invalid("a line needs 2 points, this one has 1", header)
        self._sequence(header, count)

    def _ring(self, header: Header) -> None:
        count = self._count(header, header.vertex_bytes, "points")
        first = self.offset
        last = first + (count - 1) * header.vertex_bytes
        if count < 4:
            self._invalid(f"a ring needs 4 points, this one has {count}", header)
        start, end = self._position(header, first), self._position(header, last)
        if start != end and all(map(math.isfinite, start + end)):
            self._invalid("a ring is not closed: its last point is not its first", header)
        self._sequence(header, count)

    def _sequence(self, header: Header, count: int) -> None:
        size = count * header.vertex_bytes
        at = self._take(size, "coordinates")
        self._admit(count)
        self.runs[header.order].append(_Run(at, count, header.vertex_bytes))
        self.ordinates[header.order].append(self.view[at : at + size])

    def _count(self, header: Header, smallest: int, what: str) -> int:
        at = self._take(4, f"the number of {what}")
        count = int(_UINT32[header.order].unpack_from(self.data, at)[0])
        left = len(self.data) - self.offset
        if count * smallest > left:
            self._encoding(f"{count} {what} are announced, but only {left} bytes follow", at)
        if not count:
            problem = f"a {self.names[header.code]} or a part of it is empty"
            raise WkbError(Reason.EMPTY_GEOMETRY, problem, at)
        return count

    def _take(self, size: int, what: str) -> int:
        at = self.offset
        if at + size > len(self.data):
            self._encoding(f"the geometry ends where {what} should be: {len(self.data) - at} of {size} bytes")
        self.offset = at + size
        return at

    def _admit(self, count: int) -> None:
        self.vertices += count
        if self.vertices > self.limits.max_vertices:
            limit = str(self.limits.max_vertices)
            problem = f"the geometry has more than the {limit} vertices allowed"
            raise WkbError(Reason.GEOMETRY_TOO_LARGE, problem, self.offset, limit=limit)

    def _position(self, header: Header, at: int) -> tuple[float, float]:
        x, y = _POSITION[header.order].unpack_from(self.data, at)
        return x, y

    def _bounds(self, top: Header) -> tuple[float, float, float, float]:
        if top.code == POINT:
            x, y = self._position(top, self.runs[top.order][0].offset)
            if math.isfinite(x) and math.isfinite(y) and not any(top.dimensions):
                return x, y, x, y
        corners = [self._extent(order, top) for order in (0, 1) if self.runs[order]]
        low = np.min([least for least, _ in corners], axis=0)
        high = np.max([most for _, most in corners], axis=0)
        return float(low[0]), float(low[1]), float(high[0]), float(high[1])

    def _extent(self, order: int, top: Header) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        ordinates = np.frombuffer(b"".join(self.ordinates[order]), ">f8" if order == 0 else "<f8")
        vertices = ordinates.reshape(-1, top.vertex_bytes // 8)
        finite = np.isfinite(vertices)
        if not finite.all():
            self._non_finite(order, int(np.argmin(finite.all(axis=1))), vertices)
        x, y = vertices[:, :2].T
        return np.array((x.min(), y.min())), np.array((x.max(), y.max()))

    def _non_finite(self, order: int, vertex: int, vertices: npt.NDArray[np.float64]) -> NoReturn:
        before = 0
        for run in self.runs[order]:
            if vertex < before + run.vertices:
                break
            before += run.vertices
        at = run.offset + (vertex - before) * run.stride
        values = [float(value) for value in vertices[vertex]]
        # A point whose x and y are NaN is how WKB writes POINT EMPTY; lines and rings have more than one vertex.
        if math.isnan(values[0]) and math.isnan(values[1]) and (run.vertices == 1 or run.stride != 8 * len(values)):
            raise WkbError(Reason.EMPTY_GEOMETRY, "a POINT is empty", at)
        written = " ".join(map(str, values))
        raise WkbError(Reason.NON_FINITE_COORDINATE, f"({written}) is not finite", at, actual=written)

    def _encoding(self, problem: str, at: int | None = None) -> NoReturn:
        raise WkbError(Reason.INVALID_ENCODING, problem, self.offset if at is None else at)

    def _invalid(self, detail: str, header: Header) -> NoReturn:
        x, y = self._position(header, self.offset)
        raise WkbError(Reason.INVALID_GEOMETRY, detail, self.offset, detail=detail, location=f"POINT({x} {y})")
