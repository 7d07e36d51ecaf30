"""What the database's errors mean to the caller: by SQLSTATE, and by the text of a message only where PostGIS gives one
code to everything."""

from collections.abc import Callable, Mapping
from typing import TypeGuard

import psycopg2
from psycopg2 import errorcodes
from sqlalchemy import exc

from service.errors import (
    DeadlineExceeded,
    FailedPrecondition,
    InternalError,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    Reason,
    ResourceExhausted,
    SpatialError,
    Unavailable,
)


def unavailable() -> SpatialError:
    return Unavailable(Reason.DATABASE_UNAVAILABLE, "the database cannot be reached", retry_after=1.0)


def _busy() -> SpatialError:
    return Unavailable(Reason.DATABASE_UNAVAILABLE, "the data are locked for maintenance", retry_after=1.0)


def _in_conflict() -> SpatialError:
    return Unavailable(Reason.DATABASE_UNAVAILABLE, "the data were changed while they were read", retry_after=0.1)


def _takes_no_changes() -> SpatialError:
    return Unavailable(Reason.DATABASE_UNAVAILABLE, "the database takes no changes at the moment", retry_after=1.0)


def _exhausted() -> SpatialError:
    return ResourceExhausted(Reason.OVERLOADED, "the database is out of resources", retry_after=1.0)


def _no_room() -> SpatialError:
    return ResourceExhausted(Reason.OVERLOADED, "the database has no room left on its disk", retry_after=5.0)


def _timed_out() -> SpatialError:
    return DeadlineExceeded(Reason.STATEMENT_TIMEOUT, "the statement ran into the server's limit")


def _not_allowed() -> SpatialError:
    return PermissionDenied(Reason.NOT_ALLOWED, "the service's role in the database may not do this")


def changed() -> SpatialError:
    return NotFound(
        Reason.LAYER_NOT_FOUND,
        "the layer's table is gone, or is not what it was when the layers were read: RefreshLayers reads them again",
    )


def _not_evaluated() -> SpatialError:
    return FailedPrecondition(
        Reason.TOPOLOGY_ERROR, "the database cannot evaluate this question: a geometry involved is unsound"
    )


def _not_transformed() -> SpatialError:
    return FailedPrecondition(
        Reason.TRANSFORM_FAILED, "coordinates cannot be transformed: they lie where the other CRS, or their own, ends"
    )


def _not_measured() -> SpatialError:
    return FailedPrecondition(
        Reason.UNSUPPORTED_DISTANCE_MODEL,
        "a geometry involved is a curve or a surface: only PLANAR distances can be measured of it",
    )


def _of_postgis(message: str) -> SpatialError:
    """GEOS, PROJ and PostGIS itself complain under one code, in words that are not translated."""
    return _not_transformed() if message.startswith(_TRANSFORMING) else _not_evaluated()


def _too_large() -> SpatialError:
    return InvalidArgument(
        Reason.OUT_OF_RANGE, "a number that this question works out is beyond what the database can hold"
    )


def pool_exhausted(timeout: float) -> SpatialError:
    return ResourceExhausted(
        Reason.POOL_EXHAUSTED, f"no database connection became free within {timeout:g} s", retry_after=timeout
    )


_TRANSFORMING = (
    "transform: ",
    "ptarray_transform: ",
    "could not form projection",
    "could not parse proj string",
    "Cannot find SRID",
    "ST_Transform: ",
)
_NO_GEOGRAPHY = "Geography type does not support "
# By the whole code, else by its class (the first two characters).
_MEANINGS: Mapping[str, Callable[[], SpatialError]] = {
    errorcodes.QUERY_CANCELED: _timed_out,
    errorcodes.ADMIN_SHUTDOWN: unavailable,
    errorcodes.CRASH_SHUTDOWN: unavailable,
    errorcodes.CANNOT_CONNECT_NOW: unavailable,
    errorcodes.LOCK_NOT_AVAILABLE: _busy,
    errorcodes.NUMERIC_VALUE_OUT_OF_RANGE: _too_large,
    errorcodes.DEADLOCK_DETECTED: _busy,
    # Of a replica, whose reads stand back behind what is replayed. Changes that collide are tried again before this.
    errorcodes.SERIALIZATION_FAILURE: _in_conflict,
    errorcodes.READ_ONLY_SQL_TRANSACTION: _takes_no_changes,
    errorcodes.INSUFFICIENT_PRIVILEGE: _not_allowed,
    errorcodes.UNDEFINED_TABLE: changed,
    errorcodes.UNDEFINED_COLUMN: changed,
    errorcodes.INVALID_SCHEMA_NAME: changed,
    errorcodes.CLASS_CONNECTION_EXCEPTION: unavailable,
    errorcodes.DISK_FULL: _no_room,
    errorcodes.CLASS_INSUFFICIENT_RESOURCES: _exhausted,
}


_REFUSALS = (Reason.PLAN_TOO_EXPENSIVE, Reason.SEQ_SCAN_REFUSED)


def is_rejection(error: Exception) -> TypeGuard[SpatialError]:
    """Whether a call was refused rather than failed: for want of room, or for its plan."""
    return isinstance(error, ResourceExhausted) or (isinstance(error, SpatialError) and error.reason in _REFUSALS)


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
    if isinstance(error, psycopg2.Error) and code == errorcodes.INTERNAL_ERROR:
        return _of_postgis(error.diag.message_primary or "")
    if isinstance(error, psycopg2.Error) and (error.diag.message_primary or "").startswith(_NO_GEOGRAPHY):
        return _not_measured()
    if code:
        known = _MEANINGS.get(code) or _MEANINGS.get(code[:2])
        if known:
            return known()
    if connection_lost or (isinstance(error, psycopg2.OperationalError) and not code):
        return unavailable()
    return InternalError(Reason.INTERNAL, "internal error")
