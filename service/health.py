"""Readiness that keeps watching: the database answers, and its schema is one that this version can serve."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from math import inf
from typing import Literal, NamedTuple

from grpc_health.v1 import health_pb2
from grpc_health.v1.health import aio as health_aio
from sqlalchemy import Connection, Engine, func, select, text
from sqlalchemy.exc import SQLAlchemyError

from service import revisions
from service.db.ledger import LACKING
from service.db.worker import Worker

log = logging.getLogger("spatial.health")

Schema = Literal["migrated", "postgis"]  # that of the models, or nothing but PostGIS

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
LOOK_SECONDS = 2.0  # a database that takes longer to answer is not ready for callers either
LIVENESS = "liveness"  # says only that the process answers, so that no restart is tried for what a database did


class Seen(NamedTuple):
    """What keeps everything from being answered well, what keeps writes alone from it, and whatever the primary alone
    can answer; None for nothing. `away` says that nothing could be seen of the database."""

    problem: str | None
    of_writes: str | None = None
    of_primary: str | None = None
    away: bool = False


class Eye:
    """Looks on a thread of its own. A look that takes too long goes on, and its end is awaited next time: where a
    network swallows everything, looks must not pile up."""

    def __init__(self, name: str, look: Callable[[], Seen]) -> None:
        self._find = look
        self._worker = Worker(name)
        self._look: asyncio.Future[Seen] | None = None

    async def seen(self) -> Seen | None:
        """None where it takes too long."""
        if self._look is None:
            self._look = asyncio.get_running_loop().create_future()
            self._worker.submit(partial(self._report, self._look))
        await asyncio.wait([self._look], timeout=LOOK_SECONDS)
        if not self._look.done():
            return None
        look, self._look = self._look, None
        return look.result()

    def close(self) -> None:
        self._worker.stop()

    def _report(self, look: asyncio.Future[Seen]) -> None:
        seen = self._find()
        with suppress(RuntimeError):  # the event loop has gone
            look.get_loop().call_soon_threadsafe(look.set_result, seen)


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
        silence: Callable[[], float] = lambda: inf,
        leading: Sequence[str] = (),
        standing_in: Callable[[], Sequence[Engine]] = list,
        renew: Callable[[], None] = lambda: None,
    ) -> None:
        """`schema` is what must be there; `other` says what else keeps the server from being ready. Those of the
        `services` that are `writing` are not ready without the ledger, where anything is `writable`. `silence` is for
        how many seconds callers have been told nothing by a database that looks may have to queue for.

        Without the primary, where replicas are `standing_in` for it, only services that are `leading` are not ready.
        `renew` is called when another server has become the primary."""
        self._servicer = servicer
        self._names = ("", *services)
        self._writing = frozenset(writing)
        self._writable = writable
        self._interval = interval
        self._control = control
        self._find_schema_problem = {"migrated": self._migration_problem, "postgis": _postgis_problem}[schema]
        self._known = revisions.known_revisions() if schema == "migrated" else ()
        self._other = other
        self._silence = silence
        self._leading = frozenset(leading)
        self._standing_in = standing_in
        self._renew = renew
        self._found_standby = False
        self._draining = asyncio.Event()
        self._primary = Eye("readiness", self._find_problem)
        self._replicas = Eye("readiness-replicas", self._find_problem_of_replicas)
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
        self._primary.close()
        self._replicas.close()

    async def _watch(self) -> None:
        while not self._draining.is_set():
            with suppress(TimeoutError):
                async with asyncio.timeout(self._interval):
                    await self._draining.wait()
            seen = await self._seen()
            if not self._draining.is_set():
                await self._say(seen)

    async def _seen(self) -> Seen:
        """What a look at the database shows; at a replica, where the primary is away."""
        seen = await self._primary.seen()
        if seen is None:
            busy = self._silence() < LOOK_SECONDS
            seen = self._said if busy else Seen("the database does not answer", away=True)
        if seen.away and self._standing_in():
            replica = await self._replicas.seen()
            if replica is not None and replica.problem is None:
                return Seen(None, of_primary=seen.problem)
        return seen

    async def _say(self, seen: Seen) -> None:
        problem, of_writes, of_primary, _ = seen
        if problem != self._said.problem:
            message = "ready" if problem is None else f"not ready: {problem}"
            log.log(logging.WARNING if problem else logging.INFO, message)
        if of_writes and of_writes != self._said.of_writes:
            log.warning("not ready for writes: %s", of_writes)
        if of_primary and of_primary != self._said.of_primary:
            log.warning("ready for what replicas can answer: %s", of_primary)
        self._said = seen
        for name in self._names:
            of_writing = of_writes if name in self._writing else None
            hindered = problem or of_writing or (of_primary if name in self._leading else None)
            await self._servicer.set(name, NOT_SERVING if hindered else SERVING)

    def _find_problem(self) -> Seen:
        try:
            with self._control.connect() as connection:
                problem = self._find_schema_problem(connection) or self._other()
                of_writes = self._write_problem(connection)
                if self._is_standby(connection):
                    of_writes = "the database's server is a standby, which takes no changes"
                    connection.invalidate()  # the next look may be led to the primary
                return Seen(problem, None if problem else of_writes)
        except SQLAlchemyError as error:
            log.debug("readiness", exc_info=error)
            return Seen("the database cannot be reached", away=True)

    def _find_problem_of_replicas(self) -> Seen:
        for control in self._standing_in():
            try:
                with control.connect() as connection:
                    return Seen(self._find_schema_problem(connection) or self._other())
            except SQLAlchemyError as error:
                log.debug("readiness of a replica", exc_info=error)
        return Seen("no replica answers", away=True)

    def _is_standby(self, connection: Connection) -> bool:
        """Where the primary is found in place of a standby, connections of before may still lead to that."""
        standby = bool(connection.scalar(select(func.pg_is_in_recovery())))
        if self._found_standby and not standby:
            self._renew()
        self._found_standby = standby
        return standby

    def _write_problem(self, connection: Connection) -> str | None:
        if not self._writable() or connection.execute(text(LACKING)).first() is None:
            return None
        return "the database has no place to remember requests in: run `spatial migrate --ledger`"

    def _migration_problem(self, connection: Connection) -> str | None:
        revision = revisions.current_revision(connection)
        # A revision that is not known here is a newer version's: it is being rolled out while this one still serves.
        if revision in self._known and revision != self._known[0]:
            return f"the database is at migration {revision}, and {self._known[0]} is needed"
        return None if revision else "the database is not migrated: run `spatial migrate`"


def _postgis_problem(connection: Connection) -> str | None:
    there = connection.scalar(select(func.to_regproc("postgis_lib_version"))) is not None
    return None if there else "the database has no PostGIS, or not on the search path: CREATE EXTENSION postgis"
