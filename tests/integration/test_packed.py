"""Answers that PostgreSQL writes itself are, byte for byte, those that are written of its rows."""

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import closing
from math import inf, nan
from typing import Any

import psycopg2
import pytest
from geoalchemy2 import Geometry
from psycopg2.extensions import cursor as Cursor  # noqa: N812 - a class, whatever its case
from sqlalchemy import BigInteger, Boolean, Column, DateTime, Float, LargeBinary, MetaData, Table, Text

from service.catalog import Catalog, Layer, Property, PropertyType
from service.codec.packed import MOST_BYTES, packing
from service.codec.rows import FeatureReader
from service.db.batch import parameters
from service.db.canceller import Canceller
from service.db.copy import CopyBuffer, Row
from service.db.engine import Pool, read_pool
from service.db.lanes import Lanes
from service.db.packed import MOST_PREPARED, OFTEN, REST, Packed, PackedRows, PackedStatement
from service.db.queries import Statement, Statements, build
from service.domain import DistanceModel, Encoding, Kind, Output, Predicate, Search, Shape, View
from service.observability.metrics import Metrics
from service.settings import Settings
from tests.laned import lanes_over

LENGTHS = range(1, 301)  # of texts: around 128 bytes one length after the other takes a second byte
POINT = "SRID=4326;POINT(0.1 0)"
NUMBERS = (0.0, -1.5, 1e308, nan, inf, -inf, None)
INTEGERS = (0, -(2**53), 2**53, 2**53 + 1, -(2**63), 2**63 - 1, None)
MOMENTS = ("infinity", "-infinity", "0001-01-01", "9999-12-31 23:59:59.999999", "10000-01-01", "0044-03-15 BC", None)
TEXTS = ("", "ä" * 64, "%s \\ ' \" {}", None)

TYPES: dict[str, tuple[Any, PropertyType]] = {
    "text": (Text, PropertyType.STRING),
    "number": (Float, PropertyType.NUMBER),
    "whole": (BigInteger, PropertyType.INTEGER),
    "flag": (Boolean, PropertyType.BOOLEAN),
    "moment": (DateTime(timezone=True), PropertyType.TIMESTAMP),
    "local": (DateTime(), PropertyType.TIMESTAMP),
    "content": (LargeBinary, PropertyType.BYTES),
}


@pytest.fixture(scope="module")
def database(module_database: str) -> str:
    with closing(psycopg2.connect(module_database)) as connection, connection, connection.cursor() as cursor:
        cursor.execute(
            "CREATE TABLE written (id bigint PRIMARY KEY, code text NOT NULL UNIQUE, text text, number float8,"
            " whole bigint, flag boolean, moment timestamptz, local timestamp, content bytea,"
            " location geometry(Geometry, 4326));"
            "CREATE INDEX written_geography_idx ON written USING gist (geography(location));"
            "INSERT INTO written SELECT n, 'key ' || n, repeat('x', n), n / 7.0, n * 1000003, n %% 2 = 0,"
            " timestamptz '2024-02-29 23:59:59+02' + n * interval '1.5s', timestamp '1969-12-31' + n * interval '1h',"
            " decode(repeat('00ff7f', n), 'hex'), ST_SetSRID(ST_MakePoint(n * 0.001, 0), 4326)"
            " FROM generate_series(1, %s) n;",
            (LENGTHS.stop - 1,),
        )
        odd: list[tuple[str, Any]] = [("number", value) for value in NUMBERS] + [("whole", value) for value in INTEGERS]
        odd += [("text", value) for value in TEXTS] + [("flag", None), ("content", b"")]
        odd += [(column, value) for column in ("moment", "local") for value in MOMENTS]
        for number, (column, value) in enumerate(odd, 1001):
            cursor.execute(
                f"INSERT INTO written (id, code, {column}, location) VALUES (%s, %s, %s, %s)",
                (number, f"odd {number}", value, None if number % 2 else "SRID=4326;LINESTRING(3 0, 3 1, 4 1)"),
            )
        cursor.execute(
            "INSERT INTO written (id, code, text) VALUES (2000, 'large', repeat('x', %s)), (2001, 'larger', %s)",
            (MOST_BYTES - 200, "y" * MOST_BYTES),
        )
    return module_database


@pytest.fixture
def cursor(database: str) -> Iterator[Cursor]:
    with closing(psycopg2.connect(database)) as connection, connection.cursor() as cursor:
        yield cursor


def written(key: str = "id", properties: Sequence[str] = tuple(TYPES)) -> Layer:
    columns: list[Column[Any]] = [Column(name, kind) for name, (kind, _) in TYPES.items()]
    table = Table(
        "written",
        MetaData(),
        Column("id", BigInteger, primary_key=True),
        Column("code", Text, nullable=False),
        *columns,
        Column("location", Geometry("GEOMETRY", 4326, spatial_index=False)),
    )
    known = {name: Property(name, TYPES[name][1], table.c[name], nullable=True) for name in properties}
    return Layer("written", "", table, table.c[key], table.c.location, "GEOMETRY", 4326, known)


