"""A lane: one thread and, while it works, one pooled connection. `db/lanes.py` says what runs on which."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from threading import Thread
from time import perf_counter
from typing import Any, NamedTuple, Protocol

import psycopg2
from psycopg2 import errorcodes
from psycopg2.extensions import TRANSACTION_STATUS_IDLE
from psycopg2.extensions import connection as Connection  # noqa: N812 - a class, whatever its case
from psycopg2.extensions import cursor as Cursor  # noqa: N812
from sqlalchemy import Connection as Wrapped
from sqlalchemy import Engine, PoolProxiedConnection, exc

from service.db.cancel import Abandoned, StatementGuard
from service.db.engine import Pool
from service.db.errors import pool_exhausted, translated
from service.errors import SpatialError
from service.observability.metrics import Metrics

# Long enough that calls in a row need no checkout (and its ping) each, short enough that nobody misses a connection.
LINGER_SECONDS = 0.02

Pooled = PoolProxiedConnection | Wrapped  # what SQLAlchemy lends, and the same for its own sessions


def driver_connection(pooled: Pooled) -> Connection:
    lent = pooled.connection if isinstance(pooled, Wrapped) else pooled
    connection = lent.driver_connection
    assert isinstance(connection, Connection)
    return connection


@contextmanager
def driver_cursor(pooled: Pooled) -> Iterator[Cursor]:
    with driver_connection(pooled).cursor() as cursor:
        yield cursor


class Job(Protocol):
    """What a lane is given. By its guard it can be cancelled."""

    guard: StatementGuard


class Ran(NamedTuple):
    """When a lane began with a job, and what it took."""

    began: float
    checkout: float
    seconds: float


@dataclass(slots=True)
class Outcome:
    """What became of a job: a result or an error, and how long its statement ran."""

    result: Any = None
    error: Exception | None = None
    seconds: float = 0.0
    ran: Ran | None = None
    fatal: bool = field(default=False)  # the connection was lost, or there was none: trying again is of no use


@dataclass(slots=True, eq=False)
class Lane:
    """Takes jobs one at a time. On its own thread it asks `following` what to do after a job, and tells `finished`;
    with nothing to follow it is idle until it is given a job."""

    name: str
    pool: Pool
    metrics: Metrics
    perform: Callable[[Any, Any], Any]  # a job on what `opened` gives; the lane's own buffer may hang on it
    following: Callable[[Any, Outcome], Job | None]
    finished: Callable[["Lane", Any, Outcome, Any], None]
    opened: Callable[[Any], AbstractContextManager[Any]] = driver_cursor  # on the connection, for each job
    borrow: Callable[[Engine], Pooled] = Engine.raw_connection
    _inbox: SimpleQueue[Job | None] = field(default_factory=SimpleQueue)
    _pooled: Pooled | None = None
    _thread: Thread | None = None
    _observe_checkout: Callable[[float], None] = field(init=False)

    def __post_init__(self) -> None:
        self._observe_checkout = self.metrics.checkout.labels(self.pool.name).observe

    def start(self) -> None:
        self._thread = Thread(target=self._work, name=self.name, daemon=True)
        self._thread.start()

    def give(self, job: Job) -> None:
        self._inbox.put(job)

    def stop(self) -> None:
        """After the job at hand."""
        self._inbox.put(None)

    def join(self, timeout: float) -> None:
        if self._thread is not None:
            self._thread.join(timeout)

    def _work(self) -> None:
        job = self._next()
        while job is not None:
            outcome = self._run(job)
            following = self.following(job, outcome)
            self.finished(self, job, outcome, following)
            job = following or self._next()
        self._release()

    def _next(self) -> Job | None:
        if self._pooled is not None and not self.pool.turnstile.awaited:
            with suppress(Empty):
                return self._inbox.get(timeout=LINGER_SECONDS)
        self._release()
        return self._inbox.get()

    def _run(self, job: Job) -> Outcome:
        if job.guard.cancelled:
            return Outcome(error=Abandoned())
        began = perf_counter()
        try:
            pooled = self._checkout()
        except Exception as error:
            ran = Ran(began, perf_counter() - began, 0.0)
            return Outcome(error=self._checkout_failed(error), fatal=True, ran=ran)
        checkout = perf_counter() - began
        outcome = self._perform(job, pooled)
        outcome.ran = Ran(began, checkout, outcome.seconds)
        return outcome

    def _perform(self, job: Job, pooled: Pooled) -> Outcome:
        outcome = Outcome()
        connection = driver_connection(pooled)
        started = perf_counter()
        try:
            job.guard.begin(connection)
            with self.opened(pooled) as opened:
                outcome.result = self.perform(job, opened)
        except Exception as error:
            outcome.error = error
        outcome.seconds = perf_counter() - started
        interrupted = isinstance(outcome.error, psycopg2.Error) and outcome.error.pgcode == errorcodes.QUERY_CANCELED
        clean = job.guard.end(interrupted=interrupted)
        outcome.fatal = connection.closed != 0
        # What is cut short may still be sending, and waiting for its end could take as long as all of it; or a
        # cancellation hit the end of the transaction itself, which lasts on.
        unfinished = connection.info.transaction_status != TRANSACTION_STATUS_IDLE
        if outcome.fatal or unfinished or not clean or _leads_to_standby(outcome.error):
            self._discard(outcome.error)
        if isinstance(outcome.error, psycopg2.Error):
            outcome.error = translated(outcome.error, connection_lost=outcome.fatal)
        return outcome

    def _checkout(self) -> Pooled:
        if self._pooled is None:
            started = perf_counter()
            try:
                self._pooled = self._admitted()
            finally:
                self._observe_checkout(perf_counter() - started)
        return self._pooled

    def _admitted(self) -> Pooled:
        if not self.pool.turnstile.enter(self.pool.timeout):
            raise exc.TimeoutError
        try:
            return self.borrow(self.pool.engine)
        except BaseException:
            self.pool.turnstile.leave()
            raise

    def _checkout_failed(self, error: Exception) -> Exception:
        if isinstance(error, exc.TimeoutError):
            self.metrics.pool_timeouts.labels(self.pool.name).inc()
            return pool_exhausted(self.pool.timeout)
        return translated(error, connection_lost=True)

    def _discard(self, error: Exception | None) -> None:
        if self._pooled is not None:
            self._pooled.invalidate(error)
            self._release()

    def _release(self) -> None:
        if self._pooled is not None:
            self._pooled.close()
            self._pooled = None
            self.pool.turnstile.leave()


def _leads_to_standby(error: Exception | None) -> bool:
    """Whether a change came to a server that has ceased to be the primary: the next connection may lead to that."""
    original = error.__cause__ if isinstance(error, SpatialError) else error
    return isinstance(original, psycopg2.Error) and original.pgcode == errorcodes.READ_ONLY_SQL_TRANSACTION
