"""One call while it is served, as every interceptor sees it."""

from dataclasses import dataclass
from time import perf_counter
from typing import Any, Protocol, TypeAlias

import grpc

# grpc's classes are generic for type checkers only.
Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"

HEADER = "x-request-id"


@dataclass(frozen=True, slots=True)
class Method:
    """What is known of an RPC before it is called. `type` is gRPC's word for its kind: unary, server_stream, …"""

    service: str
    name: str
    type: str


class Call:
    __slots__ = ("code", "context", "error", "method", "received", "request_id", "sent", "started")

    def __init__(self, method: Method, context: Context) -> None:
        self.method = method
        self.context = context
        self.started = perf_counter()
        self.request_id = ""
        self.sent = 0
        self.received = 0
        self.code = grpc.StatusCode.OK
        self.error: BaseException | None = None


class Observer(Protocol):
    """Is told of every call when it begins and when it has ended; `started` may refuse it by raising."""

    def started(self, call: Call) -> None: ...

    def ended(self, call: Call) -> None: ...
