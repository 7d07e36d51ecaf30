"""What the database's errors mean to the caller: by SQLSTATE, never by the text of a message."""

from collections.abc import Callable, Mapping

import psycopg2
from psycopg2 import errorcodes
from sqlalchemy import exc

from service.errors import (
    DeadlineExceeded,
    FailedPrecondition,
    InternalError,
    Reason,
    ResourceExhausted,
    SpatialError,
    Unavailable,
)


def unavailable() -> SpatialError:
    return Unavailable(Reason.DATABASE_UNAVAILABLE, "the database cannot be reached", retry_after=1.0)


def _busy() -> SpatialError:
    return Unavailable(Reason.DATABASE_UNAVAILABLE, "the data are locked for maintenance", retry_after=1.0)


def _exhausted() -> SpatialError:
    return ResourceExhausted(Reason.OVERLOADED, "the database is out of resources", retry_after=1.0)


def _timed_out() -> SpatialError:
    return DeadlineExceeded(Reason.STATEMENT_TIMEOUT, "the statement ran into the server's limit")


def _not_evaluated() -> SpatialError:
    return FailedPrecondition(
        Reason.TOPOLOGY_ERROR, "the database cannot evaluate this question: a geometry involved is unsound"
    )


def pool_exhausted(timeout: float) -> SpatialError:
    return ResourceExhausted(
        Reason.POOL_EXHAUSTED, f"no database connection became free within {timeout:g} s", retry_after=timeout
    )


# By the whole code, else by its class (the first two characters).
_MEANINGS: Mapping[str, Callable[[], SpatialError]] = {
    errorcodes.QUERY_CANCELED: _timed_out,
    errorcodes.ADMIN_SHUTDOWN: unavailable,
    errorcodes.CRASH_SHUTDOWN: unavailable,
    errorcodes.CANNOT_CONNECT_NOW: unavailable,
    errorcodes.LOCK_NOT_AVAILABLE: _busy,
    # PostGIS has no codes of its own: GEOS's complaints arrive under this one.
    errorcodes.INTERNAL_ERROR: _not_evaluated,
    errorcodes.CLASS_CONNECTION_EXCEPTION: unavailable,
    errorcodes.CLASS_INSUFFICIENT_RESOURCES: _exhausted,
}


def translated(error: Exception, *, connection_lost: bool = False) -> SpatialError:
    """The error that the caller is given; the original stays with it as its cause, for the log."""
    if isinstance(error, SpatialError):
        return error
    original = error.orig if isinstance(error, exc.DBAPIError) else error
    meaning = _meaning(original, connection_lost)
    meaning.__cause__ = error
    return meaning


def _meaning(error: BaseException | None, connection_lost: bool) -> SpatialError:
    code = error.pgcode if isinstance(error, psycopg2.Error) else None
    if code:
        known = _MEANINGS.get(code) or _MEANINGS.get(code[:2])
        if known:
            return known()
    if connection_lost or (isinstance(error, psycopg2.OperationalError) and not code):
        return unavailable()
    return InternalError(Reason.INTERNAL, "internal error")
