"""Reads geometries on their way into a layer: what fits the column, and as it came wherever possible."""

from collections.abc import Sequence
from dataclasses import replace
from struct import Struct
from typing import Final

import numpy as np
import shapely
from google.protobuf import struct_pb2
from shapely.geometry.base import BaseGeometry

from service.catalog import Layer
from service.changes import Placed
from service.codec import geojson, shapes, wkb, wkb_curves, wkb_rows, wkt
from service.codec.arriving import repairs
from service.codec.arriving.held import collection_for, header_of, held
from service.codec.geometry import check_extent, other_crs, refusal
from service.codec.systems import WGS84, KnownSystems
from service.codec.wkb_types import MULTIPOINT, POINT, GeometryLimits, Scan, WkbError
from service.errors import InvalidArgument, Reason
from spatial.v1 import geometry_pb2

_POINT: Final = Struct("<BIdd")
_POINT_START: Final = "0101000020e6100000"


class ArrivalReader:
    """A geometry must fit the layer's column: of its type and dimensions, not empty, finite, in EPSG:4326 within the
    world, and valid unless it is to be repaired. A single shape is promoted where the column holds several. One in
    another CRS keeps it, for the database to transform, unless only the layer's is allowed.

    Of curves and surfaces, which nothing here can check for validity, the structure is checked.
    """

    def __init__(self, limits: GeometryLimits, systems: KnownSystems) -> None:
        self.limits = limits
        self.systems = systems

    def read(self, geometry: geometry_pb2.Geometry, layer: Layer, *, repair: bool, own_srid_only: bool) -> Placed:
        """Refusals name the field relative to the geometry."""
        encoding = geometry.WhichOneof("encoding")
        if encoding is None:
            raise InvalidArgument(Reason.REQUIRED, "a geometry is WKB, WKT or GeoJSON")
        if encoding == "wkb" and not (geometry.HasField("srid") and geometry.srid != WGS84):
            point = self.plain_point(geometry.wkb, layer)
            if point is not None:
                return point
        try:
            data, found = self._decode(geometry, encoding)
            named = geometry.srid if geometry.HasField("srid") else None
            srid = self._srid(found.srid, named, WGS84, layer, own_srid_only=own_srid_only)
            return Placed(_fitted(data, found, srid, layer, repair=repair).hex(), srid)
        except WkbError as fault:
            raise refusal(fault, encoding) from fault
        except InvalidArgument as error:
            raise (error if error.field == "srid" else error.at(encoding)) from error.__cause__

    @staticmethod
    def plain_point(data: bytes, layer: Layer) -> Placed | None:
        """What most single geometries are: a point in degrees, little-endian, in a column of such. None for any other,
        and for what is to be refused."""
        if len(data) != _POINT.size or layer.srid != WGS84 or layer.geometry_type != "POINT":
            return None
        order, code, longitude, latitude = _POINT.unpack(data)
        if order != 1 or code != POINT or not (-180 <= longitude <= 180 and -90 <= latitude <= 90):
            return None
        return Placed(_POINT_START + data[5:].hex(), WGS84)

    def read_many(
        self,
        wkbs: Sequence[bytes],
        layer: Layer,
        *,
        srid: int,
        repair: bool,
        own_srid_only: bool,
        contradictable: bool = True,
    ) -> tuple[list[bytes | None], dict[int, InvalidArgument]]:
        """EWKB for each, None for those that are refused or absent (zero bytes); and the refusals by position. `srid`
        is that of WKB which does not carry its own; whether another one may be carried is `contradictable`."""
        wkbs = list(wkbs)
        read: list[bytes | None] = [None] * len(wkbs)
        refused: dict[int, InvalidArgument] = {}
        left: Sequence[int] = range(len(wkbs))
        if self._is_fine(srid, layer, own_srid_only=own_srid_only):
            left = wkb_rows.read_plain(wkbs, read, layer, srid, self.limits)
        for row in left:
            if not wkbs[row]:
                continue
            try:
                read[row] = self._one(wkbs[row], layer, srid, repair, own_srid_only, contradictable)
            except InvalidArgument as error:
                refused[row] = error
        return read, refused

    def _one(
        self, data: bytes, layer: Layer, srid: int, repair: bool, own_srid_only: bool, contradictable: bool
    ) -> bytes:
        try:
            found = wkb_curves.scan(data, self.limits)
            named = None if contradictable else srid
            actual = self._srid(found.srid, named, srid, layer, own_srid_only=own_srid_only)
            return _fitted(data, found, actual, layer, repair=repair)
        except WkbError as fault:
            metadata = fault.metadata | {"offset": str(fault.offset)}
            raise InvalidArgument(fault.reason, str(fault), metadata=metadata) from fault

    def _is_fine(self, srid: int, layer: Layer, *, own_srid_only: bool) -> bool:
        try:
            self._check_srid(srid, layer, own_srid_only=own_srid_only)
        except InvalidArgument:
            return False
        return True

    def _srid(self, embedded: int | None, named: int | None, default: int, layer: Layer, *, own_srid_only: bool) -> int:
        """What the coordinates are in."""
        if named is not None and embedded not in (None, named):
            problem = f"srid is {named}, but the geometry carries {embedded}"
            metadata = {"actual": str(embedded), "expected": str(named)}
            raise InvalidArgument(Reason.SRID_MISMATCH, problem, field="srid", metadata=metadata)
        srid = next(each for each in (named, embedded, default) if each is not None)
        field = None if named is None else "srid"
        self._check_srid(srid, layer, own_srid_only=own_srid_only, field=field)
        return srid

    def _check_srid(self, srid: int, layer: Layer, *, own_srid_only: bool, field: str | None = None) -> None:
        if srid == layer.srid:
            return
        if own_srid_only:
            problem = f"the coordinates are in SRID {srid}, and only {layer.srid}, the layer's, is wanted"
            metadata = {"actual": str(srid), "expected": str(layer.srid)}
            raise InvalidArgument(Reason.SRID_MISMATCH, problem, field=field, metadata=metadata)
        if not (srid and layer.srid):
            raise other_crs(srid, layer.srid, field)
        self.systems.check(srid, field)

    def _decode(self, geometry: geometry_pb2.Geometry, encoding: str) -> tuple[bytes, Scan]:
        if encoding == "wkb":
            return geometry.wkb, wkb_curves.scan(geometry.wkb, self.limits)
        if encoding == "wkt":
            data, srid = wkt.to_wkb(geometry.wkt, self.limits)
            return data, replace(wkb.scan(data, self.limits), srid=srid)
        return self._from_geojson(geometry.geojson)

    def _from_geojson(self, value: struct_pb2.Struct) -> tuple[bytes, Scan]:
        data, heights = geojson.with_heights(value, self.limits)
        found = wkb.scan(data, self.limits)
        if heights:
            flat = shapely.from_wkb(data)
            positions = np.column_stack((shapely.get_coordinates(flat), heights))
            data = _written(shapely.set_coordinates(shapely.force_3d(flat), positions))
        return data, found


