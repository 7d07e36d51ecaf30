"""What streams cost the server in memory: the most that it holds while they run, over what it holds at rest."""

from collections.abc import Iterator
from pathlib import Path

from benchmarks.contenders import GrpcServer
from benchmarks.dataset import ROWS
from benchmarks.figures import Figure
from benchmarks.jobs import Job
from benchmarks.readers import ReaderProcess
from benchmarks.streams import LAYOUTS, POINTS, SMALL_CIRCLE, ZONES, Whole

FAST_TIMES = 5
SLOW_SECONDS = 10.0
SLOW_PAUSE = 1.0
GOAL = "<= 64"


def figures(reader: ReaderProcess, server: GrpcServer) -> Iterator[Figure]:
    """`server` has streamed nothing yet."""
    resident = Resident(server.process)
    for layout in LAYOUTS:  # what each is made with is loaded when it is first asked for
        asked = SMALL_CIRCLE.asked(layout)
        reader.read(Job(server.port, asked.method, asked.requests, times=20))
    idle = resident.now()
    for name, layer in ((f"{FAST_TIMES * ROWS / 1e6:.0f} M points", POINTS), ("polygons of 1 MB", ZONES)):
        for speed, seconds, pause in (("fast", 3600.0, 0.0), ("slow", SLOW_SECONDS, SLOW_PAUSE)):
            peaks = {layout: _peak(reader, server, resident, layer, layout, seconds, pause) for layout in LAYOUTS}
            each = ", ".join(f"{layout} {peak - idle:.0f}" for layout, peak in peaks.items())
            detail = f"{each}; at rest {idle:.0f} MiB"
            yield Figure(f"bulk memory, {name}, {speed} reader, MiB", max(peaks.values()) - idle, GOAL, detail)


def _peak(
    reader: ReaderProcess,
    server: GrpcServer,
    resident: "Resident",
    layer: Whole,
    layout: str,
    seconds: float,
    pause: float,
) -> float:
    asked = layer.asked(layout)
    resident.forget()
    reader.read(Job(server.port, asked.method, asked.requests, times=FAST_TIMES, seconds=seconds, pause=pause))
    return resident.peak()


class Resident:
    """The resident memory of a process, in MiB, as the kernel accounts for it."""

    def __init__(self, process: int) -> None:
        self._folder = Path("/proc") / str(process)

    def now(self) -> float:
        return self._read("VmRSS")

    def peak(self) -> float:
        """The most since it was told to forget."""
        return self._read("VmHWM")

    def forget(self) -> None:
        (self._folder / "clear_refs").write_text("5")

    def _read(self, name: str) -> float:
        lines = (self._folder / "status").read_text().splitlines()
        line = next(line for line in lines if line.startswith(f"{name}:"))
        return int(line.split()[1]) / 1024
