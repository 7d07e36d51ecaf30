"""What an import does with rows whose feature is there already, or comes twice: INSERT rejects, UPSERT replaces."""

import pytest

from service.changes import Incoming
from service.errors import InvalidArgument
from tests.imports import counts, keyed, names, plan, run, told, zones
from tests.situations import fetch


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


def test_an_upsert_may_go_by_another_unique_property(emptied: str) -> None:
    run(emptied, plan("zones"), zones("A", "B"))
    outcome = run(emptied, plan("zones", "UPSERT", match="code"), zones("B", "C", name="New"))
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
