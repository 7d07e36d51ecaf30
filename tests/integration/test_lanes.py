"""Lanes: what makes it safe that calls of one shape share a statement, rule by rule.

The layer `sleepers` has a property that takes as many seconds to compute as the row says, so that a search is as slow
as the features it finds.
"""

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, closing
from typing import Any

import psycopg2
import pytest
from geoalchemy2 import Geometry
from prometheus_client import CollectorRegistry
from sqlalchemy import BigInteger, Column, Float, MetaData, Table, Text, cast, func

from service.catalog import Catalog, Layer, Property, PropertyType
from service.db.canceller import Canceller
from service.db.engine import control_engine, read_pool
from service.db.lanes import Lanes
from service.db.queries import Statements
from service.db.quick import LONG_SECONDS
from service.domain import DistanceModel, Kind, Output, Search, Shape, View
from service.errors import (
    DeadlineExceeded,
    FailedPrecondition,
    ResourceExhausted,
    Unavailable,
)
from service.observability.metrics import Metrics
from service.settings import Settings

ROWS = 200
QUICK, SLEEPY = 1, 151  # the first of the rows that take no time, and of those that take SLEEP seconds
SLEEP = 0.8


@pytest.fixture(scope="module")
def database(module_database: str) -> str:
    with closing(psycopg2.connect(module_database)) as connection, connection, connection.cursor() as cursor:
        cursor.execute(
            "CREATE TABLE sleepers (id bigint PRIMARY KEY, seconds float8 NOT NULL, filling text NOT NULL,"
            " location geometry(Point, 4326) NOT NULL);"
            "CREATE INDEX ON sleepers USING gist (geography(location));"
            "INSERT INTO sleepers SELECT n, CASE WHEN n >= %s THEN %s ELSE 0 END, repeat('x', 1000),"
            " ST_SetSRID(ST_MakePoint(n * 0.001, 0), 4326) FROM generate_series(1, %s) n;",
            (SLEEPY, SLEEP, ROWS),
        )
    return module_database


def sleepers() -> Layer:
    table = Table(
        "sleepers",
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
    return Layer(
        "sleepers", "", table, table.c.id, table.c.location, "POINT", 4326, {prop.name: prop for prop in properties}
    )


class Bench:
    """Lanes over the database, and what a test asks of them."""

    def __init__(self, url: str, **settings: Any) -> None:
        self.url = url
        self.settings = Settings(**settings)
        self.metrics = Metrics(CollectorRegistry())
        self.pool = read_pool(self.settings, url, self.metrics)
        self.control = control_engine(self.settings, url)
        self.canceller = Canceller(self.control, self.metrics)
        self.lanes = Lanes(self.pool, self.canceller, Statements(Catalog([sleepers()])), self.settings, self.metrics)

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
                " AND application_name = 'spatial-service/read'"
            )
            (count,) = cursor.fetchone() or (None,)
            assert isinstance(count, int)
            return count

    async def until(self, condition: Callable[[], Awaitable[bool]], seconds: float = 5.0) -> None:
        deadline = time.monotonic() + seconds
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
    blocker = asyncio.create_task(lanes.ids(lookup(SLEEPY, slow=True)))
    await lanes.until(lambda: _true(lanes.running))
    yield
    assert await blocker == [SLEEPY]


async def _true(count: Callable[[], Awaitable[int]]) -> bool:
    return await count() > 0


async def outcomes(searches: Sequence[Awaitable[list[int]]]) -> list[Any]:
    return await asyncio.gather(*searches, return_exceptions=True)


async def test_calls_of_one_shape_that_wait_together_share_a_statement(database: str) -> None:
    async with bench(database, lanes=1) as lanes:
        async with occupied(lanes):
            asked = asyncio.gather(*(lanes.ids(lookup(key)) for key in range(1, 21)))
            await asyncio.sleep(0)
        assert await asked == [[key] for key in range(1, 21)]
        assert lanes.statements == 2  # the blocker's, and one for all twenty
        assert lanes.sample("spatial_lane_wait_seconds_count") == 21


