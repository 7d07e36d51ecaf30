"""Reading a file while what was read before is being written."""

from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager
from queue import Full, Queue
from threading import Event, Thread
from typing import Generic, TypeVar

T = TypeVar("T")
DEPTH = 2
LOOK_SECONDS = 0.1


class _Reading(Generic[T]):
    def __init__(self, items: Generator[T, None, None]) -> None:
        self._items = items
        self._queue: Queue[tuple[T] | BaseException | None] = Queue(DEPTH)
        self._stopped = Event()
        self.thread = Thread(target=self._run, name="reader", daemon=True)

    def _run(self) -> None:
        try:
            with closing(self._items) as items:
                for item in items:
                    if not self._put((item,)):
                        return
            self._put(None)
        except BaseException as error:
            self._put(error)

    def _put(self, item: tuple[T] | BaseException | None) -> bool:
        while not self._stopped.is_set():
            try:
                self._queue.put(item, timeout=LOOK_SECONDS)
                return True
            except Full:
                continue
        return False

    def __iter__(self) -> Iterator[T]:
        while (item := self._queue.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            yield item[0]

    def stop(self) -> None:
        self._stopped.set()
        self.thread.join()


@contextmanager
def ahead(items: Generator[T, None, None]) -> Iterator[Iterator[T]]:
    """The same items, made by a thread that is a few of them ahead; on the way out it has ended."""
    reading = _Reading(items)
    reading.thread.start()
    try:
        yield iter(reading)
    finally:
        reading.stop()
