"""Ctrl-C and SIGTERM, wherever they come."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def stoppable() -> Iterator[None]:
    """What runs inside is ended by SIGTERM as by Ctrl-C, by an exception, so that it leaves nothing behind; and ends
    as one that was stopped also if it is stopped inside a library that makes another error of it."""
    stopped: list[BaseException] = []

    def stop(number: int, frame: FrameType | None) -> None:
        stopped.append(KeyboardInterrupt() if number == signal.SIGINT else SystemExit(128 + number))
        raise stopped[-1]

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    except BaseException as error:
        if stopped and error is not stopped[-1]:
            raise stopped[-1] from None
        raise
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
