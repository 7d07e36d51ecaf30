"""Starts the workers, replaces those that end unasked, rolls them, and ends them all together.

Nothing here touches gRPC, nor begins a thread: what is forked has to find everything in order.
"""

import asyncio
import gc
import logging
import os
import signal
from collections import Counter
from collections.abc import Callable
from contextlib import AsyncExitStack, ExitStack
from typing import Any

from service.server import listening_on
from service.settings import Settings
from service.workers.gathering import Gathering
from service.workers.member import Member, State
from service.workers.pages import pages
from service.workers.ports import reserved
from service.workers.samples import Sum
from service.workers.worker import Orders

log = logging.getLogger("spatial.workers")

LOOK_SECONDS = 1.0
STEADY_SECONDS = 10.0  # a worker that lasts so long did not fail for a reason that meets every one
MOST_FAILURES = 5  # in a row
FIRST_DELAY, LONGEST_DELAY = 0.1, 5.0
READY_SECONDS = 60.0  # for the successor of one that works
CLOSE_SECONDS = 10.0
REFRESH_SECONDS = 8.0
MARGIN_SECONDS = 5.0  # to close pools in, after the grace

Welcome = Callable[[Settings, int, list[Any]], None]


class WorkersFailed(Exception):
    """Why there is no use in going on."""


async def supervise(settings: Settings, url: str, welcome: Welcome) -> bool:
    """Serves until told to stop; whether every call could finish. `welcome` is told the settings with the ports in
    effect, that of the metrics, and the layers."""
    with ExitStack() as ports:
        kept = {}
        for name in ("listen", "health_listen"):
            if (address := getattr(settings, name)) is not None:
                with listening_on(address):
                    kept[name] = ports.enter_context(reserved(address))
        return await Supervisor(Orders(settings.model_copy(update=kept), url)).run(welcome)


