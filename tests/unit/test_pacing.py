"""How a stream of probes is kept moving."""

import asyncio

import pytest

from service.codec.matches import Probed
from service.domain import Kind, Search, Shape
from service.errors import InvalidArgument, Reason
from service.servicers import pacing
from service.servicers.pacing import Expectation, Intake

SHAPE = Shape(Kind.RADIUS, "facilities")


def probed(key: str, size: int = 0, *, alone: bool = False) -> Probed:
    return Probed(key.encode(), Search(SHAPE, ("x" * size,)), alone)


def keys(taken: list[Probed]) -> str:
    return b"".join(each.key for each in taken).decode()


async def filled(*waiting: Probed) -> Intake:
    intake = Intake()
    for each in waiting:
        await intake.put(each)
    return intake


async def test_what_waits_goes_together_up_to_as_many_as_are_wanted() -> None:
    intake = await filled(*map(probed, "abcde"))
    assert [keys(await intake.take(3)), keys(await intake.take(3))] == ["abc", "de"]


async def test_one_that_goes_alone_parts_those_around_it() -> None:
    intake = await filled(probed("a"), probed("b", alone=True), probed("c", alone=True), probed("d"), probed("e"))
    assert [keys(await intake.take(9)) for _ in range(4)] == ["a", "b", "c", "de"]


@pytest.mark.parametrize(("count", "size"), [(pacing.WAITING_PROBES, 0), (3, pacing.WAITING_BYTES // 3 - 8)])
async def test_with_no_room_the_reader_waits(count: int, size: int) -> None:
    intake = await filled(*[probed("x", size)] * count)
    putting = asyncio.create_task(intake.put(probed("y", size)))
    await asyncio.sleep(0)
    assert not putting.done()
    assert keys(await intake.take(1)) == "x"
    await putting


async def test_there_is_room_for_one_probe_however_large() -> None:
    intake = await filled(probed("a", 2 * pacing.WAITING_BYTES))
    assert keys(await intake.take(5)) == "a"


async def test_the_end_and_its_error_come_after_what_waited() -> None:
    intake = await filled(probed("a"))
    intake.end(InvalidArgument(Reason.UNEXPECTED_FIELD, "no"))
    assert keys(await intake.take(5)) == "a"
    with pytest.raises(InvalidArgument):
        await intake.take(5)
    ended = await filled()
    ended.end()
    assert await ended.take(5) == []


def test_an_expectation_follows_what_statements_bring() -> None:
    expected = Expectation(10, slow=False)
    assert 30 < expected.probes <= pacing.MOST_PROBES
    for _ in range(20):
        expected.answered(100, 200, 0.05)
    assert expected.probes == pacing.MOST_PROBES
    for _ in range(20):
        expected.answered(100, 100 * 150, 0.05)
    assert expected.probes == 3, "each brings 150 rows"
    for _ in range(20):
        expected.answered(1, 1, 10.0)
    assert expected.probes == 1, "each takes ten seconds"
    for _ in range(20):
        expected.answered(100, 100, 0.01)
        expected.written(100, 100 * 100_000)
    assert expected.probes == 10, "each is 100 KB"


def test_what_may_be_slow_begins_with_few() -> None:
    assert Expectation(10, slow=True).probes == 2
    assert Expectation(1000, slow=False).probes == 1
