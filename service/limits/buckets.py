"""So many calls a second for each caller, and so many at once after a pause."""

from collections.abc import Callable
from time import perf_counter
from typing import NamedTuple

MOST_CALLERS = 10_000


class _Bucket(NamedTuple):
    tokens: float
    at: float


class Buckets:
    """A token bucket for each caller; those that are full again are forgotten."""

    def __init__(self, rate: float, burst: int, clock: Callable[[], float] = perf_counter) -> None:
        self.rate = rate
        self._burst = max(1, burst)
        self._clock = clock
        self._buckets: dict[str, _Bucket] = {}

    def __len__(self) -> int:
        return len(self._buckets)

    def take(self, caller: str) -> float:
        """Takes a token: 0, or the seconds until there is one to take."""
        now = self._clock()
        bucket = self._buckets.get(caller)
        if bucket is None:
            self._make_room(now)
            bucket = _Bucket(self._burst, now)
        tokens = min(self._burst, bucket.tokens + (now - bucket.at) * self.rate)
        if tokens < 1:
            return (1 - tokens) / self.rate
        self._buckets[caller] = _Bucket(tokens - 1, now)
        return 0.0

    def _make_room(self, now: float) -> None:
        if len(self._buckets) < MOST_CALLERS:
            return
        refilled = self._burst / self.rate
        self._buckets = {caller: each for caller, each in self._buckets.items() if now - each.at < refilled}
        while len(self._buckets) >= MOST_CALLERS:  # whoever came first loses no more than what it had saved
            del self._buckets[next(iter(self._buckets))]
