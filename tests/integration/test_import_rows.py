"""What an import does with rows: writes them in chunks, rejects those that the database refuses, and says of each why.

Without gRPC around it: the importer is what `spatial load` uses, too.
"""

from collections.abc import Sequence
from typing import Any

import psycopg2
import pytest
from geoalchemy2 import Geometry
from sqlalchemy import BigInteger, Column, MetaData, Table, Text

from service.catalog import Layer, Property, PropertyType
from service.changes import ImportPlan, Incoming, Rejection, Totals
from service.db.imports.importer import ImportOutcome
from service.db.imports.sifting import Sifter
from service.errors import Aborted, FailedPrecondition, InvalidArgument
from tests.imports import LAYERS, facilities, importer, plan, point, run, square
from tests.situations import blocked, eventually, fetch


@pytest.fixture
def emptied(module_database: str) -> str:
    """The module's own database, with nothing in it."""
    fetch(module_database, "TRUNCATE facilities, zones, districts, parcels, spatial_imports RESTART IDENTITY")
    return module_database


def names(url: str) -> list[str]:
    return [name for (name,) in fetch(url, "SELECT name FROM facilities ORDER BY id")]


def keyed(keys: Sequence[str], first: int = 0, **values: Sequence[str | None]) -> Incoming:
    """Facilities with these keys."""
    rows = facilities(len(keys), first, **values)
    return Incoming(rows.numbers, keys, rows.geometries, rows.values)


def told(outcome: ImportOutcome) -> list[tuple[int, str, str, str]]:
    return [(each.row, each.id, each.reason, each.field) for each in outcome.rejections]


def counts(outcome: ImportOutcome) -> tuple[int, int, int]:
    totals = outcome.totals
    assert totals.inserted + totals.updated + totals.rejected == totals.rows
    return totals.inserted, totals.updated, totals.rejected


# Writing.


def test_rows_are_written_as_they_are(emptied: str) -> None:
    given = ["plain", "tab\there", "new\nline", "back\\slash", "\\N", "", "ü 漢 🗺", "quote \" and ' and %s", "\r"]
    outcome = run(emptied, plan(), facilities(len(given), name=given))
    assert counts(outcome) == (len(given), 0, 0)
    assert names(emptied) == given


def test_a_column_that_no_row_brings_gets_its_default_and_one_that_is_null_gets_null(emptied: str) -> None:
    run(emptied, plan(), facilities(2, country=["DE", None]))
    assert fetch(emptied, "SELECT country, population, tags, active, attributes FROM facilities ORDER BY id") == [
        ("DE", None, [], True, {}),
        (None, None, [], True, {}),
    ]


def test_rows_that_bring_different_columns_go_in_one_chunk(emptied: str) -> None:
    some = [facilities(1, row, **({"country": ["DE"]} if row % 3 else {})) for row in range(300)]
    outcome = run(emptied, plan(), *some)
    assert counts(outcome) == (300, 0, 0)
    assert outcome.totals.chunks == 1
    assert fetch(emptied, "SELECT count(*), count(country) FROM facilities") == [(300, 200)]


def test_rows_without_a_key_among_rows_with_one_get_theirs_from_the_database(emptied: str) -> None:
    outcome = run(emptied, plan(mode="UPSERT"), keyed(["1000", "1001"]), facilities(5, 2), keyed(["1000"], 7))
    assert counts(outcome) == (7, 1, 0)
    assert fetch(emptied, "SELECT name FROM facilities WHERE id > 5 ORDER BY id") == [("Facility 7",), ("Facility 1",)]


def test_rows_about_one_feature_are_taken_in_their_order_whatever_they_bring(emptied: str) -> None:
    rows = [keyed(["1"], 0), keyed(["1"], 1, country=["DE"]), keyed(["1"], 2), keyed(["1"], 3, country=["FR"])]
    assert counts(run(emptied, plan(mode="UPSERT"), *rows)) == (1, 3, 0)
    assert fetch(emptied, "SELECT name, country FROM facilities") == [("Facility 3", "FR")]
    fetch(emptied, "DELETE FROM facilities")
    assert [row for row, *_ in told(run(emptied, plan(), *rows))] == [1, 2, 3]


def test_a_geometry_in_another_crs_is_transformed(emptied: str) -> None:
    mercator = b"\x01\x01\x00\x00\x20\x11\x0f\x00\x00" + point(1_000_000.0, 6_000_000.0)[9:]
    run(emptied, plan(srid=3857), Incoming(range(1), None, [mercator], {"name": ["a"], "kind": ["b"]}))
    assert fetch(emptied, "SELECT ST_X(location), ST_SRID(location) FROM facilities") == [
        (pytest.approx(8.9832, abs=1e-4), 4326)
    ]


