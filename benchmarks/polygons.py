"""Polygons, the same in every run: many of a kilobyte, and some of a megabyte."""

import io
import struct
from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt

from benchmarks.dataset import EAST, NORTH, SEED, SOUTH, WEST, Table

PARCELS = 100_000
PARCEL_VERTICES = 65
ZONES = 64
ZONE_VERTICES = 65_536
LAND_USES = ("farming", "forest", "housing", "industry", "park")

_SRID = struct.pack("<I", 4326)
_POLYGON = struct.pack("<I", 3)
_POLYGON_WITH_SRID = struct.pack("<I", 3 | 0x20000000)
_MULTIPOLYGON_WITH_SRID = struct.pack("<I", 6 | 0x20000000)
_ONE = struct.pack("<I", 1)
_LITTLE_ENDIAN = b"\1"

Rows = Callable[[], Iterator[io.BytesIO]]
Rings = npt.NDArray[np.float64]


def districts() -> Iterator[io.BytesIO]:
    """The one in which all parcels lie."""
    box = ", ".join(f"{x} {y}" for x, y in ((0, 40), (20, 40), (20, 60), (0, 60), (0, 40)))
    yield io.BytesIO(f"All\tSRID=4326;MULTIPOLYGON((({box})))\n".encode())


def parcels(rows: int = PARCELS) -> Iterator[io.BytesIO]:
    random = np.random.default_rng(SEED + 2)
    for first in range(0, rows, 10_000):
        rings = _rings(random, min(10_000, rows - first), PARCEL_VERTICES, radius=0.01, roughness=0.1)
        lines = (
            f"P{number}\tParcel {number}\t{LAND_USES[number % len(LAND_USES)]}\t1\t{_polygon(ring).hex()}\n"
            for number, ring in enumerate(rings, first)
        )
        yield io.BytesIO("".join(lines).encode())


def zones(rows: int = ZONES) -> Iterator[io.BytesIO]:
    random = np.random.default_rng(SEED + 3)
    for number in range(rows):
        (ring,) = _rings(random, 1, ZONE_VERTICES, radius=0.5, roughness=1e-5)
        yield io.BytesIO(f"Z{number}\tZone {number}\tround\t{_multipolygon(ring).hex()}\n".encode())


TABLES = (
    Table("districts", ("name", "boundary"), districts),
    Table("parcels", ("number", "name", "land_use", "district_id", "boundary"), parcels),
    Table("zones", ("code", "name", "category", "boundary"), zones),
)


def _rings(random: np.random.Generator, count: int, vertices: int, radius: float, roughness: float) -> Rings:
    """Valid, since each vertex is seen from the centre, in turn; the rougher, the longer PostGIS takes to find so."""
    angles = np.linspace(0.0, 2 * np.pi, vertices)
    centres = random.uniform((WEST + 1, SOUTH + 1), (EAST - 1, NORTH - 1), (count, 1, 2))
    rays = radius * random.uniform(1 - roughness, 1, (count, vertices, 1))
    rings: Rings = centres + rays * np.stack((np.cos(angles), np.sin(angles)), axis=1)
    rings[:, -1] = rings[:, 0]
    return rings


def _polygon(ring: Rings) -> bytes:
    return _LITTLE_ENDIAN + _POLYGON_WITH_SRID + _SRID + _points(ring)


def _multipolygon(ring: Rings) -> bytes:
    return _LITTLE_ENDIAN + _MULTIPOLYGON_WITH_SRID + _SRID + _ONE + _LITTLE_ENDIAN + _POLYGON + _points(ring)


def _points(ring: Rings) -> bytes:
    """Of a polygon with one ring."""
    return _ONE + struct.pack("<I", len(ring)) + ring.astype("<f8").tobytes()
