"""What parts of filters mean that are seldom written, and what is said of those that are in the wrong place."""

import pytest

from tests.filters import read, refused

INVALID, MISMATCH = "INVALID_FILTER", "FILTER_TYPE_MISMATCH"

MISPLACED: dict[str, tuple[str, int, str]] = {
    "5 IS NULL": (INVALID, 1, "a value is never NULL"),
    "population = (1, 2)": (INVALID, 1, "a list belongs behind IN or into an array function"),
    "created_at = INTERVAL('2026-01-01', '..')": (INVALID, 1, "an interval belongs into a temporal function"),
    "name = POINT(1 1)": (INVALID, 1, "a geometry belongs into a spatial function, such as S_INTERSECTS"),
    "name = BBOX(1, 2, 3, 4)": (INVALID, 1, "a geometry belongs into a spatial function, such as S_INTERSECTS"),
    "created_at = DATE(5)": (INVALID, 1, "a date or timestamp is written as DATE('2026-01-31')"),
    "CASEI(name, name) = 'a'": (INVALID, 1, "CASEI takes 1 argument, not 2"),
    "T_DURING(created_at, INTERVAL('2026-01-01'))": (INVALID, 10, "an interval has two ends"),
    "T_DURING(created_at, INTERVAL(5, 6))": (INVALID, 10, "an interval has two ends"),
    "T_CONTAINS(created_at, INTERVAL('2026-01-01', '2026-02-01'))": (INVALID, 1, "T_CONTAINS compares a moment with"),
    "T_AFTER(INTERVAL('2026-01-01', '..'), INTERVAL('2026-02-01', '..'))": (
        INVALID,
        1,
        "T_AFTER compares a moment with",
    ),
    "S_INTERSECTS('x', POINT(1 1))": (INVALID, 1, "takes the geometry 'location' and a geometry or BBOX"),
    "S_INTERSECTS(location, 5)": (INVALID, 14, "takes the geometry 'location' and a geometry or BBOX"),
    "S_INTERSECTS(location, location)": (INVALID, 14, "takes the geometry 'location' and a geometry or BBOX"),
    "A_EQUALS(tags, tags)": (INVALID, 1, "A_EQUALS takes a property and a list of values"),
    "name LIKE CASEI(name)": (INVALID, 17, "the pattern of LIKE is a text, or CASEI of one"),
    "5 = 'a'": (MISMATCH, 5, "a number cannot be compared with a text"),
    "TRUE = 5": (MISMATCH, 8, "a truth value cannot be compared with a number"),
    "TRUE + 1 = 2": (MISMATCH, 1, "arithmetic takes numbers"),
    "CASEI(population) = 'x'": (MISMATCH, 7, "a text must be here, and 'population' is an integer"),
    "population BETWEEN 1 AND 'x'": (MISMATCH, 26, "the text 'x' cannot be compared with an integer"),
    "attributes.a < attributes.b": (MISMATCH, 16, "two values in JSON are equal or not, none is greater"),
    "attributes.a > TRUE": (MISMATCH, 16, "truth values are equal or not, none is greater"),
    "attributes.a = created_at": (MISMATCH, 16, "'attributes.a' is JSON: it cannot be compared with a timestamp"),
    "T_AFTER(created_at, population)": (MISMATCH, 21, "a timestamp must be here, and 'population' is an integer"),
}


@pytest.mark.parametrize("text", MISPLACED)
def test_what_is_in_the_wrong_place_is_told_where_it_belongs(text: str) -> None:
    reason, column, said = MISPLACED[text]
    error = refused(text)

    assert (error.reason, error.field) == (reason, "filter")
    assert (error.metadata["line"], error.metadata["column"]) == ("1", str(column))
    assert said in error.message


SELDOM = {
    "DATE('2026-01-01') = DATE('2026-02-01')": '["=",["value","timestamp",1],["value","timestamp",2]]',
    "5 = population": '["=",["column","population"],["value","integer",1]]',
    "attributes.a = attributes.b": '["=",["json_known","attributes",1],["json_known","attributes",2]]',
    "attributes.a <> TRUE": '["not",["path","attributes",1,"boolean"]]',
    "attributes.a IS NULL": '["null",["json_known","attributes",1]]',
    "attributes.a + 1 = 2": (
        '["=",["arithmetic","+","numeric",["path","attributes",1,"number"],["value","numeric",2]],["value","numeric",3]]'
    ),
    "active = (population > 5)": '["=",["column","active"],[">",["column","population"],["value","integer",1]]]',
    "active IN (TRUE)": '["or",["column","active"]]',
    "A_OVERLAPS(attributes.x, ('a', 'b'))": '["or",["json_contains","attributes",1],["json_contains","attributes",2]]',
    # Nothing is after an interval that never ends.
    "T_AFTER(created_at, INTERVAL('2026-01-01', '..'))": '["false"]',
}


@pytest.mark.parametrize("text", SELDOM)
def test_what_is_seldom_written_means_what_it_says(text: str) -> None:
    assert read(text).structure == SELDOM[text]
