"""Unary calls, straight from gRPC's completion queue.

grpc.aio serves a call with several tasks and futures, and hands the event loop each of its steps through a socket. That
costs three times as much as gRPC itself. Here the loop takes the steps that gRPC has done from a queue, all that are
there at once, and a call costs one task. A thread waits for the queue while it is empty, and sleeps while the loop is
at it, so that the two never compete for the interpreter. Streams of answers are in `straight_streams.py`; who streams
requests is left to grpc.aio, on the same server and port.

What is used of gRPC is what its own threaded server (`grpc._server`) is made of, and one thing besides: the core of the
server is looked up in the object that grpc.aio keeps it in. Where it is not found, grpc.aio serves all calls.
"""

import asyncio
import gc
import logging
import time
from collections.abc import Callable, Sequence
from contextvars import copy_context
from threading import Lock, Thread
from typing import Any, NoReturn, Self

import grpc
from grpc._cython import cygrpc  # type: ignore[attr-defined]
from grpc.aio import AbortError

log = logging.getLogger("spatial.straight")

Metadata = Sequence[tuple[str, str | bytes]]

ASKED = 16  # calls of a method that gRPC may hand over before anybody looks
AT_ONCE = 200  # steps that are taken before the loop sees to others: who is to be refused hears of it soon
NEVER = 1e11  # seconds since the epoch; what is due after that has no deadline
JOIN_SECONDS = 5.0
_DONE = cygrpc.CompletionType.operation_complete
_OVER = cygrpc.CompletionType.queue_shutdown
_PAST = 0.0  # a moment that has passed: whoever waits until then does not wait
_OK = grpc.StatusCode.OK.value[0]
_HEADERS = cygrpc.SendInitialMetadataOperation
_MESSAGE = cygrpc.SendMessageOperation
_STATUS = cygrpc.SendStatusFromServerOperation

Start = Callable[["StraightContext", bytes], "asyncio.Task[None] | None"]


class StraightContext:
    """A call as its handler and its observers see it: what they use of grpc.aio's context. All on the event loop.

    Whoever serves it says `enter` first, which raises where the caller has left by then, then `answer` or `end`, and in
    any case `leave`."""

    __slots__ = (
        "_call",
        "_code",
        "_details",
        "_ended",
        "_entered",
        "_gone",
        "_metadata",
        "_start",
        "_task",
        "_trailing",
    )

    def __init__(self, event: Any, start: Start) -> None:
        self._call = event.call
        self._details = event.call_details
        self._metadata: Metadata = event.invocation_metadata
        self._start = start
        self._trailing: Metadata = ()
        self._code: grpc.StatusCode | None = None
        self._task: asyncio.Task[None] | None = None
        self._entered = self._ended = self._gone = False
        self._call.start_server_batch((cygrpc.ReceiveCloseOnServerOperation(0),), self._closed)
        self._call.start_server_batch((cygrpc.ReceiveMessageOperation(0),), self._received)

    def invocation_metadata(self) -> Metadata:
        return self._metadata

    def set_trailing_metadata(self, metadata: Metadata) -> None:
        self._trailing = tuple(metadata)

    def code(self) -> grpc.StatusCode | None:
        return self._code

    def peer(self) -> str:
        peer: bytes = self._call.peer()
        return peer.decode()

    def auth_context(self) -> dict[str, Sequence[bytes]]:
        found = cygrpc.auth_context(self._call) or {}
        return {name.decode(): values for name, values in found.items()}

    def time_remaining(self) -> float | None:
        deadline: float = self._details.deadline
        return max(0.0, deadline - time.time()) if deadline < NEVER else None

    async def abort(self, code: grpc.StatusCode, details: str = "", trailing_metadata: Metadata = ()) -> NoReturn:
        self._code = code
        self.end(code, details, trailing_metadata or self._trailing)
        raise AbortError

    def enter(self) -> None:
        if self._gone:
            raise asyncio.CancelledError
        self._entered = True

    def answer(self, response: bytes) -> None:
        self._ended = True
        operations = (_HEADERS((), 0), _MESSAGE(response, 0), _STATUS(self._trailing, _OK, b"", 0))
        self._call.start_server_batch(operations, _nothing)

    def end(self, code: grpc.StatusCode, details: str, trailing: Metadata) -> None:
        """Without an answer."""
        self._ended = True
        operations = (_HEADERS((), 0), _STATUS(tuple(trailing), code.value[0], details.encode(), 0))
        self._call.start_server_batch(operations, _nothing)

    def leave(self) -> None:
        """Nobody waits for ever, whatever went wrong; and what knows of one another is parted."""
        self._task = None
        if not (self._ended or self._gone):
            self.end(grpc.StatusCode.INTERNAL, "internal error", self._trailing)

    # Steps that gRPC has done.

    def _received(self, event: Any) -> None:
        request = event.batch_operations[0].message()
        if request is not None and not self._gone:  # the caller has not left before it had asked
            self._task = copy_context().run(self._start, self, request)

    def _closed(self, event: Any) -> None:
        """The call is over for gRPC: it was answered, or its caller has left, or its deadline has passed."""
        if event.batch_operations[0].cancelled():
            self._gone = True
            if self._entered and self._task is not None:
                self._task.cancel()


