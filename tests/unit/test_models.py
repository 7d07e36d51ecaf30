"""What the models say, and their measures on an instance, without a database."""

import pytest
from geoalchemy2 import Geometry, WKBElement
from geoalchemy2.shape import from_shape, to_shape
from shapely import LineString, Point, Polygon, from_wkt
from shapely.geometry.base import BaseGeometry
from sqlalchemy import Column, Table, select
from sqlalchemy.dialects import postgresql
from sqlalchemy.orm import aliased
from sqlalchemy.schema import CreateIndex
from sqlalchemy.sql import ClauseElement

from service.geography import geodesic_area, geography
from service.models import Base, District, Facility, Parcel, Zone

EARTH_SQUARE_METERS = 510_065_621_724_088.5  # of the WGS 84 ellipsoid
OCTANT = Polygon([(0, 0), (90, 0), (0, 90)])

GEOMETRY_COLUMNS = [
    pytest.param(table, column, id=f"{table}.{column.name}")
    for table in Base.metadata.sorted_tables
    for column in table.columns
    if isinstance(column.type, Geometry)
]


def sql(clause: ClauseElement) -> str:
    return " ".join(str(clause.compile(dialect=postgresql.dialect())).split())  # type: ignore[no-untyped-call]


def element(wkt: str) -> WKBElement:
    return from_shape(from_wkt(wkt), srid=4326)


def index_statements(table: Table) -> dict[str, str]:
    return {str(index.name): sql(CreateIndex(index)) for index in table.indexes}


def test_every_layer_has_its_geometry_columns() -> None:
    found = {(str(case.values[0]), case.values[1].name) for case in GEOMETRY_COLUMNS}  # type: ignore[union-attr]

    assert found == {
        ("facilities", "location"),
        ("zones", "boundary"),
        ("zones", "centroid"),
        ("districts", "boundary"),
        ("parcels", "boundary"),
    }


@pytest.mark.parametrize(("table", "column"), GEOMETRY_COLUMNS)
def test_a_geometry_column_has_a_type_an_srid_and_no_index_of_its_own(table: Table, column: Column[object]) -> None:
    assert isinstance(column.type, Geometry)
    assert column.type.geometry_type in ("POINT", "POLYGON", "MULTIPOLYGON")
    assert (column.type.srid, column.type.spatial_index, column.nullable) == (4326, False, False)


@pytest.mark.parametrize(("table", "column"), GEOMETRY_COLUMNS)
def test_a_geometry_column_has_one_index_for_the_plane_and_one_for_metres(table: Table, column: Column[object]) -> None:
    name = f"ix_{table}_{column.name}"
    statements = index_statements(table)

    assert statements[f"{name}_gist"] == f"CREATE INDEX {name}_gist ON {table} USING gist ({column.name})"
    assert statements[f"{name}_geography_gist"] == (
        f"CREATE INDEX {name}_geography_gist ON {table} USING gist (geography({column.name}))"
    )


def test_active_facilities_have_a_distance_index_of_their_own() -> None:
    name = "ix_facilities_location_geography_active_gist"

    assert index_statements(Base.metadata.tables["facilities"])[name] == (
        f"CREATE INDEX {name} ON facilities USING gist (geography(location)) WHERE active"
    )


def test_geography_is_a_function_call_without_a_cast() -> None:
    assert sql(geography(Facility.location)) == "geography(facilities.location)"


@pytest.mark.parametrize("turned", [False, True], ids=["counter-clockwise", "clockwise"])
def test_an_octant_has_an_eighth_of_the_area_of_the_earth(turned: bool) -> None:
    octant = OCTANT.reverse() if turned else OCTANT

    assert geodesic_area(octant) == pytest.approx(EARTH_SQUARE_METERS / 8, rel=1e-12)


@pytest.mark.parametrize("turned", [False, True], ids=["opposite ring", "same ring"])
def test_a_hole_is_subtracted_whichever_way_it_turns(turned: bool) -> None:
    hole = Polygon([(10, 10), (10, 20), (20, 20), (20, 10)])
    ring = hole.exterior.reverse() if turned else hole.exterior

    with_hole = geodesic_area(Polygon(OCTANT.exterior, [ring]))

    assert with_hole == pytest.approx(geodesic_area(OCTANT) - geodesic_area(hole), rel=1e-12)


@pytest.mark.parametrize("shape", [Point(1, 2), LineString([(0, 0), (1, 1)]), Polygon()], ids=lambda s: s.wkt)
def test_what_has_no_interior_has_no_area(shape: BaseGeometry) -> None:
    assert geodesic_area(shape) == 0


def test_a_facility_knows_its_coordinates() -> None:
    facility = Facility(location=element("POINT(-73.9855 40.758)"))

    assert (facility.longitude, facility.latitude) == (-73.9855, 40.758)


def test_a_location_that_is_not_a_point_is_refused() -> None:
    with pytest.raises(TypeError, match="LineString"):
        _ = Facility(location=element("LINESTRING(0 0, 1 1)")).longitude


def test_the_measures_of_a_boundary() -> None:
    district = District(boundary=element("MULTIPOLYGON(((0 0, 4 0, 4 4, 0 4, 0 0), (1 1, 1 2, 2 2, 2 1, 1 1)))"))

    assert district.vertex_count == 10
    assert district.bounds == [0, 0, 4, 4]
    # Two squares' centres, weighted by their areas of 16 and -1.
    assert to_shape(district.centroid).equals_exact(Point(30.5 / 15, 30.5 / 15), 1e-12)


def test_a_parcel_takes_the_name_of_its_district() -> None:
    assert Parcel(district=District(name="Queens")).district_name == "Queens"


def test_the_name_of_a_district_follows_the_parcel_and_never_another_district() -> None:
    parcel = aliased(Parcel)
    statement = select(parcel.district_name).select_from(parcel).join(District, District.name == "Queens")

    assert "(SELECT districts.name FROM districts WHERE districts.id = parcels_1.district_id)" in sql(statement)


def test_only_a_zone_stores_its_centroid() -> None:
    assert "centroid" in Zone.__table__.columns
    assert "centroid" not in District.__table__.columns
