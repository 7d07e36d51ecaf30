"""Importing with threads: the caller's reads the source, gRPC's sends."""

import time
from collections.abc import Callable
from threading import Condition
from typing import Any, Protocol, Self, TypeVar

import grpc

from spatial.v1 import write_pb2
from spatial_client._calls import Unary
from spatial_client._errors import NotFound, SpatialError, error_of_call
from spatial_client._importing import Importing, ImportState
from spatial_client._sources import Source

T = TypeVar("T")


class Ask(Protocol):
    """Makes a call with one answer, and raises a SpatialError."""

    def __call__(self, call: Unary[T], /) -> T: ...


class Outbox:
    """One message at a time from the thread that makes them to the one that sends them: gRPC takes the next when the
    service has room for it."""

    def __init__(self) -> None:
        self._changed = Condition()
        self._message: write_pb2.ImportFeaturesRequest | None = None
        self._ended = False  # nothing more is put
        self._over = False  # nothing more is taken

    def put(self, message: write_pb2.ImportFeaturesRequest) -> bool:
        """Waits until it is taken; False if it will not be, as the call is over."""
        with self._changed:
            self._message = message
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._message is None or self._over)
            return not self._over

    def end(self) -> None:
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def call_is_over(self, _: Any = None) -> None:
        with self._changed:
            self._over = True
            self._changed.notify_all()

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> write_pb2.ImportFeaturesRequest:
        with self._changed:
            self._changed.wait_for(lambda: self._message is not None or self._ended or self._over)
            message, self._message = self._message, None
            self._changed.notify_all()
        if message is None:
            raise StopIteration
        return message


class Import:
    """One import, over as many calls as it takes."""

    def __init__(self, importing: Importing, source: Source, ask: Ask) -> None:
        self._importing = importing
        self._source = source
        self._ask = ask

    def run(self, start: Callable[[Outbox, float | None], Any], *, known: bool) -> ImportState:
        try:
            return self._run(start, known)
        except BaseException as error:
            self._importing.noted(error)
            raise

    def _run(self, start: Callable[[Outbox, float | None], Any], known: bool) -> ImportState:
        while True:
            try:
                if known:
                    self._settle()
                return self._send(start)
            except grpc.RpcError as error:
                pause = self._importing.pause_after(error_of_call(error))
            except SpatialError as error:
                pause = self._importing.pause_after(error)
            time.sleep(pause)
            known = True

    def _send(self, start: Callable[[Outbox, float | None], Any]) -> ImportState:
        outbox = Outbox()
        call = start(outbox, self._importing.remaining())
        call.add_done_callback(outbox.call_is_over)
        try:
            # Only what was sent whole may end: the service would take the rest for the end of the import.
            if outbox.put(self._importing.opening) and self._send_rows(outbox):
                outbox.end()
            return self._importing.ended(call.result())
        finally:
            call.cancel()
            outbox.call_is_over()

    def _send_rows(self, outbox: Outbox) -> bool:
        for request in self._source.requests(self._importing.rows):
            if not outbox.put(request):
                return False
            self._importing.sent(request)
            if self._importing.asks:
                self._settle()
        return True

    def _settle(self) -> None:
        try:
            self._importing.settle(self._ask(self._importing.question()))
        except NotFound as error:
            self._importing.unknown(error)
