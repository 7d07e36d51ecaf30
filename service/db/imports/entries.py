"""Imports in the ledger: how far each has come. It is brought up to date in the transaction that writes the rows, so
whoever reads it knows what is in the table."""

import json
from collections.abc import Sequence
from typing import Any, NamedTuple

import psycopg2
from psycopg2 import errorcodes
from psycopg2.extensions import cursor as Cursor  # noqa: N812 - a class, whatever its case

from service.changes import ImportPlan, Rejection, Totals
from service.db.ledger import missing
from service.errors import Aborted, InvalidArgument, NotFound, Reason

_COLUMNS = "layer, digest, complete, rejections, rows, inserted, updated, rejected, chunks, retries"
_FORGET = "DELETE FROM spatial_imports WHERE touched_at < now() - %s * interval '1 second'"
_ADD = "INSERT INTO spatial_imports (id, layer, digest) VALUES (%s, %s, %s) ON CONFLICT (id) DO NOTHING"
_READ = f"SELECT {_COLUMNS} FROM spatial_imports WHERE id = %s"  # noqa: S608 - constants
_ADVANCE = """
UPDATE spatial_imports
   SET (rows, inserted, updated, rejected, chunks, retries) = (%s, %s, %s, %s, %s, %s),
       rejections = coalesce(%s::jsonb, rejections), complete = false, touched_at = now()
 WHERE id = %s AND rows = %s
"""
_COMPLETE = "UPDATE spatial_imports SET complete = true, touched_at = now() WHERE id = %s AND rows = %s"

# The lock goes with the session: who has it knows that no other session has a transaction of this import open.
_NUMBER = "hashtextextended('spatial_imports ' || %s, 0)"
_LOCK = f"SELECT pg_try_advisory_lock({_NUMBER})"
_LOCK_FOR_TRANSACTION = f"SELECT pg_try_advisory_xact_lock({_NUMBER})"
_UNLOCK = f"SELECT pg_advisory_unlock({_NUMBER})"
_END_HOLDER = f"""
SELECT pg_terminate_backend(pid) FROM pg_locks
 WHERE locktype = 'advisory' AND granted AND pid = %s
   AND (classid::bigint << 32) | objid::bigint = {_NUMBER}
"""  # noqa: S608 - constants


class Entry(NamedTuple):
    """An import as the ledger has it."""

    layer: str
    digest: bytes
    complete: bool
    rejections: tuple[Rejection, ...]
    totals: Totals


def find(cursor: Cursor, id_: str) -> Entry:
    """IMPORT_NOT_FOUND where there is none."""
    try:
        cursor.execute(_READ, (id_,))
    except psycopg2.Error as error:
        if error.pgcode == errorcodes.UNDEFINED_TABLE:
            raise missing() from error
        raise
    row = cursor.fetchone()
    if row is None:
        raise NotFound(Reason.IMPORT_NOT_FOUND, f"no import is called {id_[:128]!r}", metadata={"import_id": id_[:128]})
    layer, digest, complete, rejections, *counts = row
    return Entry(layer, bytes(digest), complete, tuple(map(_rejection, rejections)), Totals(*counts))


def enter(cursor: Cursor, plan: ImportPlan, remembered: float) -> Entry:
    """The import of this plan, new or continued; the caller has its lock. What nobody has touched for so many seconds
    is forgotten."""
    try:
        cursor.execute(_FORGET, (remembered,))
    except psycopg2.Error as error:
        if error.pgcode == errorcodes.UNDEFINED_TABLE:
            raise missing() from error
        raise
    cursor.execute(_ADD, (plan.id, plan.layer, plan.digest))
    entry = find(cursor, plan.id)
    if entry.digest != plan.digest:
        raise InvalidArgument(Reason.REQUEST_ID_REUSED, "another import was begun with this id", field="import_id")
    return entry


def advance(cursor: Cursor, id_: str, before: int, totals: Totals, rejections: Sequence[Rejection] | None) -> None:
    """CONFLICT where the import is not where it was believed to be; `rejections` are all that are listed, or None for
    those that are there."""
    listed = None if rejections is None else json.dumps(rejections)
    cursor.execute(_ADVANCE, (*totals, listed, id_, before))
    if cursor.rowcount != 1:
        raise busy(id_)


def complete(cursor: Cursor, id_: str, rows: int) -> None:
    """CONFLICT where the import is not where it was believed to be."""
    cursor.execute(_COMPLETE, (id_, rows))
    if cursor.rowcount != 1:
        raise busy(id_)


def lock(cursor: Cursor, id_: str) -> bool:
    """Whether this connection has the import to itself, until `unlock` or its end."""
    cursor.execute(_LOCK, (id_,))
    (locked,) = cursor.fetchone() or (False,)
    return bool(locked)


def lock_for_transaction(cursor: Cursor, id_: str, begin: str) -> bool:
    """Whether the transaction that begins with `begin` has the import to itself, until its end."""
    cursor.execute(begin + "; " + _LOCK_FOR_TRANSACTION, (id_,))
    (locked,) = cursor.fetchone() or (False,)
    return bool(locked)


def unlock(cursor: Cursor, id_: str) -> None:
    cursor.execute(_UNLOCK, (id_,))


def end_holder(cursor: Cursor, id_: str, backend: int) -> None:
    """Ends a session of ours that still has the lock, though nobody is at its other end."""
    cursor.execute(_END_HOLDER, (backend, id_))


def busy(id_: str) -> Aborted:
    return Aborted(Reason.CONFLICT, f"another call is at import {id_!r}", retry_after=1.0)


def _rejection(written: Sequence[Any]) -> Rejection:
    row, id_, reason, message, field, location = written
    return Rejection(row, id_, reason, message, field, location and (location[0], location[1]))
