"""What the database refuses, whoever writes, and under which name."""

from collections.abc import Iterator
from typing import Any

import psycopg2
import pytest
from sqlalchemy import NullPool, create_engine
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from service.db.engine import database_url
from service.models import District
from tests.integration.rows import district, element, facility, parcel, point_at, zone


@pytest.fixture
def session(database: str) -> Iterator[Session]:
    with Session(create_engine(database_url(database), poolclass=NullPool), autoflush=False) as session:
        yield session


REFUSED = {
    "a bow tie": (parcel("POLYGON((0 0, 1 1, 1 0, 0 1, 0 0))"), "ck_parcels_boundary_valid"),
    "a bow tie district": (district("POLYGON((0 0, 1 1, 1 0, 0 1, 0 0))"), "ck_districts_boundary_valid"),
    "a hole outside its shell": (
        zone("POLYGON((0 0, 1 0, 1 1, 0 1, 0 0), (5 5, 6 5, 6 6, 5 5))"),
        "ck_zones_boundary_valid",
    ),
    "overlapping parts": (
        zone("MULTIPOLYGON(((0 0, 2 0, 2 2, 0 0)), ((0 0, 2 0, 2 2, 0 0)))"),
        "ck_zones_boundary_valid",
    ),
    "beyond the pole": (facility(location=element("POINT(0 90.1)")), "ck_facilities_location_on_earth"),
    "beyond the antimeridian": (facility(location=element("POINT(180.1 0)")), "ck_facilities_location_on_earth"),
    "a longitude that is no number": (facility(location=point_at("NaN", 1)), "ck_facilities_location_on_earth"),
    "a latitude that is no number": (facility(location=point_at(1, "NaN")), "ck_facilities_location_on_earth"),
    "an infinite longitude": (facility(location=point_at("-Infinity", 1)), "ck_facilities_location_on_earth"),
    "an empty point": (facility(location=element("POINT EMPTY")), "ck_facilities_location_on_earth"),
    "a parcel off the map": (
        parcel("POLYGON((179 0, 181 0, 181 1, 179 0))"),
        "ck_parcels_boundary_on_earth",
    ),
    "an empty boundary": (zone("MULTIPOLYGON EMPTY"), "ck_zones_boundary_on_earth"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_the_database_refuses(session: Session, name: str) -> None:
    row, constraint = REFUSED[name]
    session.add(row)

    with pytest.raises(IntegrityError) as refusal:
        session.commit()

    assert isinstance(refusal.value.orig, psycopg2.IntegrityError)
    assert refusal.value.orig.diag.constraint_name == constraint


@pytest.mark.parametrize(
    ("make", "constraint"),
    [
        (lambda: [parcel(), parcel()], "uq_districts_name"),
        (lambda: [parcel(within=(one := district())), parcel(within=one)], "uq_parcels_number"),
        (lambda: [zone(), zone()], "uq_zones_code"),
    ],
)
def test_keys_of_the_domain_are_unique(session: Session, make: Any, constraint: str) -> None:
    session.add_all(make())

    with pytest.raises(IntegrityError, match=constraint):
        session.commit()


def test_a_district_with_parcels_stays(session: Session) -> None:
    row = parcel()
    session.add(row)
    session.commit()

    session.delete(session.get_one(District, row.district_id))

    with pytest.raises(IntegrityError, match="fk_parcels_district_id_districts"):
        session.commit()
