"""Layers read in batches and in several parts at once: how large they are, what each sees, and who leaves."""

from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from functools import partial
from queue import SimpleQueue
from threading import Thread

import psycopg2
import pytest
from sqlalchemy import BigInteger, func

from service.catalog import Property, PropertyType
from service.codec.frames import MOST_BATCH_BYTES
from service.db.assembled import Assembled
from service.db.snapshot import Part, Snapshot
from service.domain import Batch, Layout, Output
from tests.assembling import (
    COLUMNS,
    LAYERS,
    ask,
    at_once,
    batches_of,
    cursor_of,
    layer_of,
    reading_of,
    rows_of,
    same,
    selected,
    statement_of,
)


def test_the_first_batch_is_small_and_waits_for_no_full_turn(url: str, a_table: Callable[..., str]) -> None:
    """A row of the fifth block waits for this test. Blocks are read sixteen at a time, but not at first."""
    table = a_table("generate_series(1, 3000)")
    ((first, held_up),) = ask(
        url,
        "SELECT count(*) FILTER (WHERE ctid < '(1,0)'), min(key) FILTER (WHERE ctid BETWEEN '(4,0)' AND '(4,999)')"
        f" FROM {table}",
    )
    body = f"BEGIN IF n = {held_up} THEN PERFORM pg_advisory_xact_lock_shared(4); END IF; RETURN n; END"
    ask(url, f"CREATE FUNCTION held(n bigint) RETURNS bigint LANGUAGE plpgsql AS '{body}'")
    layer = layer_of(table)
    held = Property("held", PropertyType.INTEGER, func.held(layer.key, type_=BigInteger()), nullable=False)
    layer = replace(layer, properties={**layer.properties, "held": held})
    output = Output(properties=(*COLUMNS, "held"))
    found: SimpleQueue[Batch] = SimpleQueue()

    with cursor_of(url) as holder:
        holder.execute("SELECT pg_advisory_lock(4)")
        reading = Thread(target=at_once, args=(url, [reading_of(layer, output, layout=Layout.COLUMNS)], found.put))
        reading.start()
        try:
            early = found.get(timeout=60).features
            assert 0 < early < first
            assert reading.is_alive()
        finally:
            holder.execute("SELECT pg_advisory_unlock(4)")
            reading.join(60)
    rest = sum(found.get_nowait().features for _ in range(found.qsize()))
    assert early + rest == 3000


@pytest.mark.parametrize("by", ["columns", "rows"])
def test_while_callers_wait_batches_are_smaller(url: str, a_table: Callable[..., str], by: str) -> None:
    table = a_table("generate_series(1, 6000)")
    found: dict[bool, list[Batch]] = {True: [], False: []}

    with cursor_of(url) as cursor:
        for callers_wait, batches in found.items():
            reading = reading_of(layer_of(table))
            taken = reading if by == "columns" else reading.plain
            taken.perform(cursor, batches.append, partial(bool, callers_wait))

    assert len(found[True]) > 2 * len(found[False])
    assert max(len(batch.message) for batch in found[True]) < 150_000
    assert same(rows_of(found[True]), rows_of(found[False]))


@pytest.mark.parametrize("parts", [1, 2, 3])
def test_after_deletions_and_updates(url: str, a_table: Callable[..., str], parts: int) -> None:
    """Places without rows, blocks without any, and rows that have moved."""
    table = a_table("generate_series(1, 6000)")
    ask(url, f"DELETE FROM {table} WHERE key % 3 = 0 OR key BETWEEN 2000 AND 4000")
    ask(url, f"UPDATE {table} SET name = 'moved' WHERE key % 5 = 0")

    assert same(rows_of(batches_of(url, layer_of(table), parts)), selected(url, table))


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