def _nothing(event: Any) -> None:
    """An answer is on its way."""


class StraightCalls:
    """To be made before the server begins to serve, with `begin` afterwards and `close` when it has stopped."""

    def __init__(self, core: Any) -> None:
        self._loop = asyncio.get_running_loop()
        self._core = core
        self._queue = cygrpc.CompletionQueue()
        core.register_completion_queue(self._queue)
        self._methods: list[_Method] = []
        self.emptied = 0
        """How often all that there was had been taken."""
        self._turn = Lock()
        self._turn.acquire()
        self._thread = Thread(target=self._wait, name="calls", daemon=True)

    @classmethod
    def of(cls, server: grpc.aio.Server) -> Self | None:
        """None where gRPC does not keep its server where it used to."""
        held = gc.get_referents(getattr(server, "_server", None))
        core = next((each for each in held if isinstance(each, cygrpc.Server)), None)
        if core is None:
            log.warning("unary calls are served by grpc.aio: the server's core was not found")
            return None
        return cls(core)

    def add(self, path: str, start: Start, context: type[StraightContext] = StraightContext) -> None:
        """`start` begins to serve a call, and returns the task that goes on with it if it is not over."""
        self._core.register_method(path)
        self._methods.append(_Method(self._core, self._queue, path, lambda event: context(event, start)))

    def begin(self) -> None:
        for method in self._methods:
            for _ in range(ASKED):
                method.ask()
        self._thread.start()

    async def close(self) -> None:
        self._queue.shutdown()
        if self._thread.is_alive():
            await asyncio.to_thread(self._thread.join, JOIN_SECONDS)

    def _wait(self) -> None:
        """On the thread."""
        event = self._queue.poll()
        while event.completion_type != _OVER:
            try:
                self._loop.call_soon_threadsafe(self._take, event)
            except RuntimeError:  # the loop has ended before the server
                return
            event = None  # it may be the last that knows of a call
            self._turn.acquire()
            event = self._queue.poll()

    def _take(self, event: Any) -> None:
        for _ in range(AT_ONCE):
            if event.completion_type != _DONE:
                self.emptied += 1
                self._turn.release()
                return
            try:
                event.tag(event)
            except Exception:
                log.exception("a call failed outside its handler")
            event = self._queue.poll(_PAST)
        self._loop.call_soon(self._take, event)


class _Method:
    __slots__ = ("_begin", "_core", "_path", "_queue")

    def __init__(self, core: Any, queue: Any, path: str, begin: Callable[[Any], object]) -> None:
        self._core = core
        self._queue = queue
        self._path = path
        self._begin = begin

    def ask(self) -> None:
        """For one more call."""
        try:
            self._core.request_registered_call(self._queue, self._queue, self._path, self._arrived)
        except ValueError:  # the server is shutting down
            return

    def _arrived(self, event: Any) -> None:
        if event.success:  # there is a call, and not only the end of the server
            self.ask()
            self._begin(event)
