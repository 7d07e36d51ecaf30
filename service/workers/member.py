"""A worker as its supervisor sees it."""

import asyncio
import json
import os
import signal
import socket
from collections.abc import Callable
from contextlib import suppress
from enum import StrEnum
from itertools import count
from typing import Any

from service.workers.link import Message
from service.workers.samples import Travelling
from service.workers.worker import Orders, fork

MOST_LINE_BYTES = 64 * 1024 * 1024
ASK_SECONDS = 1.0
READY = "yes"


class State(StrEnum):
    STARTING = "starting"
    SERVING = "serving"
    DRAINING = "draining"


class Member:
    """`ended` is done with the exit code when the process is gone and all that it said has been heard."""

    def __init__(self, number: int, pid: int, share: Callable[["Member"], asyncio.Task[None]]) -> None:
        self.number = number
        self.pid = pid
        self.state = State.STARTING
        self.began = asyncio.get_running_loop().time()
        self.samples: Travelling = []
        self.status: dict[str, str] = {}
        self.layers: list[Any] = []
        self.reason: str | None = None
        self.answers = asyncio.Event()
        self.closed = asyncio.Event()
        self.ended: asyncio.Task[int]
        self._share = share
        self._numbers = count()
        self._refreshes: dict[int, asyncio.Future[None]] = {}
        self._asked = asyncio.get_running_loop().create_future()
        self._asked.set_result(None)
        self._writer: asyncio.StreamWriter
        self._sharing: set[asyncio.Task[None]] = set()

    @classmethod
    async def start(cls, orders: Orders, number: int, share: Callable[["Member"], asyncio.Task[None]]) -> "Member":
        ours, theirs = socket.socketpair()
        with theirs:
            pid = fork(orders, number, theirs)
        member = cls(number, pid, share)
        reader, member._writer = await asyncio.open_connection(sock=ours, limit=MOST_LINE_BYTES)
        member.ended = asyncio.create_task(member._live(reader), name=f"worker {number}")
        return member

    @property
    def age(self) -> float:
        return asyncio.get_running_loop().time() - self.began

    @property
    def listening(self) -> bool:
        return self.answers.is_set() and not self.closed.is_set() and not self.ended.done()

    @property
    def is_ready(self) -> bool:
        return self.status.get("ready") == READY

    def send(self, number: signal.Signals) -> None:
        """The process is there, a zombie at least, until `ended`."""
        if not self.ended.done():
            os.kill(self.pid, number)

    def tell(self, word: str, **fields: Any) -> None:
        if not self._writer.is_closing():
            self._writer.write(json.dumps({"word": word, **fields}).encode() + b"\n")

    async def look(self) -> None:
        """Brings samples and status up to date, if it answers in time."""
        if not self.answers.is_set() or self.ended.done():
            return
        if self._asked.done():
            self._asked = asyncio.get_running_loop().create_future()
            self.tell("ask")
        await self._until(self._asked, ASK_SECONDS)

    async def refresh(self, within: float) -> None:
        """Has it read the layers."""
        number, done = next(self._numbers), asyncio.get_running_loop().create_future()
        self._refreshes[number] = done
        self.tell("refresh", number=number)
        if self.answers.is_set():
            await self._until(done, within)

    async def until_it_answers(self, seconds: float) -> bool:
        with suppress(TimeoutError):
            await asyncio.wait_for(self.answers.wait(), seconds)
        return self.answers.is_set()

    async def _until(self, done: asyncio.Future[None], seconds: float) -> None:
        """Or until it ends."""
        waiting: list[asyncio.Future[Any]] = [done, self.ended]
        await asyncio.wait(waiting, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)

    async def _live(self, reader: asyncio.StreamReader) -> int:
        with suppress(OSError):
            while line := await reader.readline():
                self._hear(json.loads(line))
        status = await _end_of(self.pid)
        self._writer.close()
        return os.waitstatus_to_exitcode(status)

    def _hear(self, message: Message) -> None:
        match message["word"]:
            case "ready":
                self.state = State.SERVING
                self.status = {"ready": message["problem"] or READY}
                self.layers = message["layers"]
                self.answers.set()
            case "told":
                self.samples, self.status = message["samples"], message["status"]
                if not self._asked.done():
                    self._asked.set_result(None)
            case "failed":
                self.reason = message["reason"]
            case "closed":
                self.closed.set()
            case "last":
                self.samples = message["samples"]
            case "refreshed":
                if (done := self._refreshes.pop(message["number"], None)) and not done.done():
                    done.set_result(None)
            case "share":
                sharing = self._share(self)
                self._sharing.add(sharing)
                sharing.add_done_callback(lambda _: self.tell("shared", number=message["number"]))
                sharing.add_done_callback(self._sharing.discard)


async def _end_of(pid: int) -> int:
    """The status of a child that has ended or is about to."""
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    descriptor = os.pidfd_open(pid)
    loop.add_reader(descriptor, ended.set)
    try:
        await ended.wait()
    finally:
        loop.remove_reader(descriptor)
        os.close(descriptor)
    return os.waitpid(pid, os.WNOHANG)[1]  # noqa: ASYNC222 - it does not wait
