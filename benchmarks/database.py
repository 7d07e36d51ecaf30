"""The tables that everybody asks: made by the migrations, filled once, kept for the next run."""

from collections.abc import Iterator
from contextlib import closing, contextmanager

import psycopg2
from psycopg2.extensions import cursor as Cursor  # noqa: N812 - a class, whatever its case

from benchmarks import dataset, polygons
from benchmarks.programs import say

# Everyone gets the planner settings that the service gives its own sessions.
SESSION_SETTINGS = {"jit": "off", "random_page_cost": "1.1", "max_parallel_workers_per_gather": "0"}
_TABLES = (dataset.POINTS, *polygons.TABLES)
_LOADED = f"{dataset.ROWS} points, {polygons.PARCELS} parcels, {polygons.ZONES} zones, seed {dataset.SEED}"


@contextmanager
def cursor_of(url: str) -> Iterator[Cursor]:
    with closing(psycopg2.connect(url)) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            yield cursor


def fill(url: str) -> None:
    """Loads the data into a migrated database, unless they are there already."""
    with cursor_of(url) as cursor:
        cursor.execute("SELECT oid, datname FROM pg_database WHERE datname = current_database()")
        oid, name = cursor.fetchone() or (0, "")
        cursor.execute("SELECT shobj_description(%s, 'pg_database')", (oid,))
        if cursor.fetchone() == (_LOADED,):
            return
        say(f"loading {_LOADED}, once")
        for setting, value in SESSION_SETTINGS.items():
            cursor.execute(f'ALTER DATABASE "{name}" SET {setting} = {value}')
        cursor.execute(f"TRUNCATE {', '.join(table.name for table in _TABLES)} RESTART IDENTITY CASCADE")
        for table in _TABLES:
            _load(cursor, table)
            cursor.execute(f"VACUUM ANALYZE {table.name}")
        # Said last, so that a run that was cut off loads again.
        cursor.execute(f'COMMENT ON DATABASE "{name}" IS %s', (_LOADED,))


def _load(cursor: Cursor, table: dataset.Table) -> None:
    """In one transaction, with the indexes built afterwards: much faster than keeping them up to date."""
    cursor.execute("BEGIN")
    cursor.execute(
        "SELECT indexrelid::regclass::text, pg_get_indexdef(indexrelid) FROM pg_index "
        "WHERE indrelid = %s::regclass AND NOT indisunique",
        (table.name,),
    )
    indexes = cursor.fetchall()
    for name, _ in indexes:
        cursor.execute(f"DROP INDEX {name}")
    for part in table.rows():
        cursor.copy_expert(f"COPY {table.name} ({', '.join(table.columns)}) FROM STDIN", part)
    for _, definition in indexes:
        cursor.execute(definition)
    cursor.execute("COMMIT")


def versions(url: str) -> tuple[str, str]:
    """Of PostgreSQL and PostGIS."""
    with cursor_of(url) as cursor:
        cursor.execute("SELECT current_setting('server_version'), postgis_lib_version()")
        postgresql, postgis = cursor.fetchone() or ("", "")
    return postgresql, postgis
