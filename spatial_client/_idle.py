"""A limit on how long a call may be silent; gRPC knows deadlines only for the whole of it."""

import time
from collections.abc import Callable, Iterator
from threading import Event, Thread
from types import TracebackType
from typing import Any, Self

import grpc

from spatial_client._errors import DeadlineExceeded


class IdleLimit:
    """`with IdleLimit(call, seconds) as limit: for message in limit.messages(): …` cancels a call that says nothing.

    The time that the caller takes for a message does not count. `waiting_since` may say since when something is due.
    """

    def __init__(self, call: Any, seconds: float, waiting_since: Callable[[], float | None] | None = None) -> None:
        self._call = call
        self._seconds = seconds
        self._waiting_since = waiting_since or (lambda: self._asked)
        self._asked: float | None = None
        self._passed = False
        self._done = Event()
        self._watch = Thread(target=self._watching, name="spatial-idle", daemon=True)

    def messages(self) -> Iterator[Any]:
        while True:
            self._asked = time.monotonic()
            message = next(self._call, None)
            self._asked = None
            if message is None:
                return
            yield message

    def __enter__(self) -> Self:
        self._watch.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._done.set()
        self._call.cancel()
        if self._passed and isinstance(error, grpc.RpcError):
            raise silence(self._seconds) from None

    def _watching(self) -> None:
        pause = self._seconds
        while not self._done.wait(pause):
            since = self._waiting_since()
            pause = self._seconds if since is None else since + self._seconds - time.monotonic()
            if pause <= 0:
                self._passed = True
                self._call.cancel()
                return


def silence(seconds: float) -> DeadlineExceeded:
    return DeadlineExceeded(f"nothing came for {seconds:g} seconds", code="DEADLINE_EXCEEDED")
