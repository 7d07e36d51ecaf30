"""Whole layers read as columns that PostgreSQL assembles, against plain selects of the same rows."""

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from threading import Lock, Thread
from typing import Any

import psycopg2
import pyarrow as pa
import pytest
from geoalchemy2 import Geometry
from psycopg2.extensions import TRANSACTION_STATUS_IDLE
from psycopg2.extensions import cursor as Cursor  # noqa: N812 - a class, whatever its case
from sqlalchemy import BigInteger, Boolean, Column, DateTime, Float, MetaData, Numeric, Table, Text, Uuid
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

from service.catalog import Layer, Property, property_type, shipped_layers
from service.codec.arrow import ArrowWriter
from service.codec.columns import ColumnsWriter
from service.codec.frames import MOST_BATCH_BYTES
from service.db.assembled import Assembled, AssembledReading, can_be_assembled
from service.db.queries import Statement, build
from service.db.snapshot import Part, Snapshot
from service.db.stream import CopyReading, Put
from service.domain import Batch, Encoding, Kind, Layout, Output, Predicate, Result, Shape, View
from spatial.v1 import feature_pb2
from tests.oracle import fetch

LAYERS = {layer.name: layer for layer in shipped_layers()}
COLUMNS: dict[str, Any] = {
    "name": Text(),
    "note": Text(),
    "beds": BigInteger(),
    "height": Float(53),
    "price": Numeric(),
    "open": Boolean(),
    "seen": DateTime(timezone=True),
    "built": DateTime(),
    "tags": JSONB(),
    "names": ARRAY(Text()),
}
# As an answer shows them: JSON as text, times as UTC's.
SHOWN = """
    name, note, beds, height, price::float8, open, seen, built AT TIME ZONE 'UTC', tags::text, to_jsonb("names")::text
"""
EVERYTHING = Output()
ROW = """
    CASE n % 7 WHEN 0 THEN NULL WHEN 1 THEN 'GEOMETRYCOLLECTION EMPTY'::geometry
        ELSE ST_Buffer(ST_MakePoint(n / 1000.0, 1), 0.1, (n % 5)::int + 1) END,
    repeat('ü', (n % 4)::int),
    CASE WHEN n % 3 > 0 THEN 'note ' || n END,
    CASE WHEN n % 5 > 0 THEN n * 4294967296 END,
    CASE n % 4 WHEN 0 THEN NULL WHEN 1 THEN 'NaN' WHEN 2 THEN '-Infinity' ELSE n / 7.0 END,
    CASE WHEN n % 2 = 0 THEN n / 8.0 END,
    (ARRAY[true, false, NULL])[n % 3 + 1],
    CASE WHEN n % 6 > 0 THEN '1999-12-31 23:59:59.999999+00'::timestamptz + n * interval '1 day' END,
    CASE WHEN n % 2 > 0 THEN '1969-07-20 20:17:40'::timestamp - n * interval '1 second' END,
    CASE WHEN n % 3 > 0 THEN jsonb_build_object('n', n) END,
    CASE WHEN n % 2 > 0 THEN ARRAY['a', NULL, 'ü' || n] END
"""
DEFINITION = """
    shape geometry, name text NOT NULL, note text, beds bigint, height float8, price numeric, open boolean,
    seen timestamptz, built timestamp, tags jsonb, "names" text[]
"""


def ask(url: str, statement: str) -> list[Any]:
    return fetch(url, statement.replace("%", "%%"))


def layer_of(table: str, key: Any = None, geometry_type: str = "GEOMETRY") -> Layer:
    mapped = Table(
        table,
        MetaData(),
        Column("key", key or BigInteger(), primary_key=True),
        Column("shape", Geometry(spatial_index=False)),
        *(Column(name, kind, nullable=name != "name") for name, kind in COLUMNS.items()),
    )
    properties = {
        name: Property(name, property_type(kind), mapped.c[name], name != "name") for name, kind in COLUMNS.items()
    }
    return Layer(table, "", mapped, mapped.c.key, mapped.c.shape, geometry_type, 4326, properties)


@contextmanager
def cursor_of(url: str) -> Iterator[Cursor]:
    """In autocommit, with the settings that results depend on; nothing may be left open on it."""
    with closing(psycopg2.connect(url, options="-c TimeZone=UTC -c client_encoding=UTF8")) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            yield cursor
        assert connection.info.transaction_status == TRANSACTION_STATUS_IDLE


def statement_of(layer: Layer, output: Output = EVERYTHING) -> Statement:
    return build(layer, Shape(Kind.ALL, layer.name, output, constant=True, result=Result.ALL))


def reading_of(
    layer: Layer, output: Output = EVERYTHING, snapshot: Snapshot | None = None, layout: Layout = Layout.ARROW
) -> AssembledReading:
    statement = statement_of(layer, output)
    in_columns = layout is Layout.COLUMNS
    writer = ColumnsWriter(statement, layer, None) if in_columns else ArrowWriter(statement, layer, None)
    plain = CopyReading(lambda cursor: statement.copy.encode(), writer.batches)
    return AssembledReading(Assembled(statement, layer, room=in_columns), writer.of_columns, plain, snapshot)


