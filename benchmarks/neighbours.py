"""What unary calls feel of streams beside them: the same callers, alone, beside fast readers and beside slow ones.

And beside the fast streams of another server on the machine, which takes nothing from them but cores and PostgreSQL:
what remains between the two is the service's own.
"""

import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from statistics import median

from benchmarks.contenders import GrpcServer
from benchmarks.dataset import Centre
from benchmarks.figures import Figure, median_ratio
from benchmarks.jobs import Job
from benchmarks.load import WARM_UP_SECONDS, Load
from benchmarks.programs import say
from benchmarks.readers import ReaderProcess
from benchmarks.streams import POINTS

ROUNDS = 5
SECONDS = 3
CALLERS = 4
FAST = ("ROWS", "COLUMNS")
SLOW = ("ROWS", "COLUMNS", "ROWS", "COLUMNS")
LEAD_SECONDS = 1.5  # that the streams have before the callers begin
READERS = max(len(FAST), len(SLOW))

Measure = Callable[[Load], float]


def figures(
    readers: Sequence[ReaderProcess], server: GrpcServer, other: GrpcServer, places: Sequence[Centre]
) -> Iterator[Figure]:
    loads: dict[str, list[Load]] = defaultdict(list)
    callers = places[:CALLERS]
    for _ in range(ROUNDS):
        loads["alone"].append(server.run(callers, SECONDS))
        loads["fast"].append(_beside(readers, server, server, callers, FAST, pause=0.0))
        loads["elsewhere"].append(_beside(readers, other, server, callers, FAST, pause=0.0))
        loads["slow"].append(_beside(readers, server, server, callers, SLOW, pause=1.0))
        say("unary: " + ", ".join(f"{name} {_summary(rounds[-1:])}" for name, rounds in loads.items()))
    for name, beside, measure, goal in (
        ("unary 99 % beside 2 fast streams", "fast", _tail, "<= 3"),
        ("unary 99 % beside 2 fast streams of another server", "elsewhere", _tail, "none"),
        ("unary median beside 4 slow streams", "slow", _median, "<= 1.5"),
        ("unary mean beside 4 slow streams", "slow", _mean, "<= 1.5"),
    ):
        ratio = median_ratio([measure(load) for load in loads[beside]], [measure(load) for load in loads["alone"]])
        detail = f"{CALLERS} callers: {_summary(loads[beside])}; alone {_summary(loads['alone'])}"
        yield Figure(f"{name} / alone", ratio, goal, detail)


def _beside(
    readers: Sequence[ReaderProcess],
    streaming: GrpcServer,
    server: GrpcServer,
    callers: Sequence[Centre],
    layouts: Sequence[str],
    pause: float,
) -> Load:
    """The streams are read over and over for as long as the calls go on, and a little longer."""
    seconds = LEAD_SECONDS + WARM_UP_SECONDS + SECONDS + 0.5
    for reader, layout in zip(readers, layouts, strict=False):
        asked = POINTS.asked(layout)
        reader.give(Job(streaming.port, asked.method, asked.requests, times=1000, seconds=seconds, pause=pause))
    time.sleep(LEAD_SECONDS)
    load = server.run(callers, SECONDS)
    taken = [reader.take() for reader, _ in zip(readers, layouts, strict=False)]
    if not all(each.features for each in taken):
        raise RuntimeError("a stream beside the calls brought nothing")
    return load


def _tail(load: Load) -> float:
    return load.percentile(99)


def _median(load: Load) -> float:
    return load.percentile(50)


def _mean(load: Load) -> float:
    return load.mean


def _summary(loads: Sequence[Load]) -> str:
    """Medians over the rounds, in milliseconds."""
    mean, middle, tail = (median(map(measure, loads)) for measure in (_mean, _median, _tail))
    return (
        f"{median(load.rate for load in loads):,.0f} a second, mean {mean:.2f} ms, median {middle:.2f}, 99 % {tail:.2f}"
    )