def test_many_rows_are_several_chunks_of_which_each_is_counted(emptied: str) -> None:
    outcome = run(emptied, plan(), *(facilities(1000, first) for first in range(0, 5000, 1000)))
    assert counts(outcome) == (5000, 0, 0)
    assert outcome.totals.chunks > 1
    assert fetch(emptied, "SELECT count(DISTINCT name) FROM facilities") == [(5000,)]


def test_statistics_are_brought_up_to_date_after_a_large_import_and_not_after_a_small_one(database: str) -> None:
    assert not run(database, plan(), facilities(100)).analyzed
    fetch(database, "DROP INDEX ix_facilities_location_geography_gist, ix_facilities_location_geography_active_gist")
    assert run(database, plan(), facilities(10_000)).analyzed
    assert fetch(database, "SELECT reltuples FROM pg_class WHERE relname = 'facilities'") == [(10_100,)]


# Keys that are there already.


def test_an_insert_rejects_rows_whose_key_is_there_already(emptied: str) -> None:
    run(emptied, plan(), keyed(["5", "6"]))
    outcome = run(emptied, plan(), keyed(["4", "5", "6", "7"], name=["four", "five", "six", "seven"]))
    assert counts(outcome) == (2, 0, 2)
    assert told(outcome) == [(1, "5", "FEATURE_EXISTS", "id"), (2, "6", "FEATURE_EXISTS", "id")]
    assert names(emptied) == ["four", "Facility 0", "Facility 1", "seven"]


def test_of_two_rows_with_one_key_an_insert_takes_the_first_that_it_can(emptied: str) -> None:
    given = [None, "first", "second", "other", "third"]
    outcome = run(emptied, plan(), keyed(["1", "1", "1", "2", "1"], name=given))
    assert told(outcome) == [
        (0, "1", "REQUIRED", "properties.name"),
        (2, "1", "FEATURE_EXISTS", "id"),
        (4, "1", "FEATURE_EXISTS", "id"),
    ]
    assert names(emptied) == ["first", "other"]


def test_an_upsert_replaces_what_rows_bring_and_leaves_the_rest(emptied: str) -> None:
    run(emptied, plan(), keyed(["1", "2"], country=["DE", "FR"]))
    outcome = run(emptied, plan(mode="UPSERT"), keyed(["2", "3"], name=["replaced", "new"]))
    assert counts(outcome) == (1, 1, 0)
    assert fetch(emptied, "SELECT id, name, country FROM facilities ORDER BY id") == [
        (1, "Facility 0", "DE"),
        (2, "replaced", "FR"),
        (3, "new", None),
    ]


def test_an_upsert_of_a_few_properties_needs_no_others_where_the_feature_is_there(emptied: str) -> None:
    run(emptied, plan(), keyed(["1"]))
    outcome = run(emptied, plan(mode="UPSERT"), Incoming(range(2), ["1", "2"], None, {"country": ["DE", "FR"]}))
    assert counts(outcome) == (0, 1, 1)
    assert told(outcome) == [(1, "2", "REQUIRED", "properties.name")]
    assert fetch(emptied, "SELECT name, country FROM facilities") == [("Facility 0", "DE")]


def test_an_upsert_of_rows_about_one_feature_takes_them_in_their_order(emptied: str) -> None:
    given = [f"version {number}" for number in range(5)]
    outcome = run(emptied, plan(mode="UPSERT"), keyed(["1", "2", "1", "1", "2"], name=given))
    assert counts(outcome) == (2, 3, 0)
    assert names(emptied) == ["version 3", "version 4"]


def test_a_later_row_that_is_refused_leaves_what_an_earlier_one_wrote(emptied: str) -> None:
    outcome = run(emptied, plan(mode="UPSERT"), keyed(["1", "1"], name=["good", None]))
    assert counts(outcome) == (1, 0, 1)
    assert names(emptied) == ["good"]


def districts(*codes: str, name: str = "District") -> Incoming:
    squares = [multi(square(10 * place, 0)) for place in range(len(codes))]
    return Incoming(
        range(len(codes)),
        None,
        squares,
        {"code": codes, "name": [f"{name} {code}" for code in codes], "category": ["test"] * len(codes)},
    )


