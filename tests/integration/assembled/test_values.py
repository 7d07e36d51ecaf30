"""Layers read as columns that PostgreSQL assembles, against plain selects of the same rows."""

from collections.abc import Callable
from contextlib import closing
from typing import Any

import psycopg2
import pytest
from sqlalchemy import BigInteger, Text, Uuid

from service.codec.arrow import ArrowWriter
from service.db.assembled import can_be_assembled
from service.db.stream import CopyReading
from service.domain import Batch, Encoding, Kind, Layout, Output, Predicate, Result, Shape, View
from tests.assembling import (
    DEFINITION,
    LAYERS,
    ROW,
    as_table,
    ask,
    batches_of,
    cursor_of,
    layer_of,
    reading_of,
    rows_of,
    same,
    selected,
    statement_of,
)


@pytest.mark.parametrize("parts", [1, 2, 3])
@pytest.mark.parametrize(
    "numbers",
    [
        "generate_series(1, 6000)",
        "generate_series(1, 6000, 371)",
        "generate_series(1, 0)",
        "generate_series(5, 5)",
    ],
    ids=["many", "few", "none", "one"],
)
def test_every_feature_once_and_every_value(url: str, a_table: Callable[..., str], numbers: str, parts: int) -> None:
    table = a_table(numbers)
    layout = Layout.COLUMNS if parts == 3 else Layout.ARROW

    found = rows_of(batches_of(url, layer_of(table), parts, layout=layout))

    assert len(found) == ask(url, f"SELECT count(*) FROM {table}")[0][0]
    assert same(found, selected(url, table))


@pytest.mark.parametrize(
    ("type_", "key", "key_of"),
    [
        (BigInteger(), "bigint", "-9223372036854775808 + n"),
        (Text(), "text", "chr(64 + (n % 26)::int) || 'ü' || n"),
        (Uuid(), "uuid", "md5(n::text)::uuid"),
    ],
    ids=["negative", "text", "uuid"],
)
def test_keys_of_any_type(url: str, a_table: Callable[..., str], type_: Any, key: str, key_of: str) -> None:
    table = a_table("generate_series(1, 3000)", key, key_of)

    for layout in (Layout.ARROW, Layout.COLUMNS):
        assert same(rows_of(batches_of(url, layer_of(table, type_), 2, layout=layout)), selected(url, table))


@pytest.mark.parametrize("layer", LAYERS)
def test_the_layers_that_ship(demo_database: str, layer: str) -> None:
    """Every property, computed ones too, as it is when read row by row."""
    output = Output(properties=tuple(LAYERS[layer].properties))
    statement = statement_of(LAYERS[layer], output)
    found = batches_of(demo_database, LAYERS[layer], 2, output)
    in_columns = batches_of(demo_database, LAYERS[layer], 1, output, Layout.COLUMNS)
    with cursor_of(demo_database) as cursor:
        plain: list[Batch] = []
        CopyReading(lambda _: statement.copy.encode(), ArrowWriter(statement, LAYERS[layer], None).batches).perform(
            cursor, plain.append
        )

    assert [as_table(batch).schema for batch in found[:1]] == [as_table(batch).schema for batch in plain[:1]]
    assert rows_of(found) == rows_of(plain) == rows_of(in_columns)


@pytest.mark.parametrize("view", View)
def test_views_of_the_geometry(demo_database: str, view: View) -> None:
    layer = LAYERS["facilities"]
    geometry = {
        View.FULL: ", ST_AsBinary(location, 'NDR')",
        View.NONE: "",
        View.CENTROID: ", ST_AsBinary(ST_Centroid(location), 'NDR')",
        View.BBOX: ", ST_AsBinary(ST_Envelope(location), 'NDR')",
    }[view]

    found = rows_of(batches_of(demo_database, layer, 1, Output(properties=(), view=view)))

    expected = ask(demo_database, f'SELECT id{geometry} FROM facilities ORDER BY id::text COLLATE "C"')
    assert found == [tuple(bytes(each) if isinstance(each, memoryview) else each for each in row) for row in expected]


def test_infinity_is_null(url: str, a_table: Callable[..., str]) -> None:
    table = a_table("generate_series(1, 2)")
    ask(url, f"UPDATE {table} SET seen = CASE key WHEN 1 THEN 'infinity' ELSE '-infinity' END::timestamptz")

    (batch,) = batches_of(url, layer_of(table))

    assert as_table(batch)["seen"].to_pylist() == [None, None]


