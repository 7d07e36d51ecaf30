"""Errands that may take minutes: each on a thread and a connection of its own, of the pool for bulk work."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar

from psycopg2.extensions import cursor as Cursor  # noqa: N812 - a class, whatever its case

from service.db.batch import Errand
from service.db.canceller import Canceller
from service.db.engine import Pool
from service.db.lane import Lane, Outcome
from service.db.trails import ERRAND, note
from service.observability.metrics import Metrics
from service.observability.trail import TRAIL

T = TypeVar("T")

CLOSE_SECONDS = 2.0


class Errands:
    """Made on the event loop that its callers run on."""

    def __init__(self, pool: Pool, canceller: Canceller, metrics: Metrics) -> None:
        self._pool = pool
        self._canceller = canceller
        self._metrics = metrics
        self._loop = asyncio.get_running_loop()
        self._lanes: set[Lane] = set()

    async def run(self, work: Callable[[Cursor], T]) -> T:
        """What `work` gives. Cancelling the wait ends the statement that it is at."""
        errand = Errand(work, self._loop.create_future())
        self._start(errand)
        try:
            result: T = await errand.future
            return result
        finally:
            if (trail := TRAIL.get()) is not None:
                note(trail, errand.since, errand.ran, ERRAND)
            if errand.future.cancelled():
                self._canceller.cancel(errand.guard)

    async def close(self) -> None:
        """Waits for the threads, whose callers have gone."""
        for lane in list(self._lanes):
            await asyncio.to_thread(lane.join, CLOSE_SECONDS)

    def _start(self, errand: Errand) -> None:
        def finished(lane: Lane, job: object, outcome: Outcome, following: None) -> None:
            with suppress(RuntimeError):  # the event loop has gone
                self._loop.call_soon_threadsafe(self._settle, lane, errand, outcome)

        lane = Lane("errand", self._pool, self._metrics, _perform, _nothing, finished)
        self._lanes.add(lane)
        lane.start()
        lane.give(errand)
        lane.stop()

    def _settle(self, lane: Lane, errand: Errand, outcome: Outcome) -> None:
        self._lanes.discard(lane)
        errand.ran = outcome.ran
        if errand.future.done():
            return
        if outcome.error is None:
            errand.future.set_result(outcome.result)
        else:
            errand.future.set_exception(outcome.error)


def _perform(errand: Errand, cursor: Cursor) -> Any:
    return errand.work(cursor)


def _nothing(job: object, outcome: Outcome) -> None:
    """What follows an errand."""
