"""Errors to statuses, in one place for every kind of RPC."""

import asyncio
from collections.abc import Mapping
from functools import lru_cache
from time import perf_counter
from typing import NoReturn

from google.protobuf.any_pb2 import Any
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2
from grpc import StatusCode
from grpc.aio import AbortError

from service import errors
from service.errors import Reason, SpatialError
from service.interceptors.call import HEADER, Call

# The most specific class wins.
STATUS: Mapping[type[SpatialError], StatusCode] = {
    errors.InvalidArgument: StatusCode.INVALID_ARGUMENT,
    errors.NotFound: StatusCode.NOT_FOUND,
    errors.AlreadyExists: StatusCode.ALREADY_EXISTS,
    errors.Aborted: StatusCode.ABORTED,
    errors.FailedPrecondition: StatusCode.FAILED_PRECONDITION,
    errors.Unauthenticated: StatusCode.UNAUTHENTICATED,
    errors.PermissionDenied: StatusCode.PERMISSION_DENIED,
    errors.ResourceExhausted: StatusCode.RESOURCE_EXHAUSTED,
    errors.DeadlineExceeded: StatusCode.DEADLINE_EXCEEDED,
    errors.Unavailable: StatusCode.UNAVAILABLE,
    errors.InternalError: StatusCode.INTERNAL,
}

DETAILS_KEY = "grpc-status-details-bin"
ON_ITS_WAY = 0.1  # seconds that a call is, where much is to be done


def code_of(call: Call, error: BaseException) -> StatusCode:
    """What a call that ended with `error` ended as."""
    if isinstance(error, SpatialError):
        return _code(error)
    if isinstance(error, AbortError):
        return call.context.code() or StatusCode.UNKNOWN
    if isinstance(error, asyncio.CancelledError | GeneratorExit):
        return StatusCode.DEADLINE_EXCEEDED if _expired(call) else StatusCode.CANCELLED
    if isinstance(error, NotImplementedError):  # what others' servicers leave out of a contract
        return StatusCode.UNIMPLEMENTED
    return StatusCode.INTERNAL


def _expired(call: Call) -> bool:
    """Whether the caller has left since its deadline has passed. It passes sooner there than here: by as long as the
    call was on its way, and by the hundredth that gRPC may have added to round it up."""
    remaining = call.context.time_remaining()
    if remaining is None:
        return False
    passed = perf_counter() - call.started
    return remaining <= min(passed, ON_ITS_WAY + (passed + remaining) / 100)


def _code(error: SpatialError) -> StatusCode:
    return next(STATUS[kind] for kind in type(error).__mro__ if kind in STATUS)


def status_of(error: SpatialError) -> status_pb2.Status:
    """The status of an error that is part of an answer."""
    return status(_code(error), error)


def status(code: StatusCode, error: SpatialError) -> status_pb2.Status:
    """The status with its details: the reason, the field at fault, when to try again."""
    info = error_details_pb2.ErrorInfo(reason=error.reason, domain=errors.DOMAIN, metadata=error.metadata)
    details: list[Message] = [info]
    if error.field:
        violation = error_details_pb2.BadRequest.FieldViolation(
            field=error.field, description=error.message, reason=error.reason
        )
        details.append(error_details_pb2.BadRequest(field_violations=[violation]))
    if error.retry_after is not None:
        details.append(_retry(_milliseconds(error.retry_after)))
    return status_pb2.Status(code=code.value[0], message=_message(error), details=[_packed(each) for each in details])


async def abort(call: Call) -> NoReturn:
    """Ends the call with the status of its error."""
    await call.context.abort(*ending(call))


def ending(call: Call) -> tuple[StatusCode, str, tuple[tuple[str, str | bytes], ...]]:
    """What to end a call with that failed: code, message and trailing metadata. What is not ours to say stays in the
    log."""
    error = call.error
    name = (HEADER, call.request_id)
    if call.code is StatusCode.UNIMPLEMENTED:  # in gRPC's own words, which have no reason of ours
        return call.code, "Method not implemented!", (name,)
    if not isinstance(error, SpatialError):
        error = errors.InternalError(Reason.INTERNAL, "internal error")
    return call.code, _message(error), (name, (DETAILS_KEY, _written(call.code, error)))


def _written(code: StatusCode, error: SpatialError) -> bytes:
    """The bytes of `status`. Those of calls that may come again are alike but for when, and made once."""
    if error.field or error.retry_after is None:
        return _serialized(status(code, error))
    metadata = tuple(error.metadata.items())
    return _refused(code, error.reason, error.message, metadata) + _again(_milliseconds(error.retry_after))


@lru_cache(maxsize=256)
def _refused(code: StatusCode, reason: Reason, message: str, metadata: tuple[tuple[str, str], ...]) -> bytes:
    return _serialized(status(code, SpatialError(reason, message, metadata=dict(metadata))))


@lru_cache(maxsize=4096)
def _again(milliseconds: int) -> bytes:
    """A message's bytes behind another's make one of both."""
    return _serialized(status_pb2.Status(details=[_packed(_retry(milliseconds))]))


def _serialized(status: status_pb2.Status) -> bytes:
    written: bytes = status.SerializeToString()
    return written


def _retry(milliseconds: int) -> Message:
    delay = Duration()
    delay.FromMilliseconds(milliseconds)
    retry: Message = error_details_pb2.RetryInfo(retry_delay=delay)
    return retry


def _milliseconds(seconds: float) -> int:
    return round(seconds * 1000)


def _message(error: SpatialError) -> str:
    return f"{error.field}: {error.message}" if error.field else error.message


def _packed(message: Message) -> Any:
    packed = Any()
    packed.Pack(message)
    return packed
