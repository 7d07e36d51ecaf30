"""Lanes: callers who leave, deadlines, and the end, which cost nobody else anything."""

import asyncio
import threading
import time
from collections.abc import Awaitable
from typing import Any

import pytest
from psycopg2.errors import QueryCanceled

from service.errors import (
    Unavailable,
)
from tests.sleepers import (
    ENDLESS,
    PATIENCE,
    QUICK,
    SLEEP,
    SLEEPY,
    Bench,
    at_present,
    bench,
    lookup,
    none,
    occupied,
    some,
)


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
        asked = [asyncio.create_task(lanes.ids(lookup(ENDLESS, slow=True))) for _ in range(3)]
        await lanes.until(lambda: some(lanes.running))
        for task in asked:
            task.cancel()
        await asyncio.gather(*asked, return_exceptions=True)
        await lanes.until(lambda: none(lanes.running))
        assert lanes.sample("spatial_statements_cancelled_total", cause="abandoned") >= 1
        assert await lanes.ids(lookup(QUICK)) == [QUICK], "the connection goes on working"


async def test_a_statement_goes_on_while_one_of_its_callers_waits(database: str) -> None:
    async with bench(database, lanes=1) as lanes:
        async with occupied(lanes):
            leaving = [asyncio.create_task(lanes.ids(lookup(QUICK, slow=True))) for _ in range(5)]
            staying = asyncio.create_task(lanes.ids(lookup(SLEEPY, SLEEPY + 1, SLEEPY + 2, slow=True)))
            await asyncio.sleep(0)
        await lanes.until(lambda: some(lanes.running))
        for task in leaving:
            task.cancel()
        assert await staying == [SLEEPY, SLEEPY + 1, SLEEPY + 2]
        assert lanes.sample("spatial_statements_cancelled_total", cause="abandoned") == 0


async def test_the_deadline_of_one_call_does_not_cut_its_neighbours_short(database: str) -> None:
    async with bench(database, lanes=1) as lanes:
        async with occupied(lanes):
            hurried = asyncio.create_task(_within(lanes.ids(lookup(SLEEPY, slow=True)), SLEEP * 1.3))
            patient = [asyncio.create_task(lanes.ids(lookup(key, slow=True))) for key in range(SLEEPY + 1, SLEEPY + 4)]
            await asyncio.sleep(0)
        with pytest.raises(TimeoutError):  # in the statement, which takes four times SLEEP
            await hurried
        assert await asyncio.gather(*patient) == [[SLEEPY + 1], [SLEEPY + 2], [SLEEPY + 3]]


async def _within(wait: Awaitable[list[int]], seconds: float) -> list[int]:
    async with asyncio.timeout(seconds):
        return await wait


async def test_errands_run_beside_searches_and_can_be_abandoned(database: str) -> None:
    def work(cursor: Any) -> Any:
        cursor.execute("SELECT pg_sleep(%s)", (3 * PATIENCE,))

    async with bench(database) as lanes:
        errand = asyncio.create_task(lanes.lanes.run(work))
        await lanes.until(lambda: some(lanes.running))
        assert await lanes.ids(lookup(QUICK)) == [QUICK]
        errand.cancel()
        await lanes.until(lambda: none(lanes.running))


async def test_a_cancellation_that_comes_before_its_statement_is_sent_again(database: str) -> None:
    about_to_send, interrupted = threading.Event(), threading.Event()

    def work(cursor: Any) -> Any:
        about_to_send.set()
        time.sleep(0.2)  # meanwhile the server is told, and ignores it, since nothing runs yet
        try:
            cursor.execute("SELECT pg_sleep(%s)", (3 * PATIENCE,))
        except QueryCanceled:
            interrupted.set()
            raise

    async with bench(database) as lanes:
        errand = asyncio.create_task(lanes.lanes.run(work))
        await asyncio.to_thread(about_to_send.wait)
        errand.cancel()
        await lanes.until(lambda: at_present(interrupted.is_set()))


async def test_a_thousand_abandoned_calls_leave_nothing_behind_and_harm_nobody(database: str) -> None:
    async with bench(database, lanes=4, lanes_per_shape=2, pool_size=6, lane_queue=2000) as lanes:
        doomed = [asyncio.create_task(lanes.ids(lookup(ENDLESS, slow=True, heavy=n % 10 == 0))) for n in range(1000)]
        innocent: list[asyncio.Task[list[int]]] = []
        for number, task in enumerate(doomed):
            if number % 20 == 0:
                innocent.append(asyncio.create_task(lanes.ids(lookup(1 + number // 20))))
                await asyncio.sleep(0.005)
            task.cancel()
        await asyncio.gather(*doomed, return_exceptions=True)
        assert await asyncio.gather(*innocent) == [[1 + n] for n in range(50)]
        await lanes.until(lambda: none(lanes.running))
        await lanes.until(
            lambda: at_present(lanes.sample("spatial_pool_connections", pool="read", state="in_use") == 0)
        )
        assert lanes.sample("spatial_lane_depth") == 0


async def test_closing_refuses_what_waits_and_finishes_what_runs(database: str) -> None:
    lanes = Bench(database, lanes=1)
    running = asyncio.create_task(lanes.ids(lookup(SLEEPY, slow=True)))
    await lanes.until(lambda: some(lanes.running))
    waiting = asyncio.create_task(lanes.ids(lookup(SLEEPY + 1, slow=True)))
    await asyncio.sleep(0)
    await lanes.close()
    assert await running == [SLEEPY]
    for refused in (waiting, lanes.ids(lookup(QUICK))):
        with pytest.raises(Unavailable) as caught:
            await refused
        assert caught.value.reason == "SHUTTING_DOWN"
