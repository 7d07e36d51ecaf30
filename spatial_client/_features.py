"""Features on their way in: geometries, properties and keys as callers have them, and as the contract wants them."""

import math
import struct
from base64 import b64encode
from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime
from typing import Any, NamedTuple, TypeAlias

from google.protobuf import struct_pb2

from spatial.v1 import feature_pb2, geometry_pb2
from spatial_client._geometry import Shape, shape_message
from spatial_client._values import Feature

# (longitude, latitude); a shape in any CRS; or GeoJSON.
Place: TypeAlias = tuple[float, float] | Shape | Mapping[str, Any]
Properties: TypeAlias = Mapping[str, Any]

FEATURES = "a NewFeature, (geometry, properties), a Feature or GeoJSON"
ACCEPTED = "a geometry is (longitude, latitude), WKB, WKT, GeoJSON or a shapely geometry, not"
MOST_EXACT = 2**53  # beyond it, not every integer is a double


class NewFeature(NamedTuple):
    """A feature to be added. Without an `id` the database makes the key; properties that are not there get their
    default."""

    geometry: Place | None = None
    properties: Properties = {}  # noqa: RUF012 - read only
    id: str | int | None = None


# A pair or triple as of NewFeature; a feature that was read; GeoJSON, or an object that gives it.
FeatureLike: TypeAlias = NewFeature | tuple[Any, ...] | Feature | Mapping[str, Any]


def new_feature(feature: Any) -> NewFeature:
    """What a feature-like object says."""
    if isinstance(feature, NewFeature):
        return feature
    if isinstance(feature, tuple) and 2 <= len(feature) <= 3 and isinstance(feature[1], Mapping):
        return NewFeature(*feature)
    if isinstance(feature, Feature):
        return NewFeature(_own_geometry(feature), feature.properties, feature.id or None)
    geojson = feature if isinstance(feature, Mapping) else getattr(feature, "__geo_interface__", None)
    if not isinstance(geojson, Mapping) or geojson.get("type") != "Feature":
        raise TypeError(
            f"a feature is a NewFeature, (geometry, properties), a Feature or GeoJSON, not {feature!r:.100}"
        )
    return NewFeature(geojson.get("geometry"), geojson.get("properties") or {}, geojson.get("id"))


def feature_message(feature: NewFeature, srid: int | None = None) -> feature_pb2.Feature:
    """`srid` is of geometries that do not say theirs."""
    message = feature_pb2.Feature(id="" if feature.id is None else str(feature.id))
    if feature.geometry is not None:
        message.geometry.CopyFrom(geometry_message(feature.geometry, srid))
    for name, value in feature.properties.items():
        message.properties.fields[name].CopyFrom(value_message(value))
    return message


def geometry_message(place: Place, srid: int | None = None) -> geometry_pb2.Geometry:
    match place:
        case Mapping():
            return geometry_pb2.Geometry(geojson=value_message(place).struct_value)
        case [longitude, latitude]:
            return geometry_pb2.Geometry(wkb=point_wkb(longitude, latitude))
    message = shape_message(place, ACCEPTED)
    if not message.HasField("srid") and srid is not None and not _says_srid(message):
        message.srid = srid
    return message


def point_wkb(longitude: float, latitude: float) -> bytes:
    return struct.pack("<BIdd", 1, 1, longitude, latitude)


def value_message(value: Any) -> struct_pb2.Value:
    """A value of a property as it travels in a Struct: as it would be answered."""
    match value:
        case None:
            return struct_pb2.Value(null_value=struct_pb2.NULL_VALUE)
        case bool():
            return struct_pb2.Value(bool_value=value)
        case str():
            return struct_pb2.Value(string_value=value)
        case int() if abs(value) <= MOST_EXACT:
            return struct_pb2.Value(number_value=value)
        case float() if math.isfinite(value):
            return struct_pb2.Value(number_value=value)
        case Mapping():
            return struct_pb2.Value(struct_value=_struct(value))
    if hasattr(value, "item") and not getattr(value, "shape", ()):
        return value_message(value.item())  # numpy's
    if isinstance(value, Iterable) and not isinstance(value, bytes | bytearray | memoryview):
        return struct_pb2.Value(list_value=struct_pb2.ListValue(values=map(value_message, value)))
    return struct_pb2.Value(string_value=text_of(value))


def text_of(value: Any) -> str:
    """What has no form of its own in JSON, as text that the service understands."""
    match value:
        case float():
            return {math.inf: "Infinity", -math.inf: "-Infinity"}.get(value, "NaN")
        case datetime():
            return (value if value.tzinfo else value.replace(tzinfo=UTC)).isoformat()
        case date():
            return value.isoformat()
        case bytes() | bytearray() | memoryview():
            return b64encode(value).decode()
    return str(value)


def _struct(mapping: Mapping[str, Any]) -> struct_pb2.Struct:
    return struct_pb2.Struct(fields={str(name): value_message(each) for name, each in mapping.items()})


def _own_geometry(feature: Feature) -> Any:
    """A feature's geometry, with its SRID."""
    return None if feature.wkb is None else ewkb(feature.wkb, feature.srid or 0)


def ewkb(wkb: bytes, srid: int) -> bytes:
    """Little-endian WKB that says its SRID; that of another byte order, or that says one already, as it is."""
    if not srid or wkb[:1] != b"\x01" or len(wkb) < struct.calcsize("<BI") or wkb_says_srid(wkb):
        return wkb
    (kind,) = struct.unpack_from("<I", wkb, 1)
    return struct.pack("<BII", 1, kind | EWKB_SRID, srid) + wkb[5:]


EWKB_SRID = 0x20000000


def wkb_says_srid(wkb: bytes) -> bool:
    order = "<I" if wkb[:1] == b"\x01" else ">I"
    return len(wkb) >= struct.calcsize("<BI") and bool(struct.unpack_from(order, wkb, 1)[0] & EWKB_SRID)


def _says_srid(message: geometry_pb2.Geometry) -> bool:
    return wkb_says_srid(message.wkb) or message.wkt.lstrip()[:5].upper() == "SRID="
