"""What an import that was cut, tried, sent again or disturbed comes to, and what the ledger knows of it."""

import psycopg2
import pytest

from service.changes import ImportPlan, Incoming
from service.errors import Aborted, FailedPrecondition, InvalidArgument
from tests.imports import LAYERS, counts, facilities, importer, keyed, names, plan, run, told
from tests.situations import blocked, eventually, fetch


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
