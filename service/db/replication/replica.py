"""A replica, and what keeps reads from going to it."""

import asyncio
from dataclasses import dataclass, field

from service.db.replication.sight import Look, Sight

FIRST_REST, LONGEST_REST = 0.25, 30.0  # seconds without reads, after one that lost it


@dataclass(slots=True, eq=False)
class Primary:
    """What is known of the primary: the `look` is the last that there was. A replica that has replayed as far as
    `followed` is on its timeline, unless it has `left`: then it is known by when it was started."""

    look: Look | None = None
    away: bool = False
    followed: int = 0
    left: set[int] = field(default_factory=set)

    def seen(self, look: Look) -> None:
        if self.look is not None and self.look.timeline != look.timeline:
            # Who has replayed what comes after the switch has followed it.
            self.followed = look.position
            self.left.clear()
        self.look = look


@dataclass(slots=True, eq=False)
class Replica:
    name: str
    sight: Sight
    most_lag: int
    look: Look | None = None
    answering: bool = False  # when it was looked at last, and no call has lost it since
    lag: int = 0
    problem: str | None = "it has not been looked at yet"
    stalled_at: int = -1  # where it stood while somebody waited in vain for it to go on
    rests_until: float = 0.0
    rest: float = FIRST_REST
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    waiting: set[asyncio.Timeout] = field(default_factory=set)  # calls that can be sent elsewhere

    @property
    def position(self) -> int:
        return self.look.position if self.look is not None else 0

    @property
    def started(self) -> int:
        """By this a connection knows whether it leads to the server that was looked at."""
        return self.look.started if self.look is not None else -1

    def judge(self, look: Look, primary: Primary, others: "list[Replica]", now: float) -> str | None:
        """Why reads must not go here, if they must not."""
        self.look = look
        self.answering = True
        self.lag = max(0, primary.look.position - look.position) if primary.look is not None else 0
        if not look.standby:
            return "it is no standby"
        if not self._is_of(look.system, primary, others):
            return "it belongs to another cluster"
        if problem := self._elsewhere(look, primary):
            return problem
        if self.lag > self.most_lag:
            return "it is too far behind the primary"
        return "a call has lost it" if now < self.rests_until else None

    def _is_of(self, system: int, primary: Primary, others: "list[Replica]") -> bool:
        """As long as the primary was never seen, replicas that agree with one another are believed."""
        if primary.look is not None:
            return primary.look.system == system
        return all(other.look is None or other.look.system == system for other in others)

    def _elsewhere(self, look: Look, primary: Primary) -> str | None:
        """Whether what it has replayed is something else than what the primary wrote."""
        if primary.look is None:
            return None
        if look.position > primary.look.position and primary.look.began > look.ended:
            primary.left.add(look.started)
        if look.started in primary.left:
            return "it has replayed what the primary never wrote"
        if look.position < primary.followed:
            return "it has not followed the primary to its timeline yet"
        return None

    def lost(self, now: float) -> None:
        """A call found it gone: it rests, the longer the more often this happens in a row."""
        self.answering = False
        if now >= self.rests_until:
            recently = now - self.rests_until < 10 * self.rest
            self.rest = min(LONGEST_REST, 2 * self.rest) if recently else FIRST_REST
            self.rests_until = now + self.rest
        self.wake.set()

    def send_elsewhere(self, now: float) -> None:
        """Those who wait for an answer of it need not wait any longer."""
        while self.waiting:
            self.waiting.pop().reschedule(now)
