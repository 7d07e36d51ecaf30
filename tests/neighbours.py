"""Layers that tell of the settings of their session, neighbours behind the same pooler, and what happens to it."""

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from functools import partial
from threading import Event
from typing import NamedTuple

import psycopg2
from psycopg2.extensions import connection as Connection  # noqa: N812 - a class, whatever its case

from tests.pooler import PgBouncer
from tests.questions import zone
from tests.servers import Served
from tests.situations import eventually, fetch

POOL_SIZE = 2
SETTINGS = ("statement_timeout", "lock_timeout", "work_mem", "jit", "TimeZone", "application_name")

# What a statement sees that is asked through a layer; the table tells of the statements that write.
TOLD = ", ".join(f"current_setting('{name}') AS {name.lower()}" for name in SETTINGS)

DEFAULTS = ", ".join(f"{name.lower()} text DEFAULT current_setting('{name}')" for name in SETTINGS)
SCHEMA = f"""
CREATE VIEW told AS SELECT 1 AS id, 'SRID=4326;POINT (0 0)'::geometry(Point, 4326) AS place, {TOLD};
CREATE TABLE written (id serial PRIMARY KEY, place geometry(Point, 4326), {DEFAULTS});
CREATE VIEW endless AS SELECT n AS id, 'SRID=4326;POINT (0 0)'::geometry(Point, 4326) AS place, repeat('x', 100000)
  FROM generate_series(1, 1000000) n;
"""
LAYERS_FILE = """
layers:
  - {table: told, key: id, unindexed: true}
  - {table: written, unindexed: true, writable: true}
  - {table: endless, key: id, unindexed: true}
"""


def spoil(bouncer: PgBouncer) -> None:
    """As a careless neighbour does: leaves settings behind on every session."""
    with closing(psycopg2.connect(bouncer.url)) as first, closing(psycopg2.connect(bouncer.url)) as second:
        for connection in (first, second):
            with connection.cursor() as cursor:
                cursor.execute("SET jit = on; SET \"TimeZone\" = 'Asia/Tokyo'; SET statement_timeout = '300ms'")
        for connection in (first, second):
            connection.commit()


def mend(bouncer: PgBouncer) -> None:
    open_all(bouncer)
    bouncer.tell("RECONNECT")


def open_all(bouncer: PgBouncer) -> None:
    """All sessions that the pooler may have: it logs in to no further one until one of them is closed. A PAUSE or a
    RECONNECT closes a session that is logging in, which PgBouncer takes for a server that lets nobody in: calls are
    refused for `server_login_retry`."""
    with ExitStack() as stack:
        holders = [stack.enter_context(closing(psycopg2.connect(bouncer.url))) for _ in range(POOL_SIZE)]
        for holder in holders:
            with holder.cursor() as cursor:
                cursor.execute("SELECT")  # keeps the session until the transaction ends
        for holder in holders:
            holder.commit()


class Innocents(NamedTuple):
    answered: list[int]  # how often each of them was
    asking: list[Future[None]]

    def go_on(self, times: int) -> None:
        """Waits until each was answered so many times more. What fails one of them is raised at once."""
        enough = [each + times for each in self.answered]
        eventually(partial(self._reached, enough), within=40)

    def _reached(self, enough: list[int]) -> bool:
        for each in self.asking:
            if each.done():
                each.result()
        return all(each >= goal for each, goal in zip(self.answered, enough, strict=True))


@contextmanager
def innocents(ask: Callable[[int], None], callers: int) -> Iterator[Innocents]:
    """Callers that never pause; any answer that is wrong, or none, fails the block."""
    over = Event()
    answered = [0] * callers

    def ask_on_and_on(caller: int) -> None:
        while not over.is_set():
            ask(answered[caller] % 10 + 1)
            answered[caller] += 1

    with ThreadPoolExecutor(callers) as threads:
        asking = [threads.submit(ask_on_and_on, caller) for caller in range(callers)]
        try:
            yield Innocents(answered, asking)
        finally:
            over.set()
        for each in asking:
            each.result()
    assert all(answered)


def right(served: Served) -> Callable[[int], None]:
    def ask(number: int) -> None:
        found = served.stub.SearchIntersects(zone(number), timeout=20)
        assert [each.id for each in found.features] == [str(number)]

    return ask


@contextmanager
def neighbours(bouncer: PgBouncer, count: int) -> Iterator[Innocents]:
    """Clients of the pooler that have nothing to do with the service, and short statements."""

    def ask(connection: Connection) -> None:
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_sleep(0.002)")

    connections = [psycopg2.connect(bouncer.url) for _ in range(count)]
    for connection in connections:
        connection.autocommit = True
    waiting = list(connections)

    def ask_with_any(_: int) -> None:
        connection = waiting.pop()
        ask(connection)
        waiting.append(connection)

    try:
        with innocents(ask_with_any, count) as asking:
            yield asking
    finally:
        for connection in connections:
            connection.close()


def end_the_sessions(bouncer: PgBouncer, url: str) -> None:
    fetch(
        url,
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database()"
        " AND backend_type = 'client backend' AND pid <> pg_backend_pid()",
    )


def restart(bouncer: PgBouncer, url: str) -> None:
    bouncer.restart()
