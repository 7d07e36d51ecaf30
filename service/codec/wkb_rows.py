"""Reads the WKB of many rows at once: those that are plainly right, without a step in Python for each of their parts.

What is not plainly right is left to be read by itself, which tells what is wrong with it.
"""

from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt
import shapely

from service.catalog import Layer
from service.codec.arriving.held import Header, collection_for, header
from service.codec.scan import gathered
from service.codec.systems import WGS84
from service.codec.wkb_types import (
    LINESTRING,
    MULTILINESTRING,
    MULTIPOINT,
    MULTIPOLYGON,
    POINT,
    POLYGON,
    SRID_FLAG,
    GeometryLimits,
)
from service.db.arrays import Buffer, Offsets
from service.errors import InvalidArgument

_TYPES: Final = (POINT, LINESTRING, POLYGON, MULTIPOINT, MULTILINESTRING, MULTIPOLYGON)
_MEMBER: Final = {MULTIPOINT: POINT, MULTILINESTRING: LINESTRING, MULTIPOLYGON: POLYGON}
_FEWEST: Final = {LINESTRING: 2, POLYGON: 4}  # points of a line and of a ring
_MOST_PARTS: Final = 64  # steps through a row's parts; beyond them it takes no longer by itself
_MOST_VERTICES: Final = 5000  # up to which validity is certainly cheap to check
_MOST_EXTENT: Final = 179.0  # degrees, up to which no edge joins antipodes
_SPARE: Final = 8
_TYPE_BITS: Final = 0x1FFFFFFF
_WORLD: Final = np.array((-180.0, -90.0, 180.0, 90.0))

Rows = npt.NDArray[np.intp]
Flags = npt.NDArray[np.bool_]


class _Group(NamedTuple):
    """Rows whose WKB begins with the same bytes, where it begins and where it ends."""

    header: Header
    rows: Rows
    starts: Offsets
    ends: Offsets

    @property
    def vertex_bytes(self) -> int:
        return 8 * (2 + self.header.z + self.header.m)


def read_plain(
    wkbs: Sequence[bytes], read: list[bytes | None], layer: Layer, srid: int, limits: GeometryLimits
) -> list[int]:
    """Puts the EWKB of what is plainly right into `read`, and says which rows are left."""
    lengths = np.fromiter(map(len, wkbs), np.int64, len(wkbs))
    buffer = np.frombuffer(b"".join([*wkbs, bytes(_SPARE)]), np.uint8)
    ends = np.cumsum(lengths)
    done = lengths == 0
    for group in _groups(buffer, ends - lengths, ends, srid, limits):
        try:
            start = group.header.ewkb(srid, collection_for(layer, group.header))
        except InvalidArgument:
            continue
        sound = _sound_points if group.header.code == POINT else _sound_shapes
        fine = group.rows[sound(buffer, group, wkbs, layer, srid, limits)]
        body = group.header.body
        for row in fine.tolist():
            read[row] = start + wkbs[row][body:]
        done[fine] = True
    return [int(row) for row in np.flatnonzero(~done)]


def _groups(buffer: Buffer, starts: Offsets, ends: Offsets, srid: int, limits: GeometryLimits) -> Iterator[_Group]:
    """By type, as far as it is of the kinds that are read here, and written in little-endian order, in the CRS."""
    likely = np.flatnonzero((ends - starts >= 9) & (ends - starts <= limits.max_bytes))
    likely = likely[buffer[starts[likely]] == 1]
    types = gathered(buffer, starts[likely] + 1, "<u4").astype(np.uint32)
    for raw in np.unique(types):
        found = header(1, int(raw))
        if found.code in _TYPES and raw & _TYPE_BITS < 4000:
            rows = likely[types == raw]
            if raw & SRID_FLAG:
                rows = rows[gathered(buffer, starts[rows] + 5, "<i4") == srid]
            if len(rows):
                yield _Group(found, rows, starts[rows], ends[rows])


def _sound_points(
    buffer: Buffer, group: _Group, wkbs: Sequence[bytes], layer: Layer, srid: int, limits: GeometryLimits
) -> Flags:
    size = group.vertex_bytes
    sound: Flags = group.ends - group.starts == group.header.body + size
    at = np.where(sound, group.starts + group.header.body, 0)
    if len(buffer) < size:
        return sound & False
    found: npt.NDArray[np.float64] = gathered(buffer, at, f"V{size}").view("<f8").reshape(len(at), -1)
    sound &= np.isfinite(found).all(axis=1)
    if srid == WGS84:
        sound &= (np.abs(found[:, 0]) <= _WORLD[2]) & (np.abs(found[:, 1]) <= _WORLD[3])
    return sound


