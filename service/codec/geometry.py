"""Reads what a caller sends as a geometry, and refuses what PostGIS had better not see.

Every encoding ends as WKB that passes one strict scanner (`wkb.py`); GEOS sees only what the scanner let through.
"""

import math
import sys
from dataclasses import dataclass, replace
from struct import Struct
from typing import Final, NamedTuple

import shapely
from google.type import latlng_pb2

from service.codec import box, geojson, shapes, wkb, wkb_writer, wkt
from service.codec.systems import WGS84, KnownSystems
from service.codec.wkb_types import COLLECTION, MULTIPOINT, NAMES, POINT, GeometryLimits, Scan, WkbError
from service.errors import InvalidArgument, Reason
from spatial.v1 import geometry_pb2

__all__ = ["GeometryLimits", "ProbeGeometry", "ProbeReader", "Stored"]

_POINT_PREFIX: Final = "0101000020e6100000"
_POSITION: Final = Struct("<dd")
_LIMITS: Final = {"longitude": 180.0, "latitude": 90.0}
_LATITUDES: Final = ("latitude", "south", "north")


class ProbeGeometry(NamedTuple):
    """A checked geometry: two-dimensional, little-endian EWKB in hex, as PostgreSQL reads it from text."""

    hexewkb: str
    kind: str
    vertices: int
    srid: int = WGS84
    extent: float = 0.0  # the longer side of its bounding box, in units of its CRS


@dataclass(frozen=True, slots=True)
class Stored:
    """The geometry that a feature has in the database, as ISO WKB."""

    wkb: bytes
    srid: int


def point_hexewkb(longitude: float, latitude: float) -> str:
    return _POINT_PREFIX + _POSITION.pack(longitude, latitude).hex()


class ProbeReader:
    """Reads probes and the geometries and boxes beside them.

    `srid` is the layer's; a geometry keeps its own, and the database transforms it. `geodetic` says that distances on
    the spheroid are measured from the geometry: its edges are geodesics then, and a box is drawn so that they follow
    its parallels. Refusals name the field relative to the message that was read.

    What is checked in degrees, the range of coordinates and edges between antipodes, is checked of coordinates in
    EPSG:4326. Of other ones only PROJ knows where they lie: what it cannot place fails in the database.
    """

    def __init__(self, limits: GeometryLimits, systems: KnownSystems | None = None) -> None:
        self.limits = limits
        self.systems = systems or KnownSystems()

    def read(
        self, probe: geometry_pb2.Probe, *, srid: int, geodetic: bool, stored: Stored | None = None
    ) -> ProbeGeometry:
        """`stored` is what the database has for a probe that is a feature."""
        source = probe.WhichOneof("source")
        if source is None:
            raise InvalidArgument(Reason.REQUIRED, "a probe is a point, a geometry, a box or a feature")
        try:
            if source == "point":
                return self.read_point(probe.point, srid=srid)
            if source == "geometry":
                return self.read_geometry(probe.geometry, srid=srid, geodetic=geodetic)
            if source == "feature":
                return self._read_stored(stored, srid=srid, geodetic=geodetic)
            return self.read_box(probe.bbox, srid=srid, geodetic=geodetic)
        except InvalidArgument as error:
            raise error.at(source) from error.__cause__

    def read_point(self, point: latlng_pb2.LatLng, *, srid: int) -> ProbeGeometry:
        if not srid:
            raise other_crs(WGS84, srid)
        longitude, latitude = point.longitude, point.latitude
        if not (-180.0 <= longitude <= 180.0 and -90.0 <= latitude <= 90.0):
            _check_ordinate("latitude", latitude, geographic=True)
            _check_ordinate("longitude", longitude, geographic=True)
        return ProbeGeometry(point_hexewkb(longitude, latitude), "POINT", 1)

    def read_box(self, bbox: geometry_pb2.BoundingBox, *, srid: int, geodetic: bool) -> ProbeGeometry:
        west, south, east, north = bbox.west, bbox.south, bbox.east, bbox.north
        geographic = geodetic or srid == WGS84
        for name, value in (("west", west), ("south", south), ("east", east), ("north", north)):
            _check_ordinate(name, value, geographic=geographic)
        if south > north:
            raise InvalidArgument(Reason.OUT_OF_RANGE, f"south {south} is beyond north {north}", field="south")
        if west > east and not geographic:
            problem = f"west {west} is beyond east {east}: only a box of longitudes may cross the antimeridian"
            raise InvalidArgument(Reason.OUT_OF_RANGE, problem, field="west")
        drawn, vertices = box.draw(west, south, east, north, geodetic=geodetic)
        return ProbeGeometry(
            wkb_writer.hexewkb(drawn, srid),
            NAMES[drawn[1]],
            vertices,
            srid,
            max((east - west) % 360.0 if geographic else east - west, north - south),
        )

    def read_geometry(self, geometry: geometry_pb2.Geometry, *, srid: int, geodetic: bool) -> ProbeGeometry:
        encoding = geometry.WhichOneof("encoding")
        if encoding is None:
            raise InvalidArgument(Reason.REQUIRED, "a geometry is WKB, WKT or GeoJSON")
        try:
            data, found = self._decode(geometry, encoding)
            actual = self._srid(geometry, found.srid, srid)
            return _checked(data, found, actual, geodetic=geodetic)
        except WkbError as fault:
            raise refusal(fault, encoding) from fault
        except InvalidArgument as error:
            raise (error if error.field == "srid" else error.at(encoding)) from error.__cause__

    def _read_stored(self, stored: Stored | None, *, srid: int, geodetic: bool) -> ProbeGeometry:
        """However large it is: the database has it already."""
        assert stored is not None, "the feature has not been looked up"
        if stored.srid != srid and not (stored.srid and srid):
            raise other_crs(stored.srid, srid)
        limits = replace(self.limits, max_bytes=sys.maxsize, max_vertices=sys.maxsize)
        try:
            return _checked(stored.wkb, wkb.scan(stored.wkb, limits), stored.srid, geodetic=geodetic)
        except WkbError as fault:
            raise InvalidArgument(fault.reason, fault.problem, metadata=fault.metadata) from fault

    def _srid(self, geometry: geometry_pb2.Geometry, embedded: int | None, layer: int) -> int:
        """What the coordinates are in. Without a CRS nothing can be transformed, neither from it nor to it."""
        named = geometry.HasField("srid")
        if named and embedded not in (None, geometry.srid):
            problem = f"srid is {geometry.srid}, but the geometry carries {embedded}"
            metadata = {"actual": str(embedded), "expected": str(geometry.srid)}
            raise InvalidArgument(Reason.SRID_MISMATCH, problem, field="srid", metadata=metadata)
        field = "srid" if named else None
        srid = geometry.srid if named else WGS84 if embedded is None else embedded
        if srid != layer:
            if not (srid and layer):
                raise other_crs(srid, layer, field)
            self.systems.check(srid, field)
        return srid

    def _decode(self, geometry: geometry_pb2.Geometry, encoding: str) -> tuple[bytes, Scan]:
        if encoding == "wkb":
            return geometry.wkb, wkb.scan(geometry.wkb, self.limits)
        if encoding == "wkt":
            data, srid = wkt.to_wkb(geometry.wkt, self.limits)
            return data, replace(wkb.scan(data, self.limits), srid=srid)
        data = geojson.to_wkb(geometry.geojson, self.limits)
        return data, wkb.scan(data, self.limits)