def multi(polygon: bytes) -> bytes:
    return b"\x01\x06\x00\x00\x20\xe6\x10\x00\x00\x01\x00\x00\x00" + b"\x01\x03\x00\x00\x00" + polygon[9:]


def test_an_upsert_may_go_by_another_unique_property(emptied: str) -> None:
    run(emptied, plan("zones"), districts("A", "B"))
    outcome = run(emptied, plan("zones", "UPSERT", match="code"), districts("B", "C", name="New"))
    assert counts(outcome) == (1, 1, 0)
    assert fetch(emptied, "SELECT id, code, name FROM zones ORDER BY code") == [
        (1, "A", "District A"),
        (2, "B", "New B"),
        (3, "C", "New C"),
    ]


def test_a_property_that_is_not_unique_says_of_no_row_which_feature_it_is(emptied: str) -> None:
    with pytest.raises(InvalidArgument) as error:
        run(emptied, plan("zones", "UPSERT", match="name"))
    assert (error.value.reason, error.value.field) == ("UNSUPPORTED_PROPERTY_TYPE", "match_property")


# What the emptied refuses.


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


# Layers of all kinds.


def test_a_column_and_a_table_may_be_called_anything(database: str) -> None:
    fetch(
        database,
        'CREATE TABLE "od""d 100%" (id bigint GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY, "na%me ""x""" text UNIQUE,'
        ' "ge om" geometry(Point, 4326))',
    )
    layer = odd_layer()
    rows = Incoming(range(3), None, [point(1, 2)] * 3, {'na%me "x"': ["a", "b", "a"]})
    outcome = run(database, plan(layer.name, "UPSERT", match='na%me "x"'), rows, layer=layer)
    assert counts(outcome) == (2, 1, 0)


def odd_layer() -> Layer:
    table = Table(
        'od"d 100%',
        MetaData(),
        Column("id", BigInteger(), primary_key=True),
        Column('na%me "x"', Text()),
        Column("ge om", Geometry("POINT", srid=4326)),
    )
    name = Property('na%me "x"', PropertyType.STRING, table.c['na%me "x"'], nullable=True, writable=True)
    properties = {name.name: name}
    return Layer("odd", "", table, table.c.id, table.c["ge om"], "POINT", 4326, properties, writable=True)


def test_a_partitioned_table_takes_rows(database: str) -> None:
    fetch(
        database,
        "ALTER TABLE facilities RENAME TO was;"
        "CREATE TABLE facilities (id bigint GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY, name text NOT NULL,"
        " kind text, location geometry(Point, 4326)) PARTITION BY RANGE (id);"
        "CREATE TABLE low PARTITION OF facilities FOR VALUES FROM (0) TO (100);"
        "CREATE TABLE high PARTITION OF facilities FOR VALUES FROM (100) TO (200)",
    )
    outcome = run(database, plan(mode="UPSERT"), keyed(["1", "100", "1", "300"]))
    assert counts(outcome) == (2, 1, 1)
    assert told(outcome) == [(3, "300", "CONSTRAINT_VIOLATED", "")]


# Nothing stays of a validation.


def test_a_validation_says_what_would_become_of_rows_and_leaves_nothing(emptied: str) -> None:
    run(emptied, plan(), keyed(["1"]))
    asked = plan(validate_only=True)
    outcome = run(emptied, asked, keyed(["1", "2", "2"]), facilities(2000, 3), keyed(["2"], 2003))
    assert counts(outcome) == (2001, 0, 3)
    assert [row for row, *_ in told(outcome)] == [0, 2, 2003]
    assert outcome.position == 0
    assert names(emptied) == ["Facility 0"]
    assert fetch(emptied, "SELECT count(*) FROM spatial_imports WHERE id = %s", asked.id) == [(0,)]


def test_a_validation_needs_no_ledger_and_an_import_does(database: str) -> None:
    fetch(database, "DROP TABLE spatial_imports")
    assert counts(run(database, plan(validate_only=True), facilities(2))) == (2, 0, 0)
    with pytest.raises(FailedPrecondition, match="spatial migrate") as error:
        run(database, plan(), facilities(2))
    assert error.value.reason == "LEDGER_MISSING"


# Going on.


def cut(url: str, asked: ImportPlan, *incoming: Incoming) -> None:
    """An import that is left before its end; only whole chunks are sure to be in."""
    with importer(url) as made, made.begin(asked, LAYERS[asked.layer]) as progress:
        for rows in incoming:
            made.write(progress, rows)
        progress.behind.finish()