def made(cursor: Cursor, statement: Statement, searches: Sequence[Sequence[Any]]) -> list[list[Row]]:
    """The rows for each search, written in Python."""
    given = parameters(statement, searches)
    sent = CopyBuffer(1 << 22).copy(cursor, cursor.mogrify(statement.copy, given))
    rows = FeatureReader()(statement)(sent.data)
    return [[row for row in rows if row[0] == ordinal] for ordinal in range(1, len(searches) + 1)]


def packed(statement: Statement) -> PackedStatement:
    how = packing(statement)
    assert how is not None
    return PackedStatement(statement, how)


OUTPUTS = {
    "everything": Output(),
    "etags": Output(etags=True),
    "no properties": Output(()),
    "no geometry": Output(view=View.NONE),
    "centroids": Output(view=View.CENTROID),
    "text, in another CRS": Output(encoding=Encoding.WKT, srid=3857),
}
EVERYTHING = ("{" + ",".join(map(str, [*LENGTHS, *range(1001, 1035), 2000])) + "}",)
SEARCHES: dict[str, tuple[Shape, list[Sequence[Any]]]] = {
    "radius": (Shape(Kind.RADIUS, "written", Output(), DistanceModel.SPHEROID, 101), [(POINT, 5e4), (POINT, 0.0)]),
    "nearest": (Shape(Kind.NEAREST, "written", Output(), DistanceModel.SPHEROID, 20), [(POINT, None), (POINT, 100.0)]),
    "intersects": (Shape(Kind.INTERSECTS, "written", Output(), Predicate.INTERSECTS, 30), [(POINT,), (POINT,)]),
    "resumed": (
        Shape(Kind.RADIUS, "written", Output(), DistanceModel.SPHERE, 5, resumed=True),
        [(POINT, 5e4, 1000.0, 7)],
    ),
}


@pytest.mark.parametrize("output", OUTPUTS.values(), ids=OUTPUTS)
def test_values_are_written_as_in_python(cursor: Cursor, output: Output) -> None:
    statement = build(written(), Shape(Kind.LOOKUP, "written", output))
    searches: list[Sequence[Any]] = [EVERYTHING, ("{}",), ("{7,5}",)]
    right = made(cursor, statement, searches)
    found = packed(statement).run(cursor, parameters(statement, searches))
    assert found is not None
    assert [len(rows) for rows in found] == [335, 0, 2]
    assert [rows.written for rows in found] == [b"".join(row[-1] for row in rows) for rows in right]
    assert [list(rows) for rows in found] == right


@pytest.mark.parametrize("name", ["radius", "nearest", "intersects", "resumed"])
def test_searches_of_each_kind_find_the_same_in_the_same_order(cursor: Cursor, name: str) -> None:
    shape, searches = SEARCHES[name]
    statement = build(written(), shape)
    right = made(cursor, statement, searches)
    found = packed(statement).run(cursor, parameters(statement, searches))
    assert found is not None
    assert right[0]
    assert [list(rows) for rows in found] == right


def test_a_key_of_any_type_is_its_text(cursor: Cursor) -> None:
    statement = build(written("code"), Shape(Kind.LOOKUP, "written", Output(("text",))))
    searches = [('{"key 1","odd 1001"}',)]
    found = packed(statement).run(cursor, parameters(statement, searches))
    assert found is not None
    assert [list(rows) for rows in found] == made(cursor, statement, searches)


def test_a_session_without_standard_strings_gets_the_same(cursor: Cursor) -> None:
    statement = build(written(), Shape(Kind.LOOKUP, "written", Output()))
    cursor.execute("SET standard_conforming_strings = off; SET bytea_output = escape; SET backslash_quote = on")
    found = packed(statement).run(cursor, parameters(statement, [EVERYTHING]))
    assert found is not None
    assert [list(rows) for rows in found] == made(cursor, statement, [EVERYTHING])


def test_what_has_a_feature_that_is_too_large_is_left_to_the_ordinary_way_for_a_while(cursor: Cursor) -> None:
    statement = build(written(), Shape(Kind.LOOKUP, "written", Output()))
    large = packed(statement)
    assert large.run(cursor, parameters(statement, [("{2000}",)])) is not None
    assert large.run(cursor, parameters(statement, [("{1}",), ("{1,2001}",)])) is None
    small = [large.run(cursor, parameters(statement, [("{1}",)])) for _ in range(REST + 1)]
    assert [found is None for found in small] == [True] * REST + [False]


