"""Counts and times every call."""

from time import perf_counter

from grpc import StatusCode

from service.interceptors.call import Call, Method
from service.observability.calls import Tally
from service.observability.metrics import Metrics

_CODES = [code.name for code in StatusCode]


class CallMetrics:
    def __init__(self, metrics: Metrics) -> None:
        self._calls = metrics.calls
        self._tallies: dict[Method, Tally] = {}

    def expect(self, method: Method) -> None:
        """Makes a method's series before it is called."""
        self._tallies[method] = self._calls.tally(method.type, method.service, method.name, _CODES)

    def started(self, call: Call) -> None:
        self._tallies[call.method].started += 1

    def ended(self, call: Call) -> None:
        seconds = perf_counter() - call.started
        self._tallies[call.method].ended(call.code.name, seconds, call.sent, call.received)
