"""Growth: what a search costs as tables, circles and the number of callers grow, up to ten million points.

The tables have the same area, and circles for 22 features as much smaller. pgbench sends the service's statement, and
is what the database alone takes.
"""

import math
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from functools import partial
from math import sqrt
from statistics import median

from benchmarks import growth_streams
from benchmarks.cluster import growth_url
from benchmarks.contenders import NOBODY_IS_REFUSED, Running, running_service
from benchmarks.database import versions
from benchmarks.dataset import ROWS, Centre, centres
from benchmarks.figures import Figure, machine, print_lines, rounds_each, seconds_each
from benchmarks.growth_data import SIZES, Size, bytes_each, make, plan
from benchmarks.load import WARM_UP_SECONDS, grpc_load_once, sql_load_once, sql_warm_up
from benchmarks.programs import find, say
from benchmarks.questions import Question
from benchmarks.readers import readers
from benchmarks.usage import Meter, cost

ROUNDS = rounds_each(3)
SECONDS = seconds_each(2)
CALLERS = (1, 4, 16, 64)
# Times the circle of 22 features; a page holds the hundred nearest of them.
SPREADS = (1, 3, 10, 30)
PAGE = 100
MARGIN = 1.5
LARGE = SIZES[-1]


@dataclass(frozen=True)
class Row:
    """The service and pgbench with a question: milliseconds to an answer, CPU seconds for a thousand answers."""

    rows: int
    found: int
    callers: int
    features: float
    rate: float
    median: float
    p99: float
    server_cpu: float
    database_cpu: float
    pgbench_rate: float
    pgbench_median: float
    pgbench_cpu: float


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
        sizes = [_measured(url, server, _usual(size), places, 1, size.rows) for size in SIZES]
        circles = [_measured(url, server, _circle(spread), places, 1, LARGE.rows) for spread in SPREADS]
        callers = [_measured(url, server, _usual(LARGE), places, count, LARGE.rows) for count in CALLERS]
        for figure in (*_index_figures(url, places), *_search_figures(sizes, circles, callers)):
            print(figure, flush=True)
        reader = stack.enter_context(readers(1))[0]
        streams = list(growth_streams.measured(url, reader, server, SIZES[1], LARGE))
    asked = {"sizes": sizes, "circles": circles, "callers": callers}
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


def _index_figures(url: str, places: Sequence[Centre]) -> Iterator[Figure]:
    for size in SIZES:
        plans = [plan(url, _usual(size).statement(place)) for place in places]
        used = sum(f"Index Scan using {size.geography_index} " in each for each in plans)
        detail = f"{used} of {len(plans)} plans scan {size.geography_index}"
        yield Figure(f"growth plans by the geography index, {size.rows:,} points", used / len(plans), "1", detail)


# --- searches -------------------------------------------------------------------------------------------------------


def _measured(url: str, server: Running, question: Question, places: Sequence[Centre], callers: int, rows: int) -> Row:
    """Medians of rounds."""
    began = time.perf_counter()
    exchanges, features = question.exchanges(server.client, places)
    seconds = max(SECONDS, 4 * (time.perf_counter() - began) / len(places))
    statements = [question.statement(place) for place in places]
    meter, tried = Meter(server.process, url), []
    alone = partial(sql_load_once, url, statements, callers)
    for number in range(ROUNDS):
        # With few callers each round asks about other places.
        sent = [exchanges[(number * callers + each) % len(exchanges)] for each in range(callers)]
        asked = partial(grpc_load_once, server.port, question.method, sent)
        load, used = cost(meter, asked, WARM_UP_SECONDS, seconds)
        tried.append((load, used, *cost(meter, alone, sql_warm_up(callers), seconds)))
    rate = median(load.rate for load, *_ in tried)
    say(f"growth: {rows:,} rows, {question.name} features, {callers} callers: {rate:,.0f}/s")
    return Row(
        rows=rows,
        found=int(question.name),
        callers=callers,
        features=features,
        rate=rate,
        median=median(load.percentile(50) for load, *_ in tried),
        p99=median(load.percentile(99) for load, *_ in tried),
        server_cpu=median(used.server for _, used, *_ in tried),
        database_cpu=median(used.database for _, used, *_ in tried),
        pgbench_rate=median(limit.rate for *_, limit, _ in tried),
        pgbench_median=median(limit.percentile(50) for *_, limit, _ in tried),
        pgbench_cpu=median(limit_used.database for *_, limit_used in tried),
    )


def _search_figures(sizes: Sequence[Row], circles: Sequence[Row], callers: Sequence[Row]) -> Iterator[Figure]:
    small, large = sizes[0], sizes[-1]
    logarithm = math.log(large.rows) / math.log(small.rows)
    yield Figure(
        f"growth median of 22 features, {large.rows:,} / {small.rows:,} points",
        large.median / small.median,
        f"<= {logarithm:.2f}",
        f"{large.median:.2f} ms against {small.median:.2f}; by the logarithm of rows it would be {logarithm:.2f} times;"
        f" pgbench {large.pgbench_median:.2f} ms against {small.pgbench_median:.2f}",
    )
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
    each = f"{ROUNDS} rounds, {SECONDS:g} s each, longer for long answers"
    print_lines(
        [
            *machine(),
            ("database", f"PostgreSQL {postgresql}, PostGIS {postgis}; {rows} rows"),
            ("measured", f"{each}; one worker; load, server and database share the machine"),
        ]
    )
