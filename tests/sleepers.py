"""Lanes over the layer `sleepers`, which has a property that takes as many seconds to compute as the row says: a search
is as slow as the features it finds."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, closing
from typing import Any

import psycopg2
from geoalchemy2 import Geometry
from prometheus_client import CollectorRegistry
from sqlalchemy import BigInteger, Column, Float, MetaData, Table, Text, cast, func

from service.catalog import Catalog, Layer, Property, PropertyType
from service.db.canceller import Canceller
from service.db.engine import control_engine, read_pool
from service.db.lanes import Lanes
from service.db.queries import Statements
from service.domain import DistanceModel, Kind, Output, Search, Shape, View
from service.observability.metrics import Metrics
from service.settings import Settings
from tests.situations import GIVEN, locked

ROWS = 200
QUICK, SLEEPY = 1, 151  # the first of the rows that take no time, and of those that take SLEEP seconds
SLEEP = 0.8
HELD = "held"  # another such table, for whoever wants a statement to wait for a lock
ENDLESS = ROWS + 1  # a row that takes longer than any test waits for anything
PATIENCE = 20.0


def sleepers(name: str = "sleepers") -> Layer:
    table = Table(
        name,
        MetaData(),
        Column("id", BigInteger, primary_key=True),
        Column("seconds", Float(53)),
        Column("filling", Text),
        Column("location", Geometry("POINT", 4326, spatial_index=False)),
    )
    properties = [
        Property("filling", PropertyType.STRING, table.c.filling, nullable=False),
        Property("slept", PropertyType.STRING, cast(func.pg_sleep(table.c.seconds), Text), nullable=False),
    ]
    return Layer(name, "", table, table.c.id, table.c.location, "POINT", 4326, {prop.name: prop for prop in properties})


class Bench:
    """Lanes over the database, and what a test asks of them."""

    def __init__(self, url: str, **settings: Any) -> None:
        self.url = url
        self.settings = Settings(**{"lock_timeout": 3 * PATIENCE, **settings})
        self.metrics = Metrics(CollectorRegistry())
        self.pool = read_pool(self.settings, url, self.metrics)
        self.control = control_engine(self.settings, url)
        self.canceller = Canceller(self.control, self.metrics)
        self.lanes = Lanes(
            self.pool, self.canceller, Statements(Catalog([sleepers(), sleepers(HELD)])), self.settings, self.metrics
        )

    async def close(self) -> None:
        await self.lanes.close()
        self.canceller.close()
        self.pool.engine.dispose()
        self.control.dispose()

    async def ids(self, search: Search) -> list[int]:
        answer = await self.lanes.answer(search)
        return [row[1] for row in answer.rows]

    def sample(self, name: str, **labels: str) -> float:
        return self.metrics.registry.get_sample_value(name, labels) or 0.0

    @property
    def statements(self) -> float:
        return self.sample("spatial_lane_batch_size_count")

    @property
    def served(self) -> float:
        """Calls that were given a statement."""
        return self.sample("spatial_lane_batch_size_sum")

    async def running(self) -> int:
        """How many statements PostgreSQL is at, for these lanes."""
        return await asyncio.to_thread(self._running)

    def _running(self) -> int:
        with closing(psycopg2.connect(self.url)) as connection, connection.cursor() as cursor:
            cursor.execute(
                "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND state <> 'idle'"
                f" AND application_name = 'spatial-service/read' AND {GIVEN}"
            )
            (count,) = cursor.fetchone() or (None,)
            assert isinstance(count, int)
            return count

    async def until(self, condition: Callable[[], Awaitable[bool]]) -> None:
        deadline = time.monotonic() + PATIENCE
        while not await condition():
            assert time.monotonic() < deadline, "it did not come about in time"
            await asyncio.sleep(0.01)


@asynccontextmanager
async def bench(url: str, **settings: Any) -> AsyncIterator[Bench]:
    made = Bench(url, **settings)
    try:
        yield made
    finally:
        await made.close()


def lookup(*keys: int, slow: bool = False, heavy: bool = False, filling: bool = False) -> Search:
    """Features by key; `slow` ones compute the property that sleeps. Each combination is a shape of its own."""
    names = (*(("slept",) if slow else ()), *(("filling",) if filling else ()))
    shape = Shape(Kind.LOOKUP, "sleepers", Output(names, View.NONE))
    return Search(shape, ("{" + ",".join(map(str, keys)) + "}",), heavy)


def near(longitude: float, limit: int = 5) -> Search:
    shape = Shape(Kind.RADIUS, "sleepers", Output(("filling",), View.NONE), DistanceModel.SPHEROID, limit)
    return Search(shape, (f"SRID=4326;POINT({longitude} 0)", 1000.0))


@asynccontextmanager
async def occupied(lanes: Bench) -> AsyncIterator[None]:
    """While inside, the only quick lane is at a statement, so that whatever is asked waits and then goes together."""
    with locked(lanes.url, HELD) as unlock:
        blocker = asyncio.create_task(lanes.ids(Search(Shape(Kind.LOOKUP, HELD, Output((), View.NONE)), ("{1}",))))
        await lanes.until(lambda: some(lanes.running))
        yield
        unlock()
    assert await blocker == [1]


@asynccontextmanager
async def busy(lanes: Bench, *searches: Search) -> AsyncIterator[None]:
    """Inside, these are asked: about what is endless, so that none has ended in the end."""
    asked = [asyncio.create_task(lanes.ids(search)) for search in searches]
    try:
        yield
        assert not any(each.done() for each in asked)
    finally:
        for each in asked:
            each.cancel()
        await asyncio.gather(*asked, return_exceptions=True)


async def some(count: Callable[[], Awaitable[int]]) -> bool:
    return await count() > 0


async def at_present(value: bool) -> bool:
    return value


async def outcomes(searches: Sequence[Awaitable[list[int]]]) -> list[Any]:
    return await asyncio.gather(*searches, return_exceptions=True)


async def none(count: Callable[[], Awaitable[int]]) -> bool:
    return await count() == 0
