"""Runs bulk reads: a COPY on a thread of its own, and between it and the stream a few batches that wait to be sent.

Who reads slowly leaves that room full: the thread waits, libpq's buffers fill, and PostgreSQL stops where it is. Only
the session that the stream holds is affected, and it is one of the bulk pool's.
"""

import asyncio
import sys
from bisect import bisect_left
from collections.abc import AsyncGenerator, Callable, Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import accumulate
from time import perf_counter
from typing import Any, Protocol

from psycopg2.extensions import cursor as Cursor  # noqa: N812 - a class, whatever its case

from service.db.cancel import Abandoned, StatementGuard
from service.db.canceller import Canceller
from service.db.deference import Awaited, Deference, nobody
from service.db.engine import Pool
from service.db.errors import is_rejection
from service.db.lane import Lane, Outcome
from service.db.relay import ReaderLeft, Relay
from service.db.trails import note
from service.domain import Batch, Layout
from service.errors import Reason, ResourceExhausted, SpatialError
from service.observability.metrics import Metrics
from service.observability.trail import TRAIL, Trail

CHUNK_BYTES = 256 * 1024  # of rows as PostgreSQL sends them, before they are laid out
BESIDE_CALLS_BYTES = 32 * 1024  # the same while callers wait
GRANULE_BYTES = 8 * 1024  # PostgreSQL sends no less at a time: so often is the clock looked at
FIRST_BYTES = GRANULE_BYTES // 2  # of what it sends at first, these are rows for certain
FIRST_BATCH_BYTES = 1024  # of these: the sooner they are laid out, the sooner they are there
AHEAD_BYTES = 1024 * 1024  # that may wait for the reader
FLUSH_SECONDS = 0.1  # rows that trickle in wait no longer for company
CLOSE_SECONDS = 2.0
REST_SECONDS = 1.0  # without a stream
# A thread that lays out rows keeps the interpreter for as long as this from whoever wants it. What a call goes through
# wants it a dozen times.
SWITCH_SECONDS, USUAL_SWITCH_SECONDS = 0.0005, sys.getswitchinterval()
# Who has a batch in hand gives up by closing the connection. Only who waits for rows must be cancelled.
CANCEL_SECONDS = 0.1

Put = Callable[[Batch], None]
Noted = Callable[[Outcome], None]
Count = Callable[[float], None]


class Reading(Protocol):
    """What a stream reads on one connection, on a thread: puts batches until there are no more, and smaller ones while
    callers are awaited."""

    guard: StatementGuard

    def perform(self, cursor: Cursor, put: Put, awaited: Awaited) -> None: ...


# What a stream is to read, from its beginning; given is with how many connections it could.
Readings = Callable[[int], Sequence[Reading]]


@dataclass(slots=True, eq=False)
class CopyReading:
    """The rows of one COPY, made batches a chunk at a time: of its bytes, or of whatever else `gathered` makes of its
    rows."""

    statement: Callable[[Cursor], bytes]
    batches: Callable[[Any], Iterable[Batch]]
    guard: StatementGuard = field(default_factory=StatementGuard)
    gathered: Callable[[Sequence[bytes]], Any] = b"".join
    first_bytes: int = FIRST_BYTES  # that are passed on at once

    def perform(self, cursor: Cursor, put: Put, awaited: Awaited = nobody) -> None:
        self.copy(cursor, put, awaited)()

    def copy(self, cursor: Cursor, put: Put, awaited: Awaited) -> Callable[[], None]:
        """Runs the COPY, and gives what puts the last of it: that may wait for the reader, and needs no transaction."""
        rows: list[bytes] = []
        begun = False

        def pass_on() -> None:
            nonlocal begun
            chunks = [self.gathered(some) for some in ([rows] if begun else few_first(rows))]
            begun = True
            rows.clear()
            for chunk in chunks:
                for batch in self.batches(chunk):
                    put(batch)

        cursor.copy_expert(self.statement(cursor), Sink(_gathering(rows, pass_on, self.first_bytes, awaited)))
        return pass_on


def few_first(rows: list[bytes]) -> list[list[bytes]]:
    """A few rows of those that a stream begins with, and the others; small answers as a whole."""
    sizes = list(accumulate(map(len, rows)))
    few = bisect_left(sizes, FIRST_BATCH_BYTES) + 1
    return [rows] if not rows or sizes[-1] < FIRST_BYTES or few >= len(rows) else [rows[:few], rows[few:]]


class Sink:
    """What psycopg2 writes to, a row at a time."""

    def __init__(self, write: Callable[[bytes], None]) -> None:
        self.write = write


def _gathering(rows: list[bytes], pass_on: Callable[[], None], look: int, awaited: Awaited) -> Callable[[bytes], None]:
    """Passes on the first rows at once, then a chunk at a time. A generator has at hand what a method would have to
    look up for each row."""
    taking = _taking(rows, pass_on, look, awaited)
    next(taking)
    return taking.send


def _taking(rows: list[bytes], pass_on: Callable[[], None], look: int, awaited: Awaited) -> Generator[None, bytes]:
    size = 0
    due = 0.0
    while True:
        row = yield
        rows.append(row)
        size += len(row)
        if size >= look:
            if size >= CHUNK_BYTES or (size >= BESIDE_CALLS_BYTES and awaited()) or perf_counter() >= due:
                pass_on()
                size = 0
                due = perf_counter() + FLUSH_SECONDS
            look = size + GRANULE_BYTES


