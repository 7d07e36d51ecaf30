"""How a stream of probes is kept moving: bounded, a statement's worth at a time, and never in the way of others."""

import asyncio
from collections import deque
from time import perf_counter

from service.codec.matches import Probed

SLICE_SECONDS = 0.001
WAITING_PROBES = 256
WAITING_BYTES = 4 * 1024 * 1024

MOST_PROBES = 128  # that share a statement
MOST_ROWS = 500  # that a statement is expected to bring: they are decoded without a pause
MOST_BYTES = 1024 * 1024
MOST_SECONDS = 0.25  # that it is expected to take: what is found is sent when it ends
FIRST_SECONDS = 0.004  # what a probe is thought to take before one has been answered, and one that may be slow
SLOW_SECONDS = 0.125


class Pace:
    """Lets others have the event loop whenever work has gone on for long enough."""

    def __init__(self) -> None:
        self._since = perf_counter()

    async def breathe(self) -> None:
        if perf_counter() - self._since > SLICE_SECONDS:
            await asyncio.sleep(0)
            self._since = perf_counter()


class Expectation:
    """How many probes a statement should be about, after what those before them brought."""

    def __init__(self, limit: int, *, slow: bool) -> None:
        self._rows = float(limit)
        self._bytes = 1.0
        self._seconds = SLOW_SECONDS if slow else FIRST_SECONDS

    @property
    def probes(self) -> int:
        most = min(MOST_ROWS / self._rows, MOST_BYTES / self._bytes, MOST_SECONDS / self._seconds)
        return max(1, min(MOST_PROBES, int(most)))

    def answered(self, probes: int, rows: int, seconds: float) -> None:
        """What a statement brought. The means forget half of what was before."""
        self._rows = max(1.0, (self._rows + rows / probes) / 2)
        self._seconds = max(1e-6, (self._seconds + seconds / probes) / 2)

    def written(self, probes: int, size: int) -> None:
        """How many bytes the answers came to."""
        self._bytes = max(1.0, (self._bytes + size / probes) / 2)


class Intake:
    """Probes that wait for a statement. One task puts, another takes; with no room, the first waits, and what it would
    read next stays with its sender."""

    def __init__(self) -> None:
        self._waiting: deque[Probed] = deque()
        self._bytes = 0
        self._ended = False
        self._error: Exception | None = None
        self._arrived = asyncio.Event()
        self._room = asyncio.Event()

    async def put(self, probed: Probed) -> None:
        while not self._fits(probed):
            self._room.clear()
            await self._room.wait()
        self._waiting.append(probed)
        self._bytes += probed.size
        self._arrived.set()

    def end(self, error: Exception | None = None) -> None:
        """There are no more, because of `error` if there is one."""
        self._ended, self._error = True, error
        self._arrived.set()

    async def take(self, most: int) -> list[Probed]:
        """Those in front that may share a statement, as soon as there is one; at the end none, or the error."""
        while not self._waiting and not self._ended:
            self._arrived.clear()
            await self._arrived.wait()
        taken: list[Probed] = []
        while self._waiting and len(taken) < most and not (taken and self._waiting[0].alone):
            taken.append(self._next())
            if taken[-1].alone:
                break
        self._room.set()
        if not taken and self._error is not None:
            raise self._error
        return taken

    def _fits(self, probed: Probed) -> bool:
        if not self._waiting:
            return True
        return len(self._waiting) < WAITING_PROBES and self._bytes + probed.size <= WAITING_BYTES

    def _next(self) -> Probed:
        probed = self._waiting.popleft()
        self._bytes -= probed.size
        return probed
