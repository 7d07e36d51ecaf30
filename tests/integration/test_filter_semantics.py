"""Filters mean in the database what they mean in Python, row by row, with three truth values."""

import json
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import date

import psycopg2
import pytest
from hypothesis import HealthCheck, example, given, settings
from psycopg2.extensions import cursor as Cursor  # noqa: N812 - a class, whatever its case

from service.catalog import Catalog
from service.codec.filters import FilterReader
from service.codec.geometry import GeometryLimits, ProbeReader
from service.db.copy import CopyBuffer
from service.db.queries import Statements
from service.domain import Kind, Output, Result, Shape, View
from tests.conditions import (
    LAYER,
    NEW_YEAR,
    ROWS,
    Condition,
    Row,
    at,
    compared,
    filters,
    opposite,
    quoted,
    simple,
    typed,
)
from tests.conftest import NewDatabase

STATEMENTS = Statements(Catalog([LAYER]))
READER = FilterReader(ProbeReader(GeometryLimits(max_bytes=10_000, max_vertices=100, max_depth=4)))


@pytest.fixture(scope="module")
def cursor(new_database: NewDatabase) -> Iterator[Cursor]:
    with new_database() as url, closing(psycopg2.connect(url)) as connection, connection.cursor() as cursor:
        cursor.execute(
            'CREATE TABLE things (id bigint PRIMARY KEY, name text COLLATE "C", count bigint, price numeric(30, 3),'
            " ratio float8, flag boolean, moment timestamptz, day date, tags text[], doc jsonb, shape geometry)"
        )
        for row in ROWS:
            doc = None if row["doc"] is None else json.dumps(row["doc"])
            values = row | {"doc": doc, "price": row["exact"]}
            cursor.execute(
                "INSERT INTO things VALUES (%(id)s, %(name)s, %(count)s, %(price)s, %(ratio)s, %(flag)s, %(moment)s,"
                " %(day)s, %(tags)s, %(doc)s, ST_SetSRID(ST_MakePoint(%(id)s, 0), 4326))",
                values,
            )
        cursor.execute("SET TIME ZONE 'Asia/Tokyo'")
        yield cursor


def found(cursor: Cursor, text: str) -> list[int]:
    asked = READER.read(LAYER, text, "filter")
    output = Output(properties=("name",), view=View.NONE)
    statement = STATEMENTS[Shape(Kind.ALL, "things", output, constant=True, result=Result.ALL_BY_KEY, filter=asked)]
    copied = CopyBuffer(1_000_000).copy(cursor, cursor.mogrify(statement.copy, statement.parameters(())))
    return [row[0] for row in statement.decode(copied.data)]


