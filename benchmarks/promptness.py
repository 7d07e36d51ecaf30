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

WARMING = 10  # calls that do not count
CALLS = 50
LAYOUT = "COLUMNS"


def figures(url: str, reader: ReaderProcess, server: GrpcServer, bare: GrpcServer) -> Iterator[Figure]:
    with closing(FirstRows(url)) as database:
        yield from _figures("whole layer", POINTS, reader, [server, bare], database)
        kilometres = LARGE_CIRCLE.radius_meters / 1000
        yield from _figures(f"radius of {kilometres:.0f} km", LARGE_CIRCLE, reader, [server], database)


def _figures(
    name: str, what: Whole | Circle, reader: ReaderProcess, servers: Sequence[GrpcServer], database: FirstRows
) -> Iterator[Figure]:
    """Of the service, and of a handler that has a batch at hand, if it is the other of the servers: what gRPC and the
    reader take of it."""
    asked = what.asked(LAYOUT)
    plain, own = copy(what.statement), database.bound(*first_statement(asked))
    (batch, *least), (row, own_row) = _medians(reader, servers, asked, database, [plain, own])
    title = f"bulk first batch, {name} / first row"
    yield Figure(title, batch / row, "< 3", _told(batch, row))
    yield Figure(f"{title} of the service's own statement", batch / own_row, "none", _told(batch, own_row))
    for each in least:
        title = "bulk first batch, of a handler that has it at hand / first row"
        yield Figure(title, each / row, "none", _told(each, row))


def _medians(
    reader: ReaderProcess, servers: Sequence[GrpcServer], asked: Asked, database: FirstRows, statements: Sequence[str]
) -> tuple[list[float], list[float]]:
    """Seconds to the first batch of each server's stream, and to the first row of each statement. They take turns, call
    by call: after a million features all of them find the processor's caches full of these."""
    # Read to their ends: what a stream that is left costs the next one is another question.
    jobs = [Job(server.port, asked.method, asked.requests, times=1) for server in servers]
    batches: list[list[float]] = [[] for _ in jobs]
    rows: list[list[float]] = [[] for _ in statements]
    for number in range(WARMING + CALLS):
        taken = [database.seconds(statement) for statement in statements]
        firsts = [reader.read(job).firsts for job in jobs]
        if number >= WARMING:
            for seconds, known in zip(taken, rows, strict=True):
                known.append(seconds)
            for first, known in zip(firsts, batches, strict=True):
                known += first
    return [median(each) for each in batches], [median(each) for each in rows]


def _told(batch: float, row: float) -> str:
    return f"median of {CALLS} calls: {batch * 1000:.2f} ms to a decoded batch against {row * 1000:.2f} ms"
