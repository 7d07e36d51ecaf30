"""A span for every call that is traced."""

from collections.abc import Sequence

from grpc import StatusCode

from service.errors import SpatialError
from service.interceptors.call import Call
from service.observability.tracing import Tracing

# What a server answers with as it should: the caller's doing is no failure of the server's span.
_AS_ASKED = (
    StatusCode.OK,
    StatusCode.CANCELLED,
    StatusCode.INVALID_ARGUMENT,
    StatusCode.NOT_FOUND,
    StatusCode.ALREADY_EXISTS,
    StatusCode.PERMISSION_DENIED,
    StatusCode.UNAUTHENTICATED,
    StatusCode.FAILED_PRECONDITION,
    StatusCode.ABORTED,
    StatusCode.RESOURCE_EXHAUSTED,
)


class Traces:
    """Of the `services` named: who asks for health every second tells nothing by it."""

    def __init__(self, tracing: Tracing, services: Sequence[str]) -> None:
        self._tracing = tracing
        self._services = services

    def started(self, call: Call) -> None:
        if call.method.service in self._services:
            call.span = self._tracing.begin(call.metadata, call.method.service, call.method.name)

    def ended(self, call: Call) -> None:
        if call.span is None:
            return
        about: dict[str, str | int] = {
            "rpc.grpc.status_code": call.code.value[0],
            "spatial.request_id": call.request_id,
            "spatial.messages_received": call.received,
            "spatial.messages_sent": call.sent,
        }
        if isinstance(call.error, SpatialError):
            about["spatial.reason"] = str(call.error.reason)
        failure = None if call.code in _AS_ASKED else call.code.name
        self._tracing.end(call.span, call.trail, about, failure)
