"""Does on a thread of its own, one after another, what its caller prepares meanwhile."""

from collections.abc import Callable
from threading import Condition, Thread
from typing import Generic, TypeVar

T = TypeVar("T")


class Behind(Generic[T]):
    """While one item is worked on, one more may wait. What the work raises, the caller's next call raises."""

    def __init__(self, name: str, work: Callable[[T], None]) -> None:
        self._work = work
        self._changed = Condition()
        self._waiting: T | None = None
        self._busy = False
        self._stopped = False
        self._error: Exception | None = None
        self._thread = Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def give(self, item: T) -> None:
        """Waits for room."""
        with self._changed:
            self._changed.wait_for(lambda: self._error is not None or self._waiting is None)
            self._raise()
            self._waiting = item
            self._changed.notify_all()

    def finish(self) -> None:
        """Waits until nothing waits or is worked on."""
        with self._changed:
            self._changed.wait_for(lambda: self._error is not None or (self._waiting is None and not self._busy))
            self._raise()

    def stop(self) -> None:
        """What waits is not begun, and what is worked on is waited for."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()
        self._thread.join()

    def _raise(self) -> None:
        if self._error is not None:
            raise self._error

    def _run(self) -> None:
        while (item := self._next()) is not None:
            error = self._done(item)
            del item  # or it would stay until the next one comes
            with self._changed:
                self._busy, self._error = False, error
                self._stopped = self._stopped or error is not None
                self._changed.notify_all()

    def _next(self) -> T | None:
        with self._changed:
            self._changed.wait_for(lambda: self._stopped or self._waiting is not None)
            if self._stopped:
                return None
            item, self._waiting, self._busy = self._waiting, None, True
            self._changed.notify_all()
            return item

    def _done(self, item: T) -> Exception | None:
        try:
            self._work(item)
        except Exception as error:  # whatever it is, it is the caller's
            return error
        return None
