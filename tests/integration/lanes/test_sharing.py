"""Lanes: what makes it safe that calls of one shape share a statement, rule by rule."""

import asyncio
from itertools import pairwise

import pytest

from service.db.batches import AT_ONCE
from service.db.quick import LONG_SECONDS
from service.errors import (
    FailedPrecondition,
)
from tests.sleepers import ENDLESS, QUICK, bench, busy, lookup, near, occupied, outcomes, some


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


async def test_answers_are_handed_out_some_at_a_time_and_in_order(database: str) -> None:
    async def watch() -> None:
        """Looks whenever the event loop comes round."""
        while seen[-1] < len(asked):
            await asyncio.sleep(0)
            done = [each.done() for each in asked]
            assert done == sorted(done, reverse=True)
            seen.append(sum(done))

    seen = [0]
    async with bench(database, lanes=1) as lanes:
        async with occupied(lanes):
            asked = [asyncio.ensure_future(lanes.ids(lookup(key))) for key in range(1, 51)]
            watching = asyncio.create_task(watch())
            await asyncio.sleep(0)
        await watching
        assert max(after - before for before, after in pairwise(seen)) == AT_ONCE
        assert lanes.statements == 2


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
    async with bench(database, lanes=2) as lanes, busy(lanes, *[lookup(ENDLESS, slow=True)] * 3):
        await asyncio.sleep(LONG_SECONDS * 3)
        for key in range(1, 21):
            assert await lanes.ids(lookup(key)) == [key]


async def test_a_slow_call_does_not_hold_up_its_like_for_long(database: str) -> None:
    async with bench(database, lanes=3) as lanes, busy(lanes, lookup(ENDLESS, slow=True)):
        await lanes.until(lambda: some(lanes.running))
        assert await lanes.ids(lookup(QUICK, slow=True)) == [QUICK]


async def test_heavy_calls_have_lanes_of_their_own_and_a_statement_each(database: str) -> None:
    async with bench(database, lanes=1, heavy_lanes=2) as lanes:
        async with busy(lanes, *[lookup(ENDLESS, slow=True, heavy=True)] * 4):
            await lanes.until(lambda: some(lanes.running))
            assert await lanes.ids(lookup(QUICK)) == [QUICK]
        found = await asyncio.gather(*(lanes.ids(lookup(QUICK + n, heavy=True)) for n in range(4)))
        assert found == [[QUICK + n] for n in range(4)]
        assert (lanes.statements, lanes.served) == (2 + 1 + 4, 2 + 1 + 4)
