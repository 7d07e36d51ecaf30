"""Reads over a pooler's connections, which it may close while the database is well: what is lost with one is asked once
more, over another, as long as nothing of it was answered."""

from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import AbstractContextManager, aclosing
from typing import TypeVar

from psycopg2.extensions import cursor as Cursor  # noqa: N812 - a class, whatever its case

from service.db.batch import Answer
from service.db.lanes import Together
from service.db.replication.elsewhere import connection_lost
from service.db.replication.routed import Reads, StreamReads
from service.db.stream import Readings
from service.domain import Layout, Search
from service.errors import SpatialError

T = TypeVar("T")


class LanesOnceMore:
    def __init__(self, lanes: Reads) -> None:
        self._lanes = lanes

    async def answer(self, search: Search) -> Answer:
        return await _once_more(lambda: self._lanes.answer(search))

    async def answer_together(self, searches: Sequence[Search]) -> Together:
        together = await self._lanes.answer_together(searches)
        if any(isinstance(answer, SpatialError) and connection_lost(answer) for answer in together.answers):
            return await self._lanes.answer_together(searches)
        return together

    async def run(self, work: Callable[[Cursor], T]) -> T:
        return await _once_more(lambda: self._lanes.run(work))


class StreamsOnceMore:
    def __init__(self, streams: StreamReads) -> None:
        self._streams = streams

    def admitted(self) -> AbstractContextManager[None]:
        return self._streams.admitted()

    async def read(self, method: str, layout: Layout, readings: Readings) -> AsyncGenerator[bytes]:
        once_more = True
        while True:
            try:
                async with aclosing(self._streams.read(method, layout, readings)) as messages:
                    async for message in messages:
                        once_more = False
                        yield message
                return
            except SpatialError as error:
                if not (once_more and connection_lost(error)):
                    raise
                once_more = False


async def _once_more(ask: Callable[[], Awaitable[T]]) -> T:
    try:
        return await ask()
    except SpatialError as error:
        if not connection_lost(error):
            raise
    return await ask()
