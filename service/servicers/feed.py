"""What stands between a stream of rows and the import that they are for: the event loop receives a message while a
thread reads the one before, and another one writes what came before that. What there is no room for stays with its
sender."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from typing import Any, ParamSpec, TypeVar

from service.catalog import Layer
from service.changes import ImportPlan, Incoming
from service.codec.arriving.imports import ImportReader
from service.db.canceller import Canceller
from service.db.imports.importer import Importer, ImportOutcome, Progress
from service.db.worker import Worker
from service.errors import DeadlineExceeded, InvalidArgument, Reason, SpatialError
from service.servicers.references import References
from spatial.v1 import write_pb2

P = ParamSpec("P")
T = TypeVar("T")

LEAVE_SECONDS = 2.0

Request = write_pb2.ImportFeaturesRequest


class Feed:
    """One call."""

    def __init__(
        self,
        references: References,
        importer: Importer,
        reader: ImportReader,
        plan: ImportPlan,
        stall_seconds: float,
    ) -> None:
        self._references = references
        self._importer = importer
        self._reader = reader
        self._plan = plan
        self._stall_seconds = stall_seconds
        self._thread = Worker(f"import-{plan.id[:8]}")
        self._progress: Progress | None = None
        self._finished = False
        self._left: asyncio.Future[None] | None = None
        self._waiting: asyncio.Queue[tuple[Request, int] | None] = asyncio.Queue(1)
        self._next = 0  # row, if a message does not say which
        self._reached = 0  # rows before this one are in, or on their way

    async def run(self, layer: Layer, first: Request, requests: AsyncIterator[Request]) -> ImportOutcome:
        try:
            progress = await self._on_thread(self._begin, layer)
        except SpatialError as error:
            raise (error.at("plan") if error.field else error) from error.__cause__
        self._reached = progress.rows
        await self._feed(first, requests, progress)
        outcome = await self._on_thread(self._importer.finish, progress)
        self._finished = True
        return outcome

    async def leave(self, canceller: Canceller) -> None:
        """Gives up what is not finished; waits for the threads, though not for ever."""
        if self._left is None:
            if self._progress is not None and not self._finished:
                canceller.cancel(self._progress.guard)
            self._left = self._submitted(self._end)
            self._thread.stop()
        with suppress(TimeoutError):
            await asyncio.wait_for(asyncio.shield(self._left), LEAVE_SECONDS)

    def _begin(self, layer: Layer) -> Progress:
        self._progress = self._importer.begin(self._plan, layer)
        return self._progress

    def _end(self) -> None:
        if self._progress is not None:
            self._progress.__exit__()

    async def _feed(self, first: Request, requests: AsyncIterator[Request], progress: Progress) -> None:
        """Whichever ends with an error first ends the other."""
        tasks = [
            asyncio.create_task(self._receive(first, requests)),
            asyncio.create_task(self._hand_on(progress)),
        ]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
            for task in done:
                task.result()
        finally:
            for task in tasks:
                task.cancel()

    async def _receive(self, first: Request, requests: AsyncIterator[Request]) -> None:
        await self._take(first)
        while (request := await self._received(requests)) is not None:
            if request.HasField("plan"):
                raise InvalidArgument(Reason.UNEXPECTED_FIELD, "only the first message has a plan", field="plan")
            await self._take(request)
        await self._waiting.put(None)

    async def _received(self, requests: AsyncIterator[Request]) -> Request | None:
        try:
            async with asyncio.timeout(self._stall_seconds):
                return await anext(requests, None)
        except TimeoutError:
            raise DeadlineExceeded(
                Reason.STREAM_STALLED, f"no rows came for {self._stall_seconds:g} s; the import can be continued"
            ) from None

    async def _take(self, request: Request) -> None:
        first = request.first_row if request.HasField("first_row") else self._next
        if not 0 <= first <= self._reached:
            raise InvalidArgument(
                Reason.OUT_OF_RANGE,
                f"row {first} does not follow on row {self._reached - 1}",
                field="first_row",
                metadata={"expected": str(self._reached)},
            )
        count = row_count(request)
        self._next = first + count
        if self._next > self._reached or not count:  # which may still be wrong
            self._reached = max(self._reached, self._next)
            await self._waiting.put((request, first))

    async def _hand_on(self, progress: Progress) -> None:
        while (waiting := await self._waiting.get()) is not None:
            for incoming in await self._read(*waiting):
                await self._on_thread(self._importer.write, progress, incoming)

    async def _read(self, request: Request, first: int) -> list[Incoming]:
        """The rows of a message, whose CRSs are known afterwards or known to be unknown."""
        missing: set[int] = set()
        while True:
            try:
                return await self._on_thread(self._reader.rows, self._plan, request, first, missing)
            except SpatialError as error:
                if error.reason is not Reason.UNKNOWN_SRID:
                    raise
                if not await self._references.learned(error):
                    missing.add(int(error.metadata["srid"]))

    async def _on_thread(self, work: Callable[P, T], *given: P.args, **named: P.kwargs) -> T:
        return await self._submitted(work, *given, **named)

    def _submitted(self, work: Callable[P, T], *given: P.args, **named: P.kwargs) -> asyncio.Future[T]:
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()

        def settle(result: Any, error: BaseException | None) -> None:
            if future.done():
                return
            if error is None:
                future.set_result(result)
            else:
                future.set_exception(error)

        def task() -> None:
            result, error = None, None
            try:
                result = work(*given, **named)
            except Exception as raised:
                error = raised
            with suppress(RuntimeError):  # the event loop has gone
                loop.call_soon_threadsafe(settle, result, error)

        self._thread.submit(task)
        return future


def row_count(request: Request) -> int:
    if request.HasField("columns"):
        return max(0, request.columns.count)
    return len(request.rows.features)
