"""How streams let calls go first.

A stream uses all it can get of a core, of the interpreter and of PostgreSQL; a call needs little of each, but at once.
So a stream's thread stands still while callers wait, though never for more than a few times as long as it worked
before: beside calls that never cease a stream has a seventh of the time, and without calls all of it. And it takes less
at a time then: who comes while it works need not wait for long.
"""

from collections.abc import Callable
from time import perf_counter, sleep

PATIENCE = 6.0  # so many times as long as it worked does a stream wait at the most
MOST_WORK_SECONDS = 0.02  # that it is held against a stream: what took longer waited for its reader, or for PostgreSQL
LOOK_SECONDS = 0.002

Awaited = Callable[[], bool]  # whether callers wait


def nobody() -> bool:
    """Waits."""
    return False


class Deference:
    """Of one thread."""

    def __init__(
        self,
        awaited: Awaited,
        clock: Callable[[], float] = perf_counter,
        pause: Callable[[float], None] = sleep,
    ) -> None:
        self._awaited = awaited
        self._clock = clock
        self._pause = pause
        self._since = clock()

    def give_way(self) -> None:
        """To be called whenever a piece of work is done."""
        now = self._clock()
        until = now + PATIENCE * min(now - self._since, MOST_WORK_SECONDS)
        while now < until and self._awaited():
            self._pause(min(LOOK_SECONDS, until - now))
            now = self._clock()
        self._since = now
