"""Sessions for changes, with few round trips: BEGIN travels with a transaction's first statement, and where the log has
come to travels back with COMMIT.

The driver is in autocommit, so that it adds nothing of its own; what SQLAlchemy's session commits or rolls back is told
to PostgreSQL here.
"""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace

import psycopg2
from psycopg2 import errors
from psycopg2.extensions import TRANSACTION_STATUS_INERROR, TRANSACTION_STATUS_INTRANS
from sqlalchemy import Connection, Engine, event
from sqlalchemy.orm import Session, sessionmaker

from service.db.engine import Pool
from service.db.lane import driver_connection
from service.db.writing.position import WAL_POSITION

# What goes before COMMIT, and what comes back with it, by the connection that a session has.
LAST_WORDS = "spatial_last_words"
POSITION = "spatial_position"

sessions = sessionmaker(autoflush=False, expire_on_commit=False)


class KeptSession:
    """The session of a lane: one transaction after the other, for as long as the lane keeps its connection. To make one
    for each would add two thirds to what it takes to begin and to commit it."""

    def __init__(self) -> None:
        self._session: Session | None = None
        self._connection: Connection | None = None

    @contextmanager
    def __call__(self, connection: Connection) -> Iterator[Session]:
        if self._session is None or self._connection is not connection:
            self._session, self._connection = sessions(bind=connection), connection
        try:
            yield self._session
        finally:
            if self._session.in_transaction():  # it did not come to its end
                self._session.close()


def editing(pool: Pool) -> Pool:
    """The same connections, for sessions whose transactions are begun by their first statement."""
    engine: Engine = pool.engine.execution_options(isolation_level="AUTOCOMMIT")
    event.listen(engine, "commit", _commit)
    event.listen(engine, "rollback", _rollback)
    return replace(pool, engine=engine)


def _commit(connection: Connection) -> None:
    """COMMIT ends what BEGIN began; the position is read afterwards, so that the commit is before it."""
    last = connection.info.pop(LAST_WORDS, b"")
    try:
        with driver_connection(connection).cursor() as cursor:
            cursor.execute(last + b"COMMIT; SELECT " + WAL_POSITION.encode())
            ((connection.info[POSITION],),) = cursor.fetchall()
    except psycopg2.Error:
        _rollback(connection)  # SQLAlchemy takes a commit that failed for the transaction's end
        raise


def _rollback(connection: Connection) -> None:
    """A cancellation that is late may hit it, and once only."""
    if connection.invalidated:
        return
    connection.info.pop(LAST_WORDS, None)
    driver = driver_connection(connection)
    for _ in range(2):
        if driver.info.transaction_status in (TRANSACTION_STATUS_INTRANS, TRANSACTION_STATUS_INERROR):
            with suppress(errors.QueryCanceled), driver.cursor() as cursor:
                cursor.execute("ROLLBACK")