def batches_of(
    url: str, layer: Layer, parts: int = 1, output: Output = EVERYTHING, layout: Layout = Layout.ARROW
) -> list[Batch]:
    snapshot = Snapshot(parts, patience=10) if parts > 1 else None
    found: list[Batch] = []
    at_once(url, [reading_of(layer, output, snapshot, layout) for _ in range(parts)], found.append)
    return found


def at_once(url: str, readings: list[AssembledReading], put: Put) -> None:
    errors: list[Exception] = []
    lock = Lock()

    def locked(batch: Batch) -> None:
        with lock:
            put(batch)

    def read(reading: AssembledReading) -> None:
        try:
            with cursor_of(url) as cursor:
                reading.perform(cursor, locked)
        except Exception as error:
            errors.append(error)

    threads = [Thread(target=read, args=(reading,)) for reading in readings]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()
    assert errors == []


def as_table(batch: Batch) -> pa.Table:
    return pa.ipc.open_stream(feature_pb2.FeatureBatch.FromString(batch.message).arrow_ipc).read_all()


def rows_of(batches: list[Batch]) -> list[tuple[Any, ...]]:
    """By key, whatever the layout."""
    rows = [row for batch in batches for row in rows_in(feature_pb2.FeatureBatch.FromString(batch.message))]
    return sorted(rows, key=lambda row: str(row[0]))


def rows_in(batch: feature_pb2.FeatureBatch) -> list[tuple[Any, ...]]:
    if batch.HasField("arrow_ipc"):
        return [tuple(row.values()) for row in pa.ipc.open_stream(batch.arrow_ipc).read_all().to_pylist()]
    columns = batch.columns
    geometries = [[wkb or None for wkb in columns.wkb]] if columns.wkb else []
    lists = [columns.int64_ids or columns.string_ids, *geometries, *map(values_in, columns.properties)]
    assert {len(each) for each in lists} == {columns.count}
    return list(zip(*lists, strict=True))


def values_in(column: feature_pb2.Column) -> list[Any]:
    kind = column.WhichOneof("values") or ""
    values = list(getattr(column, kind).values)
    if kind == "timestamps":
        values = [datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=value) for value in values]
    nulls = set(column.null_rows)
    return [None if row in nulls else value for row, value in enumerate(values)]


def selected(url: str, table: str) -> list[tuple[Any, ...]]:
    rows = ask(url, f"SELECT key, ST_AsBinary(shape, 'NDR'), {SHOWN} FROM {table} ORDER BY key::text COLLATE \"C\"")
    return [tuple(bytes(value) if isinstance(value, memoryview) else value for value in row) for row in rows]


def same(found: list[tuple[Any, ...]], expected: list[tuple[Any, ...]]) -> bool:
    """NaN is NaN here."""
    return repr([*map(in_utc, found)]) == repr([*map(in_utc, expected)])


