"""What can go wrong, as the caller will see it. No grpc, no SQLAlchemy: `interceptors/errors.py` gives each a status.

SpatialError
├── InvalidArgument      what the caller wrote is wrong, whatever the state of the data
├── NotFound             a layer or feature that is not there
├── AlreadyExists        a key or value that another feature has
├── Aborted              somebody else changed the same thing
├── FailedPrecondition   right as such, but not for this layer or these data
├── Unauthenticated      nobody knows who is calling
├── PermissionDenied     what the caller, or the service's role in the database, may not do
├── ResourceExhausted    too much at once: later, or smaller
├── DeadlineExceeded     the server's own limit on a statement ran out
├── Unavailable          the database or this server is away
└── InternalError        a bug of ours
"""

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Self

DOMAIN = "spatial.v1"


class Reason(StrEnum):
    """The values of `spatial.v1.ErrorReason`, without their prefix; the contract explains each."""

    REQUIRED = "REQUIRED"
    OUT_OF_RANGE = "OUT_OF_RANGE"
    UNKNOWN_ENUM_VALUE = "UNKNOWN_ENUM_VALUE"
    INVALID_ID = "INVALID_ID"
    UNKNOWN_PROPERTY = "UNKNOWN_PROPERTY"
    INVALID_PAGE_TOKEN = "INVALID_PAGE_TOKEN"  # noqa: S105 - not a password
    TOO_MANY_ELEMENTS = "TOO_MANY_ELEMENTS"
    INVALID_RESUME_TOKEN = "INVALID_RESUME_TOKEN"  # noqa: S105 - not a password
    UNSUPPORTED_ENCODING = "UNSUPPORTED_ENCODING"
    UNEXPECTED_FIELD = "UNEXPECTED_FIELD"
    INVALID_FILTER = "INVALID_FILTER"
    FILTER_TYPE_MISMATCH = "FILTER_TYPE_MISMATCH"
    UNSUPPORTED_PROPERTY_TYPE = "UNSUPPORTED_PROPERTY_TYPE"
    INVALID_PROPERTY_VALUE = "INVALID_PROPERTY_VALUE"
    READ_ONLY_PROPERTY = "READ_ONLY_PROPERTY"
    INVALID_UPDATE_MASK = "INVALID_UPDATE_MASK"
    REQUEST_ID_REUSED = "REQUEST_ID_REUSED"
    INVALID_FRESHNESS_TOKEN = "INVALID_FRESHNESS_TOKEN"  # noqa: S105 - not a password

    INVALID_ENCODING = "INVALID_ENCODING"
    EMPTY_GEOMETRY = "EMPTY_GEOMETRY"
    NON_FINITE_COORDINATE = "NON_FINITE_COORDINATE"
    COORDINATE_OUT_OF_RANGE = "COORDINATE_OUT_OF_RANGE"
    GEOMETRY_TOO_LARGE = "GEOMETRY_TOO_LARGE"
    GEOMETRY_TOO_DEEP = "GEOMETRY_TOO_DEEP"
    UNSUPPORTED_GEOMETRY_TYPE = "UNSUPPORTED_GEOMETRY_TYPE"
    INVALID_GEOMETRY = "INVALID_GEOMETRY"
    SRID_MISMATCH = "SRID_MISMATCH"
    UNKNOWN_SRID = "UNKNOWN_SRID"
    GEOMETRY_TYPE_MISMATCH = "GEOMETRY_TYPE_MISMATCH"

    LAYER_NOT_FOUND = "LAYER_NOT_FOUND"
    FEATURE_NOT_FOUND = "FEATURE_NOT_FOUND"
    IMPORT_NOT_FOUND = "IMPORT_NOT_FOUND"

    FEATURE_EXISTS = "FEATURE_EXISTS"
    NOT_UNIQUE = "NOT_UNIQUE"

    UNSUPPORTED_DISTANCE_MODEL = "UNSUPPORTED_DISTANCE_MODEL"
    TOPOLOGY_ERROR = "TOPOLOGY_ERROR"
    TRANSFORM_FAILED = "TRANSFORM_FAILED"
    NO_GEOMETRY = "NO_GEOMETRY"
    PLAN_TOO_EXPENSIVE = "PLAN_TOO_EXPENSIVE"
    SEQ_SCAN_REFUSED = "SEQ_SCAN_REFUSED"
    LAYER_READ_ONLY = "LAYER_READ_ONLY"
    CONSTRAINT_VIOLATED = "CONSTRAINT_VIOLATED"
    REFERENCE_VIOLATED = "REFERENCE_VIOLATED"
    OVERLAP = "OVERLAP"
    TOO_MANY_MATCHES = "TOO_MANY_MATCHES"
    LEDGER_MISSING = "LEDGER_MISSING"

    POOL_EXHAUSTED = "POOL_EXHAUSTED"
    OVERLOADED = "OVERLOADED"
    RESPONSE_TOO_LARGE = "RESPONSE_TOO_LARGE"
    TOO_MANY_STREAMS = "TOO_MANY_STREAMS"
    RATE_LIMITED = "RATE_LIMITED"
    TOO_MANY_CALLS = "TOO_MANY_CALLS"
    MEMORY_PRESSURE = "MEMORY_PRESSURE"

    STATEMENT_TIMEOUT = "STATEMENT_TIMEOUT"
    STREAM_STALLED = "STREAM_STALLED"

    DATABASE_UNAVAILABLE = "DATABASE_UNAVAILABLE"
    SHUTTING_DOWN = "SHUTTING_DOWN"
    OUTCOME_UNKNOWN = "OUTCOME_UNKNOWN"

    NOT_ALLOWED = "NOT_ALLOWED"
    INSUFFICIENT_SCOPE = "INSUFFICIENT_SCOPE"
    LAYER_NOT_ALLOWED = "LAYER_NOT_ALLOWED"

    MISSING_CREDENTIALS = "MISSING_CREDENTIALS"
    INVALID_CREDENTIALS = "INVALID_CREDENTIALS"
    EXPIRED_CREDENTIALS = "EXPIRED_CREDENTIALS"

    ETAG_MISMATCH = "ETAG_MISMATCH"
    CONFLICT = "CONFLICT"

    INTERNAL = "INTERNAL"


class SpatialError(Exception):
    """An answer other than the one asked for.

    `field` is the path in the request that is at fault, `metadata` what a program may want to know (strings only),
    `retry_after` the seconds after which the same call may succeed.
    """

    def __init__(
        self,
        reason: Reason,
        message: str,
        *,
        field: str | None = None,
        metadata: Mapping[str, str] = MappingProxyType({}),
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.field = field
        self.metadata = metadata
        self.retry_after = retry_after

    def at(self, field: str) -> Self:
        """The same error, said of `field`: for checks that do not know where their value came from."""
        self.field = f"{field}.{self.field}" if self.field else field
        return self


class InvalidArgument(SpatialError): ...


class NotFound(SpatialError): ...


class AlreadyExists(SpatialError): ...


class Aborted(SpatialError): ...


class FailedPrecondition(SpatialError): ...


class Unauthenticated(SpatialError): ...


class PermissionDenied(SpatialError): ...


class ResourceExhausted(SpatialError): ...


class DeadlineExceeded(SpatialError): ...


class Unavailable(SpatialError): ...


class InternalError(SpatialError): ...
