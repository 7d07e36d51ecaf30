"""What the mapped models have in common: columns, measures, and the indexes and checks of a geometry column."""

from datetime import datetime
from typing import Any, ClassVar

from geoalchemy2 import Geometry, WKBElement
from geoalchemy2.shape import from_shape, to_shape
from shapely import get_num_coordinates
from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    ColumnElement,
    DateTime,
    FetchedValue,
    Float,
    Identity,
    Index,
    MetaData,
    Text,
    column,
    func,
    text,
    type_coerce,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB, array
from sqlalchemy.ext.hybrid import hybrid_property
from sqlalchemy.orm import DeclarativeBase, Mapped, declared_attr, mapped_column

from service.geography import SRID, geodesic_area, geography

NAMING_CONVENTION = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}

KEPT_BY_SERVER = ("created_at", "updated_at")
LAST = 100  # `sort_order` of what every table ends with


class Base(DeclarativeBase):
    metadata = MetaData(naming_convention=NAMING_CONVENTION)
    type_annotation_map: ClassVar[dict[Any, Any]] = {
        str: Text,
        int: BigInteger,
        datetime: DateTime(timezone=True),
        dict[str, Any]: JSONB,
        list[str]: ARRAY(Text),
    }


def geometry_type(name: str) -> Geometry:
    return Geometry(name, srid=SRID, spatial_index=False)


def spatial_indexes(table: str, name: str) -> tuple[Index, Index]:
    """One index for predicates in the plane, one for distances in metres: neither serves the other's questions."""
    return (
        Index(f"ix_{table}_{name}_gist", name, postgresql_using="gist"),
        Index(f"ix_{table}_{name}_geography_gist", geography(column(name)), postgresql_using="gist"),
    )


def attributes_index(table: str) -> Index:
    # jsonb_path_ops serves @>, @? and @@ with half the size of the default, which adds only the existence of keys.
    return Index(
        f"ix_{table}_attributes_gin",
        "attributes",
        postgresql_using="gin",
        postgresql_ops={"attributes": "jsonb_path_ops"},
    )


def on_earth(name: str) -> CheckConstraint:
    """Not empty, no NaN, within ±180 and ±90: geography would wrap what lies outside, and say nothing."""
    return CheckConstraint(
        f"NOT ST_IsEmpty({name}) AND ST_XMin({name}) >= -180 AND ST_XMax({name}) <= 180"
        f" AND ST_YMin({name}) >= -90 AND ST_YMax({name}) <= 90",
        name=f"{name}_on_earth",
    )


class Keyed:
    id: Mapped[int] = mapped_column(Identity(), primary_key=True, sort_order=-1)


class Timestamped:
    """Kept by the server. A trigger sets `updated_at`, since imports and plain SQL pass the ORM's `onupdate` by."""

    created_at: Mapped[datetime] = mapped_column(server_default=func.now(), sort_order=LAST)
    updated_at: Mapped[datetime] = mapped_column(
        server_default=func.now(), server_onupdate=FetchedValue(), sort_order=LAST
    )


class Attributed:
    attributes: Mapped[dict[str, Any]] = mapped_column(server_default=text("'{}'"), sort_order=LAST - 1)


class Bounded:
    """What has a boundary, with its measures: on an instance they are taken by shapely, in SQL by PostGIS."""

    boundary_type: ClassVar[str] = "MULTIPOLYGON"

    @declared_attr
    @classmethod
    def boundary(cls) -> Mapped[WKBElement]:
        return mapped_column(geometry_type(cls.boundary_type), sort_order=1)

    @hybrid_property
    def area_square_meters(self) -> float:
        """Geodesic, on WGS 84."""
        return geodesic_area(to_shape(self.boundary))

    @area_square_meters.inplace.expression
    @classmethod
    def _area_square_meters(cls) -> ColumnElement[float]:
        return type_coerce(func.ST_Area(geography(cls.boundary)), Float(53))

    @hybrid_property
    def vertex_count(self) -> int:
        """Every ring counts its closing vertex."""
        return int(get_num_coordinates(to_shape(self.boundary)))

    @vertex_count.inplace.expression
    @classmethod
    def _vertex_count(cls) -> ColumnElement[int]:
        return func.ST_NPoints(cls.boundary)

    @hybrid_property
    def bounds(self) -> list[float]:
        """West, south, east, north in the plane: what crosses the antimeridian reaches from -180 to 180."""
        return list(to_shape(self.boundary).bounds)

    @bounds.inplace.expression
    @classmethod
    def _bounds(cls) -> ColumnElement[list[float]]:
        sides = (func.ST_XMin, func.ST_YMin, func.ST_XMax, func.ST_YMax)
        corners: list[ColumnElement[float]] = [side(cls.boundary) for side in sides]
        return array(corners, type_=Float)


class Centered:
    """The centroid of a boundary, computed when asked for."""

    boundary: Any

    @hybrid_property
    def centroid(self) -> WKBElement:
        """In the plane, like ST_Centroid on geometry; it may lie outside the boundary."""
        return from_shape(to_shape(self.boundary).centroid, srid=SRID, extended=True)

    @centroid.inplace.expression
    @classmethod
    def _centroid(cls) -> ColumnElement[WKBElement]:
        return func.ST_Centroid(cls.boundary, type_=geometry_type("POINT"))


def boundary_rules(table: str) -> tuple[CheckConstraint | Index, ...]:
    return (
        CheckConstraint("ST_IsValid(boundary)", name="boundary_valid"),
        on_earth("boundary"),
        *spatial_indexes(table, "boundary"),
        attributes_index(table),
    )
