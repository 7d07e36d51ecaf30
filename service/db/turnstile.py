"""Lets so many threads through at a time, in the order in which they came.

The pool alone would not: who gives a connection back and asks for the next one at once is served before those who wait.
"""

from collections import deque
from threading import Lock


class Turnstile:
    def __init__(self, places: int) -> None:
        self._places = places
        self._queue: deque[Lock] = deque()  # one for each who waits; released when it is their turn
        self._lock = Lock()

    @property
    def awaited(self) -> bool:
        """Whether somebody waits for a place."""
        return bool(self._queue)

    @property
    def free(self) -> int:
        """How many could enter at once."""
        return self._places

    def enter(self, timeout: float) -> bool:
        """Waits for a place; whether there was one in time."""
        with self._lock:
            if self._places and not self._queue:
                self._places -= 1
                return True
            turn = Lock()
            turn.acquire()
            self._queue.append(turn)
        if turn.acquire(timeout=timeout):
            return True
        with self._lock:
            if turn not in self._queue:  # it came just now
                return True
            self._queue.remove(turn)
            return False

    def leave(self) -> None:
        with self._lock:
            if self._queue:
                self._queue.popleft().release()
            else:
                self._places += 1
