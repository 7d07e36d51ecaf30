"""Runs reads for callers on an event loop: calls of one shape that wait together share one statement.

A lane is a thread with a connection. A quick call goes to an idle lane at once; while a statement of its shape runs,
further calls of that shape wait and then go together, as one statement. What keeps that safe:

- only calls of one shape share a statement, and a batch is bounded in calls and in the rows they are expected to bring;
- calls that may be slow have lanes of their own, a statement each;
- a shape runs `lanes_per_shape` statements at a time; one that runs long no longer counts, so that it does not hold up
  its like, but the last idle lane is kept for other shapes;
- a batch that fails, or brings too many bytes, is run again call by call, so that the fault lands on its caller;
- a call that would wait for more than the statements that run is refused (`patience.py`);
- a call that is abandoned while it waits is dropped; a statement is cancelled when the last call it serves has gone.

All bookkeeping is done on the event loop. The threads see what they are given, and may take what waits for the shape
that they are at.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from operator import attrgetter
from time import perf_counter
from typing import Any, NamedTuple, TypeVar

from psycopg2.extensions import cursor as Cursor  # noqa: N812 - a class, whatever its case

from service.db.batch import Answer, Batch, Call, Errand
from service.db.cancel import Abandoned
from service.db.canceller import Canceller
from service.db.copy import Copied, CopyBuffer, Decoder
from service.db.engine import BULK_POOL, Pool
from service.db.errors import is_rejection, translated
from service.db.guards import PlanGuards
from service.db.lane import Job, Lane, Outcome
from service.db.patience import Patience
from service.db.queries import Statement, Statements
from service.db.trails import ERRAND, note, note_search
from service.domain import Search, Shape
from service.errors import DeadlineExceeded, Reason, ResourceExhausted, SpatialError, Unavailable
from service.observability.metrics import Metrics
from service.observability.trail import TRAIL
from service.settings import Settings

T = TypeVar("T")

LONG_SECONDS = 0.05  # after this a statement no longer holds up its like
BATCH_ROWS = 4096  # rows that a batch is expected to bring at most
BATCH_BYTES = 16 * 1024 * 1024  # a batch that brings more is run again call by call
KNOWN_SHAPES = 4096


@dataclass(slots=True, eq=False)
class Traffic:
    """The calls of one shape: those that wait, the statements that run, the rows that a call brings on average."""

    shape: Shape
    waiting: deque[Call] = field(default_factory=deque)
    running: int = 0
    long: int = 0  # statements that run beyond LONG_SECONDS, not counted in `running`
    rows: float = 1.0
    seconds: float = 0.0  # that a statement takes on average

    @property
    def idle(self) -> bool:
        return not (self.waiting or self.running or self.long)

    def note_rows(self, rows_per_call: float) -> None:
        """A mean that forgets, so that batches grow or shrink with what their calls bring."""
        self.rows = max(1.0, self.rows + (rows_per_call - self.rows) / 8)

    def note_seconds(self, seconds: float) -> None:
        self.seconds += (seconds - self.seconds) / 4


class Together(NamedTuple):
    """What searches that shared a statement were answered, and how long it ran."""

    answers: list[Answer | SpatialError]
    seconds: float


class Lanes:
    """Made on the event loop that its callers run on. `reader` says what becomes of the rows of a statement; their
    values, if it is left out."""

    def __init__(
        self,
        pool: Pool,
        canceller: Canceller,
        statements: Statements,
        settings: Settings,
        metrics: Metrics,
        reader: Callable[[Statement], Decoder] = attrgetter("decode"),
        plans: PlanGuards | None = None,
        patience: Patience | None = None,
    ) -> None:
        """Without `patience` calls wait for as long as it takes."""
        self._loop = asyncio.get_running_loop()
        self._statements = statements
        self._reader = reader
        self._settings = settings
        self._metrics = metrics
        self._canceller = canceller
        self._pool = pool
        self._plans = plans if plans is not None and plans.active else None
        self._traffic: dict[Shape, Traffic] = {}
        self._queue: dict[Traffic, None] = {}  # the shapes with calls that wait, the longest first
        self._heavy_queue: deque[Call | Errand | Batch] = deque()
        self._depth = 0
        self._closed = False
        self._patience = patience
        self._quick = self._start("lane", settings.lanes, BATCH_BYTES, self._follow, self._quick_finished)
        # More than an answer may have, so that the limit on it, which counts what is written, is what cuts it.
        budget = 2 * settings.max_response_bytes
        self._heavy = self._start("heavy-lane", settings.heavy_lanes, budget, _nothing, self._heavy_finished)
        self._all = (*self._quick, *self._heavy)

    def _start(
        self,
        name: str,
        count: int,
        budget: int,
        following: Callable[[Any, Outcome], Job | None],
        finished: Callable[[Lane, Any, Outcome, Any], None],
    ) -> list[Lane]:
        def tell(*what: Any) -> None:
            self._loop.call_soon_threadsafe(finished, *what)

        performing = [_performing(CopyBuffer(budget), self._plans) for _ in range(count)]
        lanes = [
            Lane(f"{name}-{number}", self._pool, self._metrics, perform, following, tell)
            for number, perform in enumerate(performing)
        ]
        for lane in lanes:
            lane.start()
        return lanes

    async def answer(self, search: Search) -> Answer:
        """The rows for a search. Cancelling the wait abandons it."""
        self._admit()
        call = Call(search, self._loop.create_future(), perf_counter())
        try:
            if search.heavy:
                self._check_heavy(needs_memory=True)
                self._enqueue_heavy(call)
            else:
                self._enqueue(call)
            return await call.future
        finally:
            self._leave()
            self._let_go(call)
            if (trail := TRAIL.get()) is not None:
                note_search(trail, call, self._statements[search.shape])

    async def answer_together(self, searches: Sequence[Search]) -> Together:
        """The answers to searches of one shape, from one statement on a lane for slow ones. What goes wrong with one
        is its answer; cancelling the wait abandons them all."""
        self._admit()
        since = perf_counter()
        calls = [Call(search, self._loop.create_future(), since) for search in searches]
        batch = self._batch(searches[0].shape, calls)
        try:
            self._enqueue_heavy(batch)
            answers = await asyncio.gather(*(call.future for call in calls), return_exceptions=True)
            return Together([_answer(answer) for answer in answers], batch.seconds)
        finally:
            self._leave()
            if (trail := TRAIL.get()) is not None:
                note_search(trail, calls[0], batch.statement)
            for call in calls:
                self._let_go(call)

    async def run(self, work: Callable[[Cursor], T]) -> T:
        """Any other read, on a lane for slow ones. Cancelling the wait abandons it."""
        self._admit()
        errand = Errand(work, self._loop.create_future())
        try:
            self._check_heavy(needs_memory=False)
            self._enqueue_heavy(errand)
            result: T = await errand.future
            return result
        finally:
            self._leave()
            if (trail := TRAIL.get()) is not None:
                note(trail, errand.since, errand.ran, ERRAND)
            if errand.future.cancelled():
                self._canceller.cancel(errand.guard)

    async def close(self) -> None:
        """Ends the threads after what they are at. Calls that still wait are refused."""
        self._closed = True
        waiting = [call for traffic in self._queue for call in traffic.waiting]
        for each in (*waiting, *self._heavy_queue):
            for future in _futures(each):
                _fail(future, _shutting_down())
        for lane in self._all:
            lane.stop()
        for lane in self._all:
            await asyncio.to_thread(lane.join, self._settings.statement_timeout)

    def _admit(self) -> None:
        if self._closed:
            raise _shutting_down()
        if self._depth >= self._settings.lane_queue:
            self._metrics.rejected.labels("overloaded").inc()
            raise ResourceExhausted(Reason.OVERLOADED, "too many calls are waiting already", retry_after=0.5)
        self._depth += 1
        self._metrics.lane_depth.inc()

    def _leave(self) -> None:
        self._depth -= 1
        self._metrics.lane_depth.dec()

    def _let_go(self, call: Call) -> None:
        if call.future.cancelled() and call.job is not None:
            self._abandon(call.job)

    def _check_quick(self, traffic: Traffic) -> None:
        """Refuses a call that would have to wait for too long, once the statements that run now have ended."""
        patience = self._patience
        if patience is None or (not traffic.waiting and (self._quick or traffic.running)):
            return
        seconds = max(traffic.seconds, LONG_SECONDS) if traffic.long else traffic.seconds
        statements = len(traffic.waiting) // self._most(traffic) / self._settings.lanes_per_shape
        shapes = 0 if traffic.running else len(self._queue) // self._settings.lanes
        patience.check_quick(statements * seconds, shapes)

    def _check_heavy(self, *, needs_memory: bool) -> None:
        if self._patience is not None:
            self._patience.check_heavy(len(self._heavy_queue) / self._settings.heavy_lanes, needs_memory=needs_memory)

    # Quick calls: shared statements.

    def _enqueue(self, call: Call) -> None:
        traffic = self._traffic.get(call.search.shape) or self._new_traffic(call.search.shape)
        self._check_quick(traffic)
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
        most = self._most(traffic)
        taken: list[Call] = []
        with suppress(IndexError):  # nobody is left
            while len(taken) < most:
                call = traffic.waiting.popleft()
                if not call.future.done():
                    taken.append(call)
        return self._batch(traffic.shape, taken) if taken else None

    def _most(self, traffic: Traffic) -> int:
        """Calls that its next statement may answer."""
        return min(self._settings.lane_batch, max(1, int(BATCH_ROWS / traffic.rows)))

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
        traffic.note_seconds(outcome.seconds)
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

    def _enqueue_heavy(self, waiting: Call | Errand | Batch) -> None:
        self._heavy_queue.append(waiting)
        self._dispatch_heavy()

    def _dispatch_heavy(self) -> None:
        while self._heavy and self._heavy_queue:
            waiting = self._heavy_queue.popleft()
            if not all(future.done() for future in _futures(waiting)):
                self._heavy.pop().give(self._ready(waiting))

    def _ready(self, waiting: Call | Errand | Batch) -> Batch | Errand:
        if isinstance(waiting, Errand):
            return waiting
        batch = waiting if isinstance(waiting, Batch) else self._batch(waiting.search.shape, [waiting])
        self._note(batch)
        if self._pool.kind == BULK_POOL:
            batch.limit = self._loop.call_later(self._settings.statement_timeout, self._canceller.cancel, batch.guard)
        return batch

    def _heavy_finished(self, lane: Lane, job: Batch | Errand, outcome: Outcome, following: None) -> None:
        self._heavy.append(lane)
        if self._patience is not None:
            self._patience.heavy.note(outcome.seconds)
        if isinstance(job, Batch):
            self._settle(job, outcome)
            self._dispatch_heavy()
            return
        job.ran = outcome.ran
        if outcome.error is None:
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
            self._canceller.cancel(batch.guard)

    def _settle(self, batch: Batch, outcome: Outcome) -> int:
        """Hands each caller its own rows, and says how many there were; what failed together is run again apart."""
        batch.running = False
        batch.seconds = outcome.seconds
        for call in batch.calls:
            call.ran = outcome.ran
        if batch.limit is not None:
            batch.limit.cancel()
        self._metrics.query.labels(batch.shape.name, batch.shape.layer).observe(outcome.seconds)
        if outcome.error is None:
            return self._deliver(batch, outcome.result)
        if outcome.fatal or (len(batch.calls) == 1 and not isinstance(outcome.error, Abandoned)):
            self._refuse(batch, outcome.error)
        else:  # those whose caller has gone are left out there
            self._heavy_queue.extend(batch.calls)
            self._dispatch_heavy()
        return 0

    def _batch(self, shape: Shape, calls: list[Call]) -> Batch:
        statement = self._statements[shape]
        return Batch(statement, calls, self._reader(statement))

    def _deliver(self, batch: Batch, copied: Copied) -> int:
        try:
            answers = batch.answers(copied)
        except Exception as error:  # whatever it is, nobody may be left waiting
            self._refuse(batch, translated(error))
            return 0
        for call, answer in zip(batch.calls, answers, strict=True):
            call.job = None  # they know each other, and would keep the answers until the next collection of garbage
            _succeed(call.future, answer)
        return sum(len(answer.rows) for answer in answers)

    def _refuse(self, batch: Batch, error: Exception) -> None:
        if isinstance(error, DeadlineExceeded):
            self._metrics.cancelled.labels("statement_timeout").inc()
        if is_rejection(error):
            self._metrics.rejected.labels(error.reason.lower()).inc(len(batch.calls))
        for call in batch.calls:
            _fail(call.future, error)

    def _abandon(self, batch: Batch) -> None:
        batch.waiting -= 1
        if batch.running and not batch.waiting:
            self._canceller.cancel(batch.guard)


def _performing(buffer: CopyBuffer, plans: PlanGuards | None) -> Callable[[Any, Cursor], Any]:
    """What a lane does with a job, on a buffer of its own."""
    if plans is None:
        return lambda job, cursor: job.perform(cursor, buffer)

    def perform(job: Any, cursor: Cursor) -> Any:
        plans.admit(job, cursor)
        return job.perform(cursor, buffer)

    return perform


def _nothing(job: Job, outcome: Outcome) -> None:
    """What a heavy lane does by itself after a job."""


def _futures(waiting: Call | Errand | Batch) -> list[asyncio.Future[Any]]:
    return [call.future for call in waiting.calls] if isinstance(waiting, Batch) else [waiting.future]


def _answer(answer: Answer | BaseException) -> Answer | SpatialError:
    """What is neither is a bug, and ends the wait."""
    if isinstance(answer, Answer | SpatialError):
        return answer
    raise answer


def _succeed(future: asyncio.Future[Any], result: object) -> None:
    if not future.done():
        future.set_result(result)


def _fail(future: asyncio.Future[Any], error: Exception) -> None:
    if not future.done():
        future.set_exception(error)


def _shutting_down() -> SpatialError:
    return Unavailable(Reason.SHUTTING_DOWN, "this server is shutting down", retry_after=0.1)


def match_lanes(
    pool: Pool,
    canceller: Canceller,
    statements: Statements,
    settings: Settings,
    metrics: Metrics,
    plans: PlanGuards | None = None,
) -> Lanes:
    """Lanes for matches alone: `match_connections` at a time, all of them heavy."""
    given = settings.model_copy(update={"lanes": 1, "heavy_lanes": settings.match_connections})
    return Lanes(pool, canceller, statements, given, metrics, plans=plans)
