"""What runs reads, over several servers: who asks need not know."""

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import AbstractContextManager, aclosing
from typing import Protocol, TypeVar

from psycopg2.extensions import cursor as Cursor  # noqa: N812 - a class, whatever its case

from service.db.batch import Answer
from service.db.lanes import Lanes, Together
from service.db.replication.elsewhere import fault
from service.db.replication.nodes import Node, Nodes, Route, waiting
from service.db.stream import Readings
from service.domain import Layout, Search
from service.errors import SpatialError

T = TypeVar("T")


class Reads(Protocol):
    """What `Lanes` do for those who ask."""

    async def answer(self, search: Search) -> Answer: ...

    async def answer_together(self, searches: Sequence[Search]) -> Together: ...

    async def run(self, work: Callable[[Cursor], T]) -> T: ...


class StreamReads(Protocol):
    """What `Streams` do for those who ask."""

    def admitted(self) -> AbstractContextManager[None]: ...

    def read(self, method: str, layout: Layout, readings: Readings) -> AsyncGenerator[bytes]: ...


class RoutedLanes:
    """`lanes` says which of a node's are meant."""

    def __init__(self, nodes: Nodes, lanes: Callable[[Node], Lanes]) -> None:
        self._nodes = nodes
        self._lanes = lanes

    async def answer(self, search: Search) -> Answer:
        return await self._nodes.read(lambda node: self._lanes(node).answer(search))

    async def answer_together(self, searches: Sequence[Search]) -> Together:
        async def ask(node: Node) -> Together:
            together = await self._lanes(node).answer_together(searches)
            for answer in together.answers if node.replica is not None else ():
                if isinstance(answer, SpatialError) and fault(answer) is not None:
                    raise answer
            return together

        return await self._nodes.read(ask)

    async def run(self, work: Callable[[Cursor], T]) -> T:
        return await self._nodes.read(lambda node: self._lanes(node).run(work))


class RoutedStreams:
    """All nodes together may run as many streams as the primary could alone."""

    def __init__(self, nodes: Nodes) -> None:
        self._nodes = nodes

    def admitted(self) -> AbstractContextManager[None]:
        return self._nodes.primary.streams.admitted()

    async def read(self, method: str, layout: Layout, readings: Readings) -> AsyncGenerator[bytes]:
        """A stream that has sent nothing yet is begun again elsewhere."""
        route = Route(self._nodes)
        while True:
            node = await route.next()
            begun = False
            try:
                with self._nodes.at(node):
                    async with aclosing(node.streams.read(method, layout, readings)) as messages:
                        async with waiting(node):
                            message = await anext(messages, None)
                        while message is not None:
                            begun = True
                            yield message
                            message = await anext(messages, None)
                return
            except SpatialError as error:
                route.failed(node, error, begun=begun)
