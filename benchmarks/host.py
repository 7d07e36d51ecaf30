"""What the host of a virtual machine keeps for others. A round that it takes the cores from says little about whoever
needs both of them at once; so of more rounds than are wanted, those count in which it took the least.

Which these are is decided without a look at what was measured in them. On a machine of its own none is taken from.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Generic, NamedTuple, TypeVar

T = TypeVar("T")

QUIET = 0.03  # of the time that the machine wanted its cores for
PATIENCE = 3  # times as many rounds as are wanted
QUIETEST = "those of up to three times as many in which the host took the least of the cores"


class Cores(NamedTuple):
    """Time of all cores so far, in the kernel's ticks: in which they ran, and in which they were to run and did not."""

    used: int
    stolen: int

    @classmethod
    def read(cls, stat: str) -> "Cores":
        """From /proc/stat, whose first line is user, nice, system, idle, iowait, irq, softirq and steal."""
        user, nice, system, _, _, irq, softirq, steal, *_ = map(int, stat.split("\n", 1)[0].split()[1:])
        return cls(user + nice + system + irq + softirq, steal)


def cores() -> Cores:
    return Cores.read(Path("/proc/stat").read_text())


@dataclass(frozen=True)
class Rounds(Generic[T]):
    """What was measured, and what share of the cores the host took meanwhile."""

    results: list[T]
    taken: float

    def __str__(self) -> str:
        return f"the host took {self.taken:.0%} of the cores"


def quietest(
    run: Callable[[], T], wanted: int, patience: int = PATIENCE, look: Callable[[], Cores] = cores
) -> Rounds[T]:
    """So many rounds, as soon as they were quiet; or the quietest of those that there was patience for."""
    rounds: list[tuple[float, T]] = []
    while len(rounds) < patience * wanted and sum(taken <= QUIET for taken, _ in rounds) < wanted:
        before = look()
        result = run()
        after = look()
        used, stolen = after.used - before.used, after.stolen - before.stolen
        rounds.append((stolen / max(1, used + stolen), result))
    chosen = sorted(sorted(range(len(rounds)), key=lambda number: rounds[number][0])[:wanted])
    return Rounds([rounds[number][1] for number in chosen], mean(rounds[number][0] for number in chosen))
