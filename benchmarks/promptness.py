"""How soon: a stream's first message against the first row of the same statement, as one would write it, and as the
service does. What lies between the two is PostgreSQL's; the rest is the service's own, and the way there and back."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from statistics import median

from benchmarks.contenders import GrpcServer
from benchmarks.copying import FirstRows, copy
from benchmarks.figures import Figure
from benchmarks.host import Rounds, quietest
from benchmarks.jobs import Job
from benchmarks.own_statements import first_statement
from benchmarks.readers import ReaderProcess
from benchmarks.streams import LARGE_CIRCLE, POINTS, Asked, Circle, Whole

WARMING = 10  # calls that do not count
CALLS = 50
PATIENCE = 2  # times as many, for some in which the host takes little
LAYOUT = "COLUMNS"


def figures(url: str, reader: ReaderProcess, server: GrpcServer, bare: GrpcServer) -> Iterator[Figure]:
    whole, circle = POINTS.asked(LAYOUT), LARGE_CIRCLE.asked(LAYOUT)
    least = {  # whatever a bare handler is asked, see there
        "of a handler that has it at hand": _job(bare, whole),
        "of a handler that asks for no more": _job(bare, circle),
    }
    with closing(FirstRows(url)) as database:
        yield from _figures("whole layer", POINTS, _job(server, whole), least, reader, database)
        kilometres = LARGE_CIRCLE.radius_meters / 1000
        yield from _figures(f"radius of {kilometres:.0f} km", LARGE_CIRCLE, _job(server, circle), {}, reader, database)


def _job(server: GrpcServer, asked: Asked) -> Job:
    # Read to its end: what a stream that is left costs the next one is another question.
    return Job(server.port, asked.method, asked.requests, times=1)


def _figures(
    name: str,
    what: Whole | Circle,
    service: Job,
    others: Mapping[str, Job],
    reader: ReaderProcess,
    database: FirstRows,
) -> Iterator[Figure]:
    """Of the service, and of handlers that do less: what gRPC and the reader take of it."""
    plain, own = copy(what.statement), database.bound(*first_statement(what.asked(LAYOUT)))
    rounds = _rounds(reader, service, list(others.values()), database, [plain, own])
    row, own_row, batch, *least = map(median, zip(*rounds.results, strict=True))

    def told(first: float, against: float) -> str:
        times = f"{first * 1000:.2f} ms to a decoded batch against {against * 1000:.2f} ms"
        return f"median of {CALLS} calls: {times}; {rounds}"

    title = f"bulk first batch, {name} / first row"
    yield Figure(title, batch / row, "< 3", told(batch, row))
    yield Figure(f"{title} of the service's own statement", batch / own_row, "none", told(batch, own_row))
    for whose, first in zip(others, least, strict=True):
        yield Figure(f"bulk first batch, {whose} / first row", first / row, "none", told(first, row))


def _rounds(
    reader: ReaderProcess, service: Job, others: Sequence[Job], database: FirstRows, statements: Sequence[str]
) -> Rounds[list[float]]:
    """Seconds to the first row of each statement, to the first batch of the service's stream, and to those of others.
    They take turns, call by call, and each comes after a million features, of which the processor's caches are full."""

    def first(job: Job) -> float:
        (seconds,) = reader.read(job).firsts
        return seconds

    def in_turn() -> list[float]:
        rows = [database.seconds(statement) for statement in statements]
        times = [*rows, first(service)]
        for job in others:
            times.append(first(job))
            reader.read(service)
        return times

    for _ in range(WARMING):
        in_turn()
    return quietest(in_turn, CALLS, PATIENCE)
