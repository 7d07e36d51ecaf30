"""The columns of an answer: what PostgreSQL computes for each, and how it is sent."""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import BigInteger, ColumnElement, Float, Text, cast, func, literal_column
from sqlalchemy.dialects import postgresql

from service.catalog import Layer, Property, PropertyType
from service.db.copy import Field, Wire
from service.domain import Encoding, Output, View

Expression = ColumnElement[Any]


@dataclass(frozen=True)
class Column:
    """One value of a row. `kind` says what it is; a property has a name and a type besides."""

    kind: str  # "ordinal", "key", "distance", "geometry", "property" or "count"
    expression: Expression
    field: Field
    property: Property | None = None


def key_column(layer: Layer) -> Column:
    """The key: integers as such, any other type as its text."""
    if layer.integer_key:
        return Column("key", cast(layer.key, BigInteger()), Field(Wire.INT64, nullable=False))
    return Column("key", cast(layer.key, Text()), Field(Wire.BYTES, nullable=False))


def geometry_column(layer: Layer, output: Output) -> Column:
    """The geometry as an answer carries it; computed in the database, and only for the rows that are answered with."""
    nullable = bool(getattr(layer.geometry, "nullable", True))
    return Column("geometry", _encoded(_viewed(layer, output.view), output.encoding), Field(Wire.BYTES, nullable))


def _viewed(layer: Layer, view: View) -> Expression:
    if view is View.CENTROID:
        return func.ST_Centroid(layer.geometry)
    return func.ST_Envelope(layer.geometry) if view is View.BBOX else layer.geometry


def _encoded(geometry: Expression, encoding: Encoding) -> Expression:
    if encoding is Encoding.WKT:
        return func.ST_AsText(geometry, type_=Text())
    if encoding is Encoding.GEOJSON:
        return func.ST_AsGeoJSON(geometry, literal_column("9"), literal_column("0"), type_=Text())
    return func.ST_AsBinary(geometry, literal_column("'NDR'"), type_=postgresql.BYTEA())


def property_column(prop: Property) -> Column:
    cast_to, wire = {
        PropertyType.BOOLEAN: (None, Wire.BOOL),
        PropertyType.INTEGER: (BigInteger(), Wire.INT64),
        PropertyType.NUMBER: (Float(53), Wire.FLOAT64),
        PropertyType.TIMESTAMP: (None, Wire.INT64),  # microseconds since 2000
        PropertyType.JSON: (None, Wire.BYTES),
        PropertyType.STRING: (Text(), Wire.BYTES),
    }[prop.type]
    expression = prop.expression
    if prop.type is PropertyType.JSON:
        expression = cast(func.to_jsonb(expression), Text())
    elif cast_to is not None:
        expression = cast(expression, cast_to)
    return Column("property", expression, Field(wire, prop.nullable), prop)
