"""CPU that processes took, with their children, those that have ended too."""

import os
import resource
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from threading import Timer

import psycopg2

from benchmarks.load import Load, patiently

_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Used:
    """Seconds of CPU, so far or for a thousand answers: by a server, the database, and the load generator."""

    server: float
    database: float
    generator: float


class Meter:
    """Reads what a server (none: process 0) and the database behind `url` have used so far."""

    def __init__(self, server: int, url: str) -> None:
        self._server = server
        self._database = _postmaster(url)

    def read(self) -> Used:
        children = _children()
        own = resource.getrusage(resource.RUSAGE_CHILDREN)  # of those that have ended: generators, not servers
        return Used(
            cpu_seconds(self._server, children) if self._server else 0.0,
            cpu_seconds(self._database, children),
            own.ru_utime + own.ru_stime,
        )


def cost(meter: Meter, run: Callable[[float], Load], warm_up: float, seconds: float) -> tuple[Load, Used]:
    """A load, and what a thousand answers took while it was warm: CPU in a second against calls in a second."""
    used: list[Used] = []

    def load_and_look(seconds: float) -> Load:
        load, cpu = _cost(meter, partial(run, seconds), warm_up, seconds)
        used.append(cpu)
        return load

    return patiently(load_and_look, seconds), used[-1]


def _cost(meter: Meter, run: Callable[[], Load], warm_up: float, seconds: float) -> tuple[Load, Used]:
    readings: list[tuple[float, Used]] = []

    def read() -> None:
        readings.append((time.monotonic(), meter.read()))

    before = meter.read()
    timers = [Timer(warm_up, read), Timer(warm_up + seconds, read)]
    for timer in timers:
        timer.start()
    try:
        load = run()
    finally:
        for timer in timers:
            timer.join()
    (began, first), (ended, last) = readings
    thousands = load.rate * (ended - began) / 1000
    generator = (meter.read().generator - before.generator) * 1000 / load.answered
    return load, Used((last.server - first.server) / thousands, (last.database - first.database) / thousands, generator)


def cpu_seconds(process: int, children: dict[int, list[int]] | None = None) -> float:
    """By a process, by its children that have ended, and by all below it that run."""
    children = _children() if children is None else children
    return sum(_own_seconds(each) for each in _tree(process, children))


def _tree(process: int, children: dict[int, list[int]]) -> Iterator[int]:
    yield process
    for child in children.get(process, ()):
        yield from _tree(child, children)


def _children() -> dict[int, list[int]]:
    found: dict[int, list[int]] = defaultdict(list)
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit() and (fields := _stat(int(folder.name))):
            found[int(fields[1])].append(int(folder.name))
    return found


def _own_seconds(process: int) -> float:
    """Of a process that has just ended nothing: it is counted by its parent."""
    return sum(map(int, _stat(process)[11:15])) / _TICKS


def _stat(process: int) -> list[str]:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return []


def _postmaster(url: str) -> int:
    """The first process of the server behind `url`, which must be on this machine."""
    with closing(psycopg2.connect(url)) as connection:
        return int(_stat(connection.info.backend_pid)[1])
