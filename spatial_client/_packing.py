"""Features into messages of columns, of the types that the layer's properties have. No I/O.

A row that does not fit, say a timestamp as text or a geometry as WKT, travels as a Feature of its own: the service
reads what it can of it and rejects the row otherwise.
"""

import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from spatial.v1 import feature_pb2, write_pb2
from spatial_client._columns import EPOCH
from spatial_client._features import NewFeature, Place, ewkb, feature_message, new_feature, point_wkb
from spatial_client._values import Layer

Request = write_pb2.ImportFeaturesRequest
Convert = Callable[[Any], Any]

BATCH_BYTES = 256 * 1024
NUMBER_BYTES = 8
LONGITUDE_LATITUDE = 4326
INTEGER = "integer"
LARGEST, SMALLEST = 2**63 - 1, -(2**63)


class Misfit(Exception):
    """A value that no column can carry as it is."""


class Packer:
    """Collects rows until they make a message: those that follow one another and bring the same things."""

    def __init__(self, layer: Layer, srid: int | None, first: int) -> None:
        self._kinds = {each.name: each.type for each in layer.properties}
        self._srid = srid or layer.srid
        self._integer_keys = layer.key_type == INTEGER
        self._next = first
        self._brings: tuple[Any, ...] | None = None  # what the rows bring; None of Feature messages
        self._begin()

    def add(self, feature: Any) -> Request | None:
        """A message, if there is one before this feature."""
        new = new_feature(feature)
        row, size = self._row(new)
        brings = (new.id is None, new.geometry is None, *new.properties) if isinstance(row, list) else None
        full = self._bytes >= BATCH_BYTES or brings != self._brings
        ready = self.rest() if full else None
        self._brings = brings
        self._rows.append(row)
        self._bytes += size
        return ready

    def rest(self) -> Request | None:
        """A message of what is there; None if nothing is."""
        if not self._rows:
            return None
        request = Request(first_row=self._next)
        if self._brings is None:
            request.rows.features.extend(self._rows)
        else:
            request.columns.CopyFrom(self._columns(*self._brings))
        self._next += len(self._rows)
        self._begin()
        return request

    def _begin(self) -> None:
        self._rows: list[Any] = []  # lists of the key, the geometry and the values, or Feature messages
        self._bytes = 0

    def _row(self, new: NewFeature) -> tuple[list[Any] | feature_pb2.Feature, int]:
        """The row, and about how large it is."""
        try:
            row = [self._key(new.id), self._wkb(new.geometry)]
            row += [_fitting(self._kinds.get(name), value) for name, value in new.properties.items()]
        except Misfit:
            message = feature_message(new, self._srid)
            return message, message.ByteSize()
        return row, sum(len(each) if isinstance(each, str | bytes) else NUMBER_BYTES for each in row)

    def _key(self, given: str | int | None) -> str | int | None:
        if given is None or not self._integer_keys:
            return None if given is None else str(given)
        try:
            key = int(given)
        except ValueError:
            raise Misfit from None
        if str(key) != str(given):  # a truth value, 5.0, " 5"
            raise Misfit
        return _integer(key)

    def _wkb(self, place: Place | None) -> bytes | None:
        if place is None or isinstance(place, bytes):
            return place
        if isinstance(place, tuple | list) and len(place) == 2:
            point = point_wkb(*place)
            return point if self._srid == LONGITUDE_LATITUDE else ewkb(point, LONGITUDE_LATITUDE)
        library: Any = sys.modules.get("shapely")
        if library is None or not isinstance(place, library.Geometry):
            raise Misfit
        wkb: bytes = library.to_wkb(place, include_srid=True)
        return wkb

    def _columns(self, no_ids: bool, no_geometry: bool, *names: str) -> feature_pb2.FeatureColumns:
        keys, geometries, *values = zip(*self._rows, strict=True)
        columns = feature_pb2.FeatureColumns(count=len(self._rows))
        if not no_ids:
            (columns.int64_ids if self._integer_keys else columns.string_ids).extend(keys)
        if not no_geometry:
            columns.wkb.extend(geometries)
        for name, each in zip(names, values, strict=True):
            columns.properties.append(column(name, self._kinds[name], each))
        return columns


def packed(features: Iterable[Any], packer: Packer) -> Iterator[Request]:
    for feature in features:
        if (request := packer.add(feature)) is not None:
            yield request
    if (request := packer.rest()) is not None:
        yield request


def column(name: str, kind: str, values: Iterable[Any]) -> feature_pb2.Column:
    """Of values that fit; None is null."""
    field, empty = COLUMNS[kind]
    found = list(values)
    nulls = [row for row, value in enumerate(found) if value is None]
    for row in nulls:
        found[row] = empty
    message = feature_pb2.Column(name=name, null_rows=nulls)
    # Set even where there are no values: the field is what says the type.
    getattr(message, field).SetInParent()
    getattr(message, field).values.extend(found)
    return message


# The field of Column for each type of property, and what stands for null in it.
COLUMNS: Final[Mapping[str, tuple[str, Any]]] = {
    "string": ("strings", ""),
    "integer": ("integers", 0),
    "number": ("numbers", 0.0),
    "boolean": ("booleans", False),
    "timestamp": ("timestamps", 0),
    "json": ("json", "null"),
    "bytes": ("bytes", b""),
}


def _fitting(kind: str | None, value: Any) -> Any:
    if value is None and kind is not None:
        return None
    convert = _FITS.get(kind or "", {}).get(type(value))
    if convert is None:
        raise Misfit
    return convert(value)


def _same(value: Any) -> Any:
    return value


def _integer(value: int) -> int:
    if not SMALLEST <= value <= LARGEST:
        raise Misfit
    return value


def _microseconds(moment: datetime) -> int:
    aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return (aware - EPOCH) // timedelta(microseconds=1)


def _json(value: Any) -> str:
    try:
        return json.dumps(value, allow_nan=False)
    except (TypeError, ValueError):
        raise Misfit from None


_FITS: Final[Mapping[str, Mapping[type, Convert]]] = {
    "string": {str: _same},
    "integer": {int: _integer},
    "number": {float: _same, int: _integer},
    "boolean": {bool: _same},
    "timestamp": {datetime: _microseconds},
    "json": dict.fromkeys((dict, list, str, int, float, bool), _json),
    "bytes": {bytes: _same, bytearray: bytes},
}
