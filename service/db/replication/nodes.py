"""The servers that reads may go to: the replicas that are well and near enough, else the primary.

A read that a replica fails with goes to another server within the same call, as long as nothing of it was answered.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import TypeVar

from service.db.errors import unavailable
from service.db.lanes import Lanes
from service.db.replication.elsewhere import Fault, fault
from service.db.replication.freshness import FRESHEST, WANTED_POSITION
from service.db.replication.replica import Replica
from service.db.replication.watching import Watcher
from service.db.stream import Streams
from service.errors import Reason, SpatialError
from service.observability.metrics import Metrics

T = TypeVar("T")

PRIMARY = "primary"
ATTEMPTS = 3  # at a replica that is all there is


@dataclass(slots=True, eq=False)
class Node:
    """A server with what runs reads on it; `replica` is None for the primary."""

    lanes: Lanes
    matching: Lanes
    streams: Streams
    replica: Replica | None = None
    in_flight: int = 0

    @property
    def name(self) -> str:
        return self.replica.name if self.replica is not None else PRIMARY

    @property
    def usable(self) -> bool:
        return self.replica is None or self.replica.problem is None

    @property
    def position(self) -> int:
        """How much of the log it is known to have."""
        return self.replica.position if self.replica is not None else FRESHEST


class Nodes:
    """Made and used on the event loop."""

    def __init__(
        self, primary: Node, replicas: Sequence[Node], watcher: Watcher, patience: float, metrics: Metrics
    ) -> None:
        """`patience` is for how many seconds a read waits for what it wants to be replayed."""
        self.primary = primary
        self.watcher = watcher
        self._replicas = list(replicas)
        self._patience = patience
        self._turn = 0
        self._counts = {node: metrics.reads.labels(node.name) for node in (primary, *replicas)}

    async def read(self, ask: Callable[[Node], Awaitable[T]]) -> T:
        """What a server answers, whichever it is."""
        route = Route(self)
        while True:
            node = await route.next()
            try:
                with self.at(node):
                    async with waiting(node):
                        return await ask(node)
            except SpatialError as error:
                route.failed(node, error)

    @contextmanager
    def at(self, node: Node) -> Iterator[None]:
        """While a server is at a read."""
        self._counts[node].inc()
        node.in_flight += 1
        try:
            yield
        finally:
            node.in_flight -= 1

    async def choose(self, tried: Sequence[Node]) -> Node:
        """The replica with the least to do, of those that have what the call wants; the primary where there is none."""
        usable = [node for node in self._replicas if node.usable and node not in tried]
        wanted = WANTED_POSITION.get()
        if wanted and usable:
            usable = await self._fresh(usable, wanted)
        if not usable:
            return self.primary
        self._turn += 1
        first = self._turn % len(usable)
        return min(usable[first:] + usable[:first], key=_in_flight)

    async def _fresh(self, nodes: Sequence[Node], wanted: int) -> list[Node]:
        if wanted == FRESHEST:
            return []
        if fresh := [node for node in nodes if node.position >= wanted]:
            return fresh
        nearest = max(nodes, key=_position)
        assert nearest.replica is not None
        return [nearest] if await self.watcher.replayed(nearest.replica, wanted, self._patience) else []


class Route:
    """Where one read goes, from each attempt to the next."""

    def __init__(self, nodes: Nodes) -> None:
        self._nodes = nodes
        self._tried: list[Node] = []
        self._attempts = 0
        self._said: SpatialError | None = None

    async def next(self) -> Node:
        return await self._nodes.choose(self._tried)

    def failed(self, node: Node, error: SpatialError, *, begun: bool = False) -> None:
        """Returns if another server should be asked, and raises otherwise: where something was answered already, or
        any server would say the same."""
        if node.replica is None:
            raise self._better(error)
        what = fault(error)
        if what is Fault.LOST:
            self._nodes.watcher.lost(node.replica)
        if what is None or begun:
            raise error
        self._said = self._said or error
        self._attempts += 1
        # Without a primary, what passes is best waited for where it was.
        if what is Fault.LOST or not self._nodes.watcher.primary_away or self._attempts >= ATTEMPTS:
            self._tried.append(node)

    def _better(self, error: SpatialError) -> SpatialError:
        """What a replica said is worth more than that the primary is away."""
        said = self._said
        if said is None or said.reason is Reason.DATABASE_UNAVAILABLE:
            return error
        return said if error.reason is Reason.DATABASE_UNAVAILABLE else error


@asynccontextmanager
async def waiting(node: Node) -> AsyncIterator[None]:
    """While a call waits for a server: DATABASE_UNAVAILABLE as soon as a replica is known not to answer any more."""
    if node.replica is None:
        yield
        return
    others = node.replica.waiting
    try:
        async with asyncio.timeout(None) as patience:
            others.add(patience)
            try:
                yield
            finally:
                others.discard(patience)
    except TimeoutError as error:
        if not patience.expired():
            raise
        raise unavailable() from error


def _in_flight(node: Node) -> int:
    return node.in_flight


def _position(node: Node) -> int:
    return node.position
