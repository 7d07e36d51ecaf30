"""How fresh the data must be that a call reads: carried with it, from where its token is read to where it is routed."""

from contextvars import ContextVar

FRESHEST = 2**64 - 1  # as they are on the primary

# A position of the primary's log, in bytes: what reads must have replayed it. Each call has a context of its own.
WANTED_POSITION: ContextVar[int] = ContextVar("wanted_position", default=0)
