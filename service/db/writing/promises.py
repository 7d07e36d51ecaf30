"""Requests that take effect once: each is remembered with its answer, in the transaction that it caused.

A request that was sent before fails there, whatever it is, since it cannot be remembered twice; then its first answer
is looked up. So the requests that are sent once, as nearly all are, need no statement of their own.
"""

from typing import NamedTuple

import psycopg2
from psycopg2.extensions import cursor as Cursor  # noqa: N812 - a class, whatever its case

from service.changes import Promise
from service.db.ledger import missing, requests
from service.db.writing.position import WAL_POSITION
from service.errors import InvalidArgument, Reason

_REMEMBER = f"INSERT INTO {requests.name} (id, digest, answer) VALUES "  # noqa: S608 - no one else's text
_LOOK_UP = f"SELECT digest, answer, {WAL_POSITION} FROM {requests.name} WHERE id = %s"  # noqa: S608
# Few at a time, and none that another process is at.
_FORGET = f"""
DELETE FROM {requests.name} WHERE id IN (
  SELECT id FROM {requests.name} WHERE made_at < now() - make_interval(secs => %s)
   ORDER BY made_at LIMIT 1000 FOR UPDATE SKIP LOCKED)
"""  # noqa: S608


class Remembered(NamedTuple):
    """A first answer, and where the log has come to since."""

    answer: bytes
    position: int


def remember(requests: int) -> str:
    """The statement that remembers so many; none for none."""
    return _REMEMBER + ", ".join(["(%s, %s, %s)"] * requests) if requests else ""


def remembering(promise: Promise, answer: bytes) -> tuple[str, bytes, bytes]:
    """What `remember` takes for a request."""
    return promise.id, promise.digest, answer


def remembered(cursor: Cursor, promise: Promise) -> Remembered | None:
    """What the request was answered when it took effect, if it has; REQUEST_ID_REUSED if that was another request."""
    try:
        cursor.execute(_LOOK_UP, (promise.id,))
    except psycopg2.errors.UndefinedTable as error:
        raise missing("request_id") from error
    found = cursor.fetchone()
    if found is None:
        return None
    digest, answer, position = found
    if bytes(digest) != promise.digest:
        raise InvalidArgument(Reason.REQUEST_ID_REUSED, "this id was that of another request", field="request_id")
    return Remembered(bytes(answer), position)


def forget(cursor: Cursor, seconds: float) -> int:
    """How many of the requests that were made longer ago are forgotten now; there may be more. None where the database
    has no place to remember any."""
    try:
        cursor.execute(_FORGET, (seconds,))
    except (
        psycopg2.errors.UndefinedTable,
        psycopg2.errors.InsufficientPrivilege,
        psycopg2.errors.ReadOnlySqlTransaction,
    ):
        return 0
    return cursor.rowcount
