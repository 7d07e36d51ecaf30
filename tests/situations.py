"""Situations that tests bring about in PostgreSQL, and ways to see that they have come about."""

import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import Any

import psycopg2

from service.db.cancel import LOAD_POSTGIS

# What SQLAlchemy and the service ask a new session first is no statement that anybody waits for.
GIVEN = (
    f"query <> '{LOAD_POSTGIS}'"
    " AND query !~ '^(select pg_catalog.version|select current_schema|show |BEGIN$|ROLLBACK$)'"
)
# The sessions of the service's pool that are at something; and of these, those that wait for a lock.
RUNNING = (
    "application_name LIKE 'spatial-service/%' AND application_name NOT LIKE '%/health' AND state = 'active'"
    f" AND {GIVEN}"
)
BLOCKED = f"{RUNNING} AND wait_event_type = 'Lock'"
SESSIONS = "application_name LIKE 'spatial-service/read'"


@contextmanager
def locked(url: str, *tables: str) -> Iterator[Callable[[], None]]:
    """Whoever touches the tables waits, until the block ends or what it gives is called."""
    with closing(psycopg2.connect(url)) as connection, connection.cursor() as cursor:
        cursor.execute(f"LOCK TABLE {', '.join(tables)} IN ACCESS EXCLUSIVE MODE")
        yield connection.rollback


def sessions(url: str, which: str) -> list[int]:
    """The backends of this database's sessions that a condition on pg_stat_activity picks."""
    query = f"SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND {which} ORDER BY pid"
    return [pid for (pid,) in fetch(url, query)]


def fetch(url: str, query: str, *arguments: Any) -> list[tuple[Any, ...]]:
    with closing(psycopg2.connect(url)) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(query, arguments or None)
            return cursor.fetchall() if cursor.description else []


def eventually(condition: Callable[[], object], within: float = 20.0) -> float:
    """Waits until the condition holds, and says for how long; fails where it does not in time."""
    started = time.monotonic()
    while not condition():
        assert time.monotonic() - started < within, f"not so within {within} s"
        time.sleep(0.01)
    return time.monotonic() - started


def soonest(attempt: Callable[[], float], times: int = 3) -> float:
    """The least of what some attempts take: a machine that is busy at one of them need not be at all."""
    return min(attempt() for _ in range(times))


def cancelled(start: Callable[[float], Any], begun: Callable[[], object]) -> Any:
    """A call that is cancelled when what it is about has begun. `start` takes the seconds that it has."""
    call = start(60.0)
    eventually(begun)
    call.cancel()
    return call


def expiring(start: Callable[[float], Any], begun: Callable[[], object]) -> Any:
    """A call with a deadline as short as this machine allows: one that ends before what it is about has begun is made
    again with more."""
    for seconds in (1.0, 4.0, 16.0):
        call = start(seconds)
        while not call.done():
            if begun():
                return call
            time.sleep(0.01)
    raise AssertionError("it did not begin in time")


def blocked(url: str, count: int = 1) -> Callable[[], bool]:
    """Whether so many statements of the service wait for a lock, or more: calls that come late have their own."""
    return lambda: len(sessions(url, BLOCKED)) >= count


def quiet(url: str) -> Callable[[], bool]:
    """Whether no statement of the service runs."""
    return lambda: not sessions(url, RUNNING)
