"""Calls that may be slow, and errands: a statement each, on lanes of their own."""

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from service.db.batch import Batch, Call, Errand
from service.db.batches import Batches, fail, succeed
from service.db.canceller import Canceller
from service.db.lane import Job, Lane, Outcome
from service.db.patience import Patience

Waiting = Call | Errand | Batch
Following = Callable[[Any, Outcome], Job | None]
Finished = Callable[[Lane, Any, Outcome, Any], None]
Start = Callable[[Following, Finished], list[Lane]]


class HeavyLanes:
    """`start` makes the lanes. Where `limit` is given, a statement is ended after so many seconds from here, since the
    session itself knows no limit."""

    def __init__(
        self, start: Start, batches: Batches, canceller: Canceller, patience: Patience | None, limit: float | None
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._batches = batches
        self._canceller = canceller
        self._patience = patience
        self._limit = limit
        self._queue: deque[Waiting] = deque()
        self._idle = start(_nothing, self._finished)
        self.lanes = tuple(self._idle)

    @property
    def waiting(self) -> Iterable[asyncio.Future[Any]]:
        return [future for each in self._queue for future in _futures(each)]

    def check(self, *, needs_memory: bool) -> None:
        """Refuses a call that would have to wait for too long."""
        if self._patience is not None:
            self._patience.check_heavy(len(self._queue) / len(self.lanes), needs_memory=needs_memory)

    def enqueue(self, waiting: Waiting) -> None:
        self._queue.append(waiting)
        self._dispatch()

    def again(self, calls: Sequence[Call]) -> None:
        """What failed together, each by itself."""
        self._queue.extend(calls)
        self._dispatch()

    def _dispatch(self) -> None:
        while self._idle and self._queue:
            waiting = self._queue.popleft()
            if not all(future.done() for future in _futures(waiting)):
                self._idle.pop().give(self._ready(waiting))

    def _ready(self, waiting: Waiting) -> Batch | Errand:
        if isinstance(waiting, Errand):
            return waiting
        batch = waiting if isinstance(waiting, Batch) else self._batches.made(waiting.search.shape, [waiting])
        self._batches.begin(batch)
        if self._limit is not None:
            batch.limit = self._loop.call_later(self._limit, self._canceller.cancel, batch.guard)
        return batch

    def _finished(self, lane: Lane, job: Batch | Errand, outcome: Outcome, following: None) -> None:
        self._idle.append(lane)
        if self._patience is not None:
            self._patience.heavy.note(outcome.seconds)
        if isinstance(job, Batch):
            self._batches.settle(job, outcome, self.again)
        else:
            _end(job, outcome)
        self._dispatch()


def _nothing(job: Job, outcome: Outcome) -> None:
    """What a heavy lane does by itself after a job."""


def _end(errand: Errand, outcome: Outcome) -> None:
    errand.ran = outcome.ran
    if outcome.error is None:
        succeed(errand.future, outcome.result)
    else:
        fail(errand.future, outcome.error)


def _futures(waiting: Waiting) -> list[asyncio.Future[Any]]:
    return [call.future for call in waiting.calls] if isinstance(waiting, Batch) else [waiting.future]
