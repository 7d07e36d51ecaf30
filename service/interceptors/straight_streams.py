"""Streams of answers to one request, straight from gRPC's completion queue, as `straight.py` has it for unary calls."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from time import perf_counter
from typing import Any

import grpc
from grpc._cython import cygrpc  # type: ignore[attr-defined]
from grpc.aio import AbortError

from service.interceptors.straight import Metadata, Start, StraightContext

_HEADERS = cygrpc.SendInitialMetadataOperation
_MESSAGE = cygrpc.SendMessageOperation
_STATUS = cygrpc.SendStatusFromServerOperation

Handle = Callable[[bytes, Any], Awaitable[None]]


class StraightStream(StraightContext):
    """What is sent first takes the headers along. Who serves it says how messages become bytes."""

    __slots__ = ("_begun", "_since", "_watch", "_written", "serialize")
    serialize: Callable[[Any], bytes]

    def __init__(self, event: Any, start: Start) -> None:
        self._begun = False
        self._written: asyncio.Future[bool] | None = None  # what was sent last; none before that
        self._since = 0.0  # when it was
        self._watch: asyncio.TimerHandle | None = None
        super().__init__(event, start)

    async def write_within(self, seconds: float, message: Any) -> None:
        """Returns when the reader's window has room for more; TimeoutError where it has none for so long."""
        loop = asyncio.get_running_loop()
        self._written = loop.create_future()
        self._since = perf_counter()
        if self._watch is None:
            self._watch = loop.call_later(seconds, self._look, seconds)
        self._send(partial(_told, self._written), _MESSAGE(self.serialize(message), 0))
        if not await self._written:
            raise asyncio.CancelledError

    def end(self, code: grpc.StatusCode, details: str, trailing: Metadata) -> None:
        self._ended = True
        self._send(_nothing, _STATUS(tuple(trailing), code.value[0], details.encode(), 0))

    def finish(self) -> None:
        """All has been sent."""
        self.end(grpc.StatusCode.OK, "", self._trailing)

    def leave(self) -> None:
        if self._watch is not None:
            self._watch.cancel()
        super().leave()

    def _send(self, told: Callable[[Any], None], operation: Any) -> None:
        operations = (operation,) if self._begun else (_HEADERS((), 0), operation)
        self._begun = True
        self._call.start_server_batch(operations, told)

    def _look(self, seconds: float) -> None:
        """At what was sent last: a timer for each message would cost more than all else that is done for it."""
        left = seconds
        if self._written is not None and not self._written.done():
            left = self._since + seconds - perf_counter()
            if left <= 0:
                self._written.set_exception(TimeoutError())
                left = seconds
        self._watch = asyncio.get_running_loop().call_later(left, self._look, seconds)


def _told(written: "asyncio.Future[bool]", event: Any) -> None:
    if not written.done():
        written.set_result(event.success)


def opened(handle: Handle, serialize: Callable[[Any], bytes]) -> Start:
    """For a handler as grpc.aio would be given it."""
    loop = asyncio.get_running_loop()

    def start(context: Any, request: bytes) -> asyncio.Task[None]:
        return loop.create_task(serve(context, request))

    async def serve(context: StraightStream, request: bytes) -> None:
        try:
            context.enter()
            context.serialize = serialize
            with suppress(AbortError):
                await handle(request, context)
                context.finish()
        finally:
            context.leave()

    return start


def _nothing(event: Any) -> None:
    """The status is on its way."""