def test_lengths_of_one_to_four_bytes(url: str, a_table: Callable[..., str]) -> None:
    """What stands before a value in protobuf grows with it: texts and shapes on either side of each step."""
    table = a_table("generate_series(1, 3)")
    line = "SELECT ST_MakeLine(array_agg(ST_MakePoint(n, n))) FROM generate_series(1, points) AS n"
    ask(
        url,
        f"INSERT INTO {table} (key, shape, name, note)"
        f" SELECT 10 + row_number() OVER (), ({line}), repeat('x', size), repeat('y', size - 1) FROM (VALUES"
        " (7, 127), (8, 128), (1023, 16383), (1024, 16384), (131071, 2097151), (131072, 2097152), (2, 1), (2, 129)"
        ") AS sizes(points, size)",
    )

    for layout in (Layout.ARROW, Layout.COLUMNS):
        assert same(rows_of(batches_of(url, layer_of(table), layout=layout)), selected(url, table))


@pytest.mark.parametrize("kind", ["view", "partitioned", "inherited"])
@pytest.mark.parametrize("parts", [1, 2])
def test_a_relation_without_blocks_of_its_own_is_read_row_by_row(
    url: str, a_table: Callable[..., str], kind: str, parts: int
) -> None:
    table = a_table("generate_series(1, 500)")
    make = {
        "view": f"CREATE VIEW other AS SELECT * FROM {table} WHERE key > 100",
        "partitioned": f"CREATE TABLE other (LIKE {table}) PARTITION BY RANGE (key);"
        f"ALTER TABLE other ATTACH PARTITION {table} FOR VALUES FROM (0) TO (1000)",
        "inherited": f"CREATE TABLE other (LIKE {table}); ALTER TABLE {table} INHERIT other;"
        "INSERT INTO other (key, name) VALUES (0, 'own')",
    }[kind]
    ask(url, make)

    try:
        assert same(rows_of(batches_of(url, layer_of("other"), parts)), selected(url, "other"))
    finally:
        ask(url, f"DROP {'VIEW' if kind == 'view' else 'TABLE'} other CASCADE")


def test_names_that_need_quotes(url: str) -> None:
    ask(url, f'CREATE TABLE "Odd 100% ""{{x}}""" (key bigint PRIMARY KEY, {DEFINITION})')
    ask(url, f'INSERT INTO "Odd 100% ""{{x}}""" SELECT n, {ROW} FROM generate_series(1, 9) AS n')

    assert [row[0] for row in rows_of(batches_of(url, layer_of('Odd 100% "{x}"')))] == list(range(1, 10))


def test_a_null_where_there_can_be_none_is_no_shift_of_values(url: str, a_table: Callable[..., str]) -> None:
    table = a_table("generate_series(1, 2000)")
    ask(url, f"ALTER TABLE {table} ALTER name DROP NOT NULL; UPDATE {table} SET name = NULL WHERE key = 1500")

    for layout in (Layout.ARROW, Layout.COLUMNS):
        with closing(psycopg2.connect(url)) as connection:  # a COPY that is cut short is no end for it
            connection.autocommit = True
            with connection.cursor() as cursor, pytest.raises(ValueError, match="values or bytes where"):
                reading_of(layer_of(table), layout=layout).perform(cursor, lambda batch: None)


@pytest.mark.parametrize(
    ("shape", "possible"),
    [
        (Shape(Kind.ALL, "facilities", result=Result.ALL), True),
        (Shape(Kind.ALL, "facilities", Output(view=View.NONE), result=Result.ALL), True),
        (Shape(Kind.ALL, "facilities", result=Result.ALL_BY_KEY), False),
        (Shape(Kind.ALL, "facilities", result=Result.ALL, resumed=True), False),
        (Shape(Kind.ALL, "facilities", Output(encoding=Encoding.WKT), result=Result.ALL), False),
        (Shape(Kind.INTERSECTS, "facilities", variant=Predicate.INTERSECTS, result=Result.ALL), False),
    ],
    ids=["all", "without geometry", "by key", "resumed", "as text", "another question"],
)
def test_what_can_be_assembled(shape: Shape, possible: bool) -> None:
    assert can_be_assembled(shape) is possible
