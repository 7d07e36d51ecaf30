"""The models against PostGIS: both sides of every hybrid agree, and the server keeps what it promises."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import pytest
from geoalchemy2.shape import from_shape, to_shape
from shapely import Point, from_wkt
from sqlalchemy import Engine, NullPool, create_engine, event, select, text
from sqlalchemy.exc import InvalidRequestError
from sqlalchemy.orm import Session, sessionmaker

from service.db.engine import database_url
from service.models import Base, District, Parcel, Zone, with_district
from tests.integration.rows import SQUARE, district, element, facility, multi, parcel, zone

POLYGONS = {
    "a square": SQUARE,
    "clockwise and counter-clockwise": "POLYGON((10 10, 11 10, 11 11, 10 11, 10 10))",
    "with a hole": "POLYGON((0 0, 4 0, 4 4, 0 4, 0 0), (1 1, 1 2, 2 2, 2 1, 1 1))",
    "with a hole that turns like its shell": "POLYGON((0 0, 4 0, 4 4, 0 4, 0 0), (1 1, 2 1, 2 2, 1 2, 1 1))",
    "tiny, ten centimetres wide": "POLYGON((7 50, 7.000001 50, 7.000001 50.000001, 7 50.000001, 7 50))",
    "a corner at the pole": "POLYGON((0 80, 90 80, 0 90, 0 80))",
    "a cap over the pole": "POLYGON((-180 80, -60 80, 60 80, 180 80, 180 90, -180 90, -180 80))",
    "a cap over the south pole": "POLYGON((-180 -90, 180 -90, 180 -80, 60 -80, -60 -80, -180 -80, -180 -90))",
    "up to the antimeridian": "POLYGON((179 -17, 180 -17, 180 -16, 179 -16, 179 -17))",
    "both ends of the world": "POLYGON((-179 -17, 179 -17, 179 -16, -179 -16, -179 -17))",
    "thin and long": "POLYGON((-100 40, 60 40, 60 40.00001, -100 40))",
}
MULTIPOLYGONS = {
    "two parts across the antimeridian": "MULTIPOLYGON(((179 -17, 180 -17, 180 -16, 179 -16, 179 -17)),"
    "((-180 -17, -179 -17, -179 -16, -180 -16, -180 -17)))",
    "parts of very different size": "MULTIPOLYGON(((0 0, 60 0, 60 60, 0 60, 0 0)),"
    "((-10 0, -9.999999 0, -9.999999 0.000001, -10 0)))",
}
POINTS = [
    "POINT(0 0)",
    "POINT(-73.9855 40.758)",
    "POINT(180 -16.5)",
    "POINT(-180 16.5)",
    "POINT(0 90)",
    "POINT(45 -90)",
]

# Both sides sum GeographicLib's terms, in different order: a sliver across an ocean is the difference of terms so large
# that a hundredth of a square metre is lost.
AREA_RATIO, AREA_METERS = 1e-8, 1e-5
DEGREES = 1e-9

Row = TypeVar("Row", bound=Base)


@pytest.fixture
def engine(database: str) -> Iterator[Engine]:
    engine = create_engine(database_url(database), poolclass=NullPool)
    yield engine
    engine.dispose()


@pytest.fixture
def session(engine: Engine) -> Iterator[Session]:
    with sessionmaker(engine, autoflush=False, expire_on_commit=False)() as session:
        yield session


@pytest.fixture(scope="module")
def shared(module_database: str) -> Iterator[Engine]:
    engine = create_engine(database_url(module_database), poolclass=NullPool)
    yield engine
    engine.dispose()


@pytest.fixture
def passing(shared: Engine) -> Iterator[Session]:
    """A session that leaves nothing behind, and so needs no database of its own."""
    with shared.connect() as connection, connection.begin() as transaction:
        with Session(connection, join_transaction_mode="create_savepoint", expire_on_commit=False) as session:
            yield session
        transaction.rollback()


@contextmanager
def statements(engine: Engine) -> Iterator[list[str]]:
    """The statements that go to the database meanwhile."""
    seen: list[str] = []

    def note(connection: object, cursor: object, statement: str, *_: object) -> None:
        seen.append(statement)

    event.listen(engine, "before_cursor_execute", note)
    yield seen
    event.remove(engine, "before_cursor_execute", note)


def stored(session: Session, row: Row) -> Row:
    """The row as the database gives it back."""
    session.add(row)
    session.commit()
    session.refresh(row)
    return row


def in_sql(session: Session, row: Base, name: str) -> Any:
    model: Any = type(row)
    return session.execute(select(getattr(model, name)).select_from(model).where(model.id == row.id)).scalar_one()  # type: ignore[attr-defined]


def areas() -> list[Any]:
    both = {**POLYGONS, **MULTIPOLYGONS}
    cases = [
        pytest.param(make(wkt), id=f"{make.__name__}, {name}")
        for name, wkt in both.items()
        for make in (zone, district)
    ]
    return cases + [pytest.param(parcel(wkt), id=f"parcel, {name}") for name, wkt in POLYGONS.items()]


@pytest.mark.parametrize("wkt", POINTS)
def test_coordinates_agree(passing: Session, wkt: str) -> None:
    row = stored(passing, facility(location=element(wkt)))

    assert (row.longitude, row.latitude) == (in_sql(passing, row, "longitude"), in_sql(passing, row, "latitude"))
    assert Point(row.longitude, row.latitude) == from_wkt(wkt)


@pytest.mark.parametrize(
    ("longitude", "latitude"),
    [(0.1 + 0.2, 1 / 3), (1e-300, -1e-17), (179.99999999999997, -89.99999999999999), (5e-324, -0.0)],
)
def test_coordinates_come_back_to_the_last_bit(passing: Session, longitude: float, latitude: float) -> None:
    point = Point(longitude, latitude)
    row = stored(passing, facility(location=from_shape(point, srid=4326, extended=True)))

    assert to_shape(row.location).wkb == point.wkb


@pytest.mark.parametrize("row", areas())
def test_measures_agree(passing: Session, row: Zone | District | Parcel) -> None:
    stored(passing, row)

    assert row.area_square_meters == pytest.approx(
        in_sql(passing, row, "area_square_meters"), rel=AREA_RATIO, abs=AREA_METERS
    )
    assert row.area_square_meters > 0
    assert row.vertex_count == in_sql(passing, row, "vertex_count")
    assert row.bounds == in_sql(passing, row, "bounds")
    # A zone's centroid is stored, the others' are computed: all are what shapely makes of the boundary.
    centroid = to_shape(in_sql(passing, row, "centroid"))
    assert to_shape(row.centroid).equals_exact(centroid, DEGREES)
    assert to_shape(row.boundary).centroid.equals_exact(centroid, DEGREES)
    assert row.centroid.srid == 4326


def test_hybrids_filter_and_sort(session: Session) -> None:
    session.add_all([district(SQUARE, "small"), district(POLYGONS["with a hole"], "large")])
    session.commit()

    larger = select(District.name).where(District.area_square_meters > 1e11).order_by(District.vertex_count.desc())

    assert session.scalars(larger).all() == ["large"]


def test_a_parcel_names_its_district_on_both_sides(session: Session) -> None:
    row = stored(session, parcel())
    session.add(district(name="Elsewhere"))
    session.commit()

    assert in_sql(session, row, "district_name") == "Old Town"
    assert session.scalars(with_district(select(Parcel))).one().district_name == "Old Town"


@pytest.mark.parametrize("count", [1, 40])
def test_parcels_load_their_districts_in_one_further_statement(engine: Engine, session: Session, count: int) -> None:
    towns = [district(name=name) for name in ("north", "south")]
    session.add_all(parcel(number=str(number), within=towns[number % 2]) for number in range(count))
    session.commit()
    session.expunge_all()

    with statements(engine) as seen:
        parcels = session.scalars(with_district(select(Parcel))).all()
        names = {row.district_name for row in parcels}

    assert len(parcels) == count
    assert names == {"north", "south"} if count > 1 else {"north"}
    assert len(seen) == 2
    assert "boundary" not in seen[1]


def test_nothing_loads_row_by_row_by_accident(session: Session) -> None:
    session.add(parcel())
    session.commit()
    session.expunge_all()

    with pytest.raises(InvalidRequestError, match="raise"):
        _ = session.scalars(select(Parcel)).one().district
    with pytest.raises(InvalidRequestError, match="raise"):
        _ = session.scalars(select(District)).one().parcels
    session.expunge_all()
    with pytest.raises(InvalidRequestError, match="raiseload"):
        _ = session.scalars(with_district(select(Parcel))).one().district.boundary


def test_the_server_fills_what_a_caller_leaves_out(session: Session) -> None:
    row = stored(session, facility())

    assert (row.tags, row.attributes, row.active) == ([], {}, True)
    assert (row.country, row.population) == (None, None)
    assert row.created_at == row.updated_at
    assert row.created_at.tzinfo is not None


@pytest.mark.parametrize("table", sorted(Base.metadata.tables))
def test_every_update_moves_updated_at_and_not_created_at(session: Session, table: str) -> None:
    session.add_all([facility(), zone(), parcel()])
    session.commit()
    read = text(f"SELECT created_at, updated_at FROM {table}")
    created_before, updated_before = session.execute(read).one()
    session.commit()

    session.execute(text(f"UPDATE {table} SET name = 'other', updated_at = '2001-01-01'"))
    session.commit()

    created, updated = session.execute(read).one()
    assert created == created_before
    assert updated > updated_before


def test_the_session_sees_what_the_trigger_did(session: Session) -> None:
    row = stored(session, facility())
    before = row.updated_at

    row.name = "Herald Square"
    session.commit()

    assert row.updated_at > before


def test_the_centroid_of_a_zone_follows_its_boundary(session: Session) -> None:
    row = stored(session, zone())
    assert to_shape(row.centroid) == Point(10.5, 10.5)

    row.boundary = multi("POLYGON((0 0, 2 0, 2 2, 0 2, 0 0))")
    session.commit()

    assert to_shape(row.centroid) == Point(1, 1)
