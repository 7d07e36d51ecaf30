"""Hands what threads make to one reader on the event loop, and lets no thread get far ahead of it."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import suppress
from threading import Condition
from typing import Generic, TypeVar

T = TypeVar("T")


HANDOVER_SECONDS = 0.01


class ReaderLeft(Exception):
    """Nobody reads any more: raised in a thread that puts."""


class Relay(Generic[T]):
    """Made and read on the event loop. Each of `writers` threads puts and at last ends; an error ends the reading."""

    def __init__(self, writers: int, most_bytes: int) -> None:
        self._loop = asyncio.get_running_loop()
        self._arrived = asyncio.Event()
        self._items: deque[tuple[T, int]] = deque()
        self._bytes = 0
        self._most_bytes = most_bytes
        self._changed = Condition()
        self._writers = writers
        self._closed = False
        self._begun = self._handed_over = False
        self._error: Exception | None = None

    def put(self, item: T, size: int) -> None:
        """On a writer's thread: waits for room, of which there is always some for the first item. Of all the first is
        handed over before the thread goes on, which would take the interpreter from whoever brings it to the reader."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or not self._bytes or self._bytes + size <= self._most_bytes)
            if self._closed:
                raise ReaderLeft
            self._items.append((item, size))
            self._bytes += size
            first, self._begun = not self._begun, True
        self._tell()
        if first:
            with self._changed:
                self._changed.wait_for(lambda: self._closed or self._handed_over, HANDOVER_SECONDS)

    def end(self, error: Exception | None = None) -> None:
        """A writer has put its last; of several errors the first counts."""
        with self._changed:
            self._writers -= 1
            self._error = self._error or error
        self._tell()

    def close(self) -> None:
        """The reader has gone: who waits for room gives up."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    async def read(self) -> AsyncIterator[T]:
        """Everything that is put, in the order in which it was; raises what a writer ended with, at once."""
        while True:
            self._arrived.clear()
            while self._items and not self._error:
                yield self._take()
                if not self._handed_over:
                    self._hand_over()
            over = not self._writers  # looked at before the error, which the last writer may bring just now
            if self._error:
                raise self._error
            if over and not self._items:
                return
            await self._arrived.wait()

    def _take(self) -> T:
        with self._changed:
            item, size = self._items.popleft()
            self._bytes -= size
            self._changed.notify_all()
        return item

    def _hand_over(self) -> None:
        """The reader is done with the first."""
        with self._changed:
            self._handed_over = True
            self._changed.notify_all()

    def _tell(self) -> None:
        with suppress(RuntimeError):  # the event loop has gone
            self._loop.call_soon_threadsafe(self._arrived.set)
