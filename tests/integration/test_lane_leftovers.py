"""What a job leaves behind on its lane's connection."""

from collections.abc import Callable
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Any

import psycopg2
import pytest
from prometheus_client import CollectorRegistry
from psycopg2.extensions import cursor as Cursor  # noqa: N812 - a class, whatever its case

from service.db.cancel import StatementGuard
from service.db.engine import bulk_pool
from service.db.lane import Lane, Outcome
from service.errors import SpatialError
from service.observability.metrics import Metrics
from service.settings import Settings


@dataclass
class Job:
    work: Callable[[Cursor], Any]
    guard: StatementGuard


def backend(cursor: Cursor) -> int:
    cursor.execute("SELECT 1")  # which a transaction that has failed would not give
    return int(cursor.connection.info.backend_pid)


def cancelled_at_its_end(cursor: Cursor) -> None:
    """As where a cancellation comes again while the transaction that it was for is rolled back."""
    cursor.execute("BEGIN")
    cursor.execute("SELECT pg_cancel_backend(pg_backend_pid()), pg_sleep(10)")


def failed(cursor: Cursor) -> None:
    cursor.execute("BEGIN")
    cursor.execute("SELECT 1 / 0")


def never_ended(cursor: Cursor) -> None:
    cursor.execute("BEGIN")


def refused(cursor: Cursor) -> None:
    cursor.execute("SELECT 1 / 0")


@pytest.mark.parametrize(
    ("before", "kept"), [(cancelled_at_its_end, False), (failed, False), (never_ended, False), (refused, True)]
)
def test_nobody_is_given_a_connection_whose_transaction_lasts_on(
    database: str, before: Callable[[Cursor], None], kept: bool
) -> None:
    outcomes: SimpleQueue[Outcome] = SimpleQueue()
    metrics = Metrics(CollectorRegistry())
    pool = bulk_pool(Settings(database_url=database), database, metrics)
    lane = Lane(
        "lane",
        pool,
        metrics,
        perform=lambda job, cursor: job.work(cursor),
        following=lambda job, outcome: None,
        finished=lambda lane, job, outcome, following: outcomes.put(outcome),
    )
    lane.start()
    first, _, second = [_outcome(lane, outcomes, work) for work in (backend, before, backend)]
    lane.stop()
    lane.join(10)
    pool.engine.dispose()
    assert (first.result == second.result) is kept
    assert second.error is None


def _outcome(lane: Lane, outcomes: "SimpleQueue[Outcome]", work: Callable[[Cursor], Any]) -> Outcome:
    lane.give(Job(work, StatementGuard()))
    outcome = outcomes.get(timeout=20)
    assert outcome.error is None or isinstance(outcome.error, SpatialError | psycopg2.Error)
    return outcome
