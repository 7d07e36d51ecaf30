"""PostgreSQL's types as those of SQLAlchemy, of properties and of keys."""

from typing import Any

from sqlalchemy import types as sql
from sqlalchemy.dialects import postgresql

from service.catalog import PropertyType
from service.reflected.relations import ColumnFacts

Type = sql.TypeEngine[Any]


class OtherType(sql.UserDefinedType[Any]):
    """A type that only PostgreSQL knows: it travels as its text, or as JSON."""

    cache_ok = True

    def __init__(self, name: str) -> None:
        self.name = name

    def get_col_spec(self, **_: Any) -> str:
        return self.name


_TYPES: dict[str, tuple[Type, PropertyType]] = {
    "int2": (sql.SmallInteger(), PropertyType.INTEGER),
    "int4": (sql.Integer(), PropertyType.INTEGER),
    "int8": (sql.BigInteger(), PropertyType.INTEGER),
    "numeric": (sql.Numeric(), PropertyType.NUMBER),
    "float4": (postgresql.REAL(), PropertyType.NUMBER),
    "float8": (sql.Float(53), PropertyType.NUMBER),
    "bool": (sql.Boolean(), PropertyType.BOOLEAN),
    "timestamptz": (sql.DateTime(timezone=True), PropertyType.TIMESTAMP),
    "timestamp": (sql.DateTime(timezone=False), PropertyType.STRING),
    "date": (sql.Date(), PropertyType.STRING),
    "text": (sql.Text(), PropertyType.STRING),
    "varchar": (sql.VARCHAR(), PropertyType.STRING),
    "uuid": (sql.Uuid(), PropertyType.STRING),
    "json": (sql.JSON(), PropertyType.JSON),
    "jsonb": (postgresql.JSONB(), PropertyType.JSON),
    "hstore": (OtherType("hstore"), PropertyType.JSON),
    "bytea": (postgresql.BYTEA(), PropertyType.BYTES),
}
# Other geometries are layers of their own, and nobody wants pictures among the properties.
_LEFT_OUT = {"geometry", "geography", "raster"}
# Ids are cast to these: to the widest of their kind, so that one too large for a column is not found, and no error.
_KEY_TYPES: dict[str, Type] = {
    **dict.fromkeys(("int2", "int4", "int8"), sql.BigInteger()),
    "uuid": sql.Uuid(),
    **dict.fromkeys(("text", "varchar"), sql.Text()),
}


def property_types(column: ColumnFacts) -> tuple[Type, PropertyType] | None:
    """What a column's values are; None for what is no property."""
    if column.type in _LEFT_OUT or column.element in _LEFT_OUT:
        return None
    if column.category == "A":
        item = _TYPES.get(column.element or "", (OtherType(column.element or ""), None))[0]
        return postgresql.ARRAY(item), PropertyType.JSON
    kind = PropertyType.JSON if column.kind == "c" else PropertyType.STRING
    return _TYPES.get(column.type) or (OtherType(column.type), kind)


def key_type(column: ColumnFacts) -> Type | None:
    """What ids are; None where they cannot be of this type."""
    return _KEY_TYPES.get(column.type)
