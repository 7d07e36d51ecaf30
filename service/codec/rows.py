"""Rows to the wire: a COPY row becomes the bytes of a `Feature`, by an encoder composed once per statement."""

import json
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from struct import Struct
from typing import Any
from weakref import WeakKeyDictionary

from service.catalog import PropertyType
from service.codec import wire
from service.db.columns import Column
from service.db.copy import Row
from service.db.queries import Statement
from service.domain import Encoding
from spatial.v1 import feature_pb2, geometry_pb2

Encoder = Callable[[Any], bytes]

_POSTGRES_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)
_INFINITY = {2**63 - 1: "infinity", -(2**63): "-infinity"}
_FIELDS = feature_pb2.Feature.DESCRIPTOR.fields_by_name
_GEOMETRY_FIELDS = geometry_pb2.Geometry.DESCRIPTOR.fields_by_name
_IDS = wire.Prefixes(wire.tag(_FIELDS["id"].number, wire.LENGTH))
_GEOMETRY = wire.tag(_FIELDS["geometry"].number, wire.LENGTH)
_PROPERTIES = wire.tag(_FIELDS["properties"].number, wire.LENGTH)
_DISTANCE = wire.tag(_FIELDS["distance_meters"].number, wire.FIXED64)
_SRID = wire.tag(_GEOMETRY_FIELDS["srid"].number, wire.VARINT)
_double = Struct("<d").pack


class FeatureWriter:
    """Writes the rows of any statement; the encoder of each is kept as long as the statement is."""

    def __init__(self, srids: Mapping[str, int]) -> None:
        self._srids = srids
        self._encoders: WeakKeyDictionary[Statement, Callable[[Row], bytes]] = WeakKeyDictionary()

    def features(self, statement: Statement, rows: Iterable[Row]) -> list[bytes]:
        """The bytes of a Feature for each row."""
        encode = self._encoders.get(statement)
        if encode is None:
            srid = self._srids[statement.shape.layer]
            encode = self._encoders[statement] = feature_encoder(statement, srid)
        return [encode(row) for row in rows]


def feature_encoder(statement: Statement, srid: int) -> Callable[[Row], bytes]:
    """From a decoded row to the bytes of a Feature.

    Written out as source, like the decoder, for the same reason: each part is one expression over the row's values.
    """
    scope: dict[str, Any] = {"double": Struct("<d").pack, "ids": _IDS, "delimited": wire.delimited}
    scope |= {"distance_tag": _DISTANCE, "properties_tag": _PROPERTIES}
    parts, entries = ["ids[len(key)] + key"], []
    names = []
    for index, column in enumerate(statement.columns):
        name = column.kind if column.kind != "property" else f"property_{index}"
        names.append(name)
        if column.kind == "geometry":
            scope["write_geometry"] = geometry_encoder(statement.shape.output.encoding, srid)
            parts.append("(b'' if geometry is None else write_geometry(geometry))")
        elif column.kind == "property":
            scope[f"write_{index}"] = property_encoder(column)
            entries.append(f"write_{index}({name})")
    if entries:
        parts.append(f"delimited(properties_tag, {' + '.join(entries)})")
    if "distance" in names:
        parts.append("distance_tag + double(distance)")
    source = f"def encode(row):\n {', '.join(names)}, = row\n key = b'%d' % key\n return {' + '.join(parts)}"
    exec(source, scope)  # noqa: S102 - nothing in it comes from outside
    encode: Callable[[Row], bytes] = scope["encode"]
    return encode


def geometry_encoder(encoding: Encoding, srid: int) -> Encoder:
    """From WKB, or the text of WKT or GeoJSON, to a Feature's geometry field."""
    field = {Encoding.WKB: "wkb", Encoding.WKT: "wkt", Encoding.GEOJSON: "geojson"}[encoding]
    suffix = _SRID + wire.varint(srid)
    tag = wire.tag(_GEOMETRY_FIELDS[field].number, wire.LENGTH)
    prefixes = wire.Prefixes(_GEOMETRY, tag, suffix=len(suffix))

    def encode(content: bytes) -> bytes:
        return prefixes[len(content)] + content + suffix

    return encode if encoding is not Encoding.GEOJSON else lambda text: encode(wire.struct(json.loads(text)))


def property_encoder(column: Column) -> Encoder:
    """From a property's decoded value to its entry in the Struct."""
    assert column.property is not None
    key = wire.key(column.property.name)
    null = wire.entry(key, wire.NULL)
    if column.property.type is PropertyType.STRING:
        prefixes = wire.entry_prefixes(column.property.name)
        return lambda text: null if text is None else prefixes[len(text)] + text
    if column.property.type is PropertyType.BOOLEAN:
        known = {True: wire.entry(key, wire.TRUE), False: wire.entry(key, wire.FALSE), None: null}
        return known.__getitem__
    encode = _VALUES[column.property.type]
    return lambda value: null if value is None else wire.entry(key, encode(value))


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


_VALUES: dict[PropertyType, Encoder] = {
    PropertyType.INTEGER: wire.integer,
    PropertyType.NUMBER: wire.finite,
    PropertyType.TIMESTAMP: _timestamp,
    PropertyType.JSON: wire.json_value,
}