def _sound_shapes(
    buffer: Buffer, group: _Group, wkbs: Sequence[bytes], layer: Layer, srid: int, limits: GeometryLimits
) -> Flags:
    sound, vertices = _structure(buffer, group)
    sound &= vertices <= min(limits.max_vertices, _MOST_VERTICES)
    among = np.flatnonzero(sound)
    shapes = shapely.from_wkb([wkbs[row] for row in group.rows[among].tolist()], on_invalid="ignore")
    # GEOS takes no x or y that is not finite for valid, and a point of such for empty.
    fine = shapely.is_valid(shapes) & (shapely.get_num_coordinates(shapes) == vertices[among])
    if group.header.z or group.header.m:
        fine &= _finite(shapes, group.header)
    bounds = shapely.bounds(shapes)
    if srid == WGS84:
        fine &= (bounds[:, :2] >= _WORLD[:2]).all(axis=1) & (bounds[:, 2:] <= _WORLD[2:]).all(axis=1)
    if layer.indexed_on_earth:
        fine &= (bounds[:, 2:] - bounds[:, :2] < _MOST_EXTENT).all(axis=1)
    sound[among] = fine
    return sound


def _finite(shapes: npt.NDArray[np.object_], header: Header) -> Flags:
    ordinates, row = shapely.get_coordinates(shapes, include_z=header.z, include_m=header.m, return_index=True)
    fine = np.ones(len(shapes), np.bool_)
    fine[row[~np.isfinite(ordinates).all(axis=1)]] = False
    return fine


def _structure(buffer: Buffer, group: _Group) -> tuple[Flags, Offsets]:
    """Whether each row's parts follow one another to its end, its rings closed; and how many vertices it has."""
    walk = _Walk(buffer, group)
    for _ in range(_MOST_PARTS):
        if not len(walk.active):
            break
        walk.step()
    return walk.sound, walk.vertices


class _Walk:
    """Goes through the parts of all rows at once: a line or a ring of each in a step. A row that turns out to be
    wrong, or has no parts left, is active no longer."""

    def __init__(self, buffer: Buffer, group: _Group) -> None:
        self.buffer, self.group = buffer, group
        count = len(group.rows)
        self.code = _MEMBER.get(group.header.code, group.header.code)
        self.at: Offsets = group.starts + group.header.body
        self.sound = np.zeros(count, np.bool_)
        self.vertices = np.zeros(count, np.int64)
        self.members = np.ones(count, np.int64)
        self.rings = np.zeros(count, np.int64)
        self.active: Rows = np.arange(count)
        self.multiple = group.header.code in _MEMBER
        if self.multiple:
            self.members = self._number(self.active)
            self._keep(self.members > 0)

    def step(self) -> None:
        fresh = self.active[self.rings[self.active] == 0]
        self._enter(fresh)
        self._sequence()
        over = (self.rings[self.active] == 0) & (self.members[self.active] == 0)
        ended = self.active[over]
        self.sound[ended] = self.at[ended] == self.group.ends[ended]
        self._keep(~over)

    def _enter(self, fresh: Rows) -> None:
        """A member begins: with its header in a collection, and with the number of its rings if it is a polygon."""
        right = np.ones(len(self.at), np.bool_)
        if self.multiple:
            raw = (self.group.header.raw & ~SRID_FLAG) - self.group.header.code + self.code
            at = self._within(fresh, 5)
            right[fresh] = (self.buffer[at] == 1) & (gathered(self.buffer, at + 1, "<u4") == raw)
            self.at[fresh] += 5
        self.members[fresh] -= 1
        self.rings[fresh] = self._number(fresh) if self.code == POLYGON else 1
        right[fresh] &= self.rings[fresh] > 0
        self._keep(right[self.active])

    def _sequence(self) -> None:
        active, size = self.active, self.group.vertex_bytes
        counts = self._number(active) if self.code != POINT else np.ones(len(active), np.int64)
        first = self.at[active]
        self.at[active] += counts * size
        right = (counts >= _FEWEST.get(self.code, 1)) & (self.at[active] <= self.group.ends[active])
        if self.code == POLYGON:
            last = np.where(right, self.at[active] - size, 0)
            first = np.where(right, first, 0)
            for ordinate in (0, 8):
                start, end = (gathered(self.buffer, each + ordinate, "<f8") for each in (first, last))
                right &= start == end
        self.vertices[active] += counts
        self.rings[active] -= 1
        self._keep(right)

    def _number(self, rows: Rows) -> Offsets:
        """The count that follows in each of the rows; 0 where none does."""
        at = self._within(rows, 4)
        counts: Offsets = gathered(self.buffer, at, "<u4").astype(np.int64)
        there = self.at[rows] + 4 <= self.group.ends[rows]
        self.at[rows] += 4
        return np.where(there, counts, 0)

    def _within(self, rows: Rows, size: int) -> Offsets:
        """Where each of the rows is read, which stays in memory if a row that is wrong leads elsewhere."""
        return np.minimum(self.at[rows], len(self.buffer) - size)

    def _keep(self, those: Flags) -> None:
        self.active = self.active[those]
