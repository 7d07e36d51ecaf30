"""Quick calls: those of one shape that wait together share a statement."""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from service.db.batch import Batch, Call
from service.db.batches import Batches
from service.db.heavy import Start
from service.db.lane import Lane, Outcome
from service.db.patience import Patience
from service.db.traffic import Traffic
from service.domain import Shape
from service.settings import Settings

LONG_SECONDS = 0.05  # after this a statement no longer holds up its like
KNOWN_SHAPES = 4096


class QuickLanes:
    """`start` makes the lanes; `again` takes what failed together."""

    def __init__(
        self,
        start: Start,
        batches: Batches,
        settings: Settings,
        patience: Patience | None,
        again: Callable[[Sequence[Call]], None],
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._batches = batches
        self._most_calls = settings.lane_batch
        self._per_shape = settings.lanes_per_shape
        self._patience = patience
        self._most_seconds = patience.together if patience is not None else None
        self._again = again
        self._traffic: dict[Shape, Traffic] = {}
        self._queue: dict[Traffic, None] = {}  # the shapes with calls that wait, the longest first
        self._closed = False
        self._idle = start(self._follow, self._finished)
        self.lanes = tuple(self._idle)

    @property
    def waiting(self) -> Iterable[asyncio.Future[Any]]:
        return [call.future for traffic in self._queue for call in traffic.waiting]

    def close(self) -> None:
        """From here on no lane goes on by itself."""
        self._closed = True

    def enqueue(self, call: Call) -> None:
        traffic = self._traffic.get(call.search.shape) or self._new_traffic(call.search.shape)
        self._check(traffic)
        traffic.waiting.append(call)
        self._queue[traffic] = None
        self._dispatch(traffic)

    def _check(self, traffic: Traffic) -> None:
        """Refuses a call that would have to wait for too long, once the statements that run now have ended."""
        patience = self._patience
        if patience is None:
            return
        at_once = traffic.running or (self._idle and not traffic.waiting)
        rounds = 0 if at_once else len(self._queue) // len(self.lanes)
        patience.check_quick(self._before(traffic) + self._batches.behind, rounds)

    def _before(self, traffic: Traffic) -> float:
        """Seconds until the statement begins that answers who comes now; 0 where that is the next one."""
        statements = len(traffic.waiting) // self._most(traffic) / self._per_shape
        seconds = max(traffic.seconds, LONG_SECONDS) if traffic.long else traffic.seconds
        return (1 + statements) * seconds if statements else 0.0

    def _most(self, traffic: Traffic) -> int:
        return traffic.most(self._most_calls, self._most_seconds)

    def _new_traffic(self, shape: Shape) -> Traffic:
        # Callers choose properties, so there is no end of shapes: the oldest that is idle is forgotten.
        if len(self._traffic) >= KNOWN_SHAPES:
            oldest = next((shape for shape, traffic in self._traffic.items() if traffic.idle), None)
            self._traffic.pop(oldest, None)  # type: ignore[arg-type]
        traffic = self._traffic[shape] = Traffic(shape, rows=float(shape.limit or 1))
        return traffic

    def _dispatch(self, traffic: Traffic) -> None:
        """Gives what waits to idle lanes, as far as the shape may have them."""
        while traffic.waiting and self._may_run(traffic):
            batch = self._take(traffic)
            if batch:
                traffic.running += 1
                self._commit(traffic, batch)
                self._idle.pop().give(batch)
        if not traffic.waiting:
            self._queue.pop(traffic, None)

    def _may_run(self, traffic: Traffic) -> bool:
        kept = 1 if traffic.long else 0  # the last idle lane is for shapes that have none
        return traffic.running < self._per_shape and len(self._idle) > kept

    def _take(self, traffic: Traffic) -> Batch | None:
        """On the event loop or on a lane's thread."""
        calls = traffic.take(self._most(traffic))
        return self._batches.made(traffic.shape, calls, packed=True) if calls else None

    def _follow(self, batch: Batch, outcome: Outcome) -> Batch | None:
        """On the lane's thread, so that PostgreSQL need not wait until the event loop finds time: what its lane does
        next without being told. Nothing, where other shapes may be waiting for a lane, or anything is unusual."""
        if outcome.error is not None or batch.long or not self._idle or self._closed:
            return None
        traffic = self._traffic.get(batch.shape)
        return self._take(traffic) if traffic is not None else None

    def _commit(self, traffic: Traffic, batch: Batch) -> None:
        self._batches.begin(batch)
        self._loop.call_later(LONG_SECONDS, self._runs_long, traffic, batch)

    def _runs_long(self, traffic: Traffic, batch: Batch) -> None:
        if batch.running:
            batch.long = True
            traffic.running -= 1
            traffic.long += 1
            self._dispatch(traffic)

    def _finished(self, lane: Lane, batch: Batch, outcome: Outcome, following: Batch | None) -> None:
        traffic = self._traffic[batch.shape]
        if following is not None:
            self._go_on(traffic, batch, following)
        else:
            self._rest(lane, traffic, batch)
        rows = self._batches.settle(batch, outcome, self._again)
        traffic.note_rows(rows / len(batch.calls))
        traffic.note_seconds(outcome.seconds, len(batch.calls))
        if self._patience is not None:
            self._patience.quick.note(outcome.seconds)

    def _go_on(self, traffic: Traffic, batch: Batch, following: Batch) -> None:
        """The lane is at the next statement of the same shape already."""
        if batch.long:
            traffic.long -= 1
            traffic.running += 1
        self._commit(traffic, following)
        if not traffic.waiting:
            self._queue.pop(traffic, None)

    def _rest(self, lane: Lane, traffic: Traffic, batch: Batch) -> None:
        """The lane is idle. First what waits: PostgreSQL works on it while the answers are made of what it sent."""
        self._idle.append(lane)
        if batch.long:
            traffic.long -= 1
        else:
            traffic.running -= 1
        for waiting in list(self._queue):
            if not self._idle:
                break
            self._dispatch(waiting)
