"""What is counted of every call, in plain numbers that nothing but the event loop changes: the library's own counters
take a lock and several frames each, and a call has half a dozen."""

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate

from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

LABELS = ("grpc_type", "grpc_service", "grpc_method")


class Tally:
    """Of one method's calls. `handled` is by what they ended as."""

    __slots__ = ("_bounds", "buckets", "handled", "received", "seconds", "sent", "started")

    def __init__(self, codes: Iterable[str], bounds: Sequence[float]) -> None:
        self._bounds = bounds
        self.started = 0
        self.handled = dict.fromkeys(codes, 0)
        self.sent = 0
        self.received = 0
        self.seconds = 0.0
        self.buckets = [0] * (len(bounds) + 1)

    def ended(self, code: str, seconds: float, sent: int, received: int) -> None:
        self.handled[code] += 1
        self.seconds += seconds
        self.buckets[bisect_left(self._bounds, seconds)] += 1
        self.sent += sent
        self.received += received


class Calls(Collector):
    """The names are those that gRPC dashboards everywhere expect."""

    def __init__(self, bounds: Sequence[float]) -> None:
        """`bounds` are the upper ones of the buckets for how long calls took."""
        self._bounds = bounds
        self._les = [*map(floatToGoString, bounds), "+Inf"]
        self._tallies: dict[tuple[str, str, str], Tally] = {}

    def tally(self, kind: str, service: str, method: str, codes: Iterable[str]) -> Tally:
        """A method's, whose series exist from now on, so that its rates start at 0."""
        return self._tallies.setdefault((kind, service, method), Tally(codes, self._bounds))

    def describe(self) -> Iterable[Metric]:
        return self._families()

    def collect(self) -> Iterator[Metric]:
        families = started, handled, handling, sent, received = self._families()
        for labels, tally in list(self._tallies.items()):
            started.add_metric(labels, tally.started)
            for code, number in tally.handled.items():
                handled.add_metric((*labels, code), number)
            counts = zip(self._les, accumulate(tally.buckets), strict=True)
            handling.add_metric(labels, [(bound, float(count)) for bound, count in counts], tally.seconds)
            sent.add_metric(labels, tally.sent)
            received.add_metric(labels, tally.received)
        yield from families

    @staticmethod
    def _families() -> tuple[
        CounterMetricFamily, CounterMetricFamily, HistogramMetricFamily, CounterMetricFamily, CounterMetricFamily
    ]:
        return (
            CounterMetricFamily("grpc_server_started", "Calls begun.", labels=LABELS),
            CounterMetricFamily("grpc_server_handled", "Calls ended.", labels=(*LABELS, "grpc_code")),
            HistogramMetricFamily("grpc_server_handling_seconds", "How long calls took.", labels=LABELS),
            CounterMetricFamily("grpc_server_msg_sent", "Messages sent.", labels=LABELS),
            CounterMetricFamily("grpc_server_msg_received", "Messages received.", labels=LABELS),
        )
