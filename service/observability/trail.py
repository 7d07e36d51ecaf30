"""What a call waits for and runs, noted where it happens: spans are made of it, and lines about slow calls."""

from collections.abc import Callable, Iterable, Mapping
from contextvars import ContextVar
from types import MappingProxyType
from typing import NamedTuple

Value = str | int | float
NONE: Mapping[str, Value] = MappingProxyType({})


class Step(NamedTuple):
    """`began` is by `time.perf_counter`."""

    name: str
    began: float
    seconds: float
    about: Mapping[str, Value] = NONE


class Trail:
    """Of one call. Statements are noted as they are prepared, with places where the caller's values go."""

    __slots__ = ("_noted", "asked")

    def __init__(self) -> None:
        self._noted: list[Callable[[], Iterable[Step]]] = []
        self.asked: object = None  # what its plan could be asked for: the last search, with its values

    def note(self, steps: Callable[[], Iterable[Step]]) -> None:
        """On any thread. Few trails are read, so the steps are made when they are."""
        self._noted.append(steps)

    @property
    def steps(self) -> list[Step]:
        return [step for steps in self._noted for step in steps()]


# None where nobody wants to know: what notes nothing costs nothing.
TRAIL: ContextVar[Trail | None] = ContextVar("trail", default=None)