def test_what_cannot_be_had_is_asked_for_in_the_ordinary_way(cursor: Cursor) -> None:
    cursor.connection.autocommit = True
    statement = build(written(), Shape(Kind.LOOKUP, "written", Output((), View.NONE)))
    known = packed(statement)
    given = parameters(statement, [("{1}",)])
    assert known.run(cursor, given) is not None
    cursor.execute("DEALLOCATE ALL")
    assert known.run(cursor, given) is None
    with pytest.raises(psycopg2.DataError):
        packed(statement).run(cursor, parameters(statement, [("{no number}",)]))


def test_the_plan_uses_the_index_whatever_the_probes(cursor: Cursor) -> None:
    shape, searches = SEARCHES["radius"]
    statement = build(written(), shape)
    prepared = packed(statement)
    cursor.execute("SET enable_seqscan = off")
    for _ in range(6):  # as often as PostgreSQL makes a plan for the parameters that it is given
        prepared.run(cursor, parameters(statement, searches))
    cursor.execute("SELECT name, generic_plans, custom_plans FROM pg_prepared_statements")
    ((name, generic, custom),) = cursor.fetchall()
    assert (generic, custom) == (1, 5)
    cursor.execute(f"EXPLAIN EXECUTE {name} (%s, %s)", list(parameters(statement, searches).values()))
    assert "Index Scan using written_geography_idx" in "".join(line for (line,) in cursor.fetchall())


def test_a_connection_keeps_a_few_and_forgets_the_one_that_was_not_used_for_longest(cursor: Cursor) -> None:
    shapes = [Shape(Kind.RADIUS, "written", Output(()), DistanceModel.SPHERE, limit) for limit in range(1, 19)]
    assert len(shapes) > MOST_PREPARED
    for shape in [*shapes, shapes[0]]:
        statement = build(written(), shape)
        found = packed(statement).run(cursor, parameters(statement, [(POINT, 5e4)]))
        assert found is not None
        assert len(found[0]) == shape.limit
    cursor.execute("SELECT count(*) FROM pg_prepared_statements")
    assert cursor.fetchone() == (MOST_PREPARED,)


@pytest.mark.parametrize(
    ("reason", "shape"),
    [
        ("its probe is a constant", Shape(Kind.LOOKUP, "written", constant=True)),
        ("GeoJSON is read and written anew", Shape(Kind.LOOKUP, "written", Output(encoding=Encoding.GEOJSON))),
    ],
)
def test_what_is_not_packed(reason: str, shape: Shape) -> None:
    statement, known = build(written(), shape), Packed(packing)
    assert [known[statement] for _ in range(OFTEN + 1)] == [None] * (OFTEN + 1), reason


def packing_lanes(pool: Pool, canceller: Canceller, settings: Settings, metrics: Metrics) -> Lanes:
    statements = Statements(Catalog([written(properties=("text",))]))
    return Lanes(pool, canceller, statements, settings, metrics, FeatureReader(), packed=Packed(packing))


async def test_lanes_pack_what_is_asked_often_and_live_with_a_table_that_changes(database: str) -> None:
    searches = [Search(Shape(Kind.LOOKUP, "written"), (f"{{{key},{key + 1}}}",)) for key in range(1, 6)]
    async with lanes_over(database, read_pool, packing_lanes) as lanes:

        async def ask() -> list[list[Row]]:
            answers = await asyncio.gather(*(lanes.answer(search) for search in searches))
            kinds.add(type(answers[-1].rows))
            return [[row[1:] for row in answer.rows] for answer in answers]

        kinds: set[type] = set()
        first = await ask()
        assert kinds == {list}
        while PackedRows not in kinds:
            assert await ask() == first
        await asyncio.to_thread(_alter, database, "ALTER TABLE written ALTER COLUMN text TYPE varchar(20000)")
        kinds.clear()
        assert await ask() == first
        assert kinds == {PackedRows}


async def test_a_probe_that_fails_costs_only_its_own_call_a_failure(database: str) -> None:
    shape = Shape(Kind.RADIUS, "written", Output(("text",)), DistanceModel.SPHEROID, 5)
    async with lanes_over(database, read_pool, packing_lanes) as lanes:
        for _ in range(OFTEN + 2):
            answer = await lanes.answer(Search(shape, (POINT, 5e4)))
        assert isinstance(answer.rows, PackedRows)
        probes = (POINT, "this is no geometry", POINT)
        asked = (lanes.answer(Search(shape, (probe, 5e4))) for probe in probes)
        first, failed, last = await asyncio.gather(*asked, return_exceptions=True)
        assert isinstance(failed, Exception)
        for found in (first, last):
            assert not isinstance(found, BaseException)
            assert [row[1] for row in found.rows] == [row[1] for row in answer.rows]


def _alter(url: str, statement: str) -> None:
    with closing(psycopg2.connect(url)) as connection, connection, connection.cursor() as cursor:
        cursor.execute(statement)
