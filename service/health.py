"""Readiness that keeps watching: the database answers, and its schema is one that this version can serve."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Literal, NamedTuple

from grpc_health.v1 import health_pb2
from grpc_health.v1.health import aio as health_aio
from sqlalchemy import Connection, Engine, func, select, text
from sqlalchemy.exc import SQLAlchemyError

from service import migrations
from service.db.ledger import LACKING
from service.db.worker import Worker

log = logging.getLogger("spatial.health")

Schema = Literal["migrated", "postgis"]  # that of the models, or nothing but PostGIS

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
LOOK_SECONDS = 2.0  # a database that takes longer to answer is not ready for callers either
LIVENESS = "liveness"  # says only that the process answers, so that no restart is tried for what a database did


class Seen(NamedTuple):
    """What keeps everything from being answered well, and what keeps writes alone from it; None for nothing."""

    problem: str | None
    of_writes: str | None = None


class Readiness:
    """Watches the database on connections of its own, so that full pools do not look like a lost database."""

    def __init__(
        self,
        servicer: health_aio.HealthServicer,
        services: Sequence[str],
        control: Engine,
        interval: float,
        schema: Schema = "migrated",
        other: Callable[[], str | None] = lambda: None,
        writing: Sequence[str] = (),
        writable: Callable[[], bool] = lambda: False,
    ) -> None:
        """`schema` is what must be there; `other` says what else keeps the server from being ready. Those of the
        `services` that are `writing` are not ready without the ledger, where anything is `writable`."""
        self._servicer = servicer
        self._names = ("", *services)
        self._writing = frozenset(writing)
        self._writable = writable
        self._interval = interval
        self._control = control
        self._find_schema_problem = {"migrated": self._migration_problem, "postgis": _postgis_problem}[schema]
        self._known = migrations.known_revisions() if schema == "migrated" else []
        self._other = other
        self._draining = asyncio.Event()
        self._worker = Worker("readiness")
        self._look: asyncio.Future[Seen] | None = None
        self._task: asyncio.Task[None] | None = None
        self._said = Seen("not looked at yet")

    @property
    def problem(self) -> str | None:
        """Why the server is not ready."""
        return self._said.problem

    async def start(self) -> None:
        """Looks once before anybody can ask, then again and again."""
        await self._servicer.set(LIVENESS, SERVING)
        await self._say(await self._seen())
        self._task = asyncio.create_task(self._watch(), name="readiness")

    async def drain(self) -> None:
        """Not ready any more, for good; still alive."""
        self._draining.set()
        await self._say(Seen("shutting down"))

    async def close(self) -> None:
        """Ends watching, after the look that is under way."""
        self._draining.set()
        if self._task is not None:
            await self._task
        self._worker.stop()

    async def _watch(self) -> None:
        while not self._draining.is_set():
            with suppress(TimeoutError):
                async with asyncio.timeout(self._interval):
                    await self._draining.wait()
            seen = await self._seen()
            if not self._draining.is_set():
                await self._say(seen)

    async def _seen(self) -> Seen:
        """What a look at the database shows. One that takes too long goes on, and its end is awaited next time: where
        a network swallows everything, looks must not pile up."""
        if self._look is None:
            self._look = asyncio.get_running_loop().create_future()
            self._worker.submit(partial(self._report, self._look))
        await asyncio.wait([self._look], timeout=LOOK_SECONDS)
        if not self._look.done():
            return Seen("the database does not answer")
        look, self._look = self._look, None
        return look.result()

    def _report(self, look: asyncio.Future[Seen]) -> None:
        seen = self._find_problem()
        with suppress(RuntimeError):  # the event loop has gone
            look.get_loop().call_soon_threadsafe(look.set_result, seen)

    async def _say(self, seen: Seen) -> None:
        problem, of_writes = seen
        if problem != self._said.problem:
            message = "ready" if problem is None else f"not ready: {problem}"
            log.log(logging.WARNING if problem else logging.INFO, message)
        if of_writes and of_writes != self._said.of_writes:
            log.warning("not ready for writes: %s", of_writes)
        self._said = seen
        for name in self._names:
            hindered = problem or (of_writes if name in self._writing else None)
            await self._servicer.set(name, NOT_SERVING if hindered else SERVING)

    def _find_problem(self) -> Seen:
        try:
            with self._control.connect() as connection:
                problem = self._find_schema_problem(connection) or self._other()
                return Seen(problem, None if problem else self._write_problem(connection))
        except SQLAlchemyError as error:
            log.debug("readiness", exc_info=error)
            return Seen("the database cannot be reached")

    def _write_problem(self, connection: Connection) -> str | None:
        if not self._writable() or connection.execute(text(LACKING)).first() is None:
            return None
        return "the database has no place to remember requests in: run `spatial migrate --ledger`"

    def _migration_problem(self, connection: Connection) -> str | None:
        revision = migrations.current_revision(connection)
        # A revision that is not known here is a newer version's: it is being rolled out while this one still serves.
        if revision in self._known and revision != self._known[0]:
            return f"the database is at migration {revision}, and {self._known[0]} is needed"
        return None if revision else "the database is not migrated: run `spatial migrate`"


def _postgis_problem(connection: Connection) -> str | None:
    there = connection.scalar(select(func.to_regproc("postgis_lib_version"))) is not None
    return None if there else "the database has no PostGIS, or not on the search path: CREATE EXTENSION postgis"
