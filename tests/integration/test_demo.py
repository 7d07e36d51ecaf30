"""The demo data: whole, valid, loaded once."""

import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
from psycopg2.errors import NotNullViolation
from sqlalchemy import Connection, NullPool, create_engine, func, select, text

from service.db.engine import database_url
from service.demo import find_directory, load
from service.models import Base, District, Facility, Parcel, Zone
from tests.clusters import DEMO
from tests.conftest import NewDatabase

COUNTS = {"districts": 5, "facilities": 16_081, "parcels": 353, "zones": 241}


@contextmanager
def connect(url: str) -> Iterator[Connection]:
    with create_engine(database_url(url), poolclass=NullPool).connect() as connection:
        yield connection


def counts(url: str) -> dict[str, int]:
    with connect(url) as connection:
        tables = Base.metadata.sorted_tables
        return {str(t): connection.scalar(select(func.count()).select_from(t)) or 0 for t in tables}


def test_every_layer_is_filled(demo_database: str) -> None:
    assert counts(demo_database) == COUNTS


def test_loading_says_what_it_loaded_and_then_does_nothing(database: str) -> None:
    assert load(database) == COUNTS
    assert load(database) == {}
    assert counts(database) == COUNTS


def test_rows_of_others_are_left_alone(database: str) -> None:
    with connect(database) as connection:
        connection.execute(
            text("INSERT INTO facilities (name, kind, location) VALUES ('mine', 'x', 'SRID=4326;POINT(0 0)')")
        )
        connection.commit()

    assert load(database) == {}
    assert counts(database) == {"districts": 0, "facilities": 1, "parcels": 0, "zones": 0}


def test_of_two_that_load_at_once_one_does(database: str) -> None:
    with ThreadPoolExecutor(2) as threads:
        loaded = list(threads.map(load, [database] * 2))

    assert sorted(map(len, loaded)) == [0, len(COUNTS)]
    assert counts(database) == COUNTS


def test_a_broken_file_loads_nothing(database: str, tmp_path: Path) -> None:
    broken = shutil.copytree(find_directory(), tmp_path / "demo")
    (broken / "zones.csv.gz").write_bytes((broken / "districts.csv.gz").read_bytes())

    with pytest.raises(NotNullViolation, match="code"):
        load(database, broken)

    assert counts(database) == dict.fromkeys(COUNTS, 0)


def test_new_rows_get_keys_of_their_own(new_database: NewDatabase) -> None:
    with new_database(template=DEMO) as url, connect(url) as connection:
        key = connection.scalar(
            text(
                "INSERT INTO facilities (name, kind, location) VALUES ('new', 'x', 'SRID=4326;POINT(0 0)') RETURNING id"
            )
        )

    assert key == COUNTS["facilities"] + 1


def test_the_planner_knows_the_layers(demo_database: str) -> None:
    with connect(demo_database) as connection:
        for table, count in COUNTS.items():
            known = connection.scalar(text(f"SELECT reltuples FROM pg_class WHERE oid = '{table}'::regclass"))
            assert known == count


def test_places_are_where_they_are(demo_database: str) -> None:
    with connect(demo_database) as connection:
        statement = select(Facility.name, Facility.country, Facility.longitude, Facility.latitude).where(
            Facility.id == 1
        )
        name, country, longitude, latitude = connection.execute(statement).one()

    assert (name, country) == ("Shanghai", "CN")
    assert (longitude, latitude) == pytest.approx((121.46, 31.22), abs=0.05)


def test_only_what_is_named_as_closed_is_inactive(demo_database: str) -> None:
    with connect(demo_database) as connection:
        names = connection.scalars(select(Facility.name).where(~Facility.active)).all()

    assert len(names) == 10
    assert all("closed" in name.lower() or "decommissioned" in name.lower() for name in names)


def test_tags_and_attributes_can_be_asked_for(demo_database: str) -> None:
    statement = select(Facility.name).where(
        Facility.tags.contains(["navaid", "tacan"]), Facility.attributes.contains({"continent": "Antarctica"})
    )
    with connect(demo_database) as connection:
        assert "South Pole Station" in connection.scalars(statement).all()


@pytest.mark.parametrize(
    ("code", "square_kilometers"),
    [("IND", 3_287_000), ("CAN", 9_985_000), ("LUX", 2_586), ("FJI", 18_270)],
)
def test_countries_have_about_the_area_that_atlases_give(demo_database: str, code: str, square_kilometers: int) -> None:
    with connect(demo_database) as connection:
        area = connection.scalar(select(Zone.area_square_meters).where(Zone.code == code))

    assert area is not None
    assert area / 1e6 == pytest.approx(square_kilometers, rel=0.1)


def test_parcels_lie_in_their_districts_but_for_the_marshes_of_jamaica_bay(demo_database: str) -> None:
    statement = (
        select(Parcel.name)
        .join(District, District.id == Parcel.district_id)
        .where(~func.ST_Intersects(Parcel.boundary, District.boundary))
        .distinct()
    )
    with connect(demo_database) as connection:
        assert connection.scalars(statement).all() == ["Jamaica Bay"]
        assert connection.scalar(select(func.count(func.distinct(Parcel.district_id)))) == 5


def test_the_folder_is_small() -> None:
    assert sum(path.stat().st_size for path in find_directory().iterdir()) < 2_500_000
