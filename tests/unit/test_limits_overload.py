"""An overloaded server as arithmetic: calls are taken one after the other, and whoever is refused comes again when told
to. No clock but its own, so that it says on any machine what the limits make of an overload."""

from collections import deque
from dataclasses import dataclass, field
from heapq import heapify, heappop, heappush
from random import Random
from statistics import quantiles

import pytest

from service.limits.comeback import Comeback
from service.limits.door import Door

ANSWER, REFUSAL = 0.00075, 0.00045  # seconds of the event loop, as measured on a slow machine
BEST = 1 / ANSWER
LOOK = 0.05
WARM_UP, SECONDS = 2.0, 8.0
TARGET = 0.025
SATURATING = 32


@dataclass
class Model:
    callers: int
    limited: bool = True
    honour: bool = True
    now: float = 0.0
    answered: list[float] = field(default_factory=list)
    refused: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.random = Random(1)
        self.door = Door(TARGET)
        self.comeback = Comeback(lambda: self.now, self.random.uniform)
        self.coming = [self.random.random() * LOOK for _ in range(self.callers)]
        heapify(self.coming)
        self.waiting: deque[float] = deque()
        self.looked = 0.0

    def run(self) -> "Model":
        while self.now < SECONDS:
            while self.coming and self.coming[0] <= self.now:
                self.waiting.append(heappop(self.coming))
            if self.limited and self.now - self.looked >= LOOK:
                self.door.look(len(self.waiting), self.now - self.looked)
                self.looked = self.now
            if self.waiting:
                self._take(self.waiting.popleft())
            else:
                self.now = min(self.coming[0], self.looked + LOOK)
        return self

    def _take(self, came: float) -> None:
        refuses = self.limited and self.door.refuses()
        pause = 0.0005
        self.now += REFUSAL if refuses else ANSWER
        if refuses and self.honour:
            pause += self.comeback.seconds() * self.random.uniform(1, 1.25)
        if not refuses:
            self.comeback.served(self.now)
        heappush(self.coming, self.now + pause)
        if came >= WARM_UP:
            (self.refused if refuses else self.answered).append(self.now - came)

    @property
    def goodput(self) -> float:
        """Of the best."""
        return len(self.answered) / (SECONDS - WARM_UP) / BEST


def worst(seconds: list[float]) -> float:
    """What 99 in 100 do not exceed."""
    return quantiles(seconds, n=100)[98]


def test_nobody_is_refused_where_the_server_is_just_saturated() -> None:
    model = Model(SATURATING).run()
    assert not model.refused
    assert model.goodput > 0.98


@pytest.mark.parametrize("times", [4, 16])
def test_with_more_callers_the_server_answers_nearly_as_many_nearly_as_soon(times: int) -> None:
    calm, model = Model(SATURATING).run(), Model(times * SATURATING).run()
    assert model.goodput > 0.85
    assert worst(model.answered) < 3 * worst(calm.answered)
    assert worst(model.refused) < 0.05


def test_without_limits_calls_wait_as_long_as_there_are_callers() -> None:
    """What the one above would say if the limits did nothing."""
    assert worst(Model(4 * SATURATING, limited=False).run().answered) > 3 * worst(Model(SATURATING).run().answered)


def test_callers_that_do_not_wait_leave_others_their_share() -> None:
    model = Model(4 * SATURATING, honour=False).run()
    assert model.goodput > 0.3
