"""Importing with asyncio: the caller's task reads the source and sends."""

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable
from typing import Any

import grpc
from grpc import aio

from spatial.v1 import write_pb2
from spatial_client._calls import Unary
from spatial_client._errors import NotFound, SpatialError, error_of_call
from spatial_client._importing import Importing, ImportState
from spatial_client._sources import AsyncOnce, Source

# grpc.aio forgets why a call is refused if it learns it while sending; attempts after the first leave it time to learn
# it before, for as long as it takes the service to look at what it was sent last.
CAREFUL_SECONDS = 0.1
CAREFUL_MESSAGES = 8

Start = Callable[[float | None], Awaitable[Any]]
Ask = Callable[[Unary[int]], Awaitable[int]]


class AsyncImport:
    """One import, over as many calls as it takes."""

    def __init__(self, importing: Importing, source: Source | AsyncOnce, ask: Ask) -> None:
        self._importing = importing
        self._source = source
        self._ask = ask
        self._careful = 0  # messages of this attempt that are still sent with care

    async def run(self, start: Start, *, known: bool) -> ImportState:
        try:
            return await self._run(start, known)
        except BaseException as error:
            self._importing.noted(error)
            raise

    async def _run(self, start: Start, known: bool) -> ImportState:
        while True:
            try:
                if known:
                    await self._settle()
                return await self._send(await start(self._importing.remaining()))
            except grpc.RpcError as error:
                pause = self._importing.pause_after(error_of_call(error))
            except SpatialError as error:
                pause = self._importing.pause_after(error)
            await asyncio.sleep(pause)
            known = True
            self._careful = CAREFUL_MESSAGES

    async def _send(self, call: Any) -> ImportState:
        try:
            # Only what was sent whole may end: the service would take the rest for the end of the import.
            if await self._put(call, self._importing.opening) and await self._send_rows(call):
                await call.done_writing()
            return self._importing.ended(await call)
        finally:
            call.cancel()

    async def _send_rows(self, call: Any) -> bool:
        async for request in _awaited(self._source.requests(self._importing.rows)):
            if not await self._put(call, request):
                return False
            self._importing.sent(request)
            if self._importing.asks:
                await self._settle()
        return True

    async def _put(self, call: Any, request: write_pb2.ImportFeaturesRequest) -> bool:
        """False if it cannot be sent, as the call is over: the call itself says why."""
        try:
            await call.write(request)
        except (aio.AioRpcError, asyncio.InvalidStateError):
            return False
        if self._careful:
            self._careful -= 1
            await asyncio.wait({asyncio.ensure_future(call.code())}, timeout=CAREFUL_SECONDS)
        return not call.done()

    async def _settle(self) -> None:
        try:
            self._importing.settle(await self._ask(self._importing.question()))
        except NotFound as error:
            self._importing.unknown(error)


async def _awaited(requests: Any) -> AsyncIterator[write_pb2.ImportFeaturesRequest]:
    if isinstance(requests, AsyncIterable):
        async for each in requests:
            yield each
        return
    for each in requests:
        yield each