class Streams:
    """Made on the event loop that its callers run on."""

    def __init__(
        self,
        pool: Pool,
        canceller: Canceller,
        most: int,
        metrics: Metrics,
        rest: Callable[[], None],
        awaited: Awaited,
    ) -> None:
        """`rest` is called on a thread when no stream has run for a moment; `awaited` says whether callers wait, for
        whom streams make way."""
        self._pool = pool
        self._canceller = canceller
        self._most = most
        self._metrics = metrics
        self._loop = asyncio.get_running_loop()
        self._running = 0
        self._rest = rest
        self._awaited = awaited
        self._resting: asyncio.TimerHandle | None = None
        self._busy: dict[_Job, Lane] = {}
        # They are kept, and for a moment their connections: to start a thread takes as long as many a statement.
        self._idle: list[Lane] = []
        self._counts: dict[tuple[str, Layout], tuple[Count, Count]] = {}
        self._closed = False

    @contextmanager
    def admitted(self) -> Iterator[None]:
        """A stream's place among those that may run at a time."""
        in_flight = self._metrics.streams_in_flight
        if self._running >= self._most:
            self._metrics.rejected.labels("too_many_streams").inc()
            raise ResourceExhausted(
                Reason.TOO_MANY_STREAMS,
                f"{self._most} streams are running already",
                metadata={"limit": str(self._most)},
                retry_after=1.0,
            )
        self._running += 1
        in_flight.inc()
        sys.setswitchinterval(SWITCH_SECONDS)
        if self._resting is not None:
            self._resting.cancel()
        try:
            yield
        finally:
            self._running -= 1
            in_flight.dec()
            if not self._running:
                sys.setswitchinterval(USUAL_SWITCH_SECONDS)
                self._resting = self._loop.call_later(REST_SECONDS, self._loop.run_in_executor, None, self._rest)

    async def read(self, method: str, layout: Layout, readings: Readings) -> AsyncGenerator[bytes]:
        """The messages that the readings put, each on a connection of its own. Leaving the iterator ends them. Those
        behind the first help it: for want of a connection they stay away."""
        read = readings(self._pool.turnstile.free)
        count_features, count_bytes = self._counters(method, layout)
        relay: Relay[Batch] = Relay(len(read), AHEAD_BYTES)
        noted = _noting(TRAIL.get(), method)
        ended = False

        def put(batch: Batch) -> None:
            relay.put(batch, len(batch.message))

        jobs = [_Job(reading, reading.guard, put, relay, noted, number > 0) for number, reading in enumerate(read)]
        for job in jobs:
            self._start(job)
        try:
            async for batch in relay.read():
                yield batch.message
                count_features(batch.features)
                count_bytes(len(batch.message))
            ended = True
        except SpatialError as error:
            if is_rejection(error):
                self._metrics.rejected.labels(error.reason.lower()).inc()
            raise
        finally:
            relay.close()
            if not ended:
                self._loop.call_later(CANCEL_SECONDS, self._cancel, jobs)

    def _counters(self, method: str, layout: Layout) -> tuple[Count, Count]:
        """What counts features and bytes, looked up among the metrics once."""
        known = self._counts.get((method, layout))
        if known is None:
            features = self._metrics.stream_features.labels(method, layout.name)
            known = self._counts[method, layout] = features.inc, self._metrics.stream_bytes.labels(method).inc
        return known

    def _cancel(self, jobs: Sequence["_Job"]) -> None:
        for job in jobs:
            if job in self._busy:
                self._canceller.cancel(job.guard)

    async def close(self) -> None:
        """Waits for the threads, whose readers have gone."""
        self._closed = True
        lanes = [*self._idle, *self._busy.values()]
        for lane in lanes:
            lane.stop()
        for lane in lanes:
            await asyncio.to_thread(lane.join, CLOSE_SECONDS)

    def _start(self, job: "_Job") -> None:
        lane = self._busy[job] = self._idle.pop() if self._idle else self._lane()
        lane.give(job)

    def _lane(self) -> Lane:
        lane = Lane(f"stream-{len(self._busy)}", self._pool, self._metrics, self._perform, _nothing, self._finished)
        lane.start()
        return lane

    def _perform(self, job: "_Job", cursor: Cursor) -> None:
        deference = Deference(self._awaited)

        def put_and_give_way(batch: Batch) -> None:
            job.put(batch)
            deference.give_way()

        job.reading.perform(cursor, giving_up(job.guard, put_and_give_way), self._awaited)

    def _finished(self, lane: Lane, job: "_Job", outcome: Outcome, following: None) -> None:
        """On the lane's thread."""
        job.noted(outcome)
        with suppress(RuntimeError):  # the event loop has gone
            self._loop.call_soon_threadsafe(self._ended, lane, job)
        stays_away = job.helps and isinstance(outcome.error, ResourceExhausted)
        job.relay.end(None if stays_away else outcome.error)

    def _ended(self, lane: Lane, job: "_Job") -> None:
        del self._busy[job]
        if not self._closed:
            self._idle.append(lane)


@dataclass(slots=True, eq=False)
class _Job:
    """A reading, and for whom it is."""

    reading: Reading
    guard: StatementGuard
    put: Put
    relay: Relay[Batch]
    noted: Noted
    helps: bool


def giving_up(guard: StatementGuard, put: Put) -> Put:
    """Where the reader has left, whoever puts ends, and is not cancelled any more. Where PostgreSQL has been told by
    then, it is left to end the statement itself, and what it sends until then is dropped."""

    def put_or_end(batch: Batch) -> None:
        try:
            put(batch)
        except ReaderLeft:
            with suppress(Abandoned):
                guard.seal()
                raise

    return put_or_end


def _nothing(job: object, outcome: Outcome) -> None:
    """What follows a reading."""


def _noting(trail: Trail | None, method: str) -> Noted:
    since = perf_counter()

    def noted(outcome: Outcome) -> None:
        if trail is not None:
            note(trail, since, outcome.ran, {"query": method})

    return noted
