"""Trying again: how long a call still has, whether its error passes, how long to wait. No I/O."""

import random
import time
from collections.abc import Callable
from dataclasses import dataclass

from spatial_client._errors import (
    Aborted,
    Cancelled,
    InternalError,
    ResourceExhausted,
    SpatialError,
    Unauthenticated,
    Unavailable,
)


@dataclass(frozen=True, slots=True)
class Retry:
    """How often and how patiently to try again: what only reads, and changes that the service knows again by their id.

    A call that could not reach the service (UNAVAILABLE) is tried again by gRPC itself, and one that the service sheds
    with the word when to come again (RESOURCE_EXHAUSTED with RetryInfo) after that time, both within the timeout. A
    stream starts over, or goes on if it is resumable; `attempts` are those without a batch in between. A change is
    tried again after a collision (ABORTED with RetryInfo) and after a broken connection, too.
    """

    attempts: int = 5
    """In all; 1 means never again."""
    first_pause: float = 0.1
    """Seconds before the second attempt, where the service does not say when; doubled from one to the next."""
    longest_pause: float = 5.0

    def __post_init__(self) -> None:
        if self.attempts < 1 or not 0 < self.first_pause <= self.longest_pause:
            raise ValueError("a Retry needs attempts >= 1 and 0 < first_pause <= longest_pause")


def is_shed(error: SpatialError) -> bool:
    """Whether the service says when to come back: it was too busy, or does not know yet what a token is signed with."""
    return isinstance(error, ResourceExhausted | Unauthenticated) and error.retry_after is not None


def is_cut(error: SpatialError) -> bool:
    """Whether a stream broke off for a reason that another attempt need not meet."""
    # Without a reason the service did not write it: a connection was reset, a server killed, a proxy restarted.
    broken = isinstance(error, Cancelled | InternalError) and error.reason is None
    return broken or isinstance(error, Unavailable) or error.reason == "STREAM_STALLED" or is_shed(error)


def is_unsettled(error: SpatialError) -> bool:
    """Whether another attempt at a change may succeed, or find out what became of it."""
    return is_cut(error) or (isinstance(error, Aborted) and error.retry_after is not None)


def is_never(_: SpatialError) -> bool:
    """For what must not be done twice."""
    return False


class Attempts:
    """The attempts at one call within its timeout."""

    def __init__(
        self,
        retry: Retry,
        timeout: float | None,
        passes: Callable[[SpatialError], bool],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._retry = retry
        self._passes = passes
        self._clock = clock
        self._end = None if timeout is None else clock() + timeout
        self._failed = 0

    def remaining(self) -> float | None:
        """Seconds until the timeout, for the next attempt; None if there is none."""
        return None if self._end is None else max(0.0, self._end - self._clock())

    def progressed(self) -> None:
        self._failed = 0

    def pause_after(self, error: SpatialError) -> float:
        """The seconds to wait before the next attempt. Raises the error where there is to be none."""
        self._failed += 1
        if self._failed >= self._retry.attempts or not self._passes(error):
            raise error
        pause = self._pause() if error.retry_after is None else error.retry_after
        # Those who were sent away together must not come back together.
        pause *= random.uniform(1.0, 1.25)  # noqa: S311 - no secret
        remaining = self.remaining()
        if remaining is not None and pause >= remaining:
            raise error
        return pause

    def _pause(self) -> float:
        return min(self._retry.first_pause * 2.0 ** (self._failed - 1), self._retry.longest_pause)
