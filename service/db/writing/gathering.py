"""When changes that wait may go: when no more of them are on their way, as far as one can tell.

A busy event loop brings them in one by one, so they go when it has come round without another. And those who were
answered together come again together, as like as not: what has to be done once for a group is done once for all of
them if they are let come first.
"""

import asyncio
from collections.abc import Callable
from math import inf

from service.db.writing.sharing import Waiting

MOST_LOOKS = 16  # for more of a group, before what there is of it goes
SEVERAL = 3  # so many who were answered together are let come again
ENOUGH = 16  # changes need not wait for more of their like: what a transaction costs is little for each by then
MOMENT_SECONDS = 0.004
MOST_MOMENTS = 2
MOST_REST = 16  # groups for which nobody is waited, after some for which most did not come: twice as many each time


class Gathering:
    """Made on the event loop. Calls `go` when it is time. Those who are to come again are waited for as long as one
    comes in each `moment`, of so many seconds, and no more than a few of these."""

    def __init__(self, waiting: Waiting, go: Callable[[], None], moment: float = MOMENT_SECONDS) -> None:
        self._loop = asyncio.get_running_loop()
        self._waiting = waiting
        self._let_go = go
        self._moment = moment
        self._look_again: asyncio.Handle | None = None
        self._expected = 0
        self._enough = inf  # changes that have come in all, with which nobody is waited for any more
        self._rest = 0  # groups for which nobody is waited
        self._next_rest = 1

    def arrived(self, *, shares: bool) -> None:
        """One more waits. One that shares nothing waits for nobody who is to come again."""
        if self._waiting.came >= self._enough:
            self._next_rest = 1
            self._go()
        elif self._enough < inf and not shares:
            self._go()
        else:
            self.gather()

    def answered(self, together: int) -> None:
        """So many have been."""
        room = ENOUGH - self._waiting.changes
        if room > 0 and self._are_to_come_again(together):
            self._await(min(together, room))
        else:
            self.gather()

    def gather(self) -> None:
        """What waits goes when the loop has come round without another."""
        if self._look_again is None:
            self._look_again = self._loop.call_soon(self._look, self._waiting.came, MOST_LOOKS)

    def _look(self, seen: int, looks: int) -> None:
        came = self._waiting.came
        if came != seen and looks:
            self._look_again = self._loop.call_soon(self._look, came, looks - 1)
        else:
            self._go()

    def _are_to_come_again(self, answered: int) -> bool:
        if answered < SEVERAL:
            return False
        if self._rest:
            self._rest -= 1
            return False
        return True

    def _await(self, others: int) -> None:
        self._stop()
        self._expected, self._enough = others, self._waiting.came + others
        self._look_again = self._loop.call_later(self._moment, self._moment_passed, self._waiting.came, MOST_MOMENTS)

    def _moment_passed(self, seen: int, moments: int) -> None:
        came = self._waiting.came
        if came != seen and moments > 1:
            self._look_again = self._loop.call_later(self._moment, self._moment_passed, came, moments - 1)
            return
        if 2 * (self._enough - came) > self._expected:
            self._rest = self._next_rest
            self._next_rest = min(2 * self._next_rest, MOST_REST)
        self._go()

    def _go(self) -> None:
        self._stop()
        self._enough = inf
        self._let_go()

    def _stop(self) -> None:
        if self._look_again is not None:
            self._look_again.cancel()
            self._look_again = None
