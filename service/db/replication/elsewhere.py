"""Which errors of a replica, or of a connection, are its own, so that another may answer what it could not."""

from enum import Enum

import psycopg2
from psycopg2 import errorcodes
from sqlalchemy import exc

from service.errors import Reason, SpatialError


class Fault(Enum):
    """LOST: the replica itself is gone, or going. PASSING: it is well, but this statement came at a bad moment."""

    LOST = 1
    PASSING = 2


_LOST = (
    errorcodes.ADMIN_SHUTDOWN,
    errorcodes.CRASH_SHUTDOWN,
    errorcodes.CANNOT_CONNECT_NOW,
    errorcodes.TOO_MANY_CONNECTIONS,
    errorcodes.CLASS_CONNECTION_EXCEPTION,
)
_PASSING = (
    # What is replayed gets into the way of what is read, and wins: as a conflict, a deadlock, or a lock that it holds.
    errorcodes.SERIALIZATION_FAILURE,
    errorcodes.DEADLOCK_DETECTED,
    errorcodes.LOCK_NOT_AVAILABLE,
    errorcodes.DATABASE_DROPPED,
    # What has been made on the primary and not been replayed yet.
    errorcodes.UNDEFINED_TABLE,
    errorcodes.UNDEFINED_COLUMN,
    errorcodes.UNDEFINED_FUNCTION,
    errorcodes.INVALID_SCHEMA_NAME,
    errorcodes.INSUFFICIENT_PRIVILEGE,
    # What cannot be done during recovery.
    errorcodes.READ_ONLY_SQL_TRANSACTION,
    errorcodes.CLASS_OBJECT_NOT_IN_PREREQUISITE_STATE,
)


def fault(error: SpatialError) -> Fault | None:
    """None where any server would have said the same."""
    cause = error.__cause__
    original = cause.orig if isinstance(cause, exc.DBAPIError) else cause
    code = original.pgcode if isinstance(original, psycopg2.Error) else None
    if code in _PASSING:
        return Fault.PASSING
    if code in _LOST or (code and code[:2] in _LOST):
        return Fault.LOST
    if error.reason is Reason.DATABASE_UNAVAILABLE:
        return Fault.LOST
    return Fault.PASSING if code and code[:2] in _PASSING else None


def connection_lost(error: SpatialError) -> bool:
    """Whether a statement lost its connection. Where there was none to be had, the cause is SQLAlchemy's error."""
    return isinstance(error.__cause__, psycopg2.Error) and fault(error) is Fault.LOST