def check(cursor: Cursor, condition: Condition) -> None:
    expected = [row["id"] for row in ROWS if condition.holds(row) is True]
    assert found(cursor, condition.text) == expected, condition.text


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(filters)
@example(opposite(Condition("doc.height = 2", lambda row: compared("=", typed(at(row, "height"), 2), 2))))
@example(Condition("count = '9007199254740993'", lambda row: row["count"] == 2**53 + 1))
@example(Condition("price = '9007199254740993.001'", lambda row: row["exact"] == "9007199254740993.001"))
def test_a_filter_finds_the_rows_that_it_holds_of(cursor: Cursor, condition: Condition) -> None:
    check(cursor, condition)


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(simple)
def test_what_is_unknown_is_unknown_under_not_as_well(cursor: Cursor, condition: Condition) -> None:
    """A row that neither a condition nor its opposite finds is one of which it is unknown."""
    check(cursor, opposite(condition))


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("count / 2 = 3.5", lambda row: row["count"] == 7),
        ("count / 0 = 1", lambda row: False),
        ("NOT count / 0 = 1", lambda row: False),
        ("ratio / 0 > 0 OR TRUE", lambda row: True),
        ("count % 2 = 1", lambda row: row["count"] is not None and row["count"] > 0 and row["count"] % 2 == 1),
        ("-count = 7", lambda row: False),
        ("count - 1 - 1 = 5", lambda row: row["count"] == 7),
        ("2 + count * 2 = 16", lambda row: row["count"] == 7),
        ("count * count > 1000", lambda row: row["count"] is not None and abs(row["count"]) > 31),
        ("ratio * 2 = 4", lambda row: row["ratio"] == 2.0),
        ("doc.height * 2 = 5", lambda row: typed(at(row, "height"), 1) == 2.5),
        ("doc.height = doc.height", lambda row: at(row, "height") is not None),
        ("name = doc.name", lambda row: row["name"] is not None and row["name"] == at(row, "name")),
        ("count = ratio", lambda row: row["count"] is not None and row["count"] == row["ratio"]),
        ("moment = '2026-01-01'", lambda row: row["moment"] == NEW_YEAR),
        ("moment = TIMESTAMP('2026-01-01T09:00:00+09:00')", lambda row: row["moment"] == NEW_YEAR),
        ("T_AFTER(moment, DATE('2026-01-01'))", lambda row: row["moment"] is not None and row["moment"] > NEW_YEAR),
        ("T_EQUALS(day, DATE('2026-01-02'))", lambda row: row["day"] == date(2026, 1, 2)),
        ("T_DURING(day, INTERVAL('..', '..'))", lambda row: True),
        ("T_AFTER(moment, INTERVAL('2020-01-01', '..'))", lambda row: False),
        (
            "T_AFTER(INTERVAL('2026-01-01', '2026-01-02'), moment)",
            lambda row: row["moment"] is not None and row["moment"] < NEW_YEAR,
        ),
        ("S_INTERSECTS(shape, BBOX(9.5, -1, 20, 1))", lambda row: 10 <= row["id"] <= 20),
        ("S_WITHIN(shape, POLYGON((2 -1, 5 -1, 5 1, 2 1, 2 -1)))", lambda row: 3 <= row["id"] <= 4),
        ("S_CONTAINS(POLYGON((2 -1, 5 -1, 5 1, 2 1, 2 -1)), shape)", lambda row: 3 <= row["id"] <= 4),
        ("S_TOUCHES(shape, POLYGON((2 -1, 5 -1, 5 1, 2 1, 2 -1)))", lambda row: row["id"] in (2, 5)),
        ("S_EQUALS(shape, POINT(7 0))", lambda row: row["id"] == 7),
        ("S_DISJOINT(shape, LINESTRING(-5 0, 80.5 0))", lambda row: row["id"] > 80),
        ("shape IS NULL", lambda row: False),
        ("A_CONTAINS(('a', 'b'), tags)", lambda row: row["tags"] is not None and {*row["tags"]} <= {"a", "b"}),
        ("name = 'a' OR name = 'b' AND FALSE", lambda row: row["name"] == "a"),
        ("\"name\" = 'a'", lambda row: row["name"] == "a"),
        ("name IN ('a', doc.name)", lambda row: row["name"] == "a"),
    ],
)
def test_what_a_filter_means(cursor: Cursor, text: str, holds: Callable[[Row], bool]) -> None:
    check(cursor, Condition(text, holds))


def test_filters_that_differ_in_values_alone_share_a_statement(cursor: Cursor) -> None:
    assert found(cursor, "count = 7") != found(cursor, "count = 1")
    first, second = (
        READER.read(LAYER, f"count = {value} AND name = {quoted(name)}", "filter")
        for value, name in ((7, "a"), (1, "b"))
    )
    shapes = [Shape(Kind.ALL, "things", constant=True, result=Result.ALL, filter=asked) for asked in (first, second)]
    one, other = (STATEMENTS[shape] for shape in shapes)

    assert one.sql is other.sql
    assert one.common is other.common
    assert one.decode is other.decode
    assert one.parameters(()) == {"filter_1": 7, "filter_2": "a"}
    assert other.parameters(()) == {"filter_1": 1, "filter_2": "b"}
