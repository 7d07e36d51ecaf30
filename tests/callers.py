"""Callers that ask again and again, each over a connection of its own, as other processes would."""

from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from threading import Event, Thread
from typing import Any

import grpc

from spatial.v1 import query_pb2_grpc
from tests.questions import facility

OWN = ("grpc.use_local_subchannel_pool", 1)


class Callers:
    """What became of their calls. Nothing is tried again but what gRPC itself does, as it never left."""

    def __init__(self, address: str) -> None:
        self.answered = 0
        self.failed: Counter[tuple[str, str | None]] = Counter()
        self._address = address
        self._stop = Event()

    def reuse(self) -> None:
        with grpc.insecure_channel(self._address, [OWN, ("grpc.enable_retries", 1)]) as channel:
            while not self._stop.is_set():
                self._call(channel)

    def come_anew(self) -> None:
        """A connection for each call."""
        while not self._stop.is_set():
            with grpc.insecure_channel(self._address, [OWN]) as channel:
                self._call(channel)

    def _call(self, channel: grpc.Channel) -> None:
        try:
            (found,) = query_pb2_grpc.SpatialServiceStub(channel).SearchNearest(facility(7), timeout=30).features
            assert found.id == "7"
            self.answered += 1
        except grpc.RpcError as error:
            self.failed[error.code().name, error.details()] += 1

    def stop(self) -> None:
        self._stop.set()


@contextmanager
def calling(address: str, reusing: int = 16, anew: int = 0) -> Iterator[Callers]:
    """So many callers at work."""
    callers = Callers(address)
    threads = [Thread(target=callers.reuse) for _ in range(reusing)]
    threads += [Thread(target=callers.come_anew) for _ in range(anew)]
    for thread in threads:
        thread.start()
    try:
        yield callers
    finally:
        callers.stop()
        for thread in threads:
            thread.join()


@contextmanager
def connected(address: str, count: int) -> Iterator[list[Any]]:
    """Stubs, each with a connection of its own."""
    with ExitStack() as stack:
        channels = [stack.enter_context(grpc.insecure_channel(address, [OWN])) for _ in range(count)]
        yield [query_pb2_grpc.SpatialServiceStub(channel) for channel in channels]
