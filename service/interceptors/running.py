"""Knows how many calls of our services are running, so that a shutdown can tell whether all could finish."""

import asyncio

from service.interceptors.call import Call


class RunningCalls:
    """Counts the calls of the services named; a watch of health or a reflection session may run for ever."""

    def __init__(self, *services: str) -> None:
        self._services = services
        self.begun = 0
        self.count = 0
        self._idle = asyncio.Event()
        self._idle.set()

    def started(self, call: Call) -> None:
        if call.method.service in self._services:
            self.begun += 1
            self.count += 1
            self._idle.clear()

    def ended(self, call: Call) -> None:
        if call.method.service in self._services:
            self.count -= 1
            if not self.count:
                self._idle.set()

    async def finish(self, deadline: float | None) -> bool:
        """Waits for the running calls until `deadline`, by the event loop's clock; whether all ended by then."""
        try:
            async with asyncio.timeout_at(deadline):
                await self._idle.wait()
        except TimeoutError:
            return False
        return True
