"""How soon: a stream's first message against the first row of the same statement."""

from collections.abc import Iterator
from contextlib import closing
from statistics import median

from benchmarks.contenders import GrpcServer
from benchmarks.copying import FirstRows
from benchmarks.figures import Figure
from benchmarks.jobs import Job
from benchmarks.readers import ReaderProcess
from benchmarks.streams import LARGE_CIRCLE, POINTS, Circle, Whole

ROUNDS = 5
CALLS = 10  # in each round
LAYOUT = "COLUMNS"


def figures(url: str, reader: ReaderProcess, server: GrpcServer) -> Iterator[Figure]:
    with closing(FirstRows(url)) as database:
        yield _figure("whole layer", POINTS, reader, server, database)
        kilometres = LARGE_CIRCLE.radius_meters / 1000
        yield _figure(f"radius of {kilometres:.0f} km", LARGE_CIRCLE, reader, server, database)


def _figure(name: str, what: Whole | Circle, reader: ReaderProcess, server: GrpcServer, database: FirstRows) -> Figure:
    asked = what.asked(LAYOUT)
    # Read to their ends: what a stream that is left costs the next one is another question.
    job = Job(server.port, asked.method, asked.requests, times=CALLS)
    database.seconds(what.statement)
    reader.read(job)
    ours: list[float] = []
    theirs: list[float] = []
    for _ in range(ROUNDS):
        theirs.extend(database.seconds(what.statement) for _ in range(CALLS))
        ours.extend(reader.read(job).firsts)
    batch, row = median(ours), median(theirs)
    detail = f"median of {len(ours)} calls: {batch * 1000:.2f} ms to a decoded batch against {row * 1000:.2f} ms"
    return Figure(f"bulk first batch, {name} / first row", batch / row, "< 3", detail)
