"""What the C library keeps of memory that is free. Others than glibc have nothing of this."""

import ctypes
from contextlib import suppress

M_ARENA_MAX, ARENAS = -8, 2


def few_arenas() -> None:
    """glibc gives threads arenas of their own and keeps in each what was freed there, which adds up where each
    stream has a thread."""
    with suppress(AttributeError, OSError):
        ctypes.CDLL(None).mallopt(M_ARENA_MAX, ARENAS)


def trim() -> None:
    """Gives free memory back to the system."""
    with suppress(AttributeError, OSError):
        ctypes.CDLL(None).malloc_trim(0)
