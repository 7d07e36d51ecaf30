"""What a call may raise, so that callers need not know gRPC.

SpatialError
├── InvalidArgument      what was asked is wrong; `field` says where
├── NotFound             no such layer or feature
├── AlreadyExists        the feature is there already
├── FailedPrecondition   right as such, but not for this layer or these data
├── Aborted              another write came between
├── ResourceExhausted    too much at once: `retry_after` says when to come again, where that helps
├── DeadlineExceeded     the timeout ran out, or a limit of the server's
├── Unavailable          the service or its database is away
├── Unauthenticated      no token, or one that is not accepted
├── PermissionDenied     the token does not allow this
├── Cancelled            the call was ended by somebody
├── Unimplemented        the server is older than this client
└── InternalError        a bug of the service, or something between that spoilt the answer
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import grpc
from google.rpc import error_details_pb2, status_pb2

DOMAIN = "spatial.v1"
DETAILS = "grpc-status-details-bin"
REQUEST_ID = "x-request-id"


class SpatialError(Exception):
    """An answer other than the one asked for.

    `reason` is a value of the contract's ErrorReason without its prefix, as "LAYER_NOT_FOUND"; None where the service
    did not write the error itself: a broken connection, a proxy, a timeout on this side. `code` is gRPC's status code
    by name. `request_id` names the call in the server's log.
    """

    def __init__(
        self,
        message: str,
        *,
        code: str = "UNKNOWN",
        reason: str | None = None,
        field: str | None = None,
        metadata: Mapping[str, str] = MappingProxyType({}),
        retry_after: float | None = None,
        request_id: str | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = code
        self.reason = reason
        self.field = field
        self.metadata = dict(metadata)
        self.retry_after = retry_after
        self.request_id = request_id

    def __str__(self) -> str:
        notes = [self.reason or self.code, f"request {self.request_id}" if self.request_id else ""]
        return f"{self.message} ({', '.join(filter(None, notes))})"


class InvalidArgument(SpatialError): ...


class NotFound(SpatialError): ...


class AlreadyExists(SpatialError): ...


class FailedPrecondition(SpatialError): ...


class Aborted(SpatialError): ...


class ResourceExhausted(SpatialError): ...


class DeadlineExceeded(SpatialError): ...


class Unavailable(SpatialError): ...


class Unauthenticated(SpatialError): ...


class PermissionDenied(SpatialError): ...


class Cancelled(SpatialError): ...


class Unimplemented(SpatialError): ...


class InternalError(SpatialError): ...


ERRORS: Mapping[grpc.StatusCode, type[SpatialError]] = {
    grpc.StatusCode.CANCELLED: Cancelled,
    grpc.StatusCode.UNKNOWN: InternalError,
    grpc.StatusCode.INVALID_ARGUMENT: InvalidArgument,
    grpc.StatusCode.DEADLINE_EXCEEDED: DeadlineExceeded,
    grpc.StatusCode.NOT_FOUND: NotFound,
    grpc.StatusCode.ALREADY_EXISTS: AlreadyExists,
    grpc.StatusCode.PERMISSION_DENIED: PermissionDenied,
    grpc.StatusCode.RESOURCE_EXHAUSTED: ResourceExhausted,
    grpc.StatusCode.FAILED_PRECONDITION: FailedPrecondition,
    grpc.StatusCode.ABORTED: Aborted,
    grpc.StatusCode.OUT_OF_RANGE: InvalidArgument,
    grpc.StatusCode.UNIMPLEMENTED: Unimplemented,
    grpc.StatusCode.INTERNAL: InternalError,
    grpc.StatusCode.UNAVAILABLE: Unavailable,
    grpc.StatusCode.DATA_LOSS: InternalError,
    grpc.StatusCode.UNAUTHENTICATED: Unauthenticated,
}
_CODES: Mapping[int, grpc.StatusCode] = {code.value[0]: code for code in grpc.StatusCode}


def error_of_call(error: grpc.RpcError) -> SpatialError:
    """What a call ended with, details and all."""
    call: Any = error
    trailing: dict[str, Any] = dict(call.trailing_metadata() or ())
    code, message = call.code(), call.details() or ""
    request_id = trailing.get(REQUEST_ID)
    return _error(code, message, status_pb2.Status.FromString(trailing.get(DETAILS, b"")), request_id)


def error_of_status(status: status_pb2.Status) -> SpatialError:
    """What is said of one element of an answer."""
    return _error(_CODES.get(status.code, grpc.StatusCode.UNKNOWN), status.message, status, None)


def _error(code: grpc.StatusCode, message: str, status: status_pb2.Status, request_id: str | None) -> SpatialError:
    found: dict[str, Any] = {"code": code.name, "request_id": request_id}
    for detail in status.details:
        found |= _said(detail)
    return ERRORS[code](message, **found)


def _said(detail: Any) -> dict[str, Any]:
    """What one of the details says; nothing, if it is of a kind that is not known here."""
    info, bad, retry = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest(), error_details_pb2.RetryInfo()
    if detail.Unpack(info):
        return {"reason": info.reason, "metadata": dict(info.metadata)} if info.domain == DOMAIN else {}
    if detail.Unpack(bad) and bad.field_violations:
        return {"field": bad.field_violations[0].field}
    if detail.Unpack(retry):
        return {"retry_after": retry.retry_delay.ToTimedelta().total_seconds()}
    return {}
