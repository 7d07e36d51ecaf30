"""Tables of ten thousand, a million and ten million points, made by PostgreSQL from a hash of each row's number.

They lie in a database of their own beside the other benchmarks' one, and are kept. What making them took is written on
each table, so that a later run can still say it.
"""

import json
import re
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from statistics import median

from psycopg2.extensions import cursor as Cursor  # noqa: N812 - a class, whatever its case

from benchmarks.database import SESSION_SETTINGS, cursor_of
from benchmarks.dataset import EAST, KINDS, NORTH, SOUTH, WEST
from benchmarks.programs import say

DATABASE = "growth"
MEASURED_STEPS = ("rows", "primary key", "geometry index", "geography index")
# A number between 0 and 1 of each row, another for each seed; the hash has been the same since PostgreSQL 11.
_EVEN = "((hashint8extended(n, {seed}) & 9007199254740991) / 9007199254740992.0::float8)"


@dataclass(frozen=True)
class Size:
    """A table of so many points."""

    rows: int
    name: str

    @property
    def table(self) -> str:
        return f"growth_{self.name}"

    @property
    def geography_index(self) -> str:
        return f"{self.table}_geography"

    @property
    def geometry_index(self) -> str:
        return f"{self.table}_geometry"

    @property
    def steps(self) -> dict[str, str]:
        """What makes the table, a statement for each step."""
        table = self.table
        return {
            "create": f"CREATE TABLE {table} (id bigint NOT NULL, name text NOT NULL, kind text NOT NULL,"
            " active boolean NOT NULL, location geometry(Point, 4326) NOT NULL)",
            "rows": f"INSERT INTO {table} {_points(self.rows)}",
            "primary key": f"ALTER TABLE {table} ADD PRIMARY KEY (id)",
            "geometry index": f"CREATE INDEX {self.geometry_index} ON {table} USING gist (location)",
            "geography index": f"CREATE INDEX {self.geography_index} ON {table} USING gist (geography(location))",
            "vacuum": f"VACUUM ANALYZE {table}",
            # As the tables that ship have it: so circles are looked for through the index in the plane.
            "bounds": f"ALTER TABLE {table} ADD CHECK (ST_X(location) BETWEEN -180 AND 180"
            " AND ST_Y(location) BETWEEN -90 AND 90)",
        }


SIZES = (Size(10_000, "10k"), Size(1_000_000, "1m"), Size(10_000_000, "10m"))


def _points(rows: int) -> str:
    kinds = ", ".join(f"'{kind}'" for kind in KINDS)
    east, north = _EVEN.format(seed=1), _EVEN.format(seed=2)
    # Even on the ground: by longitude, and by the sine of latitude.
    latitude = f"degrees(asin(sind({SOUTH}) + (sind({NORTH}) - sind({SOUTH})) * {north}))"
    place = f"ST_SetSRID(ST_MakePoint({WEST} + {EAST - WEST} * {east}, {latitude}), 4326)"
    return (
        f"SELECT n, 'Place ' || n, (ARRAY[{kinds}])[1 + (hashint8extended(n, 3) & {len(KINDS) - 1})],"
        f" {_EVEN.format(seed=4)} < 0.9, {place} FROM generate_series(1::bigint, {rows}) AS n"
    )


@dataclass
class Made:
    """When a table was begun, and how many seconds each step took that is done."""

    began: str
    seconds: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Bytes:
    """Of each row: in the table, and in each index."""

    row: float
    primary_key: float
    geometry_index: float
    geography_index: float


def make(url: str, size: Size) -> Made:
    """The table, made unless it is there; a run that was cut off is gone on with where it stopped."""
    with cursor_of(url) as cursor:
        made = _read(cursor, size)
        for step, statement in size.steps.items():
            if step not in made.seconds:
                say(f"growth: {size.rows:,} points: {step}")
                started = time.perf_counter()
                cursor.execute(statement)
                made.seconds[step] = time.perf_counter() - started
                cursor.execute(f"COMMENT ON TABLE {size.table} IS %s", (json.dumps(asdict(made)),))
        return made


def _read(cursor: Cursor, size: Size) -> Made:
    cursor.execute("SELECT obj_description(to_regclass(%s), 'pg_class')", (size.table,))
    (comment,) = cursor.fetchone() or (None,)
    if comment:
        return Made(**json.loads(comment))
    cursor.execute(f"DROP TABLE IF EXISTS {size.table}")
    return Made(datetime.now(UTC).date().isoformat())


def bytes_each(url: str, size: Size) -> Bytes:
    relations = (size.table, f"{size.table}_pkey", size.geometry_index, size.geography_index)
    with cursor_of(url) as cursor:
        cursor.execute("SELECT pg_relation_size(name::regclass) FROM unnest(%s) AS name", (list(relations),))
        return Bytes(*(total / size.rows for (total,) in cursor.fetchall()))


def _plan(cursor: Cursor, statement: str, options: str = "") -> str:
    cursor.execute(f"EXPLAIN {options} {statement}")
    return "\n".join(line for (line,) in cursor.fetchall())


def pages_looked_at(url: str, statements: Sequence[str]) -> float:
    """Of tables and indexes, by a statement; the median of them. It is the same whatever else the machine does."""
    with cursor_of(url) as cursor:
        cursor.execute(statements[0])  # a new connection looks at the catalog's pages, too
        plans = [_plan(cursor, statement, "(ANALYZE, BUFFERS, TIMING OFF)") for statement in statements]
    return median(map(pages_of, plans))


def pages_of(plan: str) -> int:
    """That the whole of it looked at."""
    whole = next(line for line in plan.splitlines() if "Buffers: " in line)
    return sum(map(int, re.findall(r" (?:hit|read)=(\d+)", whole)))


def make_database(url: str) -> None:
    """In the server of `url`, unless it is there."""
    with cursor_of(url) as cursor:
        cursor.execute("SELECT FROM pg_database WHERE datname = %s", (DATABASE,))
        if not cursor.rowcount:
            cursor.execute(f"CREATE DATABASE {DATABASE}")


def prepare_database(url: str) -> None:
    with cursor_of(url) as cursor:
        cursor.execute("CREATE EXTENSION IF NOT EXISTS postgis")
        for setting, value in SESSION_SETTINGS.items():
            cursor.execute(f"ALTER DATABASE {DATABASE} SET {setting} = {value}")
