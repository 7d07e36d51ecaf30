"""How soon: a stream's first message against the first row of the same statement, as one would write it, and as the
service does. What lies between the two is PostgreSQL's; the rest is the service's own, and the way there and back."""

from collections.abc import Iterator, Sequence
from contextlib import closing
from statistics import median

from benchmarks.contenders import GrpcServer
from benchmarks.copying import FirstRows, copy
from benchmarks.figures import Figure
from benchmarks.jobs import Job
from benchmarks.own_statements import first_statement
from benchmarks.readers import ReaderProcess
from benchmarks.streams import LARGE_CIRCLE, POINTS, Asked, Circle, Whole

ROUNDS = 5
CALLS = 10  # in each round
LAYOUT = "COLUMNS"


def figures(url: str, reader: ReaderProcess, server: GrpcServer, bare: GrpcServer) -> Iterator[Figure]:
    with closing(FirstRows(url)) as database:
        yield from _figures("whole layer", POINTS, reader, server, database)
        yield _least(POINTS, reader, bare, database)
        kilometres = LARGE_CIRCLE.radius_meters / 1000
        yield from _figures(f"radius of {kilometres:.0f} km", LARGE_CIRCLE, reader, server, database)


def _figures(
    name: str, what: Whole | Circle, reader: ReaderProcess, server: GrpcServer, database: FirstRows
) -> Iterator[Figure]:
    asked = what.asked(LAYOUT)
    plain, own = copy(what.statement), database.bound(*first_statement(asked))
    batch, (row, own_row) = _medians(reader, server, asked, database, [plain, own])
    title = f"bulk first batch, {name} / first row"
    yield Figure(title, batch / row, "< 3", _told(batch, row))
    yield Figure(f"{title} of the service's own statement", batch / own_row, "none", _told(batch, own_row))


def _least(what: Whole, reader: ReaderProcess, bare: GrpcServer, database: FirstRows) -> Figure:
    """What gRPC and the reader take of it."""
    batch, (row,) = _medians(reader, bare, what.asked(LAYOUT), database, [copy(what.statement)])
    title = "bulk first batch, of a handler that has it at hand / first row"
    return Figure(title, batch / row, "none", _told(batch, row))


def _medians(
    reader: ReaderProcess, server: GrpcServer, asked: Asked, database: FirstRows, statements: Sequence[str]
) -> tuple[float, list[float]]:
    """Seconds to a stream's first batch, and to the first row of each statement; they take turns."""
    # Read to their ends: what a stream that is left costs the next one is another question.
    job = Job(server.port, asked.method, asked.requests, times=CALLS)
    batches: list[float] = []
    rows: list[list[float]] = [[] for _ in statements]
    for number in range(1 + ROUNDS):
        seconds = [[database.seconds(statement) for _ in range(CALLS)] for statement in statements]
        firsts = reader.read(job).firsts
        if number:  # the first round is for getting warm
            batches += firsts
            for known, more in zip(rows, seconds, strict=True):
                known += more
    return median(batches), [median(each) for each in rows]


def _told(batch: float, row: float) -> str:
    return f"median of {ROUNDS * CALLS} calls: {batch * 1000:.2f} ms to a decoded batch against {row * 1000:.2f} ms"
