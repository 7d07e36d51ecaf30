"""A change on a session, until it is done: tried again where others got into its way, never done twice.

What happens before COMMIT is sent can be cancelled, and is undone whatever goes wrong. What goes wrong from there on is
told apart: what PostgreSQL refuses is undone; where nobody heard what became of it, the outcome is unknown.
"""

from collections.abc import Callable
from random import uniform
from time import sleep

import psycopg2
from psycopg2 import errorcodes, errors
from psycopg2.extensions import cursor as Cursor  # noqa: N812 - a class, whatever its case
from sqlalchemy.orm import Session

from service.changes import Promise
from service.db.cancel import Abandoned, StatementGuard
from service.db.errors import translated
from service.db.ledger import missing
from service.db.writing.jobs import Attempts, Change, Written
from service.db.writing.promises import remember, remembered, remembering
from service.db.writing.transaction import Transaction
from service.errors import Aborted, Reason, SpatialError, Unavailable

ATTEMPTS = 8
FIRST_PAUSE, LONGEST_PAUSE = 0.005, 0.2  # seconds between attempts, on the average
_COLLISIONS = (errors.SerializationFailure, errors.DeadlockDetected)
# What PostgreSQL says with these it says instead of committing.
_REFUSALS = (
    errorcodes.CLASS_INTEGRITY_CONSTRAINT_VIOLATION,
    errorcodes.CLASS_DATA_EXCEPTION,
    errorcodes.CLASS_PL_PGSQL_ERROR,
    errorcodes.CLASS_SYNTAX_ERROR_OR_ACCESS_RULE_VIOLATION,
    errorcodes.CLASS_OBJECT_NOT_IN_PREREQUISITE_STATE,
    errorcodes.CLASS_INSUFFICIENT_RESOURCES,
    errorcodes.CLASS_TRANSACTION_ROLLBACK,
)


class _Collision(Exception):
    """Others got into its way, and nothing has been done: trying again may help."""


def perform(job: Attempts, guard: StatementGuard, session: Session, committing: Callable[[], None]) -> Written:
    """On a lane's thread, by itself; `committing` hears when all has been done but for the COMMIT."""
    while True:
        job.tries += 1
        transaction = Transaction(session, serializable=job.change.serializable)
        guard.begin(transaction.driver)
        try:
            return _attempt(job, guard, transaction, committing)
        except _Collision as collision:
            if job.tries >= ATTEMPTS:
                raise conflict() from collision.__cause__
        sleep(uniform(0, 2) * min(LONGEST_PAUSE, FIRST_PAUSE * 2**job.tries))  # noqa: S311 - nobody's secret


def conflict() -> SpatialError:
    return Aborted(Reason.CONFLICT, "other changes of the same moment got into the way of this one", retry_after=0.1)


def _attempt(job: Attempts, guard: StatementGuard, transaction: Transaction, committing: Callable[[], None]) -> Written:
    change = job.change
    try:
        answer = change.work(transaction)
        if change.validate_only:
            transaction.roll_back()
            return Written(answer, None)
        guard.seal()
    except (psycopg2.Error, SpatialError, Abandoned) as error:
        transaction.roll_back()
        return _failed(job, transaction, error)
    committing()
    try:
        return Written(answer, _committed(change.promise, transaction, answer))
    except psycopg2.Error as error:
        transaction.roll_back()
        return _not_committed(job, transaction, error)


def _committed(promise: Promise | None, transaction: Transaction, answer: bytes) -> int:
    if promise is None:
        return transaction.commit()
    return transaction.commit(remember(1), remembering(promise, answer))


def _not_committed(job: Attempts, transaction: Transaction, error: psycopg2.Error) -> Written:
    if not is_refusal(transaction, error):
        raise unknown() from error
    if isinstance(error, errors.UndefinedTable) and job.change.promise is not None:
        raise missing("request_id") from error
    return _failed(job, transaction, error)


def is_refusal(transaction: Transaction, error: psycopg2.Error) -> bool:
    """Whether nothing has been committed for sure, where COMMIT was answered with this."""
    return not transaction.driver.closed and (error.pgcode or "")[:2] in _REFUSALS


def unknown() -> SpatialError:
    return Unavailable(
        Reason.OUTCOME_UNKNOWN,
        "the connection broke while this was being committed: whether it took effect is not known",
        retry_after=1.0,
    )


def _failed(job: Attempts, transaction: Transaction, error: Exception) -> Written:
    """Nothing was done now: the first answer, if it was done before; else the error, as it is meant."""
    if isinstance(error, _COLLISIONS):
        raise _Collision from error
    if transaction.driver.closed or isinstance(error, Abandoned | errors.QueryCanceled):
        raise error
    change = job.change
    with transaction.cursor() as cursor:
        if change.promise is not None and not change.validate_only:
            before = remembered(cursor, change.promise)
            if before is not None:
                return Written(*before)
            if _remembers(error):  # what stood in the way is forgotten by now
                raise _Collision from error
        raise _meant(change, cursor, error)


def _remembers(error: Exception) -> bool:
    return isinstance(error, errors.UniqueViolation) and error.diag.table_name == "spatial_requests"


def _meant(change: Change, cursor: Cursor, error: Exception) -> Exception:
    if not isinstance(error, psycopg2.Error):
        return error
    if isinstance(error, errors.LockNotAvailable):
        return conflict()
    return change.explain(cursor, error) or translated(error)
