"""Lanes: what waits is bounded, and connections that are few, idle, slow, away or broken."""

import asyncio
import time
from contextlib import closing

import psycopg2
import pytest

from service.errors import (
    DeadlineExceeded,
    ResourceExhausted,
    Unavailable,
)
from tests.sleepers import QUICK, SLEEPY, at_present, bench, lookup, occupied, outcomes, some


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
        await lanes.until(
            lambda: at_present(lanes.sample("spatial_pool_connections", pool="read", state="in_use") == 0)
        )


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
        await lanes.until(lambda: some(lanes.running))
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
