"""Runs reads for callers on an event loop: calls of one shape that wait together share one statement.

A lane is a thread with a connection. A quick call goes to an idle lane at once; while a statement of its shape runs,
further calls of that shape wait and then go together, as one statement. What keeps that safe:

- only calls of one shape share a statement, and a batch is bounded in calls and in the rows they are expected to bring;
- calls that may be slow have lanes of their own, a statement each;
- a shape runs `lanes_per_shape` statements at a time; one that runs long no longer counts, so that it does not hold up
  its like, but the last idle lane is kept for other shapes;
- a batch that fails, or brings too many bytes, is run again call by call, so that the fault lands on its caller;
- a call that is abandoned while it waits is dropped; a statement is cancelled when the last call it serves has gone.

All bookkeeping is done on the event loop. The threads see what they are given, and may take what waits for the shape
that they are at.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any, TypeVar

from psycopg2.extensions import cursor as Cursor  # noqa: N812 - a class, whatever its case
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from service.db.batch import Answer, Batch, Call, Errand
from service.db.cancel import Abandoned, StatementGuard
from service.db.copy import Copied, CopyBuffer
from service.db.errors import translated
from service.db.lane import Job, Lane, Outcome
from service.db.queries import Statements
from service.db.turnstile import Turnstile
from service.db.worker import Worker
from service.domain import Search, Shape
from service.errors import DeadlineExceeded, Reason, ResourceExhausted, SpatialError, Unavailable
from service.observability.metrics import Metrics
from service.settings import Settings

T = TypeVar("T")

log = logging.getLogger("spatial.lanes")

LONG_SECONDS = 0.05  # after this a statement no longer holds up its like
BATCH_ROWS = 4096  # rows that a batch is expected to bring at most
BATCH_BYTES = 16 * 1024 * 1024  # a batch that brings more is run again call by call
KNOWN_SHAPES = 4096
CANCEL_AGAIN_SECONDS = 0.05


@dataclass(slots=True, eq=False)
class Traffic:
    """The calls of one shape: those that wait, the statements that run, the rows that a call brings on average."""

    shape: Shape
    waiting: deque[Call] = field(default_factory=deque)
    running: int = 0
    long: int = 0  # statements that run beyond LONG_SECONDS, not counted in `running`
    rows: float = 1.0

    @property
    def idle(self) -> bool:
        return not (self.waiting or self.running or self.long)

    def note_rows(self, rows_per_call: float) -> None:
        """A mean that forgets, so that batches grow or shrink with what their calls bring."""
        self.rows = max(1.0, self.rows + (rows_per_call - self.rows) / 8)


class Lanes:
    """Made on the event loop that its callers run on."""

    def __init__(
        self, engine: Engine, control: Engine, statements: Statements, settings: Settings, metrics: Metrics
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._statements = statements
        self._settings = settings
        self._metrics = metrics
        self._control = control
        self._canceller = Worker("canceller")
        self._turnstile = Turnstile(settings.pool_size)
        self._traffic: dict[Shape, Traffic] = {}
        self._queue: dict[Traffic, None] = {}  # the shapes with calls that wait, the longest first
        self._heavy_queue: deque[Call | Errand] = deque()
        self._depth = 0
        self._closed = False
        self._quick = self._start("lane", settings.lanes, engine, BATCH_BYTES, self._follow, self._quick_finished)
        # More than an answer may have, so that the limit on it, which counts what is written, is what cuts it.
        budget = 2 * settings.max_response_bytes
        self._heavy = self._start("heavy-lane", settings.heavy_lanes, engine, budget, _nothing, self._heavy_finished)
        self._all = (*self._quick, *self._heavy)
        metrics.lane_depth.set_function(lambda: self._depth)

    def _start(
        self,
        name: str,
        count: int,
        engine: Engine,
        budget: int,
        following: Callable[[Any, Outcome], Job | None],
        finished: Callable[[Lane, Any, Outcome, Any], None],
    ) -> list[Lane]:
        def tell(*what: Any) -> None:
            self._loop.call_soon_threadsafe(finished, *what)

        timeout = self._settings.pool_timeout
        lanes = [
            Lane(
                f"{name}-{number}", engine, self._turnstile, self._metrics, timeout, CopyBuffer(budget), following, tell
            )
            for number in range(count)
        ]
        for lane in lanes:
            lane.start()
        return lanes

    async def answer(self, search: Search) -> Answer:
        """The rows for a search. Cancelling the wait abandons it."""
        self._admit()
        call = Call(search, self._loop.create_future(), perf_counter())
        try:
            self._enqueue_heavy(call) if search.heavy else self._enqueue(call)
            return await call.future
        finally:
            self._depth -= 1
            if call.future.cancelled() and call.job is not None:
                self._abandon(call.job)

    async def run(self, work: Callable[[Cursor], T]) -> T:
        """Any other read, on a lane for slow ones. Cancelling the wait abandons it."""
        self._admit()
        errand = Errand(work, self._loop.create_future())
        try:
            self._enqueue_heavy(errand)
            result: T = await errand.future
            return result
        finally:
            self._depth -= 1
            if errand.future.cancelled():
                self._cancel(errand.guard)

    async def close(self) -> None:
        """Ends the threads after what they are at. Calls that still wait are refused."""
        self._closed = True
        waiting = [call for traffic in self._queue for call in traffic.waiting]
        for call in (*waiting, *self._heavy_queue):
            _fail(call.future, _shutting_down())
        for lane in self._all:
            lane.stop()
        for lane in self._all:
            await asyncio.to_thread(lane.join, self._settings.statement_timeout)
        self._canceller.stop()

    def _admit(self) -> None:
        if self._closed:
            raise _shutting_down()
        if self._depth >= self._settings.lane_queue:
            self._metrics.rejected.labels("overloaded").inc()
            raise ResourceExhausted(Reason.OVERLOADED, "too many calls are waiting already", retry_after=0.5)
        self._depth += 1

    # Quick calls: shared statements.

    def _enqueue(self, call: Call) -> None:
        traffic = self._traffic.get(call.search.shape) or self._new_traffic(call.search.shape)
        traffic.waiting.append(call)
        self._queue[traffic] = None
        self._dispatch(traffic)

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
                self._quick.pop().give(batch)
        if not traffic.waiting:
            self._queue.pop(traffic, None)

    def _may_run(self, traffic: Traffic) -> bool:
        kept = 1 if traffic.long else 0  # the last idle lane is for shapes that have none
        return traffic.running < self._settings.lanes_per_shape and len(self._quick) > kept

    def _take(self, traffic: Traffic) -> Batch | None:
        """On the event loop or on a lane's thread: the calls at the front that are still awaited."""
        most = min(self._settings.lane_batch, max(1, int(BATCH_ROWS / traffic.rows)))
        taken: list[Call] = []
        with suppress(IndexError):  # nobody is left
            while len(taken) < most:
                call = traffic.waiting.popleft()
                if not call.future.done():
                    taken.append(call)
        return Batch(self._statements[traffic.shape], taken) if taken else None

    def _follow(self, batch: Batch, outcome: Outcome) -> Batch | None:
        """On the lane's thread, so that PostgreSQL need not wait until the event loop finds time: what its lane does
        next without being told. Nothing, where other shapes may be waiting for a lane, or anything is unusual."""
        if outcome.error is not None or batch.long or not self._quick or self._closed:
            return None
        traffic = self._traffic.get(batch.shape)
        return self._take(traffic) if traffic is not None else None

    def _commit(self, traffic: Traffic, batch: Batch) -> None:
        self._note(batch)
        self._loop.call_later(LONG_SECONDS, self._runs_long, traffic, batch)

    def _runs_long(self, traffic: Traffic, batch: Batch) -> None:
        if batch.running:
            batch.long = True
            traffic.running -= 1
            traffic.long += 1
            self._dispatch(traffic)

    def _quick_finished(self, lane: Lane, batch: Batch, outcome: Outcome, following: Batch | None) -> None:
        traffic = self._traffic[batch.shape]
        if following is not None:
            self._go_on(traffic, batch, following)
        else:
            self._rest(lane, traffic, batch)
        rows = self._settle(batch, outcome)
        traffic.note_rows(rows / len(batch.calls))

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
        self._quick.append(lane)
        if batch.long:
            traffic.long -= 1
        else:
            traffic.running -= 1
        for waiting in list(self._queue):
            if not self._quick:
                break
            self._dispatch(waiting)

    # Heavy calls and errands: a statement each.

    def _enqueue_heavy(self, waiting: Call | Errand) -> None:
        self._heavy_queue.append(waiting)
        self._dispatch_heavy()

    def _dispatch_heavy(self) -> None:
        while self._heavy and self._heavy_queue:
            waiting = self._heavy_queue.popleft()
            if not waiting.future.done():
                self._heavy.pop().give(self._alone(waiting) if isinstance(waiting, Call) else waiting)

    def _alone(self, call: Call) -> Batch:
        batch = Batch(self._statements[call.search.shape], [call])
        self._note(batch)
        return batch

    def _heavy_finished(self, lane: Lane, job: Batch | Errand, outcome: Outcome, following: None) -> None:
        self._heavy.append(lane)
        if isinstance(job, Batch):
            self._settle(job, outcome)
        elif outcome.error is None:
            _succeed(job.future, outcome.result)
        else:
            _fail(job.future, outcome.error)
        self._dispatch_heavy()

    # Both.

    def _note(self, batch: Batch) -> None:
        """From here on it counts when a caller leaves. One may have left since a lane took the call by itself."""
        now = perf_counter()
        for call in batch.calls:
            self._metrics.lane_wait.observe(now - call.since)
            if not call.future.done():
                call.job = batch
                batch.waiting += 1
        self._metrics.batch_size.observe(len(batch.calls))
        if not batch.waiting:
            self._cancel(batch.guard)

    def _settle(self, batch: Batch, outcome: Outcome) -> int:
        """Hands each caller its own rows, and says how many there were; what failed together is run again apart."""
        batch.running = False
        self._metrics.query.labels(batch.shape.name, batch.shape.layer).observe(outcome.seconds)
        if outcome.error is None:
            return self._deliver(batch, outcome.result)
        if outcome.fatal or (len(batch.calls) == 1 and not isinstance(outcome.error, Abandoned)):
            self._refuse(batch, outcome.error)
        else:  # those whose caller has gone are left out there
            self._heavy_queue.extend(batch.calls)
            self._dispatch_heavy()
        return 0

    def _deliver(self, batch: Batch, copied: Copied) -> int:
        try:
            answers = batch.answers(copied)
        except Exception as error:  # whatever it is, nobody may be left waiting
            self._refuse(batch, translated(error))
            return 0
        for call, answer in zip(batch.calls, answers, strict=True):
            _succeed(call.future, answer)
        return sum(len(answer.rows) for answer in answers)

    def _refuse(self, batch: Batch, error: Exception) -> None:
        if isinstance(error, DeadlineExceeded):
            self._metrics.cancelled.labels("statement_timeout").inc()
        if isinstance(error, ResourceExhausted):
            self._metrics.rejected.labels(error.reason.lower()).inc(len(batch.calls))
        for call in batch.calls:
            _fail(call.future, error)

    def _abandon(self, batch: Batch) -> None:
        batch.waiting -= 1
        if batch.running and not batch.waiting:
            self._cancel(batch.guard)

    def _cancel(self, guard: StatementGuard) -> None:
        self._metrics.cancelled.labels("abandoned").inc()
        self._send_cancel(guard)

    def _send_cancel(self, guard: StatementGuard) -> None:
        self._canceller.submit(lambda: self._tell(guard))

    def _tell(self, guard: StatementGuard) -> None:
        """On the canceller's thread. Again and again until the statement has ended."""
        again = True
        try:
            again = guard.cancel(self._control)
        except SQLAlchemyError as error:
            log.warning("a statement could not be cancelled yet", exc_info=error)
        if again:
            with suppress(RuntimeError):  # the event loop has gone
                self._loop.call_soon_threadsafe(self._loop.call_later, CANCEL_AGAIN_SECONDS, self._send_cancel, guard)


def _nothing(job: Job, outcome: Outcome) -> None:
    """What a heavy lane does by itself after a job."""


def _succeed(future: asyncio.Future[Any], result: object) -> None:
    if not future.done():
        future.set_result(result)


def _fail(future: asyncio.Future[Any], error: Exception) -> None:
    if not future.done():
        future.set_exception(error)


def _shutting_down() -> SpatialError:
    return Unavailable(Reason.SHUTTING_DOWN, "this server is shutting down", retry_after=0.1)
