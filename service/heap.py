"""What the C library keeps of memory that is free, of which others than glibc have nothing; and what Python looks
through for garbage."""

import ctypes
import gc
from collections.abc import Iterator
from contextlib import contextmanager, suppress

M_ARENA_MAX, ARENAS = -8, 2


def few_arenas() -> None:
    """glibc gives threads arenas of their own and keeps in each what was freed there, which adds up where each
    stream has a thread."""
    with suppress(AttributeError, OSError):
        ctypes.CDLL(None).mallopt(M_ARENA_MAX, ARENAS)


def give_back() -> None:
    """Gives memory back to the system: what is free, and what streams that were cut short have left in cycles, of
    which there are too few for Python to look for them by itself."""
    gc.collect()
    with suppress(AttributeError, OSError):
        ctypes.CDLL(None).malloc_trim(0)


@contextmanager
def lasting() -> Iterator[None]:
    """What is made meanwhile stays as long as the process, as imported modules do: it is not looked through for
    garbage, now or later, which takes a fifth of the time that imports need."""
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()
