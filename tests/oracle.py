"""Distances and relations worked out without PostGIS: by GeographicLib (pyproj), by the haversine formula, by GEOS."""

from contextlib import closing
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import psycopg2
import shapely
from pyproj import Geod
from shapely.geometry.base import BaseGeometry

Floats = npt.NDArray[np.float64]

SPHEROID = Geod(ellps="WGS84")
# The radius that makes a sphere of WGS 84: the mean of its three half axes.
MEAN_RADIUS = (2 * 6378137.0 + 6356752.314245179) / 3
SPHERE = Geod(a=MEAN_RADIUS, f=0.0)
# A sphere's distances are off by at most this from the spheroid's.
FLATTENING = 0.0065


@dataclass(frozen=True)
class Bounds:
    """Between what a distance must lie."""

    lower: Floats
    upper: Floats


def haversine(longitude: float, latitude: float, longitudes: Floats, latitudes: Floats) -> Floats:
    """Metres along great circles from one point to many."""
    here, there = np.radians(latitude), np.radians(latitudes)
    across = np.radians(longitudes - longitude)
    chord = np.sin((there - here) / 2) ** 2 + np.cos(here) * np.cos(there) * np.sin(across / 2) ** 2
    metres: Floats = 2 * MEAN_RADIUS * np.arcsin(np.sqrt(np.minimum(chord, 1.0)))
    return metres


def geodesic(longitude: float, latitude: float, longitudes: Floats, latitudes: Floats, geod: Geod = SPHEROID) -> Floats:
    """Metres along geodesics from one point to many."""
    here = np.full_like(longitudes, longitude), np.full_like(latitudes, latitude)
    return np.asarray(geod.inv(*here, longitudes, latitudes)[2])


class Outline:
    """Points along a geometry's lines, at most `spacing` metres apart: no distance to it is less than that to the
    nearest of them by more than half of the spacing."""

    def __init__(self, longitudes: Floats, latitudes: Floats, spacing: float, geod: Geod = SPHEROID) -> None:
        self.longitudes, self.latitudes, self.spacing, self.geod = longitudes, latitudes, spacing, geod

    @classmethod
    def of(cls, geometry: BaseGeometry, spacing: float, geod: Geod = SPHEROID) -> "Outline":
        """The outline of a geometry whose edges are geodesics."""
        pieces = [_densified(shapely.get_coordinates(line), spacing, geod) for line in lines(geometry)]
        points = [shapely.get_coordinates(part) for part in shapely.get_parts(geometry) if part.geom_type == "Point"]
        positions = np.concatenate([*pieces, *points])
        return cls(positions[:, 0], positions[:, 1], spacing if pieces else 0.0, geod)

    @classmethod
    def of_box(cls, west: float, south: float, east: float, north: float, spacing: float) -> "Outline":
        """The outline of a box between parallels and meridians; west > east crosses the antimeridian."""
        width = east - west if west <= east else east - west + 360
        across = west + np.linspace(0, width, int(width * 111_400 / spacing) + 2)
        up = np.linspace(south, north, int((north - south) * 111_700 / spacing) + 2)
        longitudes = np.concatenate([across, across, np.full_like(up, west), np.full_like(up, east)])
        latitudes = np.concatenate([np.full_like(across, south), np.full_like(across, north), up, up])
        return cls((longitudes + 180) % 360 - 180, latitudes, spacing)

    def bounds(self, longitudes: Floats, latitudes: Floats) -> Bounds:
        """Of the distances from the points to the outline."""
        upper = np.array([self._nearest(*point) for point in zip(longitudes, latitudes, strict=True)])
        return Bounds(np.maximum(upper - self.spacing / 2, 0), upper)

    def _nearest(self, longitude: float, latitude: float) -> float:
        roughly = haversine(longitude, latitude, self.longitudes, self.latitudes)
        near = roughly <= roughly.min() * (1 + 2 * FLATTENING) + 1e-6
        return float(geodesic(longitude, latitude, self.longitudes[near], self.latitudes[near], self.geod).min())


def lines(geometry: BaseGeometry) -> list[BaseGeometry]:
    """Every line of a geometry, a polygon's rings among them."""
    found: list[BaseGeometry] = []
    for part in shapely.get_parts(geometry):
        if part.geom_type == "Polygon":
            found.extend(shapely.get_rings(part))
        elif part.geom_type == "LineString":
            found.append(part)
    return found


