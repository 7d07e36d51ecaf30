"""Reads WKB of curves and surfaces too, which shapely does not know: what can be told from their structure alone."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from struct import Struct
from typing import ClassVar, Final

from service.codec import wkb
from service.codec.wkb_types import (
    CIRCULARSTRING,
    COMPOUNDCURVE,
    CURVEPOLYGON,
    LINESTRING,
    MULTICURVE,
    MULTISURFACE,
    NAMES,
    POLYGON,
    POLYHEDRALSURFACE,
    TIN,
    TRIANGLE,
    UNSUPPORTED,
    GeometryLimits,
    Scan,
)

_CURVES: Final = (LINESTRING, CIRCULARSTRING, COMPOUNDCURVE)
_MEMBERS: Final = {
    COMPOUNDCURVE: (LINESTRING, CIRCULARSTRING),
    CURVEPOLYGON: _CURVES,
    MULTICURVE: _CURVES,
    MULTISURFACE: (POLYGON, CURVEPOLYGON),
    POLYHEDRALSURFACE: (POLYGON,),
    TIN: (TRIANGLE,),
}
_POSITION: Final = (Struct(">2d"), Struct("<2d"))
_POSITION_WITH_Z: Final = (Struct(">3d"), Struct("<3d"))
_SMALLEST_MEMBER: Final = 9


def scan(data: bytes, limits: GeometryLimits) -> Scan:
    """Checks `data` as `wkb.scan` does, whatever type it is of."""
    return wkb.scan(data, limits, _Scanner)


class _Scanner(wkb.Scanner):
    """Curves nest in one another no deeper than their types allow, so they are read by recursion. `ends` is where the
    curve read last begins and ends."""

    names: ClassVar[Mapping[int, str]] = NAMES | UNSUPPORTED
    members_of: ClassVar[Mapping[int, Sequence[int]]] = {**wkb.Scanner.members_of, **_MEMBERS}

    def __init__(self, data: bytes, limits: GeometryLimits) -> None:
        super().__init__(data, limits)
        self.curved = False
        self.ends = ((0.0, 0.0), (0.0, 0.0))

    def scan(self) -> Scan:
        return replace(super().scan(), curved=self.curved)

    def _body(self, header: wkb.Header) -> None:
        self.curved |= header.code in UNSUPPORTED
        if header.code == CIRCULARSTRING:
            self._arcs(header)
        elif header.code == TRIANGLE:
            self._triangle(header)
        elif header.code in _MEMBERS:
            self._parts(header)
        else:
            super()._body(header)

    def _sequence(self, header: wkb.Header, count: int) -> None:
        first = self.offset
        super()._sequence(header, count)
        self.ends = self._position(header, first), self._position(header, self.offset - header.vertex_bytes)

    def _arcs(self, header: wkb.Header) -> None:
        count = self._count(header, header.vertex_bytes, "points")
        if count < 3 or count % 2 == 0:
            self._invalid(f"arcs need an odd number of points, at least 3, these have {count}", header)
        self._sequence(header, count)

    def _triangle(self, header: wkb.Header) -> None:
        rings = self._count(header, 4, "rings")
        if rings != 1:
            self._encoding(f"a TRIANGLE has 1 ring, this one has {rings}")
        start = self.offset
        self._ring(header)
        if self.offset - start != 4 + 4 * header.vertex_bytes:
            self._encoding("a TRIANGLE's ring has 4 points", start)
        positions = (_POSITION_WITH_Z if header.dimensions[0] else _POSITION)[header.order]
        last = self.offset - header.vertex_bytes
        if positions.unpack_from(self.data, start + 4) != positions.unpack_from(self.data, last):
            self.offset = last
            self._invalid("a ring is not closed: its last point is not its first", header)

    def _parts(self, header: wkb.Header) -> None:
        begin = end = None
        for _ in range(self._count(header, _SMALLEST_MEMBER, "members")):
            member = self._header(header)
            before = self.vertices
            self._body(member)
            first, last = self.ends
            if header.code == CURVEPOLYGON:
                self._check_closed(member, self.vertices - before, first == last)
            if header.code == COMPOUNDCURVE and end not in (None, first):
                self._at_fault("a part of a curve does not begin where the one before ends", header)
            begin, end = begin or first, last
        if begin and end:
            self.ends = begin, end

    def _check_closed(self, ring: wkb.Header, vertices: int, closed: bool) -> None:
        if not closed:
            self._at_fault("a ring is not closed: its last point is not its first", ring)
        if ring.code == LINESTRING and vertices < 4:
            self._at_fault(f"a ring needs 4 points, this one has {vertices}", ring)

    def _at_fault(self, detail: str, header: wkb.Header) -> None:
        """Said of the last point that was read."""
        self.offset -= header.vertex_bytes
        self._invalid(detail, header)
