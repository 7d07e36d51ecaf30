"""Where a layer is known to have its rows in blocks, those of the first come ahead, and none comes twice."""

from collections.abc import Callable
from contextlib import closing
from dataclasses import replace

import psycopg2
import pytest

from service.db.assembled import Assembled
from service.db.assembled_reading import AssembledReading
from service.db.snapshot import Snapshot
from service.domain import Batch, Layout
from tests.assembling import EVERYTHING, ask, at_once, layer_of, reading_of, rows_of, same, selected

LAYOUTS = (Layout.ARROW, Layout.COLUMNS)
BECOMES = {
    "a view": "ALTER TABLE {table} RENAME TO {table}_before; CREATE VIEW {table} AS SELECT * FROM {table}_before",
    "partitioned": "ALTER TABLE {table} RENAME TO {table}_before;"
    " CREATE TABLE {table} (LIKE {table}_before) PARTITION BY RANGE (key);"
    " CREATE TABLE {table}_low PARTITION OF {table} FOR VALUES FROM (MINVALUE) TO (700);"
    " CREATE TABLE {table}_high PARTITION OF {table} FOR VALUES FROM (700) TO (MAXVALUE);"
    " INSERT INTO {table} SELECT * FROM {table}_before",
    "inherited": "CREATE TABLE {table}_child () INHERITS ({table});"
    " INSERT INTO {table}_child SELECT key + 5000, shape, name FROM {table}",
    "of large features": "UPDATE {table} SET note ="
    " (SELECT string_agg(md5(n::text), '') FROM generate_series(1, 500) n) WHERE key % 50 = 0",
    "empty": "TRUNCATE {table}",
}


def readings(table: str, layout: Layout, assembled: Assembled | None, parts: int = 1) -> list[AssembledReading]:
    """With what is known of the table."""
    snapshot = Snapshot(parts, patience=10)
    made = [reading_of(layer_of(table), EVERYTHING, snapshot, layout) for _ in range(parts)]
    return [replace(each, assembled=assembled or each.assembled) for each in made]


def known(url: str, table: str, layout: Layout) -> Assembled:
    """What has been read once."""
    (reading,) = readings(table, layout, None)
    at_once(url, [reading], lambda batch: None)
    assert reading.assembled.begins_in_blocks
    return reading.assembled


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("parts", [1, 3])
def test_a_few_rows_of_the_first_block_come_first_and_then_the_others_of_it(
    url: str, a_table: Callable[..., str], parts: int, layout: Layout
) -> None:
    table = a_table("generate_series(1, 3000)")
    ((in_first,),) = ask(url, f"SELECT count(*) FROM {table} WHERE ctid < '(1,0)'")
    found: list[Batch] = []

    at_once(url, readings(table, layout, known(url, table, layout), parts), found.append)

    first, *others = (batch.features for batch in found)
    assert 0 < first < in_first
    assert in_first - first in others  # among them those that other parts have read meanwhile
    assert same(rows_of(found), selected(url, table))


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("change", BECOMES.values(), ids=BECOMES)
def test_of_a_relation_that_is_no_longer_the_same_every_row_comes_once(
    url: str, a_table: Callable[..., str], change: str, layout: Layout
) -> None:
    table = a_table("generate_series(1, 1500)")
    assembled = known(url, table, layout)
    ask(url, change.format(table=table))
    try:
        for _ in range(2):  # the second time it is known again
            found: list[Batch] = []
            at_once(url, readings(table, layout, assembled), found.append)
            assert same(rows_of(found), selected(url, table))
    finally:
        ask(url, f"DROP {'VIEW' if 'VIEW' in change else 'TABLE'} {table} CASCADE")
        ask(url, f"DROP TABLE IF EXISTS {table}_before")


def test_what_fails_for_another_reason_fails(url: str, a_table: Callable[..., str]) -> None:
    table = a_table("generate_series(1, 20)")
    (reading,) = readings(table, Layout.COLUMNS, known(url, table, Layout.COLUMNS))
    ask(url, f"ALTER TABLE {table} DROP COLUMN note")

    with closing(psycopg2.connect(url)) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor, pytest.raises(psycopg2.errors.UndefinedColumn):
            reading.perform(cursor, lambda batch: None)
        assert connection.info.transaction_status == psycopg2.extensions.TRANSACTION_STATUS_IDLE


def test_a_reader_that_leaves_with_the_first_batch_leaves_no_transaction(url: str, a_table: Callable[..., str]) -> None:
    table = a_table("generate_series(1, 3000)")
    (reading,) = readings(table, Layout.COLUMNS, known(url, table, Layout.COLUMNS))

    class Left(Exception):
        pass

    def leave(batch: Batch) -> None:
        raise Left

    with closing(psycopg2.connect(url)) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor, pytest.raises(Left):
            reading.perform(cursor, leave)
        assert connection.info.transaction_status == psycopg2.extensions.TRANSACTION_STATUS_IDLE
