"""SpatialService.MatchFeatures: the same question about each of many probes.

Probes are read, chunks of them asked about and answers written at the same time, in order. While a statement runs, what
comes meanwhile gathers for the next; a probe that comes alone goes at once. Nothing is read that there is no room for.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Coroutine, Sequence
from contextlib import aclosing
from typing import Any, NamedTuple, TypeVar

from service.codec.geometry import Stored
from service.codec.matches import Matching, MatchReader, MatchWriter, Probed, ResponseBuilder
from service.db.batch import Answer
from service.db.replication.routed import Reads
from service.domain import Search
from service.errors import InternalError, SpatialError
from service.interceptors.call import Context
from service.servicers.pacing import Expectation, Intake, Pace
from service.servicers.references import References
from spatial.v1 import query_pb2

T = TypeVar("T")

log = logging.getLogger("spatial.match")

BIG_PROBE_BYTES = 64 * 1024
FEATURES_AT_ONCE = 64  # that are looked up in a statement, to be probes

Looked = Stored | SpatialError | None
Answers = Sequence[Answer | SpatialError]


class MatchServicer:
    """`lanes` are those of `db.lanes.match_lanes`; `statements` is how many of them one stream may keep busy."""

    def __init__(
        self, references: References, lanes: Reads, reader: MatchReader, writer: MatchWriter, statements: int
    ) -> None:
        self._references = references
        self._lanes = lanes
        self._reader = reader
        self._writer = writer
        self._statements = statements

    async def MatchFeatures(
        self, requests: AsyncIterator[query_pb2.MatchRequest], context: Context
    ) -> AsyncGenerator[bytes]:
        first = await anext(requests, None)
        if first is None:
            return
        matching = await self._references.read(self._reader.first, first)
        stream = _Stream(self._references, self._lanes, self._writer, matching, self._statements)
        try:
            stream.start(first, requests)
            async with aclosing(stream.responses()) as responses:
                async for response in responses:
                    yield response
        finally:
            stream.stop()


class _Chunk(NamedTuple):
    probed: Sequence[Probed]
    answers: asyncio.Task[Answers]


class _Stream:
    """One call: a task that reads, one that hands chunks to lanes, one for each chunk, and the caller's that writes."""

    def __init__(
        self, references: References, lanes: Reads, writer: MatchWriter, matching: Matching, statements: int
    ) -> None:
        self._references = references
        self._lanes = lanes
        self._writer = writer
        self._matching = matching
        self._intake = Intake()
        self._expected = Expectation(matching.limit, slow=matching.inquiry.heavy)
        self._chunks: asyncio.Queue[_Chunk | None] = asyncio.Queue()
        # Beside those whose statements run: one that is being written, and one that waits for it to be.
        self._places = asyncio.Semaphore(statements + 2)
        self._tasks: set[asyncio.Task[Any]] = set()

    def start(self, first: query_pb2.MatchRequest, others: AsyncIterator[query_pb2.MatchRequest]) -> None:
        self._begin(self._read(first, others))
        self._dispatching = self._begin(self._dispatch())

    def stop(self) -> None:
        """Whatever still runs is abandoned: a statement that runs is cancelled."""
        for task in self._tasks:
            task.cancel()

    async def responses(self) -> AsyncGenerator[bytes]:
        """What is found, in the order of the probes. An error that may pass is not the probe's, and ends the stream."""
        pace = Pace()
        while (chunk := await self._chunks.get()) is not None:
            builder, size = ResponseBuilder(), 0
            for probed, answer in zip(chunk.probed, await chunk.answers, strict=True):
                if isinstance(answer, SpatialError) and answer.retry_after is not None:
                    for response in builder.rest():
                        yield response
                    raise answer
                match = await self._match(probed, answer, pace)
                size += len(match)
                for response in builder.add(match):
                    yield response
            for response in builder.rest():
                yield response
            self._expected.written(len(chunk.probed), size)
            self._places.release()
        await self._dispatching

    async def _match(self, probed: Probed, answer: Answer | SpatialError, pace: Pace) -> bytes:
        await pace.breathe()
        if isinstance(answer, SpatialError):
            if isinstance(answer, InternalError):
                log.error("a probe could not be answered", exc_info=answer.__cause__ or answer)
            return self._writer.failed(probed.key, answer)
        if (written := answer.written) is not None:
            return self._writer.written(probed.key, answer, written, self._matching.limit)
        found = []
        for some in self._writer.found(answer, self._matching.limit):
            found.append(some)
            await pace.breathe()
        return self._writer.match(probed.key, answer, found, self._matching.limit)

    async def _read(self, first: query_pb2.MatchRequest, others: AsyncIterator[query_pb2.MatchRequest]) -> None:
        pace = Pace()
        try:
            await self._take_in(first, pace)
            async for request in others:
                MatchReader.check_later(request)
                await self._take_in(request, pace)
        except Exception as error:  # told when all that came before has been answered
            self._intake.end(error)
        else:
            self._intake.end()

    async def _take_in(self, request: query_pb2.MatchRequest, pace: Pace) -> None:
        for start in range(0, len(request.probes), FEATURES_AT_ONCE):
            some = request.probes[start : start + FEATURES_AT_ONCE]
            for index, (probe, stored) in enumerate(zip(some, await self._looked_up(some), strict=True), start):
                probed = await self._probed(index, probe, stored)
                if isinstance(probed.asked, SpatialError) and await self._references.learned(probed.asked):
                    probed = await self._probed(index, probe, stored)
                await self._intake.put(probed)
                await pace.breathe()

    async def _looked_up(self, probes: Sequence[query_pb2.MatchProbe]) -> Sequence[Looked]:
        """What the database has for those that are features."""
        features = {
            place: probe.probe.feature
            for place, probe in enumerate(probes)
            if probe.probe.WhichOneof("source") == "feature"
        }
        looked: list[Looked] = [None] * len(probes)
        if features:
            for place, found in zip(features, await self._references.stored(features.values()), strict=True):
                looked[place] = found
        return looked

    async def _probed(self, index: int, probe: query_pb2.MatchProbe, stored: Looked) -> Probed:
        size = len(stored.wkb) if isinstance(stored, Stored) else probe.ByteSize()
        if size < BIG_PROBE_BYTES:
            return self._matching.read(index, probe, stored)
        return await asyncio.to_thread(self._matching.read, index, probe, stored)

    async def _dispatch(self) -> None:
        try:
            while True:
                await self._places.acquire()
                probed = await self._intake.take(self._expected.probes)
                if not probed:
                    return
                self._chunks.put_nowait(_Chunk(probed, self._begin(self._answer(probed))))
        finally:
            self._chunks.put_nowait(None)

    async def _answer(self, probed: Sequence[Probed]) -> Answers:
        searches = [each.asked for each in probed if isinstance(each.asked, Search)]
        if not searches:
            return [each.asked for each in probed if isinstance(each.asked, SpatialError)]
        together = await self._lanes.answer_together(searches)
        # What PostgreSQL has written needs not be decoded.
        sent = [each for each in together.answers if isinstance(each, Answer) and each.written is None]
        self._expected.answered(len(searches), sum(len(answer.rows) for answer in sent), together.seconds)
        answers = iter(together.answers)
        return [each.asked if isinstance(each.asked, SpatialError) else next(answers) for each in probed]

    def _begin(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # raised where the task is awaited, if the stream gets there