def _checked(data: bytes, found: Scan, srid: int, *, geodetic: bool) -> ProbeGeometry:
    if srid == WGS84:
        check_extent(found)
    if found.plain and found.code in (POINT, MULTIPOINT):
        return _plain(data, srid, found)
    geometry = shapely.from_wkb(data)
    shapes.check_valid(geometry)
    if geodetic:
        if srid == WGS84:
            shapes.check_edges(geometry)
    elif found.code == COLLECTION:
        geometry = shapes.disentangle(shapely.force_2d(geometry))
        return _written(geometry, srid, found)
    if found.plain:
        return _plain(data, srid, found)
    return _written(shapely.force_2d(geometry), srid, found)


def _plain(data: bytes, srid: int, found: Scan) -> ProbeGeometry:
    return ProbeGeometry(wkb_writer.hexewkb(data, srid, found.body), found.kind, found.vertices, srid, found.extent)


def _written(geometry: shapely.Geometry, srid: int, found: Scan) -> ProbeGeometry:
    """`kind` stays what the caller sent, though a collection may have become something simpler."""
    data = shapely.to_wkb(geometry, byte_order=1)
    vertices = int(shapely.get_num_coordinates(geometry))
    return ProbeGeometry(wkb_writer.hexewkb(data, srid), found.kind, vertices, srid, found.extent)


def other_crs(actual: int, expected: int, field: str | None = None) -> InvalidArgument:
    problem = f"the coordinates are in SRID {actual}, the layer's in {expected}: 0 is no CRS to transform from or to"
    metadata = {"actual": str(actual), "expected": str(expected)}
    return InvalidArgument(Reason.SRID_MISMATCH, problem, field=field, metadata=metadata)


def check_extent(found: Scan) -> None:
    for name, least, most in (("longitude", found.west, found.east), ("latitude", found.south, found.north)):
        worst = least if least < -_LIMITS[name] else most
        if abs(worst) > _LIMITS[name]:
            raise _out_of_range(name, worst, _LIMITS[name])


def _check_ordinate(name: str, value: float, *, geographic: bool) -> None:
    if not math.isfinite(value):
        metadata = {"actual": str(value)}
        raise InvalidArgument(Reason.NON_FINITE_COORDINATE, f"{name} is {value}", field=name, metadata=metadata)
    limit = _LIMITS["latitude" if name in _LATITUDES else "longitude"]
    if geographic and abs(value) > limit:
        error = _out_of_range(name, value, limit)
        raise error.at(name)


def _out_of_range(name: str, value: float, limit: float) -> InvalidArgument:
    problem = f"{name} {value} is beyond {limit:g} degrees"
    metadata = {"actual": str(value), "limit": f"{limit:g}"}
    return InvalidArgument(Reason.COORDINATE_OUT_OF_RANGE, problem, metadata=metadata)


def refusal(fault: WkbError, encoding: str) -> InvalidArgument:
    """Byte offsets are said only where the caller wrote the bytes."""
    if encoding != "wkb":
        return InvalidArgument(fault.reason, fault.problem, field=encoding, metadata=fault.metadata)
    metadata = fault.metadata | {"offset": str(fault.offset)}
    return InvalidArgument(fault.reason, str(fault), field=encoding, metadata=metadata)
