"""How soon: a stream's first message against the first row of the same statement, as one would write it, and as the
service does. What lies between the two is PostgreSQL's; the rest is the service's own, and the way there and back."""

from collections.abc import Iterator, Mapping
from contextlib import closing
from statistics import median

from benchmarks.contenders import GrpcServer
from benchmarks.copying import FirstRows, copy
from benchmarks.figures import Figure
from benchmarks.jobs import Job
from benchmarks.own_statements import first_statement
from benchmarks.readers import ReaderProcess
from benchmarks.streams import LARGE_CIRCLE, POINTS, Circle, Whole

ROUNDS = 5
CALLS = 10  # in each round
LAYOUT = "COLUMNS"


def figures(url: str, reader: ReaderProcess, server: GrpcServer) -> Iterator[Figure]:
    with closing(FirstRows(url)) as database:
        yield from _figures("whole layer", POINTS, reader, server, database)
        kilometres = LARGE_CIRCLE.radius_meters / 1000
        yield from _figures(f"radius of {kilometres:.0f} km", LARGE_CIRCLE, reader, server, database)


def _figures(
    name: str, what: Whole | Circle, reader: ReaderProcess, server: GrpcServer, database: FirstRows
) -> Iterator[Figure]:
    asked = what.asked(LAYOUT)
    # Read to their ends: what a stream that is left costs the next one is another question.
    job = Job(server.port, asked.method, asked.requests, times=CALLS)
    plain, own = copy(what.statement), database.bound(*first_statement(asked))
    batches: list[float] = []
    rows: dict[str, list[float]] = {plain: [], own: []}
    _take_turns(reader, job, database, [], {plain: [], own: []}, rounds=1)
    _take_turns(reader, job, database, batches, rows, rounds=ROUNDS)
    batch, row, own_row = median(batches), median(rows[plain]), median(rows[own])
    told = f"median of {len(batches)} calls: {batch * 1000:.2f} ms to a decoded batch against"
    yield Figure(f"bulk first batch, {name} / first row", batch / row, "< 3", f"{told} {row * 1000:.2f} ms")
    of_own = f"bulk first batch, {name} / first row of the service's own statement"
    yield Figure(of_own, batch / own_row, "none", f"{told} {own_row * 1000:.2f} ms")


def _take_turns(
    reader: ReaderProcess,
    job: Job,
    database: FirstRows,
    batches: list[float],
    rows: Mapping[str, list[float]],
    rounds: int,
) -> None:
    for _ in range(rounds):
        for statement, seconds in rows.items():
            seconds.extend(database.seconds(statement) for _ in range(CALLS))
        batches.extend(reader.read(job).firsts)
