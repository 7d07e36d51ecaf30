"""Growth: what a search costs as tables, circles and the number of callers grow, up to ten million points.

The tables have the same area, and circles for 22 features as much smaller. pgbench sends what one would write in SQL.
What is compared is measured in turns, and every place was asked about before.
"""

import math
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from math import sqrt
from statistics import median

from benchmarks import growth_streams
from benchmarks.cluster import growth_url
from benchmarks.contenders import NOBODY_IS_REFUSED, running_service
from benchmarks.database import versions
from benchmarks.dataset import ROWS, Centre, centres
from benchmarks.figures import Figure, machine, median_ratio, print_lines, rounds_each, seconds_each
from benchmarks.growth_data import SIZES, Size, bytes_each, make, pages_looked_at, pages_of
from benchmarks.growth_searches import Measured, Row, Subject, in_turns
from benchmarks.grpc_question import Client
from benchmarks.programs import find
from benchmarks.questions import Question
from benchmarks.readers import readers

ROUNDS = rounds_each(3)
SECONDS = seconds_each(2)
# More and shorter, since sizes are compared with each other, and one caller asks about one place.
SIZE_ROUNDS = rounds_each(8)
SIZE_SECONDS = seconds_each(1)
CALLERS = (1, 4, 16, 64)
# Times the circle of 22 features; a page holds the hundred nearest of them.
SPREADS = (1, 3, 10, 30)
PAGE = 100
MARGIN = 1.5
LARGE = SIZES[-1]


def run() -> dict[str, object]:
    for program in ("h2load", "pgbench", "psql"):
        find(program)
    with growth_url() as url, ExitStack() as stack:
        _print_setting(url)
        tables = list(_tables(url))
        server = stack.enter_context(
            running_service(url, "growth", {**NOBODY_IS_REFUSED, "SPATIAL_LAYERS": "public.growth_*"})
        )
        places = centres(MARGIN)
        by_size = [Subject.of(server, _usual(size), places, 1, size.rows, SIZE_SECONDS) for size in SIZES]
        by_circle = [Subject.of(server, _circle(spread), places, 1, LARGE.rows, SECONDS) for spread in SPREADS]
        by_callers = [Subject.of(server, _usual(LARGE), places, count, LARGE.rows, SECONDS) for count in CALLERS]
        sizes = in_turns(url, server, by_size, SIZE_ROUNDS)
        circles = [each.row() for each in in_turns(url, server, by_circle, ROUNDS)]
        callers = [each.row() for each in in_turns(url, server, by_callers, ROUNDS)]
        figures = (
            *_index_figures(url, server.client, places),
            *_size_figures(sizes),
            *_search_figures(circles, callers),
        )
        for figure in figures:
            print(figure, flush=True)
        reader = stack.enter_context(readers(1))[0]
        streams = list(growth_streams.measured(url, reader, server, SIZES[1], LARGE))
    asked = {"sizes": [each.row() for each in sizes], "circles": circles, "callers": callers}
    return {
        **{name: [asdict(row) for row in rows] for name, rows in asked.items()},
        "tables": tables,
        "streams": streams,
    }


def _usual(size: Size) -> Question:
    """The circle that holds 22 features, whatever the size."""
    return Question("22", sqrt(ROWS / size.rows), PAGE, size.table)


def _circle(spread: int) -> Question:
    usual = _usual(LARGE)
    return Question(str(22 * spread**2), usual.spread * spread, PAGE, LARGE.table)


# --- tables and their indexes ---------------------------------------------------------------------------------------


def _tables(url: str) -> Iterator[dict[str, object]]:
    for size in SIZES:
        made, each = make(url, size), bytes_each(url, size)
        rates = {
            step: size.rows / seconds for step, seconds in made.seconds.items() if step not in ("create", "vacuum")
        }
        told = ", ".join(f"{step} {rate:,.0f}/s" for step, rate in rates.items())
        print(f"{size.rows:,} points, made on {made.began}: {told}")
        print(
            f"    bytes a row {each.row:.0f}, in the primary key {each.primary_key:.0f}, in the geometry index"
            f" {each.geometry_index:.0f}, in the geography index {each.geography_index:.0f}",
            flush=True,
        )
        yield {"rows": size.rows, "rates": rates, "bytes": asdict(each)}


