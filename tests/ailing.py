"""A table that is well, with names that nobody would choose, to be spoiled by tests of the doctor."""

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from typing import Any

import psycopg2
from geoalchemy2 import Geography, Geometry
from psycopg2.extensions import cursor as Cursor  # noqa: N812 - a class, whatever its case
from sqlalchemy import BigInteger, Column, MetaData, Table, func

from service.catalog import Layer
from service.db.occupancy import Wanted
from service.doctor.examination import examine, examine_thoroughly
from service.doctor.findings import Finding
from service.doctor.tolerance import Tolerance
from tests.situations import fetch

SCHEMA, TABLE, COLUMN, KEY = "awk.ward", '100% "so"', "Der Ort %s", "Nr. {0}"
S, C, K = ('"' + name.replace('"', '""') + '"' for name in (SCHEMA, COLUMN, KEY))
T = f"{S}." + '"' + TABLE.replace('"', '""') + '"'
GIST, OTHER, PRIMARY = f'{S}."ix gist %"', f'{S}."ix other %"', f'{S}."pk %"'
CONNECTIONS = Wanted(1, 1, 16)


@contextmanager
def cursor_of(url: str, **options: Any) -> Iterator[Cursor]:
    with closing(psycopg2.connect(url, **options)) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            yield cursor


def run(url: str, *statements: str) -> None:
    """On a connection of their own, which tells others at the end what was counted; otherwise it would as it ends, some
    time after it is closed here."""
    with cursor_of(url) as cursor:
        for statement in statements:
            cursor.execute(statement)
        if cursor.connection.server_version >= 150000:
            cursor.execute("SELECT pg_stat_force_next_flush()")


def make(url: str, kind: str = "geometry(Point, 4326)", *, rows: str = "POINT(1 2)", nullable: bool = True) -> None:
    """The table, its indexes and its statistics, all as they should be."""
    other = "geometry" if kind.startswith("geography") else "geography"
    run(
        url,
        f"DROP SCHEMA IF EXISTS {S} CASCADE",
        f"CREATE SCHEMA {S}",
        f'CREATE TABLE {T} ({K} bigint CONSTRAINT "pk %" PRIMARY KEY, {C} {kind} {"" if nullable else "NOT NULL"})',
        f"INSERT INTO {T} SELECT n, 'SRID=4326;{rows}' FROM generate_series(1, 10) n" if rows else "SELECT",
        f'CREATE INDEX "ix gist %" ON {T} USING gist ({C})',
        f'CREATE INDEX "ix other %" ON {T} USING gist ({other}({C}))',
    )
    run(url, f"ANALYZE {T}")


def layer(srid: int = 4326, kind: str = "GEOMETRY", *, geography: bool = False) -> Layer:
    """The layer over it."""
    type_: Any = Geography if geography else Geometry
    column: Column[Any] = Column(COLUMN, type_(kind, srid=srid, spatial_index=False))
    key: Column[Any] = Column(KEY, BigInteger, primary_key=True)
    table = Table(TABLE, MetaData(), key, column, schema=SCHEMA)
    served = Layer("thing", "", table, key, column, kind, srid, {})
    if not geography:
        return served
    planar = func.geometry(column, type_=Geometry(spatial_index=False))
    return replace(served, geometry=planar, geography_column=column)


def examined(
    cursor: Cursor, layer: Layer, tolerance: Tolerance | None = None, *, thorough: bool = False
) -> list[Finding]:
    """All that is found, of the layer and of the database."""
    found = examine(cursor, [layer], CONNECTIONS, tolerance or Tolerance()).findings
    return [*found, *(examine_thoroughly(cursor, [layer]) if thorough else ())]


def of_kind(findings: list[Finding], kind: str) -> list[Finding]:
    return [finding for finding in findings if finding.kind == kind]


Spoil = Callable[[str], None]


def does(*statements: str) -> Spoil:
    return lambda url: run(url, *statements)


def leaves_an_index_behind(url: str) -> None:
    """A REINDEX CONCURRENTLY that gives up while it waits for an older transaction."""
    with closing(psycopg2.connect(url)) as older, older.cursor() as cursor, cursor_of(url) as impatient:
        cursor.execute(f"INSERT INTO {T} VALUES (0, NULL)")
        impatient.execute("SET lock_timeout = '100ms'")
        try:
            impatient.execute(f"REINDEX INDEX CONCURRENTLY {GIST}")
        except psycopg2.errors.LockNotAvailable:
            return
    raise AssertionError("it should have given up")


def value(url: str, query: str) -> Any:
    ((found,),) = fetch(url, query)
    return found
