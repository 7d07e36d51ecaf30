"""Tables of every type, read as columns that PostgreSQL assembles and by plain selects."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from threading import Lock, Thread
from typing import Any

import psycopg2
import pyarrow as pa
from geoalchemy2 import Geometry
from psycopg2.extensions import TRANSACTION_STATUS_IDLE
from psycopg2.extensions import cursor as Cursor  # noqa: N812 - a class, whatever its case
from sqlalchemy import BigInteger, Boolean, Column, DateTime, Float, MetaData, Numeric, Table, Text
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

from service.catalog import Layer, Property, property_type, shipped_layers
from service.codec.arrow import ArrowWriter
from service.codec.columns import ColumnsWriter
from service.db.assembled import Assembled
from service.db.assembled_reading import AssembledReading
from service.db.queries import Statement, build
from service.db.snapshot import Snapshot
from service.db.stream import CopyReading, Put
from service.domain import Batch, Kind, Layout, Output, Result, Shape
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
    assembled = Assembled(statement, layer, room=in_columns)
    return AssembledReading(assembled, writer.of_columns, plain, snapshot or Snapshot(1))


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
