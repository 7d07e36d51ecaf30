"""Knows when memory gets short, so that calls are refused before the kernel kills: those that bring much, then all."""

import asyncio
import logging
from collections.abc import Callable
from enum import IntEnum
from typing import NamedTuple

log = logging.getLogger("spatial.memory")

LOOK_SECONDS = 0.25
RELIEF_LOOKS = 20  # between two attempts at giving memory back
TIGHT, FULL = 0.85, 0.95  # of the memory there is
RELIEF = 0.05  # so far it must fall below where it began


class Pressure(IntEnum):
    """How short memory is; each level is worse than the one before."""

    NONE = 0
    TIGHT = 1
    FULL = 2


class Memory(NamedTuple):
    """In bytes."""

    used: int
    most: int


class MemoryGuard:
    """Told again and again how much is used. Under pressure it says so, and has what is not needed given back."""

    def __init__(self, relieve: Callable[[], None]) -> None:
        """`relieve` gives back what is not needed; it blocks."""
        self._relieve = relieve
        self._looks = 0  # under pressure
        self.pressure = Pressure.NONE
        self.ratio = 0.0

    async def watch(self, read: Callable[[], Memory]) -> None:
        """Looks for as long as it may."""
        while True:
            if self.look(read()):
                await asyncio.to_thread(self._relieve)
            await asyncio.sleep(LOOK_SECONDS)

    def look(self, memory: Memory) -> bool:
        """Whether it is time to give memory back."""
        self.ratio = memory.used / memory.most
        before, self.pressure = self.pressure, self._pressure()
        if self.pressure is not before:
            worse = self.pressure > before
            said = {"used": memory.used, "most": memory.most, "pressure": self.pressure.name}
            log.log(logging.WARNING if worse else logging.INFO, "memory", extra={"fields": said})
            self._looks = 0
        due = self.pressure > Pressure.NONE and self._looks % RELIEF_LOOKS == 0
        self._looks += 1
        return due

    def _pressure(self) -> Pressure:
        for level, begins in ((Pressure.FULL, FULL), (Pressure.TIGHT, TIGHT)):
            if self.ratio >= (begins - RELIEF if self.pressure >= level else begins):
                return level
        return Pressure.NONE
