"""The table that everybody asks: made by the migrations, filled once, kept for the next run."""

from collections.abc import Iterator
from contextlib import closing, contextmanager

import psycopg2
from psycopg2.extensions import connection as Connection

from benchmarks import dataset
from benchmarks.programs import say

# Everyone gets the planner settings that the service gives its own sessions.
_SETTINGS = {"jit": "off", "random_page_cost": "1.1"}
_LOADED = f"{dataset.ROWS} points, seed {dataset.SEED}"


@contextmanager
def connected(url: str) -> Iterator[Connection]:
    with closing(psycopg2.connect(url)) as connection:
        connection.autocommit = True
        yield connection


def fill(url: str) -> None:
    """Loads the points into a migrated database, unless they are there already."""
    with connected(url) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = current_database()")
        if cursor.fetchone() == (_LOADED,):
            return
        say(f"loading {dataset.ROWS:,} points, once")
        cursor.execute("TRUNCATE facilities RESTART IDENTITY CASCADE")
        indexes = _drop_indexes(connection)
        for part in dataset.copy_text():
            cursor.copy_expert(f"COPY facilities ({', '.join(dataset.COLUMNS)}) FROM STDIN", part)
        for definition in indexes:
            cursor.execute(definition)
        cursor.execute("SELECT current_database()")
        (name,) = cursor.fetchone() or ()
        for setting, value in _SETTINGS.items():
            cursor.execute(f'ALTER DATABASE "{name}" SET {setting} = {value}')
        cursor.execute("VACUUM ANALYZE facilities")
        cursor.execute(f'COMMENT ON DATABASE "{name}" IS %s', (_LOADED,))


def _drop_indexes(connection: Connection) -> list[str]:
    """Drops the indexes that no constraint needs, and returns what makes them again: building beats maintaining."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT indexrelid::regclass::text, pg_get_indexdef(indexrelid) FROM pg_index "
            "WHERE indrelid = 'facilities'::regclass AND NOT indisunique"
        )
        indexes = cursor.fetchall()
        for name, _ in indexes:
            cursor.execute(f"DROP INDEX {name}")
    return [definition for _, definition in indexes]


def versions(url: str) -> tuple[str, str]:
    """Of PostgreSQL and PostGIS."""
    with connected(url) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT current_setting('server_version'), postgis_lib_version()")
        postgresql, postgis = cursor.fetchone() or ("", "")
    return postgresql, postgis


def features_per_answer(url: str, centres: list[dataset.Centre]) -> float:
    with connected(url) as connection, connection.cursor() as cursor:
        total = 0
        for centre in centres:
            cursor.execute(centre.statement)
            total += cursor.rowcount
    return total / len(centres)