def _index_figures(url: str, client: Client, places: Sequence[Centre]) -> Iterator[Figure]:
    """Of the service, and of the statement that pgbench has, which goes through the geography's index."""
    pages: dict[Size, tuple[float, float]] = {}
    for size in SIZES:
        question = _usual(size)
        explained = [client.explained(question.about(place)) for place in places]
        used = sum(list(each.indexes) == [size.geometry_index] for each in explained)
        detail = f"{used} of {len(explained)} plans scan {size.geometry_index} and no other"
        yield Figure(f"growth plans by the index in the plane, {size.rows:,} points", used / len(places), "1", detail)
        theirs = pages_looked_at(url, [question.statement(place) for place in places])
        pages[size] = median(pages_of(each.text) for each in explained), theirs
    for number, (whose, index) in enumerate((("", "in the plane"), (" by pgbench", "of geographies"))):
        name = f"growth pages looked at{whose} for 22 features, {SIZES[-1].rows:,} / {SIZES[0].rows:,} points"
        told = ", ".join(f"{looked[number]:.0f} of {size.rows:,}" for size, looked in pages.items())
        ratio = pages[SIZES[-1]][number] / pages[SIZES[0]][number]
        yield Figure(name, ratio, "none", f"{told}: of the table, and of the index {index}")


# --- searches -------------------------------------------------------------------------------------------------------


def _size_figures(sizes: Sequence[Measured]) -> Iterator[Figure]:
    small, large = sizes[0], sizes[-1]
    rows, fewer = large.subject.rows, small.subject.rows
    logarithm = math.log(rows) / math.log(fewer)
    by_it = f"by the logarithm of rows it would be {logarithm:.2f} times"
    yield Figure(
        f"growth median of 22 features, {rows:,} / {fewer:,} points",
        median_ratio(large.medians, small.medians),
        f"<= {logarithm:.2f}",
        f"{median(large.medians):.2f} ms against {median(small.medians):.2f}; {by_it}",
    )
    yield Figure(
        f"growth median of 22 features by pgbench, {rows:,} / {fewer:,} points",
        median_ratio(large.limit_medians, small.limit_medians),
        "none",
        f"{median(large.limit_medians):.2f} ms against {median(small.limit_medians):.2f}; {by_it}",
    )


def _search_figures(circles: Sequence[Row], callers: Sequence[Row]) -> Iterator[Figure]:
    for row in circles:
        detail = f"{row.median:.2f} ms against {row.pgbench_median:.2f}; the {row.features:.0f} nearest come"
        name = f"growth median among {row.found:,} in the circle / pgbench, {row.rows:,} points"
        yield Figure(name, row.median / row.pgbench_median, "none", detail)
    for row in callers:
        detail = (
            f"{row.rate:,.0f} calls a second, 99 % {row.p99:.1f} ms; CPU for a thousand answers: server"
            f" {row.server_cpu:.2f} s, database {row.database_cpu:.2f}; pgbench's database {row.pgbench_cpu:.2f}"
        )
        name = f"growth {row.callers} caller{'s' * (row.callers > 1)} / pgbench, {row.rows:,} points"
        yield Figure(name, row.rate / row.pgbench_rate, "none", detail)


def _print_setting(url: str) -> None:
    postgresql, postgis = versions(url)
    rows = ", ".join(f"{size.rows:,}" for size in SIZES)
    each = f"{ROUNDS} rounds, {SECONDS:g} s each, of sizes {SIZE_ROUNDS}, {SIZE_SECONDS:g} s; longer for long answers"
    print_lines(
        [
            *machine(),
            ("database", f"PostgreSQL {postgresql}, PostGIS {postgis}; {rows} rows"),
            ("measured", f"{each}; one worker; load, server and database share the machine"),
        ]
    )