def _fitted(data: bytes, found: Scan, srid: int, layer: Layer, *, repair: bool) -> bytes:
    """EWKB of what has been scanned, as the layer's column holds it."""
    if srid == WGS84:
        check_extent(found)
    collection = collection_for(layer, header_of(data))
    if not found.curved and not (found.plain and found.code in (POINT, MULTIPOINT)):
        data = _valid(data, found, layer, repair=repair)
    start = header_of(data)
    if start.code == collection:
        collection = None  # a repaired shape that has become several
    return start.ewkb(srid, collection) + data[start.body :]


def _valid(data: bytes, found: Scan, layer: Layer, *, repair: bool) -> bytes:
    geometry = shapely.from_wkb(data)
    try:
        shapes.check_valid(geometry)
    except InvalidArgument as fault:
        if not repair or fault.reason is not Reason.INVALID_GEOMETRY:
            raise
        geometry = repairs.repaired(geometry, held(layer.geometry_type), fault)
        data = _written(geometry)
    else:
        if not found.plain and (data[0] != 1 or _has_inner_srid(data, geometry)):
            data = _written(geometry)
    if layer.indexed_on_earth:
        shapes.check_edges(geometry)
    return data


def _has_inner_srid(data: bytes, geometry: BaseGeometry) -> bool:
    """Members that say their SRID, too, make WKB longer."""
    start = header_of(data)
    return len(data) - start.body + 5 != len(_written(geometry))


def _written(geometry: BaseGeometry) -> bytes:
    written: bytes = shapely.to_wkb(geometry, output_dimension=4, byte_order=1, include_srid=False)
    return written
