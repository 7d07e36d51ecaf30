"""Bulk: a million points, polygons of a kilobyte and of a megabyte, and thousands of probes, as streams.

psql's COPY of the same rows is the limit; it and the service take turns on the same database, in rounds, and a figure
is the median of the rounds' ratios: for rates of those in which the host took the least of the cores.
"""

from collections.abc import Iterator
from contextlib import ExitStack

from benchmarks import memory, neighbours, polygons, promptness, throughput
from benchmarks.cluster import database_url
from benchmarks.contenders import bare_handler, service
from benchmarks.database import versions
from benchmarks.dataset import ROWS, centres
from benchmarks.figures import Figure, machine, print_lines
from benchmarks.grpc_question import Answers
from benchmarks.host import QUIETEST
from benchmarks.programs import find
from benchmarks.readers import readers
from benchmarks.streams import PROBES


def run() -> None:
    for program in ("h2load", "psql"):
        find(program)
    with database_url() as url:
        _print_setting(url)
        for figure in _figures(url):
            print(figure, flush=True)


def _figures(url: str) -> Iterator[Figure]:
    places = centres()
    answers = Answers(places)
    with ExitStack() as stack:
        processes = stack.enter_context(readers(neighbours.READERS))
        reader = processes[0]
        with service(url, answers) as server:
            yield from memory.figures(reader, server)
        one, two = (
            stack.enter_context(
                service(url, answers, f"spatial-service-{count}", {"SPATIAL_STREAM_CONNECTIONS": str(count)})
            )
            for count in (1, 2)
        )
        yield from throughput.figures(url, reader, one, two)
        with bare_handler(url, 1, answers) as bare:
            yield from promptness.figures(url, reader, one, bare)
        yield from neighbours.figures(processes, one, two, places)


def _print_setting(url: str) -> None:
    postgresql, postgis = versions(url)
    sizes = f"{ROWS:,} points, {polygons.PARCELS:,} polygons of 1 KB, {polygons.ZONES} of 1 MB, {PROBES:,} probes"
    rounds = f"{throughput.ROUNDS} rounds, for rates {QUIETEST}"
    lines = [
        *machine(),
        ("database", f"PostgreSQL {postgresql}, PostGIS {postgis}; {sizes}"),
        ("measured", f"{rounds}; readers, servers and database share the machine"),
        ("rows", "id, geometry as WKB and three properties, decoded by the reader; psql copies them to /dev/null"),
    ]
    print_lines(lines)
