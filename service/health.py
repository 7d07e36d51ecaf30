"""Readiness that keeps watching: the database answers, and its schema is one that this version can serve."""

import asyncio
import logging
from collections.abc import Sequence

from grpc_health.v1 import health_pb2
from grpc_health.v1.health import aio as health_aio
from sqlalchemy import Engine, create_engine
from sqlalchemy.exc import SQLAlchemyError

from service import migrations
from service.db.engine import database_url
from service.settings import Settings

log = logging.getLogger("spatial.health")

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
LIVENESS = "liveness"  # says only that the process answers, so that no restart is tried for what a database did


class Readiness:
    """Watches the database on a connection of its own, so that full pools do not look like a lost database."""

    def __init__(
        self, servicer: health_aio.HealthServicer, services: Sequence[str], url: str, settings: Settings
    ) -> None:
        self._servicer = servicer
        self._names = ("", *services)
        self._interval = settings.health_interval
        self._engine = _engine(url, settings)
        self._known = migrations.known_revisions()
        self._task: asyncio.Task[None] | None = None
        self.problem: str | None = "not looked at yet"

    async def start(self) -> None:
        """Looks once before anybody can ask, then again and again."""
        await self._servicer.set(LIVENESS, SERVING)
        await self._look()
        self._task = asyncio.create_task(self._watch(), name="readiness")

    async def drain(self) -> None:
        """Not ready any more, for good; still alive."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
        await self._say("shutting down")
        self._engine.dispose()

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(self._interval)
            await self._look()

    async def _look(self) -> None:
        await self._say(await asyncio.to_thread(self._find_problem))

    async def _say(self, problem: str | None) -> None:
        if problem != self.problem:
            log.log(
                logging.WARNING if problem else logging.INFO, "ready" if problem is None else f"not ready: {problem}"
            )
        self.problem = problem
        for name in self._names:
            await self._servicer.set(name, SERVING if problem is None else NOT_SERVING)

    def _find_problem(self) -> str | None:
        try:
            with self._engine.connect() as connection:
                revision = migrations.current_revision(connection)
        except SQLAlchemyError as error:
            log.debug("readiness", exc_info=error)
            return "the database cannot be reached"
        # A revision that is not known here is a newer version's: it is being rolled out while this one still serves.
        if revision in self._known and revision != self._known[0]:
            return f"the database is at migration {revision}, and {self._known[0]} is needed"
        return None if revision else "the database is not migrated: run `spatial migrate`"


def _engine(url: str, settings: Settings) -> Engine:
    timeout = round(max(1.0, settings.health_interval) * 2000)
    return create_engine(
        database_url(url),
        pool_size=1,
        max_overflow=0,
        pool_pre_ping=True,
        isolation_level="AUTOCOMMIT",
        connect_args={
            "connect_timeout": settings.connect_timeout,
            "application_name": f"{settings.application_name}/health",
            "options": f"-c statement_timeout={timeout}ms",
        },
    )
