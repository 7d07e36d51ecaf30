"""Where features lie: one point each, and what is to be summed there."""

from geoalchemy2 import Geometry
from sqlalchemy import Float, case, cast, func, literal_column, null, type_coerce
from sqlalchemy.types import NullType

from service.catalog import Layer
from service.db.columns import Column, Expression, property_column
from service.db.copy import Field, Wire
from service.domain import Output


def place_columns(layer: Layer, output: Output) -> tuple[Column, ...]:
    """The point that stands for a feature, in the CRS of the output, and the property that it names, or null."""
    # Of its own type, SQLAlchemy would send it as bytes.
    point = type_coerce(_transformed(layer, _place(layer), output.srid), NullType())
    place = Column("geometry", point, Field(Wire.BYTES))
    values = [property_column(layer.properties[name]) for name in output.properties or ()]
    return (place, *(values or [Column("property", cast(null(), Float(53)), Field(Wire.FLOAT64))]))


def _place(layer: Layer) -> Expression:
    if layer.geometry_type.rstrip("ZM") == "POINT":
        return layer.geometry
    return func.ST_Centroid(layer.geometry, type_=Geometry(spatial_index=False))


def _transformed(layer: Layer, place: Expression, srid: int | None) -> Expression:
    if srid is None or srid == layer.srid:
        return place
    transformed: Expression = func.ST_Transform(place, literal_column(str(srid)), type_=place.type)
    if not layer.geodetic:
        return transformed
    # Beyond the poles there is nothing, and ST_Transform would end the statement.
    return case((func.abs(func.ST_Y(place)) <= literal_column("90"), transformed))
