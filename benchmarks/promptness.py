"""How soon: a stream's first message against the first row of the same statement, as one would write it, and as the
service does. What lies between the two is PostgreSQL's; the rest is the service's own, and the way there and back."""

from collections.abc import Iterator, Sequence
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
    rounds = _rounds(reader, servers, asked, database, [plain, own])
    row, own_row, batch, *least = map(median, zip(*rounds.results, strict=True))

    def told(first: float, against: float) -> str:
        times = f"{first * 1000:.2f} ms to a decoded batch against {against * 1000:.2f} ms"
        return f"median of {CALLS} calls: {times}; {rounds}"

    title = f"bulk first batch, {name} / first row"
    yield Figure(title, batch / row, "< 3", told(batch, row))
    yield Figure(f"{title} of the service's own statement", batch / own_row, "none", told(batch, own_row))
    for each in least:
        title = "bulk first batch, of a handler that has it at hand / first row"
        yield Figure(title, each / row, "none", told(each, row))


def _rounds(
    reader: ReaderProcess, servers: Sequence[GrpcServer], asked: Asked, database: FirstRows, statements: Sequence[str]
) -> Rounds[list[float]]:
    """Seconds to the first row of each statement, and to the first batch of each server's stream. They take turns, call
    by call: after a million features all of them find the processor's caches full of these."""
    # Read to their ends: what a stream that is left costs the next one is another question.
    jobs = [Job(server.port, asked.method, asked.requests, times=1) for server in servers]

    def in_turn() -> list[float]:
        rows = [database.seconds(statement) for statement in statements]
        return rows + [first for job in jobs for first in reader.read(job).firsts]

    for _ in range(WARMING):
        in_turn()
    return quietest(in_turn, CALLS, PATIENCE)
