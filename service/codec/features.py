"""Features as elements of a message, from rows as a COPY sends them or as they are decoded.

Written out as source, once per statement, like the decoder and for the same reason: a step for each value costs more
than the value. Fields stand in the order that is easiest to write; to readers that makes no difference.
"""

from collections.abc import Callable, Mapping
from struct import Struct
from typing import Any

from service.catalog import PropertyType
from service.codec import wire
from service.codec.values import Encoder, geometry_encoder, geometry_prefixes, property_encoder
from service.db.columns import Column
from service.db.copy import Decoder, Row, Wire, length_name, row_reader, value_name
from service.db.queries import Statement
from service.domain import Encoding
from spatial.v1 import feature_pb2

FIELDS = feature_pb2.Feature.DESCRIPTOR.fields_by_name
# The responses that carry features, and FeatureRows, have them in their first field.
ELEMENT = wire.tag(1, wire.LENGTH)
_FRAMES = wire.Prefixes(ELEMENT)
_SCOPE: Mapping[str, Any] = {
    "join": b"".join,
    "frames": _FRAMES,
    "ids": wire.SizedPrefixes(wire.Prefixes(wire.tag(FIELDS["id"].number, wire.LENGTH))),
    "around_properties": wire.SizedPrefixes(wire.Prefixes(wire.tag(FIELDS["properties"].number, wire.LENGTH))),
    "etags": wire.SizedPrefixes(wire.Prefixes(wire.tag(FIELDS["etag"].number, wire.LENGTH))),
    "write_distance": Struct("<Bd").pack,
}
DISTANCE_TAG = wire.tag(FIELDS["distance_meters"].number, wire.FIXED64)[0]
_DISTANCE_BYTES = 9


def feature_reader(statement: Statement, srid: int) -> Decoder:
    """From what a COPY sent to rows of what stands before the geometry and the properties, the key as questions have
    it, and the feature as an element of a message's first field."""
    source = _feature_source(statement, srid)
    before = [
        _given(index, column) for index, column in enumerate(statement.columns) if column.kind not in _IN_FEATURE_ONLY
    ]
    feature = f"join((frames[{source.size}], {source.content}))"
    row = f"({', '.join([*before, feature])})"
    return row_reader([column.field for column in statement.columns], row, source.lines, source.scope)


def feature_encoder(statement: Statement, srid: int) -> Callable[[Row], bytes]:
    """From a decoded row to the bytes of a Feature."""
    source = _feature_source(statement, srid)
    indexes = range(len(statement.columns))
    lines = [f"{', '.join(map(value_name, indexes))}, = row"]
    for index, column in enumerate(statement.columns):
        if column.field.wire is Wire.BYTES:
            value = value_name(index)
            lines.append(f"{length_name(index)} = -1 if {value} is None else len({value})")
    body = "\n ".join([*lines, *source.lines, f"return join(({source.content},))"])
    scope = dict(source.scope)
    exec(f"def encode(row):\n {body}", scope)  # noqa: S102 - nothing in it comes from outside
    encode: Callable[[Row], bytes] = scope["encode"]
    return encode


_IN_FEATURE_ONLY = ("geometry", "property", "etag")


def _given(index: int, column: Column) -> str:
    value = value_name(index)
    return f"{value}.decode()" if column.kind == "key" and column.field.wire is Wire.BYTES else value


class _Source:
    """Python source that writes fields: `lines` prepare them, `pieces` are their bytes, and `sizes` how many."""

    def __init__(self, scope: dict[str, Any], lines: list[str]) -> None:
        self.scope = scope
        self.lines = lines
        self.pieces: list[str] = []
        self.sizes: list[str] = []

    @property
    def content(self) -> str:
        return ", ".join(self.pieces)

    @property
    def size(self) -> str:
        return " + ".join(self.sizes)

    def behind(self, prefixes: str, index: int, content: str, length: str) -> None:
        """Bytes as they are, behind the prefix for their length."""
        self.lines.append(f"prefix_{index}, size_{index} = {prefixes}[{length}]")
        self.pieces += [f"prefix_{index}", content]
        self.sizes.append(f"size_{index}")

    def sent(self, prefixes: wire.SizedPrefixes, index: int, column: Column) -> None:
        """A value that goes on as it was sent."""
        self.scope[f"prefixes_{index}"] = prefixes
        value = f"{value_name(index)} or b''" if column.field.nullable else value_name(index)
        self.behind(f"prefixes_{index}", index, value, length_name(index))

    def made(self, encode: Encoder, index: int) -> None:
        """What `encode` makes of a value."""
        self.scope[f"write_{index}"] = encode
        self.lines.append(f"part_{index} = write_{index}({value_name(index)})")
        self.pieces.append(f"part_{index}")
        self.sizes.append(f"len(part_{index})")


def _feature_source(statement: Statement, srid: int) -> _Source:
    """Writes a feature from the values and lengths of a row, under the names that `row_reader` has for them. `srid` is
    the layer's."""
    lines: list[str] = []
    source = _Source(dict(_SCOPE), lines)
    properties = _Source(source.scope, lines)
    for index, column in enumerate(statement.columns):
        if column.kind == "key":
            _write_key(source, index, column)
        elif column.kind == "distance":
            source.pieces.append(f"write_distance({DISTANCE_TAG}, {value_name(index)})")
            source.sizes.append(str(_DISTANCE_BYTES))
        elif column.kind == "geometry":
            output = statement.shape.output
            _write_geometry(source, index, column, output.encoding, output.srid or srid)
        elif column.kind == "property":
            _write_property(properties, index, column)
        elif column.kind == "etag":
            source.behind("etags", index, value_name(index), length_name(index))
    if properties.pieces:
        source.behind("around_properties", len(statement.columns), properties.content, properties.size)
    return source


def _write_key(source: _Source, index: int, column: Column) -> None:
    if column.field.wire is Wire.BYTES:
        source.behind("ids", index, value_name(index), length_name(index))
    else:
        source.lines.append(f"key = b'%d' % {value_name(index)}")
        source.behind("ids", index, "key", "len(key)")


def _write_geometry(source: _Source, index: int, column: Column, encoding: Encoding, srid: int) -> None:
    if encoding is not Encoding.GEOJSON:
        source.sent(geometry_prefixes(encoding, srid), index, column)
        return
    encode = geometry_encoder(encoding, srid)
    source.made(lambda text: b"" if text is None else encode(text), index)


def _write_property(source: _Source, index: int, column: Column) -> None:
    assert column.property is not None
    if column.property.type is PropertyType.STRING:
        source.sent(wire.entry_prefixes(column.property.name), index, column)
    else:
        source.made(property_encoder(column), index)
