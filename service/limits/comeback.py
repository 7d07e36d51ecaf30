"""When those who are refused may come again."""

import random
from collections.abc import Callable
from time import perf_counter

WINDOW = 0.5  # seconds over which calls are counted
LEAST_RATE = 50.0  # calls a second that are thought to be served where nothing is known
MEMORY = 0.9  # of the best rate lately, from one window to the next: who is sent away for long is missed now
SHARE = 0.1  # of what is served: so many of the refused come again, lest refusing them cost what serving others needs
FIRST, LAST = 0.05, 3.0  # seconds


class Comeback:
    """Gives each of the refused a turn of its own, one after the other, at a share of the rate of calls that are
    served: all of them at once would be refused again, and long pauses would leave the server idle."""

    def __init__(
        self, clock: Callable[[], float] = perf_counter, spread: Callable[[float, float], float] = random.uniform
    ) -> None:
        self._clock = clock
        self._spread = spread
        self._since = clock()
        self._count = 0
        self._rate = LEAST_RATE
        self._turn = 0.0  # of the last who was refused

    def served(self, at: float) -> None:
        """Notes a call that was answered."""
        self._count += 1
        elapsed = at - self._since
        if elapsed >= WINDOW:
            self._rate = max(LEAST_RATE, self._count / elapsed, self._rate * MEMORY)
            self._since, self._count = at, 0

    def seconds(self) -> float:
        """From now until the turn of one who is refused now."""
        now = self._clock()
        self._turn = min(max(self._turn, now) + 1 / (SHARE * self._rate), now + LAST)
        return max(FIRST, self._turn - now) * self._spread(0.75, 1.25)
