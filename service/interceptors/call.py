"""One call while it is served, as every interceptor sees it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Any, Protocol, TypeAlias

import grpc

from service.observability.trail import Trail

# grpc's classes are generic for type checkers only.
Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"

HEADER = "x-request-id"


@dataclass(frozen=True, slots=True, eq=False)
class Method:
    """What is known of an RPC before it is called, one object each. `type` is gRPC's word: unary, server_stream, …"""

    service: str
    name: str
    type: str


class Call:
    __slots__ = (
        "caller",
        "code",
        "context",
        "error",
        "known_to",
        "metadata",
        "method",
        "received",
        "request_id",
        "sent",
        "span",
        "started",
        "trail",
    )

    def __init__(self, method: Method, context: Context) -> None:
        self.method = method
        self.context = context
        self.started = perf_counter()
        self.metadata: Mapping[str, str | bytes] = dict(context.invocation_metadata() or ())
        self.request_id = ""
        self.sent = 0
        self.received = 0
        self.code = grpc.StatusCode.OK
        self.error: BaseException | None = None
        self.trail: Trail | None = None
        self.span: Any = None  # of OpenTelemetry, where calls are traced
        self.caller: str | None = None  # whose place it takes, where callers have a limit
        self.known_to = 0  # how many observers were told that it began


class Observer(Protocol):
    """Is told of every call when it begins, and may refuse it by raising; then of its end, if it was let in. One that
    does not care for either says nothing about it."""

    def started(self, call: Call) -> None:
        return

    def ended(self, call: Call) -> None:
        return


class Observers:
    """Tells each in turn; of a call's end in the reverse order, and only those who had not refused it or come after
    one who had."""

    def __init__(self, observers: Sequence[Observer]) -> None:
        self._count = len(observers)
        told = enumerate(observers)
        self._starts = [(number, each.started) for number, each in told if _cares(each, "started")]
        told = enumerate(observers)
        self._ends = [(number, each.ended) for number, each in told if _cares(each, "ended")][::-1]

    def begin(self, call: Call) -> None:
        for number, started in self._starts:
            call.known_to = number
            started(call)
        call.known_to = self._count

    def end(self, call: Call) -> None:
        for number, ended in self._ends:
            if number < call.known_to:
                ended(call)


def _cares(observer: Observer, about: str) -> bool:
    return getattr(type(observer), about) is not getattr(Observer, about)
