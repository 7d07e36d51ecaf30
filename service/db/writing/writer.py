"""Runs changes for callers on an event loop: each on a lane with a session of its own, `write_pool_size` at a time.

Who cancels the wait cancels the change, until its COMMIT is sent.
"""

import asyncio
from collections import deque
from contextlib import suppress
from typing import Any

from service.db.canceller import Canceller
from service.db.engine import Pool
from service.db.lane import Lane, Outcome
from service.db.patience import unhurried
from service.db.trails import note
from service.db.writing.attempts import Attempts, Change, Written, perform
from service.db.writing.sessions import editing, sessions
from service.errors import DeadlineExceeded, Reason, ResourceExhausted, SpatialError, Unavailable
from service.observability.metrics import Metrics
from service.observability.trail import TRAIL
from service.settings import Settings


class Writer:
    """Made on the event loop that its callers run on."""

    def __init__(self, pool: Pool, canceller: Canceller, settings: Settings, metrics: Metrics) -> None:
        self._loop = asyncio.get_running_loop()
        self._canceller = canceller
        self._settings = settings
        self._metrics = metrics
        self._waiting: deque[Attempts] = deque()
        self._closed = False
        self._patience = unhurried(settings, metrics)
        pool = editing(pool)
        self._lanes = [self._started(f"writer-{number}", pool) for number in range(settings.write_pool_size)]
        self._idle = list(self._lanes)

    async def write(self, change: Change) -> Written:
        """What the change is answered with, once it is committed."""
        if self._closed:
            raise _shutting_down()
        if len(self._waiting) >= self._settings.write_queue:
            self._metrics.rejected.labels("overloaded").inc()
            raise ResourceExhausted(Reason.OVERLOADED, "too many changes are waiting already", retry_after=0.5)
        self._patience.check_heavy(len(self._waiting) / self._settings.write_pool_size, needs_memory=False)
        job = Attempts(change, self._loop.create_future())
        self._waiting.append(job)
        self._dispatch()
        try:
            written: Written = await job.future
            return written
        finally:
            if (trail := TRAIL.get()) is not None:
                note(trail, job.since, job.ran, {"query": change.kind, "layer": change.layer, "attempts": job.tries})
            if job.future.cancelled():
                self._canceller.cancel(job.guard)

    async def close(self) -> None:
        """Ends the threads after what they are at. Changes that still wait are refused."""
        self._closed = True
        while self._waiting:
            _settle(self._waiting.popleft(), Outcome(error=_shutting_down()))
        for lane in self._lanes:
            lane.stop()
        for lane in self._lanes:
            await asyncio.to_thread(lane.join, self._settings.statement_timeout)

    def _started(self, name: str, pool: Pool) -> Lane:
        def tell(*what: Any) -> None:
            with suppress(RuntimeError):  # the event loop has gone
                self._loop.call_soon_threadsafe(self._finished, *what)

        lane = Lane(name, pool, self._metrics, perform, self._follow, tell, lambda pooled: sessions(bind=pooled))
        lane.start()
        return lane

    def _dispatch(self) -> None:
        while self._idle and self._waiting:
            with suppress(IndexError):  # a lane has taken it
                self._idle[-1].give(self._waiting.popleft())
                self._idle.pop()

    def _follow(self, job: Attempts, outcome: Outcome) -> Attempts | None:
        """On the lane's thread: what it does next without being told."""
        with suppress(IndexError):
            return self._waiting.popleft()
        return None

    def _finished(self, lane: Lane, job: Attempts, outcome: Outcome, following: Attempts | None) -> None:
        if following is None:
            self._idle.append(lane)
            self._dispatch()
        change = job.change
        job.ran = outcome.ran
        self._patience.heavy.note(outcome.seconds)
        self._metrics.query.labels(change.kind, change.layer).observe(outcome.seconds)
        if job.tries > 1:
            self._metrics.write_retries.labels(change.kind).inc(job.tries - 1)
        if isinstance(outcome.error, DeadlineExceeded):
            self._metrics.cancelled.labels("statement_timeout").inc()
        if isinstance(outcome.error, ResourceExhausted):
            self._metrics.rejected.labels(outcome.error.reason.lower()).inc()
        _settle(job, outcome)


def _settle(job: Attempts, outcome: Outcome) -> None:
    if job.future.done():
        return
    if outcome.error is None:
        job.future.set_result(outcome.result)
    else:
        job.future.set_exception(outcome.error)


def _shutting_down() -> SpatialError:
    return Unavailable(Reason.SHUTTING_DOWN, "this server is shutting down", retry_after=0.1)
