"""What a row's values are on the wire: geometries and properties, an encoder for each column."""

import json
from base64 import b64encode
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from math import isfinite
from typing import Any

from service.catalog import PropertyType
from service.codec import wire
from service.db.columns import Column
from service.domain import Encoding
from spatial.v1 import feature_pb2, geometry_pb2

Encoder = Callable[[Any], bytes]

_POSTGRES_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)
_INFINITY = {2**63 - 1: "infinity", -(2**63): "-infinity"}
_GEOMETRY_FIELDS = geometry_pb2.Geometry.DESCRIPTOR.fields_by_name
_GEOMETRY = wire.tag(feature_pb2.Feature.DESCRIPTOR.fields_by_name["geometry"].number, wire.LENGTH)
_SRID = wire.tag(_GEOMETRY_FIELDS["srid"].number, wire.VARINT)


def geometry_starts(encoding: Encoding, srid: int) -> tuple[bytes, bytes]:
    """The tags before WKB, the text of WKT, or the Struct of GeoJSON in a Feature."""
    field = {Encoding.WKB: "wkb", Encoding.WKT: "wkt", Encoding.GEOJSON: "geojson"}[encoding]
    return _GEOMETRY, _SRID + wire.varint(srid) + wire.tag(_GEOMETRY_FIELDS[field].number, wire.LENGTH)


def geometry_prefixes(encoding: Encoding, srid: int) -> wire.SizedPrefixes:
    """What stands before them; nothing for null."""
    return wire.SizedPrefixes(wire.Prefixes(*geometry_starts(encoding, srid)))


def geometry_encoder(encoding: Encoding, srid: int) -> Encoder:
    """From WKB, or the text of WKT or GeoJSON, to a Feature's geometry field."""
    prefixes = geometry_prefixes(encoding, srid)

    def encode(content: bytes) -> bytes:
        return prefixes[len(content)][0] + content

    return encode if encoding is not Encoding.GEOJSON else lambda text: encode(wire.struct(json.loads(text)))


def property_encoder(column: Column) -> Encoder:
    """From a property's decoded value to its entry in the Struct."""
    assert column.property is not None
    name = column.property.name
    key = wire.key(name)
    null = wire.entry(key, wire.NULL)
    match column.property.type:
        case PropertyType.STRING:
            prefixes = wire.entry_prefixes(name)
            return lambda text: null if text is None else prefixes[len(text)][0] + text
        case PropertyType.BOOLEAN:
            known = {True: wire.entry(key, wire.TRUE), False: wire.entry(key, wire.FALSE), None: null}
            return known.__getitem__
        case PropertyType.INTEGER:
            return _number_encoder(name, null, wire.EXACT_INTEGERS.__contains__, wire.integer)
        case PropertyType.NUMBER:
            return _number_encoder(name, null, isfinite, wire.finite)
        case other:
            encode = _VALUES[other]
            return lambda value: null if value is None else wire.entry(key, encode(value))


def _number_encoder(name: str, null: bytes, plain: Callable[[Any], bool], encode: Encoder) -> Encoder:
    """For what is mostly `plain`: a number that JSON has and doubles hold."""
    key, number = wire.key(name), wire.number_entry(name)

    def write(value: float | None) -> bytes:
        if value is None:
            return null
        return number(value) if plain(value) else wire.entry(key, encode(value))

    return write


@lru_cache(maxsize=256)  # what was written in one transaction has the same
def _timestamp(microseconds: int) -> bytes:
    """RFC 3339, or a word for what is none: PostgreSQL's infinities, and years beyond 9999."""
    infinity = _INFINITY.get(microseconds)
    if infinity:
        return wire.string(infinity.encode())
    try:
        moment = _POSTGRES_EPOCH + timedelta(microseconds=microseconds)
    except OverflowError:
        return wire.string(b"out of range")
    return wire.string(moment.isoformat().replace("+00:00", "Z").encode())


def _base64(content: bytes) -> bytes:
    return wire.string(b64encode(content))


_VALUES: dict[PropertyType, Encoder] = {
    PropertyType.TIMESTAMP: _timestamp,
    PropertyType.JSON: wire.json_value,
    PropertyType.BYTES: _base64,
}
