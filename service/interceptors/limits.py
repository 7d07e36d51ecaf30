"""Lets in as many calls as can be served; the rest hear when to come again. Health, reflection and AdminService are for
those who look after the server, and always let in."""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Sequence
from time import perf_counter

from service.access import PRINCIPAL
from service.errors import Reason, ResourceExhausted, SpatialError
from service.interceptors.call import Call
from service.limits.buckets import Buckets
from service.limits.comeback import Comeback
from service.limits.door import Door
from service.limits.memory import MemoryGuard, Pressure
from service.observability.metrics import Metrics
from service.settings import Settings

LOOK_SECONDS = 0.05
BUSY = 4  # calls between two looks, below which there is nothing to look at
_COME_AGAIN = (Reason.OVERLOADED, Reason.TOO_MANY_CALLS, Reason.MEMORY_PRESSURE)


class CallLimits:
    """Made on the event loop. `waiting` counts the calls that wait in gRPC for Python's attention, if it is told how
    many have that, and how many streams came since it was asked last."""

    def __init__(
        self,
        services: Sequence[str],
        settings: Settings,
        metrics: Metrics,
        memory: MemoryGuard,
        waiting: Callable[[int, int], int],
    ) -> None:
        self._services = frozenset(services)
        self._loop = asyncio.get_running_loop()
        self._memory = memory
        self._waiting = waiting
        self._adaptive = settings.adaptive_limit
        self._most = settings.max_calls
        self._most_per_peer = settings.max_calls_per_peer
        self._buckets = Buckets(settings.rate, settings.rate_burst) if settings.rate else None
        self._comeback = Comeback()
        self._door = Door(settings.queue_target)
        self._rejected = metrics.rejected
        self._room = 2 * settings.lane_batch  # of calls of one shape, one statement's worth runs and one waits
        self._all = 0  # of whatever service
        self._streams = 0  # since the last look
        self._running = 0
        self._by_caller: dict[str, int] = defaultdict(int)
        self._looked: float | None = None
        self._show(metrics)

    def started(self, call: Call) -> None:
        if call.method.type != "unary":
            self._streams += 1
        if call.method.service in self._services:
            self._admit(call)
        self._all += 1

    def ended(self, call: Call) -> None:
        self._all -= 1
        if call.method.service not in self._services:
            return
        if call.caller is not None:
            self._leave(call.caller)
        self._running -= 1
        if call.error is None:
            self._comeback.served(perf_counter())
        elif isinstance(call.error, SpatialError) and call.error.reason in _COME_AGAIN:
            call.error.retry_after = self._comeback.seconds()  # who refused it does not see all the others

    def _admit(self, call: Call) -> None:
        if self._memory.pressure:
            self._check_memory(call)
        if self._most and self._running >= self._most:
            raise self._refusal(Reason.TOO_MANY_CALLS, "too many calls are running already", self._most)
        if self._adaptive and self._waits_too_long():
            raise self._refusal(Reason.OVERLOADED, "too many calls are waiting already", self._door.room)
        if self._most_per_peer or self._buckets is not None:
            self._admit_caller(call, caller(call))
        self._running += 1

    def _check_memory(self, call: Call) -> None:
        if self._memory.pressure is Pressure.FULL or call.method.type != "unary":
            raise self._refusal(Reason.MEMORY_PRESSURE, "memory is short", None)

    def _admit_caller(self, call: Call, name: str) -> None:
        if self._most_per_peer and self._by_caller.get(name, 0) >= self._most_per_peer:
            problem = "too many calls of this caller are running already"
            raise self._refusal(Reason.TOO_MANY_CALLS, problem, self._most_per_peer)
        if self._buckets is not None and (wait := self._buckets.take(name)):
            raise self._refusal(Reason.RATE_LIMITED, "this caller calls too often", self._buckets.rate, wait)
        if self._most_per_peer:
            self._by_caller[name] += 1
            call.caller = name  # gRPC may no longer know the peer of a call that has ended

    def _leave(self, name: str) -> None:
        self._by_caller[name] -= 1
        if not self._by_caller[name]:
            del self._by_caller[name]

    def _refusal(self, reason: Reason, problem: str, limit: float | None, wait: float | None = None) -> SpatialError:
        self._rejected.labels(reason.lower()).inc()
        return ResourceExhausted(
            reason,
            problem,
            metadata={} if limit is None else {"limit": f"{limit:g}"},
            retry_after=self._comeback.seconds() if wait is None else wait,
        )

    # What waits in front of Python.

    def _waits_too_long(self) -> bool:
        if self._looked is None:
            self._look_again()
        return self._door.refuses()

    def _look_again(self) -> None:
        self._looked = perf_counter()
        self._loop.call_later(LOOK_SECONDS, self._look)

    def _look(self) -> None:
        """As long as calls come."""
        if not self._door.taken:
            self._looked = None
            self._door.look(0, LOOK_SECONDS)
            return
        seconds = perf_counter() - (self._looked or 0.0)
        waiting = self._waiting(self._all, self._streams) if self._door.taken >= BUSY else 0
        self._streams = 0
        self._door.look(waiting, seconds)
        self._look_again()

    def _show(self, metrics: Metrics) -> None:
        """As values that are made when somebody scrapes."""
        metrics.calls_in_flight.set_function(lambda: self._running + self._door.waiting)
        metrics.concurrency_limit.set_function(self._limit)
        metrics.memory_used.set_function(lambda: self._memory.ratio)

    def _limit(self) -> float:
        limits = [self._most] if self._most else []
        if self._adaptive:
            limits.append(self._room + self._door.room)
        return min(limits, default=0)


def caller(call: Call) -> str:
    """Whose call it is: the principal's, or that of the peer's address, whatever its port."""
    principal = PRINCIPAL.get()
    if principal is not None:
        return principal.name
    peer = call.context.peer()
    return peer.rpartition(":")[0] if peer.startswith("ipv") else peer