async def test_a_lone_call_goes_at_once(database: str) -> None:
    async with bench(database) as lanes:
        for key in (1, 2, 3):
            assert await lanes.ids(lookup(key)) == [key]
        assert (lanes.statements, lanes.served) == (3, 3)


async def test_calls_of_different_shapes_never_share_a_statement(database: str) -> None:
    async with bench(database, lanes=1) as lanes:
        async with occupied(lanes):
            asked = asyncio.gather(lanes.ids(lookup(1)), lanes.ids(lookup(1, filling=True)), lanes.ids(near(0.001)))
            await asyncio.sleep(0)
        assert [found[0] for found in await asked] == [1, 1, 1]
        assert lanes.statements == 4


async def test_answers_under_full_concurrency_equal_those_given_one_at_a_time(database: str) -> None:
    searches = [near(longitude / 1000, limit) for longitude in range(150) for limit in (3, 5)]
    async with bench(database, lanes=3, lanes_per_shape=2) as lanes:
        alone = [await lanes.ids(search) for search in searches]
        before = lanes.statements
        together = await asyncio.gather(*(lanes.ids(search) for search in searches))
        assert together == alone
        assert len({tuple(found) for found in alone}) > 100, "the searches should differ"
        assert lanes.statements - before < len(searches) / 4


async def test_a_batch_is_bounded_in_calls(database: str) -> None:
    async with bench(database, lanes=1, lane_batch=8) as lanes:
        async with occupied(lanes):
            asked = asyncio.gather(*(lanes.ids(lookup(key)) for key in range(1, 41)))
            await asyncio.sleep(0)
        assert await asked == [[key] for key in range(1, 41)]
        assert lanes.statements == 1 + 5


async def test_a_batch_is_bounded_in_the_rows_that_its_calls_are_expected_to_bring(database: str) -> None:
    async with bench(database, lanes=1) as lanes:
        async with occupied(lanes):
            asked = asyncio.gather(*(lanes.ids(near(0.1, limit=2000)) for _ in range(10)))
            await asyncio.sleep(0)
        assert len(await asked) == 10
        assert lanes.statements > 2, "10 calls of 2,000 rows are more than one statement should bring"


async def test_a_poisoned_probe_fails_only_its_own_call(database: str) -> None:
    poison = near(0.001)._replace(arguments=("this is no geometry", 1000.0))
    async with bench(database, lanes=1) as lanes:
        async with occupied(lanes):
            asked = asyncio.create_task(outcomes([lanes.ids(near(0.001)), lanes.ids(poison), lanes.ids(near(0.002))]))
            await asyncio.sleep(0)
        first, failed, last = await asked
        assert (first[0], last[0]) == (1, 2)
        assert isinstance(failed, FailedPrecondition), "PostGIS cannot parse it"
        assert lanes.statements == 1 + 1 + 3, "the blocker's, one for all three, and then one each"