def in_utc(row: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(value.astimezone(UTC) if isinstance(value, datetime) else value for value in row)


@pytest.fixture(scope="module")
def url(module_database: str) -> str:
    return module_database


@pytest.fixture
def a_table(url: str) -> Iterator[Callable[..., str]]:
    """Makes a table of features numbered as `numbers` (SQL) says."""
    made: list[str] = []

    def make(numbers: str, key: str = "bigint", key_of: str = "n") -> str:
        name = f"places_{len(made)}"
        ask(url, f"CREATE TABLE {name} (key {key} PRIMARY KEY, {DEFINITION})")
        made.append(name)
        ask(url, f"INSERT INTO {name} SELECT {key_of}, {ROW} FROM {numbers} AS n")
        return name

    yield make
    for name in made:
        ask(url, f"DROP TABLE IF EXISTS {name} CASCADE")


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


@pytest.mark.parametrize("parts", [1, 2, 3])
def test_after_deletions_and_updates(url: str, a_table: Callable[..., str], parts: int) -> None:
    """Places without rows, blocks without any, and rows that have moved."""
    table = a_table("generate_series(1, 6000)")
    ask(url, f"DELETE FROM {table} WHERE key % 3 = 0 OR key BETWEEN 2000 AND 4000")
    ask(url, f"UPDATE {table} SET name = 'moved' WHERE key % 5 = 0")

    assert same(rows_of(batches_of(url, layer_of(table), parts)), selected(url, table))


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


def test_large_features_among_small_ones(url: str, a_table: Callable[..., str]) -> None:
    """Stored outside of the blocks, of which a single one may show any number of them."""
    table = a_table("generate_series(1, 2000)")
    line = "SELECT ST_MakeLine(array_agg(ST_MakePoint(random(), random()))) FROM generate_series(1, 40000)"
    ask(url, f"UPDATE {table} SET shape = ({line}) WHERE key BETWEEN 700 AND 730")

    for layout in (Layout.ARROW, Layout.COLUMNS):
        batches = batches_of(url, layer_of(table), 2, layout=layout)

        assert all(len(batch.message) <= MOST_BATCH_BYTES for batch in batches)
        assert same(rows_of(batches), selected(url, table))


def test_one_feature_may_be_larger_than_a_batch(url: str, a_table: Callable[..., str]) -> None:
    table = a_table("generate_series(1, 200)")
    ask(url, f"UPDATE {table} SET note = repeat(md5(key::text), 100000) WHERE key IN (20, 21)")

    for layout in (Layout.ARROW, Layout.COLUMNS):
        batches = batches_of(url, layer_of(table), layout=layout)

        assert [batch.features for batch in batches if len(batch.message) > MOST_BATCH_BYTES] == [1, 1]
        assert same(rows_of(batches), selected(url, table))


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


def test_the_sessions_are_not_asked_for_memory_by_the_layer(url: str, a_table: Callable[..., str]) -> None:
    """What PostgreSQL assembles at a time does not grow with the features: a row of the COPY stays small."""
    table = a_table("generate_series(1, 3)")
    line = "SELECT ST_MakeLine(array_agg(ST_MakePoint(random(), random()))) FROM generate_series(1, 5000)"
    ask(url, f"INSERT INTO {table} SELECT n, ({line}), 'large' FROM generate_series(10, 300) AS n")
    layer = layer_of(table)
    assembled = Assembled(statement_of(layer), layer)
    sizes: list[int] = []

    class Sizes:
        def write(self, row: bytes) -> None:
            sizes.append(len(row))

    with cursor_of(url) as cursor:
        cursor.copy_expert(assembled.statement(cursor, Part(0, 1), measured=True), Sizes())

    assert max(sizes) < 300_000


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
    table = a_table("generate_series(1, 20)")
    ask(url, f"ALTER TABLE {table} ALTER name DROP NOT NULL; UPDATE {table} SET name = NULL WHERE key = 3")

    for layout in (Layout.ARROW, Layout.COLUMNS):
        with closing(psycopg2.connect(url)) as connection:  # a COPY that is cut short is no end for it
            connection.autocommit = True
            with connection.cursor() as cursor, pytest.raises(ValueError, match="values or bytes where"):
                reading_of(layer_of(table), layout=layout).perform(cursor, lambda batch: None)


@pytest.mark.parametrize("measured", [False, True])
def test_only_the_blocks_asked_for_are_read(demo_database: str, measured: bool) -> None:
    assembled = Assembled(statement_of(LAYERS["facilities"]), LAYERS["facilities"])
    with cursor_of(demo_database) as cursor:
        copy = assembled.statement(cursor, Part(0, 1), measured=measured).decode()
        cursor.execute("EXPLAIN " + copy.removeprefix("COPY (").rpartition(") TO STDOUT")[0])
        plan = "\n".join(line for (line,) in cursor.fetchall())

    assert plan.count("Tid Range Scan on facilities") == 1 + measured
    assert "Seq Scan" not in plan
    assert "Sort" not in plan


@pytest.mark.parametrize("parts", [1, 2])
def test_a_reader_that_leaves_leaves_no_transaction(url: str, a_table: Callable[..., str], parts: int) -> None:
    table = a_table("generate_series(1, 6000)")

    class Left(Exception):
        pass

    def leave(batch: Batch) -> None:
        raise Left

    with closing(psycopg2.connect(url)) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor, pytest.raises(Left):
            reading_of(layer_of(table), snapshot=Snapshot(parts) if parts > 1 else None).perform(cursor, leave)
    idle = "datname = current_database() AND state LIKE 'idle in transaction%'"
    assert ask(url, f"SELECT count(*) FROM pg_stat_activity WHERE {idle}") == [(0,)]


def test_parts_see_the_same_rows_whatever_is_written_meanwhile(url: str, a_table: Callable[..., str]) -> None:
    table = a_table("generate_series(1, 1000)")
    snapshot = Snapshot(2, patience=10)
    seen = []

    def count() -> None:
        with cursor_of(url) as cursor, snapshot.part(cursor) as part:
            ask(url, f"DELETE FROM {table} WHERE key IN (SELECT key FROM {table} LIMIT 100)")
            cursor.execute(f"SELECT count(*) FROM {table}")
            seen.append((part, cursor.fetchall()[0][0]))

    threads = [Thread(target=count) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)

    assert sorted(seen) == [(Part(0, 2), 1000), (Part(1, 2), 1000)]


def test_who_comes_late_has_nothing_to_do(url: str, a_table: Callable[..., str]) -> None:
    table = a_table("generate_series(1, 100)")
    snapshot = Snapshot(2, patience=0.01)
    first: list[Batch] = []
    second: list[Batch] = []

    with cursor_of(url) as cursor:
        reading_of(layer_of(table), snapshot=snapshot).perform(cursor, first.append)
        reading_of(layer_of(table), snapshot=snapshot).perform(cursor, second.append)

    assert sum(batch.features for batch in first) == 100
    assert second == []


def test_where_the_first_fails_nobody_waits_for_it(url: str) -> None:
    snapshot = Snapshot(2, patience=10)
    with closing(psycopg2.connect(url)) as connection:
        cursor = connection.cursor()
    with pytest.raises(psycopg2.InterfaceError), snapshot.part(cursor):
        pass

    with cursor_of(url) as other, snapshot.part(other) as part:
        assert part is None


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
