"""Streams let calls go first, but not for ever."""

import pytest

from service.db.deference import LOOK_SECONDS, MOST_WORK_SECONDS, PATIENCE, Deference


class Clock:
    """Goes on when somebody works or pauses."""

    def __init__(self) -> None:
        self.now = 100.0
        self.paused = 0.0

    def pause(self, seconds: float) -> None:
        self.now += seconds
        self.paused += seconds


def test_without_calls_a_stream_never_pauses() -> None:
    clock = Clock()
    deference = Deference(lambda: False, lambda: clock.now, clock.pause)
    for _ in range(10):
        clock.now += 0.01
        deference.give_way()
    assert clock.paused == 0


def test_beside_calls_that_never_cease_a_stream_has_a_seventh_of_the_time() -> None:
    clock = Clock()
    deference = Deference(lambda: True, lambda: clock.now, clock.pause)
    for _ in range(10):
        clock.now += 0.01
        deference.give_way()
    assert clock.paused == pytest.approx(0.6)


def test_a_stream_goes_on_as_soon_as_nobody_waits_any_more() -> None:
    clock = Clock()
    deference = Deference(lambda: clock.now < 100.014, lambda: clock.now, clock.pause)
    clock.now += 0.01
    deference.give_way()
    assert clock.paused == pytest.approx(2 * LOOK_SECONDS)


def test_how_long_a_stream_waited_for_its_reader_is_not_held_against_it() -> None:
    clock = Clock()
    deference = Deference(lambda: True, lambda: clock.now, clock.pause)
    clock.now += 60
    deference.give_way()
    assert clock.paused == pytest.approx(PATIENCE * MOST_WORK_SECONDS)


def test_a_pause_is_not_taken_for_work() -> None:
    clock = Clock()
    deference = Deference(lambda: True, lambda: clock.now, clock.pause)
    clock.now += 0.01
    deference.give_way()
    before = clock.paused
    deference.give_way()
    assert clock.paused == before
