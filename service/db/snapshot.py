"""One view of the database for several connections, so that each can read a part of the same data."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Condition
from typing import NamedTuple

from psycopg2 import errors
from psycopg2.extensions import TRANSACTION_STATUS_INERROR, TRANSACTION_STATUS_INTRANS
from psycopg2.extensions import cursor as Cursor  # noqa: N812 - a class, whatever its case

PATIENCE_SECONDS = 0.1
# Its file has gone, and so perhaps has the session; PostgreSQL 17 has its own code for the first.
_GONE = (errors.InvalidParameterValue, errors.UndefinedObject, errors.ObjectNotInPrerequisiteState)
_BEGIN = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
# Sends the statement that begins a transaction, and whatever else in the same message.
Begin = Callable[[Cursor, str], object]


def _alone(cursor: Cursor, statement: str) -> None:
    cursor.execute(statement)


class Part(NamedTuple):
    """Which of how many."""

    number: int
    parts: int


class Snapshot:
    """For up to `most` threads, each with a connection in autocommit.

    The first to come takes the snapshot as it begins, and then waits a moment for the others: who comes later has
    nothing to do, so that no stream stands still for want of a second connection.
    """

    def __init__(self, most: int, patience: float = PATIENCE_SECONDS) -> None:
        self._most = most
        self._patience = patience
        self._changed = Condition()
        self._come = 0
        self._joined = 0  # of those who came, who see the snapshot, or never will
        self._closed = False
        self._name: str | None = None

    @contextmanager
    def part(self, cursor: Cursor, begin: Begin = _alone) -> Iterator[Part | None]:
        """A transaction that sees the snapshot, and the part that is this thread's: None if the others have it all. If
        it is the first, its transaction is begun by `begin`."""
        with self._changed:
            if self._closed:
                number = None
            else:
                number, self._come = self._come, self._come + 1
                self._changed.notify_all()
        if number is None:
            yield None
        elif number == 0:
            yield from self._lead(cursor, begin)
        else:
            yield from self._follow(cursor, number)

    def _lead(self, cursor: Cursor, begin: Begin) -> Iterator[Part | None]:
        """The snapshot lasts as long as the transaction that took it: the others must have it before this one ends."""
        try:
            with _transaction(cursor, begin):
                if self._most > 1:
                    cursor.execute("SELECT pg_export_snapshot()")
                    ((name,),) = cursor.fetchall()
                    self._close(name)
                yield Part(0, self._come)
                with self._changed:
                    self._changed.wait_for(lambda: self._joined == self._come - 1)
        finally:
            self._close(None)

    def _follow(self, cursor: Cursor, number: int) -> Iterator[Part | None]:
        joined = False
        try:
            with self._changed:
                self._changed.wait_for(lambda: self._closed)
            if self._name is None:  # the first has failed, and with it the whole
                yield None
                return
            with _transaction(cursor):
                try:
                    cursor.execute("SET TRANSACTION SNAPSHOT %s", (self._name,))
                except _GONE:  # with the first's transaction, which waits for the others unless it fails
                    yield None
                    return
                self._join()
                joined = True
                yield Part(number, self._come)
        finally:
            if not joined:
                self._join()

    def _close(self, name: str | None) -> None:
        """Nobody can come any more; the others may go on."""
        with self._changed:
            if not self._closed:
                if name is not None:
                    self._changed.wait_for(lambda: self._come == self._most, self._patience)
                self._name = name
                self._closed = True
                self._changed.notify_all()

    def _join(self) -> None:
        with self._changed:
            self._joined += 1
            self._changed.notify_all()


@contextmanager
def _transaction(cursor: Cursor, begin: Begin = _alone) -> Iterator[None]:
    """Ended in any case, unless its statement is cut short: then the connection cannot be used any more."""
    try:
        begin(cursor, _BEGIN)
        yield
    finally:
        if cursor.connection.info.transaction_status in (TRANSACTION_STATUS_INTRANS, TRANSACTION_STATUS_INERROR):
            cursor.execute("COMMIT")
