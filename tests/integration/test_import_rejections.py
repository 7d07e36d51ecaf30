"""What an import says of rows that the database refuses: of each why, and where in it."""

import pytest

from service.changes import Incoming, Rejection, Totals
from tests.conftest import NewDatabase
from tests.imports import counts, facilities, keyed, multi, names, plan, run, square, told
from tests.situations import fetch


def test_every_row_is_told_what_the_database_has_against_it(emptied: str) -> None:
    rows = Incoming(
        range(6),
        None,
        [multi(square(0, 0)), multi(square(0, 0)), None, multi(square(200, 0)), multi(square(0, 0)), multi(bow())],
        {"code": ["A", "A", "B", "C", "D", "E"], "name": ["n", "n", "n", "n", None, "n"], "category": ["c"] * 6},
    )
    outcome = run(emptied, plan("zones"), rows)
    assert told(outcome) == [
        (1, "", "NOT_UNIQUE", "properties.code"),
        (2, "", "REQUIRED", "geometry"),
        (3, "", "CONSTRAINT_VIOLATED", "geometry"),
        (4, "", "REQUIRED", "properties.name"),
        (5, "", "CONSTRAINT_VIOLATED", "geometry"),
    ]
    assert fetch(emptied, "SELECT code FROM zones") == [("A",)]


def bow() -> bytes:
    """A polygon that crosses itself."""
    head, corners = square(0, 0)[:17], square(0, 0)[17:]
    return head + b"".join(corners[16 * place :][:16] for place in (0, 2, 1, 3, 0))


@pytest.mark.parametrize("straight", [True, False])
def test_rows_that_bring_nothing_at_all_are_refused_what_they_lack(emptied: str, straight: bool) -> None:
    outcome = run(emptied, plan(straight=straight), Incoming(range(2), None, None, {}), facilities(1, 2))
    assert [(row, reason) for row, _, reason, _ in told(outcome)] == [(0, "REQUIRED"), (1, "REQUIRED")]
    assert names(emptied) == ["Facility 2"]


def test_rows_that_bring_nothing_at_all_are_rows_where_nothing_is_required(new_database: NewDatabase) -> None:
    with new_database() as url:
        nothing = ", ".join(f"ALTER {column} DROP NOT NULL" for column in ("name", "kind", "location"))
        fetch(url, f"ALTER TABLE facilities {nothing}")
        outcome = run(url, plan(), Incoming(range(2), None, None, {}))
        assert counts(outcome) == (2, 0, 0)
        assert fetch(url, "SELECT name, location FROM facilities") == [(None, None)] * 2


@pytest.mark.parametrize(
    ("column", "text"),
    [
        ("population", "many"),
        ("population", "99999999999999999999"),
        ("tags", "{open"),
        ("attributes", "{"),
        ("active", "x"),
    ],
)
def test_a_text_that_is_no_value_of_its_column_is_that_rows_fault(emptied: str, column: str, text: str) -> None:
    values: list[str | None] = [{"population": "1", "tags": "{}", "attributes": "{}", "active": "t"}[column]] * 9
    values[4] = text
    outcome = run(emptied, plan(), facilities(9, 0, **{column: values}))
    assert told(outcome) == [(4, "", "INVALID_PROPERTY_VALUE", f"properties.{column}")]
    assert names(emptied) == [f"Facility {row}" for row in range(9) if row != 4]


def parcels(*wests: float, district: str = "1", prefix: str = "P") -> Incoming:
    numbers = range(len(wests))
    return Incoming(
        numbers,
        None,
        [square(west, 0) for west in wests],
        {
            "number": [f"{prefix}{number}" for number in numbers],
            "name": ["Parcel"] * len(wests),
            "land_use": ["park"] * len(wests),
            "district_id": [district] * len(wests),
        },
    )


@pytest.fixture
def cadastre(emptied: str) -> str:
    """A emptied with a district for parcels."""
    fetch(emptied, "INSERT INTO districts (name, boundary) SELECT 'All', ST_Multi(ST_MakeEnvelope(0, 0, 90, 90, 4326))")
    return emptied


def test_what_a_row_refers_to_must_be_there(cadastre: str) -> None:
    outcome = run(cadastre, plan("parcels"), parcels(0, 2, district="7"))
    assert counts(outcome) == (0, 0, 2)
    assert told(outcome)[0] == (0, "", "REFERENCE_VIOLATED", "properties.district_id")


def test_no_parcel_comes_to_lie_on_another_one(cadastre: str) -> None:
    run(cadastre, plan("parcels"), parcels(10, 20))
    outcome = run(cadastre, plan("parcels"), parcels(9.5, 12, 12.5, 11, 30, 20, prefix="N"))
    assert told(outcome) == [(row, "", "OVERLAP", "geometry") for row in (0, 2, 5)]
    found = fetch(cadastre, "SELECT number FROM parcels WHERE number ~ 'N' ORDER BY 1")
    assert found == [("N1",), ("N3",), ("N4",)]


def test_a_parcel_may_be_moved_within_its_own_old_place(cadastre: str) -> None:
    run(cadastre, plan("parcels"), parcels(10, 20))
    outcome = run(cadastre, plan("parcels", "UPSERT", match="number"), parcels(10.5, 10))
    assert counts(outcome) == (0, 1, 1)
    assert told(outcome) == [(1, "P1", "OVERLAP", "geometry")]
    assert fetch(cadastre, "SELECT number, ST_XMin(boundary) FROM parcels ORDER BY number") == [
        ("P0", 10.5),
        ("P1", 20),
    ]


def test_what_the_database_does_with_a_row_at_the_end_of_a_transaction_is_that_rows_fault_too(database: str) -> None:
    fetch(
        database,
        "ALTER TABLE facilities ADD CONSTRAINT one_name UNIQUE (name) DEFERRABLE INITIALLY DEFERRED",
    )
    outcome = run(database, plan(), facilities(3, name=["a", "b", "a"]))
    assert told(outcome) == [(2, "", "NOT_UNIQUE", "properties.name")]


def test_so_many_rejections_are_listed_as_were_asked_for_and_the_rest_is_counted(emptied: str) -> None:
    given: list[str | None] = ["x", None] * 50
    before = [Rejection(100, "", "INVALID_GEOMETRY", "crosses itself", "geometry", (1.0, 2.0))]
    later = Incoming(range(101, 102), None, [None], {"name": ["x"], "kind": ["y"]}, before)
    outcome = run(emptied, plan(listed=4), facilities(100, name=given), later)
    assert counts(outcome) == (50, 0, 52)
    assert [each.row for each in outcome.rejections] == [1, 3, 5, 7]


def test_a_row_refused_before_keeps_its_place_and_where_it_is_at_fault(emptied: str) -> None:
    refused = [
        Rejection(1, "b", "INVALID_GEOMETRY", "crosses itself", "geometry", (1.0, 2.0)),
        Rejection(4, "e", "INVALID_ID", "no key", "id"),
    ]
    rows = facilities(3)
    outcome = run(emptied, plan(), Incoming([0, 2, 3], None, rows.geometries, rows.values, refused))
    assert outcome.rejections == tuple(refused)
    assert outcome.totals == Totals(5, 3, 0, 2, 1, 0)


def test_a_chunk_with_very_many_rows_that_fail_ends_in_good_time(emptied: str) -> None:
    run(emptied, plan(), keyed([str(key) for key in range(1, 3001)]))
    outcome = run(emptied, plan(), keyed([str(key) for key in range(1, 6001)]))
    assert counts(outcome) == (3000, 0, 3000)
