"""Forgets requests that were made too long ago, every now and then, as long as the server runs."""

import asyncio
import logging
from contextlib import suppress
from functools import partial
from random import uniform

from service.db.errands import Errands
from service.db.writing.promises import forget
from service.errors import SpatialError

log = logging.getLogger("spatial.forgetting")

EVERY_SECONDS = 600.0


class Forgetting:
    def __init__(self, errands: Errands, memory: float, every: float = EVERY_SECONDS) -> None:
        """`memory` is for how many seconds a request is remembered."""
        self._errands = errands
        self._memory = memory
        self._every = every
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        self._task = asyncio.create_task(self._keep_forgetting(), name="forgetting")

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    async def _keep_forgetting(self) -> None:
        while True:
            # Processes that were started together need not all come at once.
            await asyncio.sleep(uniform(0.5, 1.5) * min(self._every, self._memory))  # noqa: S311 - nobody's secret
            try:
                while await self._errands.run(partial(forget, seconds=self._memory)):
                    pass
            except SpatialError as error:  # it comes again
                log.warning("requests could not be forgotten yet", exc_info=error)
