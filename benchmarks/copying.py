"""The database's own limit in bulk: psql's COPY, and the moment at which a statement's first row is there."""

import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from typing import Any, NamedTuple

import psycopg2
from psycopg2.extensions import connection as Connection  # noqa: N812 - a class, whatever its case

from benchmarks.programs import find

_CLOCK = "SELECT extract(epoch FROM clock_timestamp());"


def copy(statement: str) -> str:
    return f"COPY ({' '.join(statement.split())}) TO STDOUT (FORMAT binary)"


def psql_seconds(url: str, *sessions: Sequence[str]) -> float:
    """How long psql takes to copy the statements to /dev/null, those of each session on a connection of its own.

    By the database's clock, from the first session's first statement to the last one's end: starting psql and
    connecting are not in it.
    """
    command = [find("psql"), "-XqAt", "-v", "ON_ERROR_STOP=1", "-f", "-", url]
    running = [subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in sessions]
    for process, statements in zip(running, sessions, strict=True):
        _write(process, statements)
    times = [time for process in running for time in _times(process)]
    return max(times) - min(times)


def _write(process: subprocess.Popen[str], statements: Sequence[str]) -> None:
    assert process.stdin is not None
    copies = "".join(f"{copy(statement)};\n" for statement in statements)
    process.stdin.write(f"{_CLOCK}\n\\o /dev/null\n{copies}\\o\n{_CLOCK}\n")
    process.stdin.close()


def _times(process: subprocess.Popen[str]) -> list[float]:
    assert process.stdout is not None
    times = [float(line) for line in process.stdout.read().splitlines()]
    if process.wait() or len(times) != 2:
        raise RuntimeError(f"psql failed with {process.returncode}")
    return times


class FirstRows:
    """A warm connection on which statements are begun, and ended when the first row is there."""

    def __init__(self, url: str) -> None:
        self._connection = psycopg2.connect(url)
        self._connection.autocommit = True

    def seconds(self, copying: str) -> float:
        """From sending a COPY to having its first row."""
        sink = _FirstOnly(self._connection)
        with self._connection.cursor() as cursor:
            started = time.perf_counter()
            try:
                cursor.copy_expert(copying, sink)
            except _EnoughError:
                return sink.written - started
        raise RuntimeError(f"no row from {copying}")

    def bound(self, copying: str, values: Mapping[str, Any]) -> str:
        """With values where it has places for them."""
        with self._connection.cursor() as cursor:
            return cursor.mogrify(copying, values).decode()

    def close(self) -> None:
        self._connection.close()


class _EnoughError(Exception):
    """Ends a COPY."""


class _FirstOnly:
    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self.written = 0.0

    def write(self, rows: bytes) -> None:
        self.written = time.perf_counter()
        self._connection.cancel()  # or all other rows would come before the next statement
        raise _EnoughError


class Content(NamedTuple):
    """What a stream should bring: how many features, what their ids sum up to, and the bytes of their WKB."""

    features: int
    ids: int
    wkb_bytes: int


def content(url: str, statement: str) -> Content:
    """The one row that a statement answers with."""
    with closing(psycopg2.connect(url)) as connection, connection.cursor() as cursor:
        cursor.execute(statement)
        return Content(*map(int, cursor.fetchone() or ()))
