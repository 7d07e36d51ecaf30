"""The whole of a large table as a stream: how fast against psql's COPY, and what the server holds meanwhile."""

from collections.abc import Iterator
from statistics import fmean
from threading import Event, Thread

from benchmarks.contenders import Running
from benchmarks.copying import Content, content, psql_seconds
from benchmarks.dataset import PROPERTIES
from benchmarks.figures import Figure
from benchmarks.growth_data import Size
from benchmarks.jobs import Job
from benchmarks.memory import Resident
from benchmarks.readers import ReaderProcess
from benchmarks.streams import Whole

LAYOUTS = ("COLUMNS", "ARROW")


def measured(url: str, reader: ReaderProcess, server: Running, small: Size, large: Size) -> Iterator[dict[str, object]]:
    """Memory is compared with what the server holds after it has streamed the small table."""
    right = content(url, _whole(large).content)
    psql = right.features / psql_seconds(url, [_whole(large).statement])
    for layout in LAYOUTS:
        _read(reader, server, _whole(small), layout, content(url, _whole(small).content))
        watching = Watching(resident := Resident(server.process))
        idle = resident.now()
        resident.forget()
        with watching:
            rate = _read(reader, server, _whole(large), layout, right)
        grown = resident.peak() - idle
        for figure in _figures(layout, large, rate, psql, idle, grown, watching):
            print(figure, flush=True)
        held = watching.mebibytes
        yield {"layout": layout, "rows": large.rows, "rate": rate, "psql": psql, "grown": grown, "held": held}


def _figures(
    layout: str, size: Size, rate: float, psql: float, idle: float, grown: float, watching: "Watching"
) -> Iterator[Figure]:
    detail = f"{rate:,.0f} rows a second against {psql:,.0f}"
    yield Figure(f"growth {layout} of {size.rows:,} points / psql COPY", rate / psql, "none", detail)
    first, last = watching.halves()
    detail = f"at rest {idle:.0f} MiB; on average {first:.0f} in the first half and {last:.0f} in the second"
    yield Figure(f"growth memory, {layout} of {size.rows:,} points, MiB", grown, "<= 64", detail)


def _whole(size: Size) -> Whole:
    return Whole(size.table, "location", PROPERTIES)


def _read(reader: ReaderProcess, server: Running, layer: Whole, layout: str, right: Content) -> float:
    asked = layer.asked(layout)
    taken = reader.read(Job(server.port, asked.method, asked.requests))
    if taken.features != right.features:
        raise RuntimeError(f"{layout} brought {taken.features} features instead of {right.features}")
    return taken.rate


class Watching:
    """Looks at a process's memory four times a second, for the length of a `with`."""

    def __init__(self, resident: Resident) -> None:
        self.mebibytes: list[float] = []
        self._resident = resident
        self._ended = Event()
        self._thread = Thread(target=self._watch)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *error: object) -> None:
        self._ended.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._ended.wait(0.25):
            self.mebibytes.append(round(self._resident.now(), 1))

    def halves(self) -> tuple[float, float]:
        """What it held on average, at first and later."""
        seen = self.mebibytes or [self._resident.now()]
        middle = len(seen) // 2
        return fmean(seen[: middle or 1]), fmean(seen[middle:])
