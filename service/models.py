"""The tables that ship, mapped. Migrations make them; a test holds these models and the migrations together.

Every index is declared here by name, beside the column that it serves, so `spatial_index` is off throughout.
"""

from geoalchemy2 import WKBElement
from geoalchemy2.shape import to_shape
from shapely import Point
from sqlalchemy import (
    ColumnElement,
    Computed,
    Float,
    ForeignKey,
    Index,
    Select,
    column,
    func,
    select,
    text,
    type_coerce,
)
from sqlalchemy.ext.hybrid import hybrid_property
from sqlalchemy.orm import Mapped, defer, mapped_column, relationship, selectinload

from service.geography import geography
from service.mapping import (
    Attributed,
    Base,
    Bounded,
    Centered,
    Keyed,
    Timestamped,
    attributes_index,
    boundary_rules,
    geometry_type,
    on_earth,
    spatial_indexes,
)

__all__ = ["Base", "District", "Facility", "Parcel", "Zone", "with_district"]


class Facility(Keyed, Attributed, Timestamped, Base):
    """Something at a point."""

    __tablename__ = "facilities"
    __table_args__ = (
        on_earth("location"),
        *spatial_indexes("facilities", "location"),
        Index(
            "ix_facilities_location_geography_active_gist",
            geography(column("location")),
            postgresql_using="gist",
            postgresql_where=text("active"),
        ),
        attributes_index("facilities"),
        Index("ix_facilities_tags_gin", "tags", postgresql_using="gin"),
    )

    name: Mapped[str]
    kind: Mapped[str]
    country: Mapped[str | None] = mapped_column(comment="ISO 3166-1 alpha-2")
    population: Mapped[int | None]
    location: Mapped[WKBElement] = mapped_column(geometry_type("POINT"))
    tags: Mapped[list[str]] = mapped_column(server_default=text("'{}'"))
    active: Mapped[bool] = mapped_column(server_default=text("true"))

    @hybrid_property
    def longitude(self) -> float:
        return _point(self.location).x

    @longitude.inplace.expression
    @classmethod
    def _longitude(cls) -> ColumnElement[float]:
        return type_coerce(func.ST_X(cls.location), Float(53))

    @hybrid_property
    def latitude(self) -> float:
        return _point(self.location).y

    @latitude.inplace.expression
    @classmethod
    def _latitude(cls) -> ColumnElement[float]:
        return type_coerce(func.ST_Y(cls.location), Float(53))


class Zone(Keyed, Bounded, Attributed, Timestamped, Base):
    """A large area, such as a country."""

    __tablename__ = "zones"
    __table_args__ = (*boundary_rules("zones"), *spatial_indexes("zones", "centroid"))

    code: Mapped[str] = mapped_column(unique=True, comment="ISO 3166-1 alpha-3 where there is one")
    name: Mapped[str]
    category: Mapped[str]
    # Stored, since it is searched by distance; generated, so that no writer can let it lag behind the boundary.
    centroid: Mapped[WKBElement] = mapped_column(
        geometry_type("POINT"), Computed("ST_Centroid(boundary)", persisted=True), sort_order=2
    )


class District(Keyed, Bounded, Centered, Attributed, Timestamped, Base):
    """A part of a city; its parcels lie in it."""

    __tablename__ = "districts"
    __table_args__ = boundary_rules("districts")

    name: Mapped[str] = mapped_column(unique=True)
    parcels: Mapped[list["Parcel"]] = relationship(
        back_populates="district", lazy="raise", passive_deletes="all", order_by="Parcel.number"
    )


class Parcel(Keyed, Bounded, Centered, Attributed, Timestamped, Base):
    """A piece of land in one district."""

    __tablename__ = "parcels"
    __table_args__ = boundary_rules("parcels")
    boundary_type = "POLYGON"

    number: Mapped[str] = mapped_column(unique=True)
    name: Mapped[str]
    land_use: Mapped[str]
    district_id: Mapped[int] = mapped_column(ForeignKey("districts.id", ondelete="RESTRICT"), index=True)
    # Loading one district at a time is never right: ask for it with `with_district`.
    district: Mapped[District] = relationship(back_populates="parcels", lazy="raise")

    @hybrid_property
    def district_name(self) -> str:
        return self.district.name

    @district_name.inplace.expression
    @classmethod
    def _district_name(cls) -> ColumnElement[str]:
        return select(District.name).where(District.id == cls.district_id).correlate(cls).scalar_subquery()


def with_district(parcels: Select[Parcel]) -> Select[Parcel]:
    """Load every parcel's district in one further statement, without boundaries.

    Not a join: it would send a district, of tens of thousands of vertices, once for each of its parcels.
    """
    return parcels.options(selectinload(Parcel.district).options(defer(District.boundary, raiseload=True)))


def _point(location: WKBElement) -> Point:
    shape = to_shape(location)
    if not isinstance(shape, Point):
        raise TypeError(f"a location is a point, not a {shape.geom_type}")
    return shape