def test_an_import_that_was_cut_goes_on_where_it_was_and_its_totals_are_of_all_calls(emptied: str) -> None:
    asked = plan(listed=1)
    cut(emptied, asked, facilities(1500, name=[None, *["x"] * 1499]))
    (before,) = fetch(emptied, "SELECT rows, complete FROM spatial_imports")
    assert 0 < before[0] < 1500
    assert not before[1]
    outcome = run(emptied, asked, facilities(1500), facilities(500, 1500, name=[None] * 500))
    assert counts(outcome) == (1499, 0, 501)
    assert told(outcome) == [(0, "", "REQUIRED", "properties.name")]
    assert fetch(emptied, "SELECT count(*) FROM facilities") == [(1499,)]
    assert fetch(emptied, "SELECT rows, rejected, complete FROM spatial_imports") == [(2000, 501, True)]


def test_a_whole_import_that_is_sent_again_changes_nothing_and_is_told_the_same(emptied: str) -> None:
    asked = plan()
    first = run(emptied, asked, facilities(10, name=[None, *["x"] * 9]))
    again = run(emptied, asked, facilities(10))
    assert again.totals == first.totals
    assert again.rejections == first.rejections
    assert len(names(emptied)) == 9


def test_an_id_is_that_of_one_import(emptied: str) -> None:
    run(emptied, plan(id="one"), facilities(1))
    with pytest.raises(InvalidArgument) as error:
        run(emptied, plan(mode="UPSERT", id="one"), facilities(1))
    assert (error.value.reason, error.value.field) == ("REQUEST_ID_REUSED", "import_id")


def test_two_calls_are_not_at_one_import_at_a_time(emptied: str) -> None:
    asked = plan()
    with importer(emptied) as first, first.begin(asked, LAYERS["facilities"]), pytest.raises(Aborted) as error:
        run(emptied, asked, facilities(1))
    assert (error.value.reason, error.value.retry_after) == ("CONFLICT", 1.0)
    assert counts(run(emptied, asked, facilities(1))) == (1, 0, 0)


def test_an_import_is_forgotten_when_nobody_has_touched_it_for_long(emptied: str) -> None:
    run(emptied, plan(id="old"), facilities(1))
    fetch(emptied, "UPDATE spatial_imports SET touched_at = now() - interval '31 days'")
    run(emptied, plan(id="new"), facilities(1))
    assert fetch(emptied, "SELECT id FROM spatial_imports") == [("new",)]


def test_rows_that_others_add_meanwhile_are_found_the_second_time(emptied: str) -> None:
    """Another session adds a key that an upsert has just not found, and commits while it waits for it."""
    with psycopg2.connect(emptied) as other, other.cursor() as cursor:
        cursor.execute(
            "INSERT INTO facilities (id, name, kind, location) VALUES (2, 'theirs', 'x', 'SRID=4326;POINT(0 0)')"
        )
        with importer(emptied) as made, made.begin(plan(mode="UPSERT"), LAYERS["facilities"]) as progress:
            made.write(progress, keyed(["1", "2", "3"]))
            for chunk in progress.gathering.rest():
                progress.behind.give(chunk)
            eventually(blocked(emptied))
            other.commit()
            outcome = made.finish(progress)
    other.close()
    assert counts(outcome) == (2, 1, 0)
    assert outcome.totals.retries == 1


# Straight into a table that has just been made.


def test_a_fresh_table_gets_the_same_rows_straight_and_only_lots_with_a_row_at_fault_are_staged(
    emptied: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    lots = [
        facilities(1500, name=["tab\t", "back\\slash", "\\N", *(f"Facility {row}" for row in range(1497))]),
        facilities(1000, 1500, name=[None if row == 7 else f"Facility {1500 + row}" for row in range(1000)]),
        facilities(500, 2500),
    ]
    staged: list[list[int]] = []
    sift = Sifter.sift

    def sifting(sifter: Sifter, *given: Any) -> Any:
        staged.append(given[-1].numbers)
        return sift(sifter, *given)

    monkeypatch.setattr(Sifter, "sift", sifting)
    contents = []
    for straight in (True, False):
        fetch(emptied, "TRUNCATE facilities RESTART IDENTITY")
        outcome = run(emptied, plan(straight=straight), *lots)
        assert counts(outcome) == (2999, 0, 1)
        assert told(outcome) == [(1507, "", "REQUIRED", "properties.name")]
        if straight:
            assert [1507 in numbers for numbers in staged] == [True]
        contents.append(fetch(emptied, "SELECT name, kind, ST_AsEWKT(location) FROM facilities ORDER BY id"))
    assert contents[0] == contents[1]
