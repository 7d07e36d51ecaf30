"""What kinds of values there are in a filter's eyes: which of a layer's columns compare with which values."""

from enum import StrEnum
from typing import Any, NamedTuple

from sqlalchemy import types as sql
from sqlalchemy.dialects.postgresql import ARRAY, DOMAIN, HSTORE, JSONB, REAL

from service.catalog import Layer
from service.db.columns import Expression

_SINGLE_PRECISION = 24  # bits; beyond them PostgreSQL takes a float for a double


class ValueKind(StrEnum):
    TEXT = "text"
    INTEGER = "integer"
    NUMERIC = "numeric"
    REAL = "real"
    DOUBLE = "double"
    BOOLEAN = "boolean"
    TIMESTAMP = "timestamp"
    LOCAL_TIMESTAMP = "local_timestamp"
    DATE = "date"
    UUID = "uuid"
    JSON = "json"
    ARRAY = "array"
    OTHER = "other"


_Range = range


class Operand(NamedTuple):
    """A column as it may be compared. `item` is what an array holds, `bounds` the integers that such an item may be."""

    kind: ValueKind
    item: ValueKind | None = None
    range: _Range | None = None


# In order: the first that fits wins, and what fits none is compared as the text that PostgreSQL gives it.
_KINDS: tuple[tuple[type[Any], ValueKind], ...] = (
    (sql.Enum, ValueKind.TEXT),
    (sql.String, ValueKind.TEXT),
    (sql.Boolean, ValueKind.BOOLEAN),
    (sql.Integer, ValueKind.INTEGER),
    (REAL, ValueKind.REAL),
    (sql.Float, ValueKind.DOUBLE),
    (sql.Numeric, ValueKind.NUMERIC),
    (sql.Date, ValueKind.DATE),
    (sql.Uuid, ValueKind.UUID),
    (sql.JSON, ValueKind.JSON),
    (sql.LargeBinary, ValueKind.OTHER),
)
CAST_TO: dict[ValueKind, sql.TypeEngine[Any]] = {
    ValueKind.TEXT: sql.Text(),
    ValueKind.INTEGER: sql.BigInteger(),
    ValueKind.NUMERIC: sql.Numeric(),
    ValueKind.REAL: REAL(),
    ValueKind.DOUBLE: sql.Float(53),
    ValueKind.BOOLEAN: sql.Boolean(),
    ValueKind.TIMESTAMP: sql.DateTime(timezone=True),
    ValueKind.LOCAL_TIMESTAMP: sql.DateTime(timezone=False),
    ValueKind.DATE: sql.Date(),
    ValueKind.UUID: sql.Uuid(),
    ValueKind.JSON: JSONB(),
}


def named_column(layer: Layer, name: str) -> Expression | None:
    """What a filter may mean by a name: a property, or the key by its column's name."""
    if name in layer.properties:
        return layer.properties[name].expression
    return layer.key if name == layer.key.key else None


def operand(column: Expression) -> Operand:
    return _operand(column.type)


def _operand(column_type: sql.TypeEngine[Any]) -> Operand:
    if isinstance(column_type, DOMAIN):
        return _operand(column_type.data_type)
    if isinstance(column_type, ARRAY):
        item = column_type.item_type
        return Operand(ValueKind.ARRAY, _kind(item), _range(item))
    return Operand(_kind(column_type))


def _kind(column_type: sql.TypeEngine[Any]) -> ValueKind:
    if isinstance(column_type, sql.DateTime):
        return ValueKind.TIMESTAMP if column_type.timezone else ValueKind.LOCAL_TIMESTAMP
    if isinstance(column_type, sql.Float) and (column_type.precision or 53) <= _SINGLE_PRECISION:
        return ValueKind.REAL
    return next((kind for family, kind in _KINDS if isinstance(column_type, family)), ValueKind.TEXT)


def integers(column: Expression) -> range | None:
    """What a column of integers may hold."""
    return _range(column.type)


def is_jsonb(column: Expression) -> bool:
    """Whether it is JSON that cannot hold the character NUL."""
    return isinstance(column.type, JSONB)


def is_hstore(column: Expression) -> bool:
    """Whether it is JSON only to those who read it, an object of texts."""
    return isinstance(column.type, HSTORE) or getattr(column.type, "name", "") == "hstore"


def _range(item: sql.TypeEngine[Any]) -> range | None:
    if not isinstance(item, sql.Integer):
        return None
    bits = 15 if isinstance(item, sql.SmallInteger) else 63 if isinstance(item, sql.BigInteger) else 31
    return range(-(2**bits), 2**bits)


def array_type(column: Expression) -> ARRAY[Any] | None:
    """The type of arrays that PostgreSQL compares with this column; None where both must become texts.

    Without a length or a scale, since a cast to one with them would cut the values that are looked for.
    """
    assert isinstance(column.type, ARRAY)
    item = column.type.item_type
    kind = _kind(item)
    if kind is not ValueKind.TEXT:
        return ARRAY(item if kind in (ValueKind.INTEGER, ValueKind.REAL) else CAST_TO[kind])
    if isinstance(item, sql.Text):
        return ARRAY(sql.Text())
    return ARRAY(sql.VARCHAR()) if isinstance(item, sql.VARCHAR) else None