async def test_a_batch_with_more_bytes_than_it_may_have_is_run_call_by_call(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.db.lanes.BATCH_BYTES", 5_000)
    async with bench(database, lanes=1) as lanes:
        async with occupied(lanes):
            asked = asyncio.gather(*(lanes.ids(lookup(key, filling=True)) for key in range(1, 11)))
            await asyncio.sleep(0)
        assert await asked == [[key] for key in range(1, 11)]
        assert lanes.statements == 1 + 1 + 10


async def test_an_answer_beyond_the_budget_is_cut_and_says_so(database: str) -> None:
    async with bench(database, max_response_bytes=2_750) as lanes:
        answer = await lanes.lanes.answer(lookup(*range(1, 11), filling=True, heavy=True))
        assert (len(answer.rows), answer.cut) == (5, True)
        assert await lanes.ids(lookup(7, heavy=True)) == [7], "the connection goes on working"


async def test_an_answer_has_one_row_however_large(database: str) -> None:
    async with bench(database, max_response_bytes=10) as lanes:
        answer = await lanes.lanes.answer(lookup(1, 2, filling=True, heavy=True))
        assert (len(answer.rows), answer.cut) == (1, True)


async def test_a_slow_shape_does_not_hold_up_a_fast_one(database: str) -> None:
    async with bench(database, lanes=2) as lanes:
        slow = asyncio.gather(*(lanes.ids(lookup(key, slow=True)) for key in range(SLEEPY, SLEEPY + 3)))
        await asyncio.sleep(LONG_SECONDS * 3)
        started = time.monotonic()
        for key in range(1, 21):
            assert await lanes.ids(lookup(key)) == [key]
        assert time.monotonic() - started < SLEEP
        await slow


async def test_a_slow_call_does_not_hold_up_its_like_for_long(database: str) -> None:
    async with bench(database, lanes=3) as lanes:
        slow = asyncio.create_task(lanes.ids(lookup(SLEEPY, slow=True)))
        await lanes.until(lambda: _true(lanes.running))
        started = time.monotonic()
        assert await lanes.ids(lookup(QUICK, slow=True)) == [QUICK]
        assert time.monotonic() - started < SLEEP / 2
        assert not slow.done()
        assert await slow == [SLEEPY]


async def test_heavy_calls_have_lanes_of_their_own_and_a_statement_each(database: str) -> None:
    async with bench(database, lanes=1, heavy_lanes=2) as lanes:
        heavy = asyncio.gather(*(lanes.ids(lookup(SLEEPY + n, slow=True, heavy=True)) for n in range(4)))
        await lanes.until(lambda: _true(lanes.running))
        started = time.monotonic()
        assert await lanes.ids(lookup(QUICK)) == [QUICK]
        assert time.monotonic() - started < SLEEP / 2
        assert await heavy == [[SLEEPY + n] for n in range(4)]
        assert (lanes.statements, lanes.served) == (5, 5)


async def test_a_call_that_is_abandoned_while_it_waits_costs_nothing(database: str) -> None:
    async with bench(database, lanes=1) as lanes:
        async with occupied(lanes):
            abandoned = [asyncio.create_task(lanes.ids(lookup(key))) for key in range(1, 31)]
            kept = asyncio.create_task(lanes.ids(lookup(40)))
            await asyncio.sleep(0)
            for task in abandoned:
                task.cancel()
        assert await kept == [40]
        assert lanes.served == 2, "the blocker and the one that was kept"
        assert lanes.sample("spatial_lane_depth") == 0


async def test_a_statement_that_nobody_waits_for_is_cancelled(database: str) -> None:
    async with bench(database, lanes=2) as lanes:
        asked = [asyncio.create_task(lanes.ids(lookup(SLEEPY, slow=True))) for _ in range(3)]
        await lanes.until(lambda: _true(lanes.running))
        for task in asked:
            task.cancel()
        await asyncio.gather(*asked, return_exceptions=True)
        cancelled = time.monotonic()
        await lanes.until(lambda: _none(lanes.running))
        assert time.monotonic() - cancelled < SLEEP / 2
        assert lanes.sample("spatial_statements_cancelled_total", cause="abandoned") >= 1
        assert await lanes.ids(lookup(QUICK)) == [QUICK], "the connection goes on working"


async def _none(count: Callable[[], Awaitable[int]]) -> bool:
    return await count() == 0


async def test_a_statement_goes_on_while_one_of_its_callers_waits(database: str) -> None:
    async with bench(database, lanes=1) as lanes:
        async with occupied(lanes):
            leaving = [asyncio.create_task(lanes.ids(lookup(QUICK, slow=True))) for _ in range(5)]
            staying = asyncio.create_task(lanes.ids(lookup(SLEEPY + 1, slow=True)))
            await asyncio.sleep(0)
        await lanes.until(lambda: _true(lanes.running))
        for task in leaving:
            task.cancel()
        assert await staying == [SLEEPY + 1]
        assert lanes.sample("spatial_statements_cancelled_total", cause="abandoned") == 0


async def test_the_deadline_of_one_call_does_not_cut_its_neighbours_short(database: str) -> None:
    async with bench(database, lanes=1) as lanes:
        async with occupied(lanes):
            hurried = asyncio.create_task(_within(lanes.ids(lookup(SLEEPY, slow=True)), SLEEP * 1.3))
            patient = asyncio.create_task(lanes.ids(lookup(SLEEPY + 1, slow=True)))
            await asyncio.sleep(0)
        with pytest.raises(TimeoutError):
            await hurried
        assert await patient == [SLEEPY + 1]


async def _within(wait: Awaitable[list[int]], seconds: float) -> list[int]:
    async with asyncio.timeout(seconds):
        return await wait


async def test_more_calls_than_may_wait_are_refused_and_told_when_to_come_back(database: str) -> None:
    async with bench(database, lanes=1, lane_queue=10) as lanes:
        async with occupied(lanes):
            asked = asyncio.create_task(outcomes([lanes.ids(lookup(key)) for key in range(1, 16)]))
            await asyncio.sleep(0)
        answers = await asked
        refused = [answer for answer in answers if isinstance(answer, ResourceExhausted)]
        assert len(refused) == 6  # the blocker and nine more are let in
        assert {(error.reason, error.retry_after) for error in refused} == {("OVERLOADED", 0.5)}
        assert lanes.sample("spatial_requests_rejected_total", reason="overloaded") == 6


async def test_a_full_pool_is_refused_quickly(database: str) -> None:
    async with bench(database, pool_size=2, pool_timeout=0.2) as lanes:
        held = [lanes.pool.engine.raw_connection() for _ in range(2)]
        started = time.monotonic()
        with pytest.raises(ResourceExhausted) as caught:
            await lanes.ids(lookup(QUICK))
        assert 0.2 <= time.monotonic() - started < 5
        assert (caught.value.reason, caught.value.retry_after) == ("POOL_EXHAUSTED", 0.2)
        assert lanes.sample("spatial_pool_timeouts_total", pool="read") == 1
        assert lanes.sample("spatial_requests_rejected_total", reason="pool_exhausted") == 1
        for connection in held:
            connection.close()
        assert await lanes.ids(lookup(QUICK)) == [QUICK]


async def test_an_idle_lane_gives_its_connection_back(database: str) -> None:
    async with bench(database, pool_size=1, lanes=2) as lanes:
        assert await lanes.ids(lookup(1)) == [1]
        assert await lanes.ids(lookup(2, heavy=True)) == [2], "another lane gets the only connection"
        await lanes.until(lambda: _true_now(lanes.sample("spatial_pool_connections", pool="read", state="in_use") == 0))


async def _true_now(value: bool) -> bool:
    return value


async def test_the_servers_own_limit_on_a_statement_is_told_from_a_cancellation(database: str) -> None:
    async with bench(database, statement_timeout=0.2) as lanes:
        with pytest.raises(DeadlineExceeded) as caught:
            await lanes.ids(lookup(SLEEPY, slow=True))
        assert caught.value.reason == "STATEMENT_TIMEOUT"
        assert lanes.sample("spatial_statements_cancelled_total", cause="statement_timeout") == 1
        assert await lanes.ids(lookup(QUICK)) == [QUICK]


async def test_a_database_that_is_away_is_unavailable(database: str) -> None:
    nowhere = "postgresql://nobody@127.0.0.1:1/nothing"
    async with bench(nowhere) as lanes:
        with pytest.raises(Unavailable) as caught:
            await lanes.ids(lookup(QUICK))
        assert (caught.value.reason, caught.value.retry_after) == ("DATABASE_UNAVAILABLE", 1.0)


async def test_a_connection_that_breaks_is_replaced(database: str) -> None:
    async with bench(database, pool_size=1, lanes=1) as lanes:
        asked = asyncio.create_task(lanes.ids(lookup(SLEEPY, slow=True)))
        await lanes.until(lambda: _true(lanes.running))
        await asyncio.to_thread(_terminate, database)
        with pytest.raises(Unavailable):
            await asked
        assert await lanes.ids(lookup(QUICK)) == [QUICK]
        assert lanes.sample("spatial_pool_invalidations_total", pool="read") == 1


def _terminate(url: str) -> None:
    with closing(psycopg2.connect(url)) as connection, connection.cursor() as cursor:
        cursor.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database()"
            " AND application_name = 'spatial-service/read'"
        )


