"""When changes that wait go: as soon as no more of them seem to be on their way."""

import asyncio
from collections.abc import Callable, Coroutine
from functools import wraps
from time import perf_counter
from typing import Any

from service.db.writing.gathering import ENOUGH, MOST_MOMENTS, Gathering
from service.db.writing.jobs import Attempts, Change, Shared
from service.db.writing.sharing import Waiting

MOMENT = 0.2
AT_ONCE = MOMENT / 2


class Door:
    """What changes come to, and what has gone, and when."""

    def __init__(self) -> None:
        self.waiting = Waiting()
        self.gathering = Gathering(self.waiting, self._go, MOMENT)
        self.shared = Shared(lambda transaction, rows: [])
        self.went: list[int] = []
        self._gone = asyncio.Event()

    def come(self, count: int = 1, *, shares: bool = True) -> None:
        nothing: Any = None
        for _ in range(count):
            change = Change("create", "facilities", nothing, nothing, shared=self.shared if shares else None)
            self.waiting.put(Attempts(change, asyncio.get_running_loop().create_future()))
            self.gathering.arrived(shares=shares)

    def _go(self) -> None:
        self.went.append(self.waiting.changes)
        self._gone.set()
        while (group := self.waiting.take()) is not None:
            self.waiting.ended(group)

    async def gone(self) -> float:
        """Seconds until something has gone."""
        began = perf_counter()
        await self._gone.wait()
        self._gone.clear()
        return perf_counter() - began

    async def answered_and_come(self) -> float:
        """Seconds that one waits who comes after several were answered."""
        self.gathering.answered(8)
        self.come()
        return await self.gone()


def looping(test: Callable[[], Coroutine[Any, Any, None]]) -> Callable[[], None]:
    """A test on an event loop of its own."""

    @wraps(test)
    def run() -> None:
        asyncio.run(test())

    return run


@looping
async def test_one_goes_at_once_and_whoever_comes_in_the_same_breath_goes_along() -> None:
    door = Door()
    asyncio.get_running_loop().call_soon(door.come)
    door.come()

    assert await door.gone() < AT_ONCE
    assert door.went == [2]


@looping
async def test_those_who_were_answered_together_are_let_come_again() -> None:
    door = Door()
    door.gathering.answered(4)
    door.come(3)
    await asyncio.sleep(AT_ONCE)
    assert door.went == []

    door.come()

    assert door.went == [4]


@looping
async def test_no_more_are_waited_for_than_make_a_group_worth_while() -> None:
    door = Door()
    door.gathering.answered(3 * ENOUGH)
    door.come(ENOUGH)

    assert door.went == [ENOUGH]


@looping
async def test_one_or_two_that_were_answered_keep_nobody_waiting() -> None:
    door = Door()
    door.gathering.answered(2)
    door.come()

    assert await door.gone() < AT_ONCE


@looping
async def test_what_shares_nothing_waits_for_nobody() -> None:
    door = Door()
    door.gathering.answered(8)
    door.come(shares=False)

    assert door.went == [1]


@looping
async def test_who_does_not_come_is_waited_for_no_longer_than_a_moment() -> None:
    door = Door()
    door.gathering.answered(8)

    assert AT_ONCE < await door.gone() < MOMENT * MOST_MOMENTS


@looping
async def test_where_most_do_not_come_nobody_is_waited_for_more_and_more_often() -> None:
    door = Door()
    for rest in (1, 2, 4):
        assert await door.answered_and_come() > AT_ONCE
        for _ in range(rest):
            assert await door.answered_and_come() < AT_ONCE


@looping
async def test_where_they_come_they_are_waited_for_again() -> None:
    door = Door()
    for _ in range(2):
        assert await door.answered_and_come() > AT_ONCE
        assert await door.answered_and_come() < AT_ONCE
        door.gathering.answered(8)
        door.come(8)
        await door.gone()
