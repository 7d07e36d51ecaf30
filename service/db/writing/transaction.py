"""A transaction that changes something: what it sends, on the session that it is of."""

from collections.abc import Mapping, Sequence
from io import BytesIO
from typing import Any

from psycopg2.extensions import cursor as Cursor  # noqa: N812 - a class, whatever its case
from sqlalchemy.orm import Session

from service.db.lane import driver_connection
from service.db.writing.sessions import LAST_WORDS, POSITION

_BEGIN = b"BEGIN ISOLATION LEVEL READ COMMITTED; "
_BEGIN_SERIALIZABLE = b"BEGIN ISOLATION LEVEL SERIALIZABLE; "
# What is deferred is checked here, where an error is still about this feature and not about a commit.
_CHECK = b"; SET CONSTRAINTS ALL IMMEDIATE"

Arguments = Mapping[str, Any] | Sequence[Any]


class Transaction:
    """Begun on a session with its first statement. `patience` is for how long it waits for a lock, in milliseconds,
    where that is not as long as any other."""

    def __init__(self, session: Session, *, serializable: bool = False, patience: int | None = None) -> None:
        session.begin()
        self._session = session
        self._connection = session.connection()
        self.driver = driver_connection(self._connection)
        self._first = _BEGIN_SERIALIZABLE if serializable else _BEGIN
        if patience is not None:
            self._first += b"SET LOCAL lock_timeout = %d; " % patience

    def copy(self, statement: bytes) -> bytes:
        """What a binary COPY of a statement that changes something sends."""
        rows = BytesIO()
        with self.cursor() as cursor:
            cursor.copy_expert(self._begun(statement) + _CHECK, rows)
        return rows.getvalue()

    def fetch(self, statement: str, arguments: Arguments = ()) -> list[tuple[Any, ...]]:
        """The rows of a statement that answers with some."""
        with self.cursor() as cursor:
            cursor.execute(self._begun(cursor.mogrify(statement, arguments)))
            return cursor.fetchall()

    def cursor(self) -> Cursor:
        """For what comes after its end, too."""
        return self.driver.cursor()

    def commit(self, statement: str = "", arguments: Arguments = ()) -> int:
        """Commits, with a last statement before; the position of the log afterwards."""
        if statement:
            with self.cursor() as cursor:
                self._connection.info[LAST_WORDS] = cursor.mogrify(statement, arguments) + b"; "
        info = self._connection.info
        self._session.commit()
        return int(info.pop(POSITION))

    def roll_back(self) -> None:
        """A connection that broke has undone everything itself."""
        if self.driver.closed:
            self._connection.invalidate()
        self._session.rollback()

    def _begun(self, statement: bytes) -> bytes:
        first, self._first = self._first, b""
        return first + statement
