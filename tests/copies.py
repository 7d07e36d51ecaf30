"""What a binary COPY sends, as PostgreSQL's documentation says, and layers with properties of every type to send."""

import json
import struct
from collections.abc import Sequence
from typing import Any

from geoalchemy2 import Geometry
from hypothesis import strategies as st
from sqlalchemy import BigInteger, Boolean, Column, DateTime, Float, MetaData, Table, Text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.types import TypeEngine

from service.catalog import Layer, Property, PropertyType, property_type
from service.db import columns
from service.db.copy import SIGNATURE, Field, Row, Wire
from service.db.queries import Statement, build
from service.domain import DistanceModel, Kind, Output, Result, Shape, View

HEADER = SIGNATURE + bytes(8)
TRAILER = b"\xff\xff"
CODES = {Wire.INT64: "!q", Wire.FLOAT64: "!d", Wire.BOOL: "!?"}
TYPES: dict[str, TypeEngine[Any]] = {
    "string": Text(),
    "integer": BigInteger(),
    "number": Float(53),
    "boolean": Boolean(),
    "timestamp": DateTime(timezone=True),
    "json": JSONB(),
}
PROPERTIES = tuple(f"{name}{suffix}" for name in TYPES for suffix in ("", "_or_null"))


def sent(fields: Sequence[Field], rows: Sequence[Row]) -> bytes:
    """The rows alone: the header comes before the first, and the trailer behind the last."""
    return b"".join(
        struct.pack("!h", len(fields))
        + b"".join(_field(field, value) for field, value in zip(fields, row, strict=True))
        for row in rows
    )


def _field(field: Field, value: Any) -> bytes:
    if value is None:
        return struct.pack("!i", -1)
    content = value if field.wire is Wire.BYTES else struct.pack(CODES[field.wire], value)
    return struct.pack("!i", len(content)) + content


def things(key: TypeEngine[Any], srid: int = 4326) -> Layer:
    """A layer with a property of each type, once as one that is never null and once as one that may be."""
    columns = [
        Column(f"{name}{suffix}", kind, nullable=bool(suffix))
        for name, kind in TYPES.items()
        for suffix in ("", "_or_null")
    ]
    table = Table(
        "things", MetaData(), Column("id", key, primary_key=True), Column("shape", Geometry(srid=srid)), *columns
    )
    properties = {
        column.name: Property(column.name, property_type(column.type), column, bool(column.nullable))
        for column in columns
    }
    return Layer("things", "", table, table.c.id, table.c.shape, "GEOMETRY", srid, properties)


LAYERS = {"integer": things(BigInteger()), "text": things(Text(), srid=3857)}
LARGEST, SMALLEST = 2**63 - 1, -(2**63)

integers = st.integers(SMALLEST, LARGEST)
texts = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=40).map(str.encode)
contents = texts | st.sampled_from([0, 127, 128, 16_383, 16_384, 20_000]).map(lambda size: b"x" * size)
json_texts = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53), lambda inner: st.lists(inner, max_size=3), max_leaves=5
).map(lambda content: json.dumps(content).encode())
# PostgreSQL's year 9999, beyond which there is no RFC 3339, and the infinities.
timestamps = st.integers(-63_082_281_600_000_000, 252_455_615_999_999_999) | st.sampled_from([LARGEST, SMALLEST])
VALUES: dict[PropertyType, st.SearchStrategy[Any]] = {
    PropertyType.STRING: contents,
    PropertyType.INTEGER: integers,
    PropertyType.NUMBER: st.floats(allow_nan=False),
    PropertyType.BOOLEAN: st.booleans(),
    PropertyType.TIMESTAMP: timestamps,
    PropertyType.JSON: json_texts,
}


def exported(layer: Layer, **shape: Any) -> Statement:
    """The statement of a stream; it measures a distance if a variant is given."""
    kind = Kind.RADIUS if "variant" in shape else Kind.ALL
    return build(layer, Shape(kind, layer.name, constant=True, result=Result.ALL_BY_KEY, **shape))


def values_of(column: columns.Column) -> st.SearchStrategy[Any]:
    if column.kind == "key":
        return integers if column.field.wire is Wire.INT64 else texts
    if column.kind == "distance":
        return st.floats(0, 2e7)
    kind = st.binary(max_size=200) if column.property is None else VALUES[column.property.type]
    return st.none() | kind if column.field.nullable else kind


@st.composite
def exports(draw: st.DrawFn) -> tuple[Layer, Statement, list[Row]]:
    layer = LAYERS[draw(st.sampled_from(sorted(LAYERS)))]
    names = tuple(draw(st.lists(st.sampled_from(PROPERTIES), unique=True)))
    variant = draw(st.sampled_from([{}, {"variant": DistanceModel.PLANAR}]))
    view = draw(st.sampled_from([View.FULL, View.NONE]))
    statement = exported(layer, output=Output(names or ("boolean",), view), **variant)
    return layer, statement, draw(st.lists(st.tuples(*map(values_of, statement.columns)), max_size=8))


def copied(statement: Statement, rows: Sequence[Row]) -> bytes:
    return sent([column.field for column in statement.columns], rows)


def key(sent: Any) -> Any:
    return sent if isinstance(sent, int) else sent.decode()


def text(sent: Any) -> str:
    return str(sent) if isinstance(sent, int) else sent.decode()
