"""The columns of an answer: what PostgreSQL computes for each, and how it is sent."""

from dataclasses import dataclass
from typing import Any

from geoalchemy2 import Geometry
from sqlalchemy import BigInteger, ColumnElement, Float, Text, case, cast, func, literal_column, select, type_coerce
from sqlalchemy import types as sql
from sqlalchemy.dialects import postgresql

from service.catalog import Layer, Property, PropertyType
from service.db.copy import Field, Wire
from service.domain import Encoding, Output, View

GEOJSON_DIGITS = 9  # a tenth of a millimetre in degrees

Expression = ColumnElement[Any]
_GEOMETRY = Geometry(spatial_index=False)


@dataclass(frozen=True)
class Column:
    """One value of a row. `kind` says what it is; a property has a name and a type besides."""

    kind: str  # "ordinal", "key", "distance", "geometry", "property", "etag" or "count"
    expression: Expression
    field: Field
    property: Property | None = None


def key_column(layer: Layer) -> Column:
    """The key: integers as such, any other type as its text."""
    if layer.integer_key:
        return Column("key", cast(layer.key, BigInteger()), Field(Wire.INT64, nullable=False))
    return Column("key", cast(layer.key, Text()), Field(Wire.BYTES, nullable=False))


def etag_column(layer: Layer) -> Column:
    """The version of the row: the transaction that wrote it."""
    return Column("etag", version(layer), Field(Wire.BYTES, nullable=False))


def version(layer: Layer) -> Expression:
    return cast(literal_column(f"{layer.qualified_name}.xmin"), Text())


def geometry_column(layer: Layer, output: Output) -> Column:
    """The geometry as an answer carries it; computed in the database, and only for the rows that are answered with."""
    nullable = bool(getattr(layer.geometry, "nullable", True))
    geometry = _viewed(layer, output)
    if output.srid is not None:
        geometry = func.ST_Transform(geometry, _number(output.srid), type_=_GEOMETRY)
    return Column("geometry", _encoded(geometry, output), Field(Wire.BYTES, nullable))


def _viewed(layer: Layer, output: Output) -> Expression:
    if output.view is View.CENTROID:
        return func.ST_Centroid(layer.geometry, type_=_GEOMETRY)
    if output.view is View.BBOX:
        return func.ST_Envelope(layer.geometry, type_=_GEOMETRY)
    return _simplified(layer.geometry, output.simplify) if output.simplify else layer.geometry


def _simplified(geometry: Expression, tolerance: float) -> Expression:
    """GEOS keeps a polygon's rings apart, but not always the polygons of one geometry: what is invalid then is mended.
    A function in FROM, unlike an expression, is evaluated once however often it is spoken of."""
    simpler = func.ST_SimplifyPreserveTopology(geometry, _number(tolerance))
    shape = func.unnest(postgresql.array([simpler])).column_valued("shape")
    mended = func.ST_MakeValid(shape, literal_column("'method=structure keepcollapsed=false'"))
    sound = case((func.ST_IsValid(shape), shape), else_=mended)
    # Typed: what is plainly a SELECT GeoAlchemy takes for a row, of which it asks ST_AsGeoJSON for a Feature.
    return type_coerce(select(sound).scalar_subquery(), _GEOMETRY)


def _encoded(geometry: Expression, output: Output) -> Expression:
    if output.encoding is Encoding.WKT:
        digits = () if output.digits is None else (_number(output.digits),)
        return func.ST_AsText(geometry, *digits, type_=Text())
    if output.encoding is Encoding.GEOJSON:
        digits = (_number(GEOJSON_DIGITS if output.digits is None else output.digits),)
        return func.ST_AsGeoJSON(geometry, *digits, literal_column("0"), type_=Text())
    if output.digits is not None:
        geometry = func.ST_QuantizeCoordinates(geometry, _number(output.digits), type_=_GEOMETRY)
    return func.ST_AsBinary(geometry, literal_column("'NDR'"), type_=postgresql.BYTEA())


def _number(number: float) -> Expression:
    """Written out: callers choose it, but it has been read as a number."""
    return literal_column(repr(number))


_WIRES = {
    PropertyType.BOOLEAN: Wire.BOOL,
    PropertyType.INTEGER: Wire.INT64,
    PropertyType.NUMBER: Wire.FLOAT64,
    PropertyType.TIMESTAMP: Wire.INT64,  # microseconds since 2000
    PropertyType.JSON: Wire.BYTES,
    PropertyType.STRING: Wire.BYTES,
    PropertyType.BYTES: Wire.BYTES,
}


def property_column(prop: Property) -> Column:
    return Column("property", _sent(prop), Field(_WIRES[prop.type], prop.nullable), prop)


def _sent(prop: Property) -> Expression:
    """The value in a type whose binary form is read here."""
    value: Expression = prop.expression
    match prop.type:
        case PropertyType.INTEGER:
            return cast(value, BigInteger())
        case PropertyType.NUMBER:
            return cast(value, Float(53))
        case PropertyType.JSON:
            # Not everything that json holds may be in jsonb.
            as_it_is = isinstance(value.type, sql.JSON) and not isinstance(value.type, postgresql.JSONB)
            return cast(value if as_it_is else func.to_jsonb(value), Text())
        case PropertyType.STRING:
            # As text, it would be in the form of the session's DateStyle, and without its T.
            if isinstance(value.type, sql.DateTime):
                return func.to_jsonb(value, type_=postgresql.JSONB()).op("#>>", return_type=Text())(
                    literal_column("'{}'")
                )
            return cast(value, Text())
    return value
