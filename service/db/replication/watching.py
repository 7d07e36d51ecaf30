"""Keeps an eye on the primary and its replicas, and says which of these may be read."""

import asyncio
import logging
from collections.abc import Sequence
from contextlib import suppress
from time import monotonic

from sqlalchemy import Engine

from service.db.occupancy import Wanted
from service.db.replication.replica import Primary, Replica
from service.db.replication.sight import Busy, Look, Sight, Unseen
from service.observability.metrics import Metrics

log = logging.getLogger("spatial.replicas")

FIRST_POLL, LONGEST_POLL = 0.001, 0.016  # seconds between looks while somebody waits for what a replica replays


class Watcher:
    """Made and used on the event loop."""

    def __init__(
        self, primary: Sight, replicas: Sequence[Replica], interval: float, wanted: Wanted, metrics: Metrics
    ) -> None:
        """`wanted` is how many connections this service and its like may open to each replica."""
        self._sight = primary
        self._primary = Primary()
        self._replicas = list(replicas)
        self._interval = interval
        self._wanted = wanted
        self._metrics = metrics
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Looks once before anybody can ask, then again and again."""
        await self._look_at_primary()
        await asyncio.gather(*map(self._look_at, self._replicas))
        watches = [self._watch_primary(), *map(self._watch, self._replicas)]
        self._tasks = [asyncio.create_task(watch, name="replicas") for watch in watches]

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        for task in self._tasks:
            with suppress(asyncio.CancelledError):
                await task
        for sight in (self._sight, *(replica.sight for replica in self._replicas)):
            sight.close()

    @property
    def engines(self) -> list[Engine]:
        """Of the replicas that may be read."""
        return [replica.sight.control for replica in self._replicas if replica.problem is None]

    @property
    def primary_away(self) -> bool:
        return self._primary.away

    def lost(self, replica: Replica) -> None:
        """A call found it gone: no read goes there before somebody has looked again."""
        replica.lost(monotonic())
        self._say(replica, "a call has lost it")

    async def replayed(self, replica: Replica, position: int, patience: float) -> bool:
        """Waits until a replica has come so far; whether it has, in time."""
        if replica.position >= position:
            return True
        before = replica.position
        if before == replica.stalled_at:  # which has cost somebody the time already
            return False
        with suppress(TimeoutError, Busy, Unseen):
            async with asyncio.timeout(patience):
                await self._come_to(replica, position)
                return replica.problem is None
        if replica.position == before:
            replica.stalled_at = before
        return False

    async def _come_to(self, replica: Replica, position: int) -> None:
        pause = FIRST_POLL
        while True:
            self._judge(replica, await replica.sight.look())
            if replica.position >= position:
                return
            await asyncio.sleep(pause)
            pause = min(2 * pause, LONGEST_POLL)

    async def _watch_primary(self) -> None:
        while True:
            await asyncio.sleep(self._interval)
            await self._look_at_primary()

    async def _watch(self, replica: Replica) -> None:
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(self._interval):
                    await replica.wake.wait()
                    replica.wake.clear()
                    await asyncio.sleep(max(0.0, replica.rests_until - monotonic()))
            await self._look_at(replica)

    async def _look_at_primary(self) -> None:
        try:
            look = await self._sight.look()
        except Busy:
            return
        except Unseen:
            self._miss_primary()
            return
        if look.standby:
            self._miss_primary()
            return
        if self._primary.away:
            log.info("the primary is there again")
        self._primary.away = False
        self._primary.seen(look)
        for replica in self._replicas:
            if replica.look is not None and replica.answering:
                self._judge(replica, replica.look)

    def _miss_primary(self) -> None:
        if not self._primary.away:
            log.warning("the primary is away: how far replicas are behind is not known, and they go on answering")
        self._primary.away = True

    async def _look_at(self, replica: Replica) -> None:
        try:
            look = await replica.sight.look()
        except Busy:
            return
        except Unseen as unseen:
            replica.answering = False
            self._say(replica, str(unseen))
            if unseen.silent:
                replica.send_elsewhere(asyncio.get_running_loop().time())
            return
        if replica.look is None and self._wanted.total > look.connections:
            log.warning("%s takes %d connections: %s may be opened", replica.name, look.connections, self._wanted)
        self._judge(replica, look)

    def _judge(self, replica: Replica, look: Look) -> None:
        others = [other for other in self._replicas if other is not replica]
        self._say(replica, replica.judge(look, self._primary, others, monotonic()))

    def _say(self, replica: Replica, problem: str | None) -> None:
        if problem != replica.problem:
            message = f"{replica.name} is not read: {problem}" if problem else f"{replica.name} is read"
            log.log(logging.WARNING if problem else logging.INFO, message)
        replica.problem = problem
        self._metrics.replica_up.labels(replica.name).set(problem is None)
        self._metrics.replica_lag.labels(replica.name).set(replica.lag)
