"""Matching with asyncio: one task reads the source, gRPC's sends what is there, the caller's reads answers."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable
from typing import Any, Generic, TypeAlias, TypeVar

import grpc

from spatial.v1 import query_pb2
from spatial_client._aio_idle import messages
from spatial_client._attempts import Attempts, is_cut
from spatial_client._channels import Settings
from spatial_client._errors import error_of_call
from spatial_client._geometry import Probe
from spatial_client._matching import CHUNK, Matching, Question
from spatial_client._values import Match

K = TypeVar("K")
Requests = AsyncIterator[query_pb2.MatchRequest]
Probes: TypeAlias = Iterable[tuple[K, Probe]] | AsyncIterable[tuple[K, Probe]]
CAREFUL_SECONDS = 0.1


class AsyncMatches(Generic[K]):
    """One run over a source of probes."""

    def __init__(self, question: Question, probes: Probes[K], settings: Settings) -> None:
        self._probes = probes
        self._matching: Matching[K] = Matching(question)
        self._attempts = Attempts(settings.retry, question.timeout, is_cut)
        self._idle_timeout = settings.idle_timeout
        self._changed = asyncio.Condition()
        self._calls = 0  # so far; only the last may send
        self._fault: Exception | None = None  # what the source raised

    async def run(self, start: Callable[[Requests, float | None], Awaitable[Any]]) -> AsyncGenerator[Match[K], None]:
        feeding = asyncio.create_task(self._feed())
        try:
            while True:
                call = await start(await self._begin(), self._attempts.remaining())
                try:
                    async for response in messages(call, self._idle_timeout, lambda: self._matching.waiting_since):
                        for answer in await self._answers(response):
                            yield answer
                    break
                except grpc.RpcError as error:
                    pause = self._attempts.pause_after(error_of_call(error))
                finally:
                    call.cancel()
                await asyncio.sleep(pause)
        finally:
            feeding.cancel()
        self._matching.end()
        if self._fault is not None:
            raise self._fault

    async def _feed(self) -> None:
        try:
            async for key, probe in _awaited(self._probes):
                async with self._changed:
                    self._matching.add(key, probe)
                    self._changed.notify_all()
                    await self._changed.wait_for(lambda: self._matching.has_room)
        except Exception as error:
            self._fault = error
        async with self._changed:
            self._matching.exhausted = True
            self._changed.notify_all()

    async def _begin(self) -> Requests:
        async with self._changed:
            self._calls += 1
            self._matching.begin()
            self._changed.notify_all()
            return self._requests(self._calls)

    async def _requests(self, call: int) -> Requests:
        careful = call > 1
        while (request := await self._next_request(call)) is not None:
            yield request
            if careful:
                # grpc.aio forgets why a call is refused if it learns it while sending; the next attempt finds out.
                await asyncio.sleep(CAREFUL_SECONDS)
                careful = False

    async def _next_request(self, call: int) -> query_pb2.MatchRequest | None:
        """Waits for something to send; None when there will be nothing more, or when another call has taken over."""
        async with self._changed:
            await self._changed.wait_for(lambda: self._may_go_on(call))
            return self._matching.request() if call == self._calls else None

    def _may_go_on(self, call: int) -> bool:
        return call != self._calls or self._matching.has_something_to_send or self._matching.exhausted

    async def _answers(self, response: query_pb2.MatchResponse) -> list[Match[K]]:
        async with self._changed:
            self._attempts.progressed()
            answers = self._matching.answers(response)
            self._changed.notify_all()
        return answers


async def _awaited(probes: Probes[K]) -> AsyncIterator[tuple[K, Probe]]:
    if isinstance(probes, AsyncIterable):
        async for each in probes:
            yield each
        return
    for number, each in enumerate(probes, start=1):
        yield each
        if not number % CHUNK:
            await asyncio.sleep(0)
