"""The relay: batches from threads to the event loop, no thread far ahead, no end and no error lost."""

import asyncio
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from itertools import count
from threading import Thread
from types import FrameType
from typing import Any

import pytest

from service.db.relay import ReaderLeft, Relay


def writing(*tasks: Callable[[], object]) -> Thread:
    """A thread that does one thing after another."""

    def work() -> None:
        for task in tasks:
            task()

    thread = Thread(target=work, daemon=True)
    thread.start()
    return thread


async def ended(thread: Thread) -> bool:
    await asyncio.to_thread(thread.join, 20)
    return not thread.is_alive()


async def test_everything_is_read_in_the_order_in_which_it_was_put() -> None:
    relay: Relay[int] = Relay(1, 100)
    writing(*(partial(relay.put, item, 10) for item in range(1000)), relay.end)

    assert [item async for item in relay.read()] == list(range(1000))


async def test_of_several_writers_the_reading_ends_with_the_last() -> None:
    relay: Relay[tuple[str, int]] = Relay(3, 100)
    for name in "abc":
        puts = [partial(relay.put, (name, number), 30) for number in range(100)]
        writing(*puts, relay.end)
    read = [item async for item in relay.read()]

    assert sorted(read) == [(name, number) for name in "abc" for number in range(100)]
    for name in "abc":
        assert [number for writer, number in read if writer == name] == list(range(100)), "each keeps its order"


async def test_nothing_put_is_nothing_read() -> None:
    relay: Relay[int] = Relay(1, 100)
    writing(relay.end)

    assert [item async for item in relay.read()] == []


@pytest.mark.parametrize(
    ("sizes", "taken"),
    [([40, 40, 40], 2), ([100, 1], 1), ([1, 100], 1), ([500, 1], 1), ([1, 500], 1)],
    ids=["three that are too much", "a full room", "almost a full room", "more than the room", "then more than it"],
)
async def test_a_writer_waits_for_room(sizes: list[int], taken: int) -> None:
    relay: Relay[int] = Relay(1, 100)
    put: list[int] = []

    def put_all() -> None:
        for size in sizes:
            relay.put(size, size)
            put.append(size)

    writer = writing(put_all, relay.end)
    await asyncio.to_thread(writer.join, 0.1)

    assert put == sizes[:taken]
    assert [item async for item in relay.read()] == sizes
    assert await ended(writer)


async def test_room_is_made_by_what_is_taken_not_by_what_is_read_at_last() -> None:
    relay: Relay[int] = Relay(1, 100)
    writer = writing(*(partial(relay.put, item, 100) for item in (1, 2)), relay.end)
    reading = relay.read()

    assert await anext(reading) == 1
    assert await ended(writer), "the second fits while the reader is still at the first"
    assert await anext(reading) == 2


async def test_the_first_is_handed_over_before_its_writer_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.db.relay.HANDOVER_SECONDS", 60)
    relay: Relay[int] = Relay(1, 100)
    writer = writing(partial(relay.put, 1, 10), partial(relay.put, 2, 10), partial(relay.put, 3, 10), relay.end)
    reading = relay.read()

    assert await anext(reading) == 1
    await asyncio.to_thread(writer.join, 0.05)
    assert writer.is_alive(), "the reader is still at the first"
    assert await anext(reading) == 2
    assert await ended(writer), "the others wait for nobody"


async def test_a_writer_goes_on_when_nobody_takes_the_first_for_a_while() -> None:
    relay: Relay[int] = Relay(1, 100)

    assert await ended(writing(partial(relay.put, 1, 10), relay.end))


@pytest.mark.parametrize("waiting", [True, False], ids=["while it waits", "before it puts"])
async def test_a_writer_learns_that_the_reader_has_left(waiting: bool) -> None:
    relay: Relay[int] = Relay(1, 100)
    learnt: list[Exception] = []

    def put() -> None:
        try:
            relay.put(2, 100)
        except ReaderLeft as error:
            learnt.append(error)

    if waiting:
        relay.put(1, 100)
        writer = writing(put)
        await asyncio.to_thread(writer.join, 0.05)
        assert writer.is_alive()
        relay.close()
    else:
        relay.close()
        writer = writing(put)
    assert await ended(writer)
    assert len(learnt) == 1


async def test_an_error_is_raised_at_once_whatever_still_waits() -> None:
    relay: Relay[int] = Relay(2, 1000)
    reading = relay.read()
    relay.put(1, 1)
    relay.put(2, 1)

    assert await anext(reading) == 1
    relay.end(ValueError("first"))
    relay.end(ValueError("second"))
    with pytest.raises(ValueError, match="first"):
        await anext(reading)


@contextmanager
def between_two_steps(number: int, meanwhile: Callable[[], None]) -> Iterator[None]:
    """Lets something happen after so many of the interpreter's steps in `Relay.read`, as another thread would."""
    steps = count(1)

    def trace(frame: FrameType, event: str, _: Any) -> Any:
        if frame.f_code is not Relay.read.__code__:
            return None
        frame.f_trace_opcodes = True
        if event == "opcode" and next(steps) == number:
            meanwhile()
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        yield
    finally:
        sys.settrace(before)


@pytest.mark.parametrize("error", [ValueError("cut"), None], ids=["an error", "an end"])
async def test_an_end_is_taken_for_what_it_is_wherever_the_reader_is_just_then(error: Exception | None) -> None:
    for step in count(1):
        relay: Relay[int] = Relay(1, 100)
        relay.put(1, 1)
        ends: list[str] = []

        def end(when: str, relay: Relay[int] = relay, ends: list[str] = ends) -> None:
            if not ends:
                ends.append(when)
                relay.end(error)

        asyncio.get_running_loop().call_later(0.02, end, "while it waits")
        refused = pytest.raises(ValueError, match="cut") if error else nullcontext()
        with refused, between_two_steps(step, partial(end, "between")):
            assert [item async for item in relay.read()] == [1]
        if ends == ["while it waits"]:
            break
    assert step > 20
