"""Knows whether callers wait for an answer just now, so that what is not in a hurry can let them go first."""

from time import perf_counter

from service.interceptors.call import Call

SLOW_SECONDS = 0.05  # who has waited for longer asked for something slow, and nobody need make way for that
QUIET_SECONDS = 0.005  # who was answered so lately asks again, as like as not


class Presence:
    """Of those whose calls have one answer; streams do not count."""

    def __init__(self) -> None:
        self._waiting = 0
        self._began = self._ended = float("-inf")

    def started(self, call: Call) -> None:
        if call.method.type == "unary":
            self._waiting += 1
            self._began = perf_counter()

    def ended(self, call: Call) -> None:
        if call.method.type == "unary":
            self._waiting -= 1
            self._ended = perf_counter()

    def felt(self) -> bool:
        """On any thread."""
        now = perf_counter()
        return now - self._ended < QUIET_SECONDS or (self._waiting > 0 and now - self._began < SLOW_SECONDS)
