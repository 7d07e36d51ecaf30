"""What becomes of batches on the event loop: how they are made, and what their callers are handed in the end."""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from time import perf_counter
from typing import Any

from service.db.batch import Answer, Batch, Call
from service.db.cancel import Abandoned
from service.db.canceller import Canceller
from service.db.copy import Copied, Decoder
from service.db.errors import is_rejection, translated
from service.db.lane import Outcome
from service.db.packed import Packed, PackedRows
from service.db.packed_copies import MANY, PackedCopies
from service.db.queries import Statement, Statements
from service.domain import Shape
from service.errors import DeadlineExceeded
from service.observability.metrics import Metrics

AT_ONCE = 16  # answers that are handed out before the event loop sees to others
SOME = 64  # as many as a statement may bring, however long the loop takes over them


class Batches:
    """Made on the event loop."""

    def __init__(
        self,
        statements: Statements,
        reader: Callable[[Statement], Decoder],
        packed: Packed | None,
        packed_copies: PackedCopies | None,
        canceller: Canceller,
        metrics: Metrics,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._answers: deque[tuple[Call, Answer]] = deque()  # not handed out yet
        self._handed: float | None = None  # when some were, if there were more
        self._pace = 0.0  # seconds for each
        self._statements = statements
        self._reader = reader
        self._packed = packed
        self._packed_copies = packed_copies
        self._canceller = canceller
        self._metrics = metrics

    def made(self, shape: Shape, calls: list[Call], *, packed: bool = False) -> Batch:
        """On any thread. `packed` where PostgreSQL may write the answers, if it can."""
        statement = self._statements[shape]
        batch = Batch(statement, calls, self._reader(statement))
        if packed and self._packed is not None:
            batch.packed = self._packed[statement]
        if self._packed_copies is not None and len(calls) >= MANY:
            batch.packed_copy = self._packed_copies[statement]
        return batch

    def begin(self, batch: Batch) -> None:
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

    def let_go(self, call: Call) -> None:
        """Its caller is no longer there. A statement is cancelled when the last one has gone."""
        batch = call.job
        if batch is None or not call.future.cancelled():
            return
        batch.waiting -= 1
        if batch.running and not batch.waiting:
            self._canceller.cancel(batch.guard)

    def settle(self, batch: Batch, outcome: Outcome, again: Callable[[Sequence[Call]], None]) -> int:
        """Hands each caller its own rows, and says how many there were; what failed together is run `again`, apart."""
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
            again(batch.calls)
        return 0

    def _deliver(self, batch: Batch, sent: Copied | list[PackedRows]) -> int:
        try:
            answers = batch.answers(sent)
        except Exception as error:  # whatever it is, nobody may be left waiting
            self._refuse(batch, translated(error))
            return 0
        more = bool(self._answers)
        self._answers.extend(zip(batch.calls, answers, strict=True))
        if not more:
            self._hand_out()
        return sum(len(answer.rows) for answer in answers)

    @property
    def behind(self) -> float:
        """Seconds until the answers that are there have been handed out, but for some."""
        return max(0, len(self._answers) - SOME) * self._pace

    def _hand_out(self) -> None:
        """Some at a time: writing them takes a while, and calls that come meanwhile are not to wait for all."""
        now = perf_counter()
        if self._handed is not None:
            self._pace += ((now - self._handed) / AT_ONCE - self._pace) / 8
        for _ in range(min(AT_ONCE, len(self._answers))):
            call, answer = self._answers.popleft()
            call.job = None  # they know each other, and would keep the answers until the next collection of garbage
            succeed(call.future, answer)
        self._handed = now if self._answers else None
        if self._answers:
            self._loop.call_soon(self._hand_out)

    def _refuse(self, batch: Batch, error: Exception) -> None:
        if isinstance(error, DeadlineExceeded):
            self._metrics.cancelled.labels("statement_timeout").inc()
        if is_rejection(error):
            self._metrics.rejected.labels(error.reason.lower()).inc(len(batch.calls))
        for call in batch.calls:
            fail(call.future, error)


def succeed(future: asyncio.Future[Any], result: object) -> None:
    if not future.done():
        future.set_result(result)


def fail(future: asyncio.Future[Any], error: Exception) -> None:
    if not future.done():
        future.set_exception(error)
