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

What is said of quick calls stands in `quick.py`, with `traffic.py` for one shape; of slow ones, in `heavy.py`; what
becomes of a batch, in `batches.py`. All bookkeeping is done on the event loop. The threads see what they are given, and
may take what waits for the shape that they are at.
"""

import asyncio
from collections.abc import Callable, Sequence
from functools import partial
from operator import attrgetter
from time import perf_counter
from typing import Any, NamedTuple, TypeVar

from psycopg2.extensions import cursor as Cursor  # noqa: N812 - a class, whatever its case

from service.db.batch import Answer, Call, Errand
from service.db.batches import Batches, fail
from service.db.canceller import Canceller
from service.db.copy import CopyBuffer, Decoder
from service.db.engine import BULK_POOL, Pool
from service.db.guards import PlanGuards
from service.db.heavy import Finished, Following, HeavyLanes
from service.db.lane import Lane
from service.db.packed import Packed
from service.db.packed_copies import PackedCopies
from service.db.patience import Patience
from service.db.queries import Statement, Statements
from service.db.quick import QuickLanes
from service.db.trails import ERRAND, note, note_search
from service.domain import Search, Shape
from service.errors import Reason, ResourceExhausted, SpatialError, Unavailable
from service.observability.metrics import Metrics
from service.observability.trail import TRAIL
from service.settings import Settings

T = TypeVar("T")

BATCH_BYTES = 16 * 1024 * 1024  # a batch that brings more is run again call by call


class Together(NamedTuple):
    """What searches that shared a statement were answered, and how long it ran."""

    answers: list[Answer | SpatialError]
    seconds: float


class Lanes:
    """Made on the event loop that its callers run on. `reader` says what becomes of the rows of a statement; their
    values, if it is left out. `packed` has the statements whose answers PostgreSQL writes, `packed_copies` those for
    many calls at once."""

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
        packed: Packed | None = None,
        packed_copies: PackedCopies | None = None,
    ) -> None:
        """Without `patience` calls wait for as long as it takes."""
        self._loop = asyncio.get_running_loop()
        self._statements = statements
        self._settings = settings
        self._metrics = metrics
        self._canceller = canceller
        self._pool = pool
        self._plans = plans if plans is not None and plans.active else None
        self._depth = 0
        self._closed = False
        self._batches = Batches(statements, reader, packed, packed_copies, canceller, metrics)
        # More than an answer may have, so that the limit on it, which counts what is written, is what cuts it.
        start_heavy = partial(self._start, "heavy-lane", settings.heavy_lanes, 2 * settings.max_response_bytes)
        limit = settings.statement_timeout if pool.kind == BULK_POOL else None
        self._heavy = HeavyLanes(start_heavy, self._batches, canceller, patience, limit)
        start_quick = partial(self._start, "lane", settings.lanes, BATCH_BYTES)
        self._quick = QuickLanes(start_quick, self._batches, settings, patience, self._heavy.again)

    def _start(self, name: str, count: int, budget: int, following: Following, finished: Finished) -> list[Lane]:
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
                self._heavy.check(needs_memory=True)
                self._heavy.enqueue(call)
            else:
                self._quick.enqueue(call)
            return await call.future
        finally:
            self._leave()
            self._batches.let_go(call)
            if (trail := TRAIL.get()) is not None:
                note_search(trail, call, self._statements)

    async def answer_together(self, searches: Sequence[Search]) -> Together:
        """The answers to searches of one shape, but for boxes around some, from one statement on a lane for slow ones.
        What goes wrong with one is its answer; cancelling the wait abandons them all."""
        self._admit()
        since = perf_counter()
        calls = [Call(search, self._loop.create_future(), since) for search in searches]
        batch = self._batches.made(_shared(searches), calls)
        try:
            self._heavy.enqueue(batch)
            answers = [await _settled(call.future) for call in calls]  # mostly, with the first all of them are there
            return Together([_answer(answer) for answer in answers], batch.seconds)
        except asyncio.CancelledError:
            for call in calls:
                call.future.cancel()
            raise
        finally:
            self._leave()
            if (trail := TRAIL.get()) is not None:
                note_search(trail, calls[0], self._statements)
            for call in calls:
                self._batches.let_go(call)

    async def run(self, work: Callable[[Cursor], T]) -> T:
        """Any other read, on a lane for slow ones. Cancelling the wait abandons it."""
        self._admit()
        errand = Errand(work, self._loop.create_future())
        try:
            self._heavy.check(needs_memory=False)
            self._heavy.enqueue(errand)
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
        self._quick.close()
        for future in (*self._quick.waiting, *self._heavy.waiting):
            fail(future, _shutting_down())
        lanes = (*self._quick.lanes, *self._heavy.lanes)
        for lane in lanes:
            lane.stop()
        for lane in lanes:
            await asyncio.to_thread(lane.join, self._settings.statement_timeout)

    def _admit(self) -> None:
        if self._closed:
            raise _shutting_down()
        if self._depth >= self._settings.lane_queue:
            self._metrics.rejected.labels("overloaded").inc()
            raise ResourceExhausted(Reason.OVERLOADED, "too many calls are waiting already", retry_after=0.5)
        self._depth += 1
        self._metrics.lane_depth.number += 1

    def _leave(self) -> None:
        self._depth -= 1
        self._metrics.lane_depth.number -= 1


def _performing(buffer: CopyBuffer, plans: PlanGuards | None) -> Callable[[Any, Cursor], Any]:
    """What a lane does with a job, on a buffer of its own."""
    if plans is None:
        return lambda job, cursor: job.perform(cursor, buffer)

    def perform(job: Any, cursor: Cursor) -> Any:
        plans.admit(job, cursor)
        return job.perform(cursor, buffer)

    return perform


async def _settled(future: asyncio.Future[Answer]) -> Answer | Exception:
    try:
        return await future
    except Exception as error:
        return error


def _shared(searches: Sequence[Search]) -> Shape:
    """The one that serves all of them: with boxes if there is one around each."""
    return next((search.shape for search in searches if not search.shape.boxed), searches[0].shape)


def _answer(answer: Answer | Exception) -> Answer | SpatialError:
    """What is neither is a bug, and ends the wait."""
    if isinstance(answer, Answer | SpatialError):
        return answer
    raise answer


def _shutting_down() -> SpatialError:
    return Unavailable(Reason.SHUTTING_DOWN, "this server is shutting down", retry_after=0.1)


def match_lanes(
    pool: Pool,
    canceller: Canceller,
    statements: Statements,
    settings: Settings,
    metrics: Metrics,
    plans: PlanGuards | None = None,
    packed: PackedCopies | None = None,
) -> Lanes:
    """Lanes for matches alone: `match_connections` at a time, all of them heavy."""
    given = settings.model_copy(update={"lanes": 1, "heavy_lanes": settings.match_connections})
    return Lanes(pool, canceller, statements, given, metrics, plans=plans, packed_copies=packed)
