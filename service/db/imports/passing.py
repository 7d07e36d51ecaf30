"""Errors that pass by themselves: what failed may succeed when it is tried again."""

import psycopg2
from psycopg2 import errorcodes
from sqlalchemy import exc

from service.db.errors import pool_exhausted, translated
from service.db.imports.sifting import Collision, Occupied
from service.errors import Aborted, Reason, SpatialError

_COLLIDING = (errorcodes.SERIALIZATION_FAILURE, errorcodes.DEADLOCK_DETECTED)
_PASSING = (
    *_COLLIDING,
    errorcodes.LOCK_NOT_AVAILABLE,
    errorcodes.QUERY_CANCELED,
    errorcodes.ADMIN_SHUTDOWN,
    errorcodes.CRASH_SHUTDOWN,
    errorcodes.CANNOT_CONNECT_NOW,
    errorcodes.IDLE_IN_TRANSACTION_SESSION_TIMEOUT,
    errorcodes.CLASS_CONNECTION_EXCEPTION,
    errorcodes.CLASS_INSUFFICIENT_RESOURCES,
)


def passes(error: Exception) -> bool:
    if isinstance(error, psycopg2.Error) and error.pgcode:
        return error.pgcode in _PASSING or error.pgcode[:2] in _PASSING
    # Without a code it is the driver that complains: there is no connection, or none any more.
    without = (psycopg2.OperationalError, psycopg2.InterfaceError)
    return isinstance(error, (Collision, exc.TimeoutError, exc.DBAPIError, *without))


def has_begun(error: Exception) -> bool:
    """Whether it failed at its rows."""
    return isinstance(error, psycopg2.Error | Collision) and not isinstance(error, Occupied)


def timed_out(error: Exception) -> bool:
    return isinstance(error, psycopg2.Error) and error.pgcode == errorcodes.QUERY_CANCELED


def told(error: Exception, pool_timeout: float) -> Exception:
    """What the caller is told of an error that does not pass, or has not in time."""
    if isinstance(error, Collision) or (isinstance(error, psycopg2.Error) and error.pgcode in _COLLIDING):
        return _with_cause(
            Aborted(Reason.CONFLICT, "others change the same features all the time", retry_after=1.0), error
        )
    if isinstance(error, exc.TimeoutError):
        return _with_cause(pool_exhausted(pool_timeout), error)
    if isinstance(error, psycopg2.Error | exc.DBAPIError):
        return translated(error, connection_lost=passes(error) and not getattr(error, "pgcode", None))
    return error


def _with_cause(meaning: SpatialError, error: Exception) -> SpatialError:
    meaning.__cause__ = error
    return meaning
