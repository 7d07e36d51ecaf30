"""Imports: ImportFeatures against psql's \\copy of the same rows into the same table with all its indexes, in turns, in
rounds; a figure is the median of the rounds' ratios. And what five million rows cost the server in memory.
"""

import os
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import grpc
import psycopg2

from benchmarks.arriving import Rows, in_columns, in_rows, points, shapes
from benchmarks.database import versions
from benchmarks.figures import Figure, machine, median_ratio, print_lines
from benchmarks.grpc_question import Client
from benchmarks.memory import Resident
from benchmarks.programs import LOCAL, find, free_port, say, serving
from service.embedded import throw_away
from service.migrations import upgrade
from spatial.v1 import write_pb2

ROUNDS = 3
LARGE = 5_000_000
METHOD = "/spatial.v1.FeatureService/ImportFeatures"
# PostgreSQL's own defaults are durable: fsync, full pages, synchronous commits.
_SETTINGS = {"shared_buffers": "512MB", "max_wal_size": "4GB"}

_DROP_INDEXES = """
DO $$ DECLARE found text; BEGIN
  FOR found IN SELECT indexrelid::regclass FROM pg_index WHERE indrelid = 'facilities'::regclass AND NOT indisunique
  LOOP EXECUTE 'DROP INDEX ' || found; END LOOP;
END $$
"""

Send = Callable[[], None]


@dataclass(frozen=True)
class Way:
    """A way of sending rows: how much of psql's speed it should have, and how many are there before."""

    name: str
    goal: float
    mode: write_pb2.ImportMode
    messages: Callable[[Rows], list[bytes]]
    there: float = 0.0


WAYS = (
    Way("INSERT in COLUMNS", 0.5, write_pb2.IMPORT_MODE_INSERT, in_columns),
    Way("UPSERT in COLUMNS, half of it there", 0.3, write_pb2.IMPORT_MODE_UPSERT, in_columns, there=0.5),
    Way("INSERT in ROWS", 0.25, write_pb2.IMPORT_MODE_INSERT, in_rows),
)


def run() -> None:
    find("psql")
    LOCAL.mkdir(parents=True, exist_ok=True)
    with throw_away(_SETTINGS) as cluster:
        upgrade(cluster.url)
        _print_setting(cluster.url)
        for figure in _figures(cluster.url):
            print(figure, flush=True)


def _figures(url: str) -> Iterator[Figure]:
    port = free_port()
    command = [str(Path(sys.executable).with_name("spatial")), "serve"]
    settings = {
        "SPATIAL_DATABASE_URL": url,
        "SPATIAL_LISTEN": f"127.0.0.1:{port}",
        "SPATIAL_METRICS_LISTEN": f"127.0.0.1:{free_port()}",
        "SPATIAL_LOG_LEVEL": "warning",
    }
    with (
        closing(Client(port)) as client,
        serving("imports", command, client.ready, os.environ | settings) as process,
        grpc.insecure_channel(f"127.0.0.1:{port}") as channel,
    ):
        for rows in (points(), shapes()):
            for way in WAYS:
                yield _figure(url, channel, rows, way)
        yield _memory(url, channel, Resident(process))


def _figure(url: str, channel: grpc.Channel, rows: Rows, way: Way) -> Figure:
    messages = way.messages(rows)
    seconds: dict[str, list[float]] = defaultdict(list)
    turn: dict[str, Send] = {
        "psql": partial(_copied, url, rows),
        "service": partial(_imported, channel, rows.layer, way.mode, messages, len(rows)),
    }
    names = list(turn)
    for number in range(1, ROUNDS + 1):
        for name in names:
            _prepare(url, rows, way.there if name == "service" else 0.0)
            started = time.perf_counter()
            turn[name]()
            seconds[name].append(time.perf_counter() - started)
            _check(url, rows)
        names.reverse()
        last = ", ".join(f"{name} {each[-1]:.1f} s" for name, each in seconds.items())
        say(f"{rows.name}, {way.name}, round {number}: {last}")
    ratio = median_ratio(seconds["psql"], seconds["service"])
    rates = ", ".join(f"{name} {len(rows) / median(each):,.0f}/s" for name, each in seconds.items())
    return Figure(f"imports, {rows.name}, {way.name}", ratio, f">= {way.goal}", f"{rates}; {len(rows):,} rows")


def _copied(url: str, rows: Rows) -> None:
    """psql, as one would type it; starting it is in it."""
    what = f"\\copy {rows.layer} ({', '.join(rows.columns)}) FROM '{rows.file}'"
    subprocess.run([find("psql"), "-Xq", "-v", "ON_ERROR_STOP=1", "-c", what, url], check=True, capture_output=True)


def _imported(
    channel: grpc.Channel, layer: str, mode: write_pb2.ImportMode, messages: Sequence[bytes], rows: int
) -> None:
    opening = write_pb2.ImportFeaturesRequest(plan=write_pb2.ImportPlan(layer=layer, mode=mode)).SerializeToString()
    call: Any = channel.stream_unary(METHOD, None, write_pb2.ImportFeaturesResponse.FromString)
    answer = call(iter([opening, *messages]))
    if answer.totals.inserted + answer.totals.updated != rows:
        raise RuntimeError(f"not all of {rows} rows are in: {answer}")


def _prepare(url: str, rows: Rows, there: float) -> None:
    """An empty table, or one with every other row, and nothing left to do for the server."""
    _execute(url, f"TRUNCATE {rows.layer} RESTART IDENTITY CASCADE")
    if there:
        _copied(url, rows)
        _execute(url, f"DELETE FROM {rows.layer} WHERE id % 2 = 0")
        _execute(url, f"VACUUM {rows.layer}")
    _execute(url, "CHECKPOINT")


def _check(url: str, rows: Rows) -> None:
    (found,) = _execute(url, f"SELECT count(*) FROM {rows.layer}") or (0,)
    if found != len(rows):
        raise RuntimeError(f"{found} of {len(rows)} rows are there")


def _memory(url: str, channel: grpc.Channel, resident: Resident) -> Figure:
    """Without indexes, as it is about the server; after what came before, so that all is loaded that is ever needed."""
    _execute(url, "TRUNCATE facilities")
    _execute(url, _DROP_INDEXES)
    rows = points()
    messages = in_columns(rows, keyed=False)
    times = LARGE // len(rows)
    idle = resident.now()
    resident.forget()
    started = time.perf_counter()
    _imported(channel, "facilities", write_pb2.IMPORT_MODE_INSERT, messages * times, LARGE)
    rate = LARGE / (time.perf_counter() - started)
    grown = resident.peak() - idle
    return Figure("imports memory, 5 M points, MiB", grown, "<= 64", f"at rest {idle:.0f} MiB; {rate:,.0f} rows/s")


def _execute(url: str, statement: str) -> tuple[object, ...] | None:
    with closing(psycopg2.connect(url)) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(statement)
            return cursor.fetchone() if cursor.description else None


def _print_setting(url: str) -> None:
    postgresql, postgis = versions(url)
    lines = [
        *machine(),
        ("database", f"PostgreSQL {postgresql}, PostGIS {postgis}; tables with all their indexes, commits on disk"),
        ("measured", f"{ROUNDS} rounds; the caller, the server and the database share the machine"),
    ]
    print_lines(lines)
