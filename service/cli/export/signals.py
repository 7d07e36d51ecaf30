"""Ctrl-C and SIGTERM, wherever they come."""

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

AGAIN_SECONDS = 0.01


@contextmanager
def stoppable() -> Iterator[None]:
    """What runs inside is ended by SIGTERM as by Ctrl-C, by an exception, so that it leaves nothing behind; and ends
    as one that was stopped also if it is stopped inside a library that makes another error of it. Where Python ignores
    exceptions, as in destructors and in some callbacks, it comes again a moment later."""
    stopped: list[BaseException] = []

    def stop(number: int, frame: FrameType | None) -> None:
        stopped.append(KeyboardInterrupt() if number == signal.SIGINT else SystemExit(128 + number))
        raise stopped[-1]

    def stop_again(number: int, frame: FrameType | None) -> None:
        raise stopped[-1]

    def ignored(unraisable: "sys.UnraisableHookArgs") -> None:
        if any(unraisable.exc_value is each for each in stopped):
            signal.setitimer(signal.ITIMER_REAL, AGAIN_SECONDS)
        else:
            told(unraisable)

    told, sys.unraisablehook = sys.unraisablehook, ignored
    handlers = {signal.SIGINT: stop, signal.SIGTERM: stop, signal.SIGALRM: stop_again}
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        yield
    except BaseException as error:
        if stopped and error is not stopped[-1]:
            raise stopped[-1] from None
        raise
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in before.items():
            signal.signal(number, handler)
        sys.unraisablehook = told
