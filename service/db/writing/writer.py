"""Runs changes for callers on an event loop: on lanes with a session for each transaction, `write_pool_size` at a time.

Who cancels the wait cancels the change, until its COMMIT is sent; where others share its transaction, until it begins.
"""

import asyncio
from collections.abc import Iterable, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

from sqlalchemy import Engine
from sqlalchemy.orm import Session

from service.db.canceller import Canceller
from service.db.engine import Pool
from service.db.lane import Lane, Outcome
from service.db.patience import unhurried
from service.db.trails import note
from service.db.writing.gathering import Gathering
from service.db.writing.groups import Apart, Done, perform_group
from service.db.writing.jobs import Attempts, Change, Group, Written
from service.db.writing.sessions import KeptSession, editing
from service.db.writing.sharing import LONG_SECONDS, Waiting
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
        self._waiting = Waiting()
        self._impatient: asyncio.TimerHandle | None = None
        self._closed = False
        self._gathering = Gathering(self._waiting, self._dispatch)
        self._patience = unhurried(settings, metrics)
        pool = editing(pool)
        self._lanes = [self._started(f"writer-{number}", pool) for number in range(settings.write_pool_size)]
        self._idle = list(self._lanes)

    async def write(self, change: Change) -> Written:
        """What the change is answered with, once it is committed."""
        self._admit()
        job = Attempts(change, self._loop.create_future())
        self._waiting.put(job)
        self._gathering.arrived(shares=change.shared is not None)
        try:
            written: Written = await job.future
            return written
        finally:
            if (trail := TRAIL.get()) is not None:
                note(trail, job.since, job.ran, {"query": change.kind, "layer": change.layer, "attempts": job.tries})
            if job.future.cancelled():
                self._left(job.group)

    def _admit(self) -> None:
        if self._closed:
            raise _shutting_down()
        if self._waiting.changes >= self._settings.write_queue:
            self._metrics.rejected.labels("overloaded").inc()
            raise ResourceExhausted(Reason.OVERLOADED, "too many changes are waiting already", retry_after=0.5)
        self._patience.check_heavy(self._waiting.groups / self._settings.write_pool_size, needs_memory=False)

    def _left(self, group: Group | None) -> None:
        """When the last one has gone, what is under way is of no use to anybody."""
        if group is not None and not group.present():
            self._waiting.close(group)
            self._canceller.cancel(group.guard)

    async def close(self) -> None:
        """Ends the threads after what they are at. Changes that still wait are refused."""
        self._closed = True
        if self._impatient is not None:
            self._impatient.cancel()
        for group in self._waiting.drain():
            _settle_all(group.members, _shutting_down())
        for lane in self._lanes:
            lane.stop()
        for lane in self._lanes:
            await asyncio.to_thread(lane.join, self._settings.statement_timeout)

    def _started(self, name: str, pool: Pool) -> Lane:
        def tell(*what: Any) -> None:
            with suppress(RuntimeError):  # the event loop has gone
                self._loop.call_soon_threadsafe(self._finished, *what)

        lane = Lane(name, pool, self._metrics, self._perform, self._follow, tell, KeptSession(), Engine.connect)
        lane.start()
        return lane

    def _dispatch(self) -> None:
        while self._idle and (group := self._waiting.take()) is not None:
            self._idle.pop().give(group)
        if self._idle and self._waiting.groups and self._impatient is None:
            self._impatient = self._loop.call_later(LONG_SECONDS, self._let_by)

    def _let_by(self) -> None:
        self._impatient = None
        self._waiting.let_by()
        self._dispatch()

    def _perform(self, group: Group, session: Session) -> Done:
        """On a lane's thread."""
        return perform_group(group, session, partial(self._committing, group))

    def _committing(self, group: Group) -> None:
        """On a lane's thread: the next of the kind need not wait for the disk, too."""
        group.committing = True
        if self._waiting.groups:
            with suppress(RuntimeError):  # the event loop has gone
                self._loop.call_soon_threadsafe(self._gathering.gather)

    def _follow(self, group: Group, outcome: Outcome) -> Group | None:
        """On the lane's thread: what it does next without being told; groups are gathered on the event loop."""
        self._waiting.ended(group)
        return self._waiting.take() if group.shared is None else None

    def _finished(self, lane: Lane, group: Group, outcome: Outcome, following: Group | None) -> None:
        if following is None:
            self._idle.append(lane)
        present = group.present()
        for job in group.members:
            job.group = None  # or they would keep one another
        self._note(group, outcome)
        if isinstance(outcome.error, Apart):
            self._set_apart(present)
        elif outcome.error is not None:
            _settle_all(present, outcome.error)
        else:
            for job, written in outcome.result:
                if not job.future.done():
                    job.future.set_result(written)
        self._gathering.answered(0 if outcome.error is not None else len(present))

    def _set_apart(self, jobs: Sequence[Attempts]) -> None:
        if self._closed:
            _settle_all(jobs, _shutting_down())
        else:
            self._waiting.put_back(jobs)

    def _note(self, group: Group, outcome: Outcome) -> None:
        jobs, change = group.members, group.members[0].change  # all of a kind
        self._patience.heavy.note(outcome.seconds)
        if group.shared is not None:
            group.shared.took(len(jobs), outcome.seconds)
        took = self._metrics.query.labels(change.kind, change.layer)
        for job in jobs:
            job.ran = outcome.ran
            took.observe(outcome.seconds)
            if job.tries > 1:
                self._metrics.write_retries.labels(change.kind).inc(job.tries - 1)
        if isinstance(outcome.error, DeadlineExceeded):
            self._metrics.cancelled.labels("statement_timeout").inc()
        if isinstance(outcome.error, ResourceExhausted):
            self._metrics.rejected.labels(outcome.error.reason.lower()).inc()


def _settle_all(jobs: Iterable[Attempts], error: Exception) -> None:
    for job in jobs:
        if not job.future.done():
            job.future.set_exception(error)


def _shutting_down() -> SpatialError:
    return Unavailable(Reason.SHUTTING_DOWN, "this server is shutting down", retry_after=0.1)
