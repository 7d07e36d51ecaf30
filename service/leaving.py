"""How callers leave a server that is going to end: gRPC's own shutdown cancels calls that it has received and not yet
begun, which under load are as many as there are callers. So they leave by themselves before it is told.
"""

import asyncio

from service.doors import Doors
from service.interceptors.running import RunningCalls

JITTER = 1.1  # gRPC ends a connection at up to a tenth more than the age that it is told
MARGIN_SECONDS = 0.5  # for callers to hear of it
QUIET_SECONDS = 1.0  # after so long without a call, one is not likely to come at the very moment of the end
LOOK_SECONDS = 0.05
# A connection that the kernel has accepted for us is one that we know of, whatever the way that it came.
SETTLE_SECONDS = 0.3


class Leaving:
    """Nobody comes in; who is in is served, and told to go elsewhere when the connection has reached its `age`, in
    seconds; 0: never."""

    def __init__(self, doors: Doors, running: RunningCalls, age: float) -> None:
        self._doors = doors
        self._running = running
        self._patience = age * JITTER + MARGIN_SECONDS if age else 0.0
        self._closed = False

    async def lead_away(self, newest: int) -> None:
        """Closes the doors to those who come, while others of our kind listen: not one is turned away."""
        self._doors.lead_to(newest)
        await asyncio.sleep(SETTLE_SECONDS)
        self._doors.close()

    async def all_gone(self) -> None:
        """Returns when calls can no longer come, and the last has ended."""
        await self._gone(asyncio.get_running_loop().time() + self._patience, quiet=None)
        self._closed = True
        await self._running.finish(None)

    async def hurry(self, deadline: float) -> None:
        """The same by `deadline`, or sooner where it is quiet. Where connections may last longer than that, there is
        nothing to wait for."""
        self._doors.close()
        until = asyncio.get_running_loop().time() + self._patience
        if self._patience and until < deadline and not self._closed:
            await self._gone(until, quiet=QUIET_SECONDS)

    async def _gone(self, until: float, quiet: float | None) -> None:
        clock = asyncio.get_running_loop().time
        begun, since = self._running.begun, clock()
        while clock() < until and self._doors.callers():
            await asyncio.sleep(LOOK_SECONDS)
            if self._running.count or self._running.begun != begun:
                begun, since = self._running.begun, clock()
            elif quiet is not None and clock() - since >= quiet:
                return
