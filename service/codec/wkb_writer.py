"""Writes little-endian, two-dimensional WKB."""

from collections.abc import Iterable, Sequence
from struct import Struct
from typing import Final

import numpy as np
import numpy.typing as npt

from service.codec.wkb_types import LINESTRING, POINT, POLYGON, SRID_FLAG

Positions = Sequence[tuple[float, float]] | npt.NDArray[np.float64]

_HEADER: Final = Struct("<BI")
_COUNT: Final = Struct("<I")
_POINT: Final = Struct("<BIdd")
_EWKB_HEADER: Final = Struct("<BIi")


def point(x: float, y: float) -> bytes:
    return _POINT.pack(1, POINT, x, y)


def line(positions: Positions) -> bytes:
    return _HEADER.pack(1, LINESTRING) + _sequence(positions)


def polygon(rings: Sequence[Positions]) -> bytes:
    return _HEADER.pack(1, POLYGON) + _COUNT.pack(len(rings)) + b"".join(map(_sequence, rings))


def collection(code: int, members: Iterable[bytes]) -> bytes:
    """A multi-geometry or GEOMETRYCOLLECTION of members written by these functions."""
    written = list(members)
    return _HEADER.pack(1, code) + _COUNT.pack(len(written)) + b"".join(written)


def hexewkb(wkb: bytes, srid: int, body: int = 5) -> str:
    """The text that PostgreSQL reads as a geometry, from little-endian WKB whose header ends before `body`."""
    code = wkb[1] | wkb[2] << 8
    return _EWKB_HEADER.pack(1, code | SRID_FLAG, srid).hex() + wkb[body:].hex()


def _sequence(positions: Positions) -> bytes:
    return _COUNT.pack(len(positions)) + np.asarray(positions, "<f8").tobytes()
