"""Draws a bounding box as WKB: in the plane exactly, on the spheroid so closely that nobody sees the difference.

Edges are geodesics on the spheroid, and between two points of one latitude a geodesic leaves the parallel towards the
pole. So parallels are drawn with vertices close enough to keep within DEVIATION_METERS; and since PostGIS takes a ring
for the smaller of the two parts that it divides the sphere into, a large box is drawn in pieces.
"""

import math
from itertools import pairwise
from typing import Final

import numpy as np

from service.codec import wkb_writer
from service.codec.wkb_types import LINESTRING, POINT, POLYGON

DEVIATION_METERS: Final = 1.0
PIECE_DEGREES: Final = 60.0
# Taller pieces, above all those that touch both poles, make PostGIS misplace points in them.
BAND_DEGREES: Final = 90.0
# An edge is never longer, so that no two ends of one come near being antipodal.
EDGE_DEGREES: Final = 30.0
# 0.1 mm from a pole, longitudes no longer tell points apart.
POLE: Final = 90.0 - 1e-9
# The largest radius of curvature on WGS 84, so that the bound holds everywhere.
_RADIUS: Final = 6_400_000.0
_MULTI: Final = 3

Position = tuple[float, float]
Piece = tuple[int, list[Position]]


def draw(west: float, south: float, east: float, north: float, *, geodetic: bool) -> tuple[bytes, int]:
    """The WKB of a box and its number of vertices; west > east crosses the antimeridian.

    A box without width or height becomes a line or a point, since a polygon without area would be invalid.
    """
    spans = _spans(west, east)
    if geodetic:
        pieces = [piece for span in spans for piece in _on_spheroid(*span, south, north)]
    else:
        pieces = [_in_plane(*span, south, north) for span in spans]
    written = [_write(*piece) for piece in pieces]
    vertices = sum(len(positions) for _, positions in pieces)
    if len(written) == 1:
        return written[0], vertices
    return wkb_writer.collection(pieces[0][0] + _MULTI, written), vertices


def _spans(west: float, east: float) -> list[Position]:
    """The ranges of longitude; one that is a mere edge on the antimeridian counts only if there is no other."""
    if west <= east:
        return [(west, east)]
    spans = [(west, 180.0), (-180.0, east)]
    return [(start, end) for start, end in spans if start < end] or spans


def _write(code: int, positions: list[Position]) -> bytes:
    if code == POINT:
        return wkb_writer.point(*positions[0])
    if code == LINESTRING:
        return wkb_writer.line(positions)
    return wkb_writer.polygon([positions])


def _in_plane(west: float, east: float, south: float, north: float) -> Piece:
    if west == east and south == north:
        return POINT, [(west, south)]
    if west == east or south == north:
        return LINESTRING, [(west, south), (east, north)]
    return POLYGON, [(west, south), (east, south), (east, north), (west, north), (west, south)]


def _on_spheroid(west: float, east: float, south: float, north: float) -> list[Piece]:
    if south == north:
        parallel = _parallel(south, west, east)
        return [(POINT if len(parallel) == 1 else LINESTRING, parallel)]
    if west == east:
        return [(LINESTRING, _meridian(west, south, north))]
    sides = np.linspace(west, east, _parts(east - west, PIECE_DEGREES) + 1).tolist()
    bands = [south, 0.0, north] if north - south > BAND_DEGREES else [south, north]
    return [(POLYGON, _ring(*side, *band)) for band in pairwise(bands) for side in pairwise(sides)]


def _ring(west: float, east: float, south: float, north: float) -> list[Position]:
    bottom, top = _parallel(south, west, east), _parallel(north, west, east)
    right, left = _meridian(east, south, north)[1:-1], _meridian(west, south, north)[1:-1]
    return [*bottom, *right, *reversed(top), *reversed(left), bottom[0]]


def _parallel(latitude: float, west: float, east: float) -> list[Position]:
    if west == east or abs(latitude) > POLE:
        return [(west, latitude)]
    # A chord of angle a (of longitude) strays R sin(2 latitude) a² / 16 from its parallel.
    stray = _RADIUS * math.sin(math.radians(2 * abs(latitude))) / 16
    longest = min(math.degrees(math.sqrt(DEVIATION_METERS / stray)) if stray else EDGE_DEGREES, EDGE_DEGREES)
    longitudes = np.linspace(west, east, _parts(east - west, longest) + 1)
    return [(longitude, latitude) for longitude in longitudes.tolist()]


def _meridian(longitude: float, south: float, north: float) -> list[Position]:
    latitudes = np.linspace(south, north, _parts(north - south, EDGE_DEGREES) + 1)
    return [(longitude, latitude) for latitude in latitudes.tolist()]


def _parts(length: float, longest: float) -> int:
    """At least one: of the smallest lengths that there are a fraction is 0."""
    return max(1, math.ceil(length / longest))