class Supervisor:
    def __init__(self, orders: Orders) -> None:
        self._orders = orders
        self._count = orders.settings.workers or 1
        self._members: list[Member] = []
        self._current: dict[int, Member] = {}
        self._rolling: int | None = None
        self._failures: Counter[int] = Counter()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._stop = asyncio.Event()
        self._roll_wanted = asyncio.Event()
        self._serving = False
        self._given_up: str | None = None
        self._gathering = Gathering(lambda: self._members)

    async def run(self, welcome: Welcome) -> bool:
        loop = asyncio.get_running_loop()
        for end in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(end, self._stop.set)
        loop.add_signal_handler(signal.SIGHUP, self._roll_wanted.set)
        settings = self._orders.settings
        async with AsyncExitStack() as stack:
            with listening_on(settings.metrics_listen):
                metrics_port = await stack.enter_async_context(pages(settings.metrics_listen, self._look))
            gc.collect()
            gc.freeze()  # so that pages stay shared
            for number in range(1, self._count + 1):
                self._current[number] = await self._start(number)
            self._begin(self._welcome(welcome, metrics_port))
            self._begin(self._keep_looking())
            self._begin(self._keep_rolling())
            await self._stop.wait()
            finished = await self._end()
        if self._given_up is not None:
            raise WorkersFailed(self._given_up)
        log.info("stopped", extra={"fields": {"finished": finished}})
        return finished

    async def _welcome(self, welcome: Welcome, metrics_port: int) -> None:
        for number in list(self._current):
            while not (member := self._current[number]).answers.is_set():
                await member.until_it_answers(LOOK_SECONDS)
        self._serving = True
        listen = self._orders.settings.listen
        ports = {"port": int(listen.rpartition(":")[2]), "metrics_port": metrics_port}
        fields = {"listen": listen, **ports, "pid": os.getpid(), "workers": self._count}
        log.info("serving", extra={"fields": fields})
        welcome(self._orders.settings, metrics_port, self._current[1].layers)

    async def _start(self, number: int) -> Member:
        member = await Member.start(self._orders, number, self._share)
        self._members.append(member)
        member.ended.add_done_callback(lambda _: self._ended(member))
        log.info("worker started", extra={"fields": {"worker": number, "pid": member.pid}})
        return member

    def _ended(self, member: Member) -> None:
        self._members.remove(member)
        self._gathering.departed(member)
        if self._stop.is_set() or member.state is State.DRAINING:
            return
        if self._current.get(member.number) is not member:
            return  # a successor that failed: whoever rolls sees it
        self._failed(member)

    def _failed(self, member: Member) -> None:
        code = member.ended.result()
        self._gathering.restarts.labels("killed" if code < 0 else "crashed").inc()
        quick = member.age < STEADY_SECONDS
        self._failures[member.number] = self._failures[member.number] + 1 if quick else 1
        failures, why = self._failures[member.number], _why(member)
        log.error("worker ended", extra={"fields": {"worker": member.number, "pid": member.pid, "why": why}})
        if member.reason and not self._serving:
            self._give_up(member.reason)
        elif failures >= MOST_FAILURES:
            self._give_up(f"worker {member.number} failed {failures} times in a row, each time soon; the last {why}")
        elif member.number != self._rolling:
            delay = min(FIRST_DELAY * 2 ** (failures - 1), LONGEST_DELAY)
            self._begin(self._replace(member.number, delay))

    async def _replace(self, number: int, delay: float) -> None:
        await asyncio.sleep(delay)
        self._current[number] = await self._start(number)

    def _give_up(self, reason: str) -> None:
        self._given_up = reason
        self._stop.set()

    async def _end(self) -> bool:
        log.info("stopping")
        for task in self._tasks:
            task.cancel()
        members = list(self._members)
        for member in members:
            member.state = State.DRAINING
            member.send(signal.SIGTERM)
        if members:
            within = self._orders.settings.grace_seconds + MARGIN_SECONDS
            _, late = await asyncio.wait([member.ended for member in members], timeout=within)
            for member in members:
                member.send(signal.SIGKILL)
            if late:
                await asyncio.wait(late)
        return all(member.ended.result() == 0 or not member.answers.is_set() for member in members)

    async def _keep_rolling(self) -> None:
        while True:
            await self._roll_wanted.wait()
            self._roll_wanted.clear()
            log.info("rolling")
            done = [await self._roll(number) for number in sorted(self._current)]
            log.info("rolled", extra={"fields": {"workers": sum(done)}})

    async def _roll(self, number: int) -> bool:
        """Puts another in a worker's place, once that one works."""
        self._rolling = number
        try:
            old, new = self._current[number], await self._start(number)
            if not await _works(new, as_good_as=old):
                new.state = State.DRAINING
                new.send(signal.SIGKILL)
                log.error("not rolled", extra={"fields": {"worker": number, "why": _why(new)}})
                if old.ended.done():
                    self._begin(self._replace(number, FIRST_DELAY))
                return False
            self._current[number] = new
        finally:
            self._rolling = None
        if not old.ended.done():
            await self._lead_away(old, new)
        return True

    async def _lead_away(self, old: Member, new: Member) -> None:
        listening = sum(member.listening for member in self._members)
        old.state = State.DRAINING
        old.tell("leave", newest=listening - 1)
        self._gathering.restarts.labels("rolled").inc()
        closed = asyncio.create_task(old.closed.wait())
        await asyncio.wait([closed, old.ended], timeout=CLOSE_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        closed.cancel()
        new.tell("spread")
        # Calls that take longer go on beside those that come next.
        await asyncio.wait([old.ended], timeout=self._orders.settings.grace_seconds)

    async def _keep_looking(self) -> None:
        """So that little is lost of what a worker had counted when it crashes."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            await self._look_at_all()

    async def _look_at_all(self) -> None:
        await asyncio.gather(*(member.look() for member in self._members))

    async def _look(self) -> tuple[Sum, dict[str, str]]:
        await self._look_at_all()
        return self._gathering.total(), self._gathering.status()

    def _share(self, teller: Member) -> asyncio.Task[None]:
        """What one was asked to read anew, all have read when it answers."""
        return self._begin(self._refresh_others(teller))

    async def _refresh_others(self, teller: Member) -> None:
        await asyncio.gather(*(member.refresh(REFRESH_SECONDS) for member in self._members if member is not teller))

    def _begin(self, work: Any) -> asyncio.Task[Any]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()):
            log.error("the supervisor failed", exc_info=error)
            self._give_up(f"the supervisor failed: {error}")


async def _works(new: Member, as_good_as: Member) -> bool:
    """Whether it listens and, if its predecessor was, is ready."""
    try:
        async with asyncio.timeout(READY_SECONDS):
            while not new.answers.is_set() or (as_good_as.is_ready and not new.is_ready):
                if new.ended.done():
                    return False
                await asyncio.sleep(0.02)
                await new.look()
    except TimeoutError:
        return False
    return True


def _why(member: Member) -> str:
    if not member.ended.done():
        return member.status.get("ready", "it did not begin in time")
    if member.reason:
        return member.reason
    code = member.ended.result()
    return f"by signal {-code} ({signal.Signals(-code).name})" if code < 0 else f"with exit code {code}"
