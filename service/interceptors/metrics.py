"""Counts and times every call."""

from time import perf_counter
from typing import NamedTuple

from grpc import StatusCode
from prometheus_client import Counter, Histogram

from service.interceptors.call import Call, Method
from service.observability.metrics import Metrics


class _Series(NamedTuple):
    """A method's series, looked up once."""

    started: Counter
    handling: Histogram
    sent: Counter
    received: Counter
    handled: dict[StatusCode, Counter]


class CallMetrics:
    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._series: dict[Method, _Series] = {}

    def expect(self, method: Method) -> None:
        """Makes a method's series before it is called, so that its rates start at 0."""
        labels = (method.type, method.service, method.name)
        metrics = self._metrics
        handled = {code: metrics.handled.labels(*labels, code.name) for code in StatusCode}
        self._series[method] = _Series(
            metrics.started.labels(*labels),
            metrics.handling.labels(*labels),
            metrics.sent.labels(*labels),
            metrics.received.labels(*labels),
            handled,
        )

    def started(self, call: Call) -> None:
        self._series[call.method].started.inc()

    def ended(self, call: Call) -> None:
        series = self._series[call.method]
        series.handled[call.code].inc()
        series.handling.observe(perf_counter() - call.started)
        series.sent.inc(call.sent)
        series.received.inc(call.received)