async def test_errands_run_beside_searches_and_can_be_abandoned(database: str) -> None:
    def work(cursor: Any) -> Any:
        cursor.execute("SELECT pg_sleep(5)")

    async with bench(database) as lanes:
        errand = asyncio.create_task(lanes.lanes.run(work))
        await lanes.until(lambda: _true(lanes.running))
        assert await lanes.ids(lookup(QUICK)) == [QUICK]
        errand.cancel()
        await lanes.until(lambda: _none(lanes.running), seconds=1.0)


async def test_a_cancellation_that_comes_before_its_statement_is_sent_again(database: str) -> None:
    about_to_send = threading.Event()

    def work(cursor: Any) -> Any:
        about_to_send.set()
        time.sleep(0.2)  # meanwhile the server is told, and ignores it, since nothing runs yet
        cursor.execute("SELECT pg_sleep(5)")

    async with bench(database) as lanes:
        errand = asyncio.create_task(lanes.lanes.run(work))
        await asyncio.to_thread(about_to_send.wait)
        errand.cancel()
        await asyncio.sleep(0.25)
        await lanes.until(lambda: _none(lanes.running), seconds=1.0)


async def test_a_thousand_abandoned_calls_leave_nothing_behind_and_harm_nobody(database: str) -> None:
    async with bench(database, lanes=4, lanes_per_shape=2, pool_size=6, lane_queue=2000) as lanes:
        doomed = [
            asyncio.create_task(lanes.ids(lookup(SLEEPY + n % 50, slow=True, heavy=n % 10 == 0))) for n in range(1000)
        ]
        innocent: list[asyncio.Task[list[int]]] = []
        for number, task in enumerate(doomed):
            if number % 20 == 0:
                innocent.append(asyncio.create_task(lanes.ids(lookup(1 + number // 20))))
                await asyncio.sleep(0.005)
            task.cancel()
        await asyncio.gather(*doomed, return_exceptions=True)
        gone = time.monotonic()
        assert await asyncio.gather(*innocent) == [[1 + n] for n in range(50)]
        await lanes.until(lambda: _none(lanes.running))
        assert time.monotonic() - gone < 1.0
        await lanes.until(lambda: _true_now(lanes.sample("spatial_pool_connections", pool="read", state="in_use") == 0))
        assert lanes.sample("spatial_lane_depth") == 0


async def test_closing_refuses_what_waits_and_finishes_what_runs(database: str) -> None:
    lanes = Bench(database, lanes=1)
    running = asyncio.create_task(lanes.ids(lookup(SLEEPY, slow=True)))
    await lanes.until(lambda: _true(lanes.running))
    waiting = asyncio.create_task(lanes.ids(lookup(SLEEPY + 1, slow=True)))
    await asyncio.sleep(0)
    await lanes.close()
    assert await running == [SLEEPY]
    for refused in (waiting, lanes.ids(lookup(QUICK))):
        with pytest.raises(Unavailable) as caught:
            await refused
        assert caught.value.reason == "SHUTTING_DOWN"