def _densified(positions: Floats, spacing: float, geod: Geod) -> Floats:
    starts, ends = positions[:-1], positions[1:]
    azimuths, _, lengths = geod.inv(starts[:, 0], starts[:, 1], ends[:, 0], ends[:, 1])
    counts = np.maximum(np.ceil(np.asarray(lengths) / spacing).astype(int), 1)
    edge = np.repeat(np.arange(len(counts)), counts)
    step = np.arange(len(edge)) - np.repeat(np.cumsum(counts) - counts, counts)
    along = np.asarray(lengths)[edge] * step / counts[edge]
    longitudes, latitudes, _ = geod.fwd(starts[edge, 0], starts[edge, 1], np.asarray(azimuths)[edge], along)
    return np.concatenate([np.stack((longitudes, latitudes), 1), ends[-1:]])


def surrounds(geometry: BaseGeometry, longitude: float, latitude: float) -> bool:
    """Whether a polygon with geodesic edges holds the point: whoever follows the rings with the eyes from there turns
    around once. From the antipode of a point inside one turns the other way."""
    turns = 0.0
    for part in shapely.get_parts(geometry):
        if part.geom_type == "Polygon":
            turns += _turns(part.exterior, longitude, latitude)
            turns -= sum(_turns(hole, longitude, latitude) for hole in part.interiors)
    return round(turns) > 0


def holds(geometry: BaseGeometry, longitude: float, latitude: float) -> bool:
    """The same, sooner, of polygons that do not wrap around, with edges that bulge out of their box by less than 2
    degrees."""
    west, south, east, north = geometry.bounds
    near = west - 2 <= longitude <= east + 2 and south - 2 <= latitude <= north + 2
    return near and surrounds(geometry, longitude, latitude)


def _turns(ring: BaseGeometry, longitude: float, latitude: float) -> float:
    """How often one who follows a ring, counterclockwise, turns around."""
    positions = shapely.get_coordinates(ring)
    here = np.full(len(positions), longitude), np.full(len(positions), latitude)
    azimuths = np.asarray(SPHEROID.inv(*here, positions[:, 0], positions[:, 1])[0])
    clockwise = ((np.diff(azimuths) + 180) % 360 - 180).sum() / 360
    if abs(clockwise) < 0.1:
        return 0.0  # whichever way the ring goes
    area, _ = SPHEROID.polygon_area_perimeter(positions[:, 0], positions[:, 1])
    return float(-clockwise * np.sign(area))


def geometries(url: str, table: str, column: str) -> dict[int, BaseGeometry]:
    """A table's geometries by key, as GEOS has them."""
    return {
        key: shapely.from_wkb(bytes(data)) for key, data in fetch(url, f"SELECT id, ST_AsBinary({column}) FROM {table}")
    }


def fetch(url: str, statement: str, *values: Any) -> list[Any]:
    """The rows of a statement; what it writes is kept."""
    with closing(psycopg2.connect(url)) as connection, connection, connection.cursor() as cursor:
        cursor.execute(statement, values)
        return [*cursor.fetchall()] if cursor.description else []


@dataclass(frozen=True)
class Points:
    """A layer of points."""

    keys: npt.NDArray[np.int64]
    longitudes: Floats
    latitudes: Floats

    @classmethod
    def of(cls, url: str, table: str = "facilities", column: str = "location") -> "Points":
        rows = fetch(url, f"SELECT id, ST_X({column}), ST_Y({column}) FROM {table} ORDER BY id")
        keys, longitudes, latitudes = zip(*rows, strict=True)
        return cls(np.array(keys), np.array(longitudes), np.array(latitudes))

    def distances(
        self, model: str, longitude: float, latitude: float, *, reach: float = np.inf, nearest: int | None = None
    ) -> Floats:
        """From a point to each, in the units of the distance model.

        On the spheroid, which takes long, those beyond `reach`, or beyond so many that are nearest, are a sphere's:
        they stay beyond.
        """
        if model == "PLANAR":
            return np.hypot(self.longitudes - longitude, self.latitudes - latitude)
        metres = haversine(longitude, latitude, self.longitudes, self.latitudes)
        if model == "SPHEROID":
            if nearest is not None and nearest < len(metres):
                reach = min(reach, np.partition(metres, nearest)[nearest])
            near = metres <= reach * (1 + 2 * FLATTENING) + 1
            metres[near] = geodesic(longitude, latitude, self.longitudes[near], self.latitudes[near])
        return metres


def disordered(found: list[tuple[int, float]]) -> list[tuple[int, float]]:
    """What in an answer stands before something nearer, or as near and of a smaller key."""
    in_order = sorted(found, key=lambda each: (each[1], each[0]))
    return [each for each, expected in zip(found, in_order, strict=True) if each != expected]
