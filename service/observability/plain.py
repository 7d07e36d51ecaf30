"""Numbers that nothing but the event loop changes: the library's own take a lock and several frames each, and there are
some for every call."""

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from itertools import accumulate

from prometheus_client import Metric
from prometheus_client.core import HistogramMetricFamily
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString


class Level:
    """How many there are."""

    __slots__ = ("number",)

    def __init__(self) -> None:
        self.number = 0


class PlainHistogram(Collector):
    def __init__(self, name: str, text: str, bounds: Sequence[float]) -> None:
        self._name, self._text = name, text
        self._bounds = bounds
        self._les = [*map(floatToGoString, bounds), "+Inf"]
        self._buckets = [0] * len(self._les)
        self._sum = 0.0

    def observe(self, value: float) -> None:
        self._buckets[bisect_left(self._bounds, value)] += 1
        self._sum += value

    def collect(self) -> Iterable[Metric]:
        counts = zip(self._les, accumulate(self._buckets), strict=True)
        buckets = [(bound, float(count)) for bound, count in counts]
        return [HistogramMetricFamily(self._name, self._text, buckets, self._sum)]
