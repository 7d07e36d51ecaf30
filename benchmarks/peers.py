"""Peers: the features about a place, from this service and from others over the same table, each set up for production.

By callers for the usual 22 features, and by features an answer; everyone takes turns on the same database. pgbench
sends the service's statement, and is the limit. TiPg, pygeoapi and pg_featureserv are asked over HTTP for a box as
large as the circle. Beside calls a second: what each answer costs the server and the database.
"""

import os
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from functools import partial
from statistics import median

from benchmarks import asking
from benchmarks.asking import Asked, Contender
from benchmarks.cluster import database_url
from benchmarks.contenders import NOBODY_IS_REFUSED, running_service
from benchmarks.database import versions
from benchmarks.dataset import ROWS, Centre, centres
from benchmarks.environments import go_program, go_version, python_package
from benchmarks.figures import Figure, machine, median_ratio, print_lines, rounds_each, seconds_each
from benchmarks.http_peers import CONNECTIONS, PYGEOAPI_WORKERS, pg_featureserv, pygeoapi, tipg
from benchmarks.load import patiently
from benchmarks.programs import find, output, say
from benchmarks.questions import PAGES, USUAL, Question
from benchmarks.usage import Meter, cost

ROUNDS = rounds_each(3)
SECONDS = seconds_each(2)
MOST_SECONDS = 12  # for answers that take so long that a short run would see too few
CALLERS = (1, 16, 64)
PAGE_CALLERS = 16
MANY_CALLERS = 4  # where there is more than a page: answers take some peers seconds
# So far from the border that the largest circle lies among the points.
MARGIN = 1.2

CORES = len(os.sched_getaffinity(0))
ONE, ALL = "service, 1 worker", f"service, {CORES} workers"
LIMIT, PEERS = "pgbench", ("pg_featureserv", "TiPg", "pygeoapi")
_CHEAPEST = ("pgbench", "h2load", "wrk")


@dataclass(frozen=True)
class Point:
    """What is measured of everyone."""

    question: Question
    callers: int

    @property
    def places(self) -> int:
        """How many are asked about: few where an answer takes some peers seconds."""
        return 16 if self.question.is_page else 4

    @property
    def title(self) -> str:
        callers = f"{self.callers} caller{'s' * (self.callers > 1)}"
        return callers if self.question is USUAL else f"{self.question.name} features, {callers}"


PAGE_POINTS = tuple(Point(page, PAGE_CALLERS if page.is_page else MANY_CALLERS) for page in PAGES)
POINTS = (*(Point(USUAL, callers) for callers in CALLERS), *PAGE_POINTS)


@dataclass(frozen=True)
class Row:
    """A contender at a point: milliseconds to an answer, and CPU seconds for a thousand answers."""

    contender: str
    generator: str
    features: str
    callers: int
    rate: float
    median: float
    p99: float
    server_cpu: float
    database_cpu: float
    generator_cpu: float
    bytes_an_answer: float
    features_an_answer: float


Rows = dict[tuple[str, str, Point], list[Row]]


def run() -> dict[str, object]:
    for program in ("h2load", "pgbench", "wrk"):
        find(program)
    go_program("ghz")
    with database_url() as url, ExitStack() as stack:
        contenders = list(_contenders(url, stack))
        _print_setting(url)
        rows = _rounds(url, contenders, centres(MARGIN))
    for figure in _figures(rows):
        print(figure, flush=True)
    return {"rows": [asdict(_typical(each)) for each in rows.values()]}


def _contenders(url: str, stack: ExitStack) -> Iterator[Contender]:
    yield asking.database(LIMIT, url)
    for name, workers in {ONE: 1, ALL: CORES}.items():
        settings = {**NOBODY_IS_REFUSED, "SPATIAL_WORKERS": str(workers)}
        server = stack.enter_context(running_service(url, f"peers-{workers}", settings))
        yield asking.service(name, server)
        yield asking.service_by_ghz(name, server)
    started = (pg_featureserv(url), tipg(url, CORES), pygeoapi(url))
    for name, peer in zip(PEERS, started, strict=True):
        yield asking.peer(name, stack.enter_context(peer))


# --- measuring ------------------------------------------------------------------------------------------------------


def _rounds(url: str, contenders: Sequence[Contender], places: Sequence[Centre]) -> Rows:
    rows: Rows = defaultdict(list)
    asked = {
        (contender, point): contender.ask(point.question, places[: point.places])
        for point in POINTS
        for contender in contenders
        if contender.generator != "ghz" or point.question is USUAL
    }
    # Each connection to the database has had its first statement, which takes long.
    for contender in contenders:
        warming = asked[contender, POINTS[0]]
        warming.process()
        patiently(partial(warming.run, max(CALLERS)), SECONDS)
    turn = list(asked)
    for number in range(1, ROUNDS + 1):
        for contender, point in turn:
            row = _measured(url, contender, point, asked[contender, point])
            rows[contender.name, contender.generator, point].append(row)
            say(f"round {number}: {point.title}: {row.contender} ({row.generator}) {row.rate:,.1f}/s")
        # Whoever came last comes first, lest a place in the order be an advantage.
        turn.reverse()
    return rows


def _measured(url: str, contender: Contender, point: Point, asked: Asked) -> Row:
    seconds = min(MOST_SECONDS, max(SECONDS, 3 * asked.seconds * point.callers / CORES))
    run = partial(asked.run, point.callers)
    load, used = cost(Meter(asked.process(), url), run, contender.warm_up(point.callers), seconds)
    return Row(
        contender=contender.name,
        generator=contender.generator,
        features=point.question.name,
        callers=point.callers,
        rate=load.rate,
        median=load.percentile(50),
        p99=load.percentile(99),
        server_cpu=used.server,
        database_cpu=used.database,
        generator_cpu=used.generator,
        bytes_an_answer=asked.bytes_,
        features_an_answer=asked.features,
    )


def _typical(rows: Sequence[Row]) -> Row:
    """The medians of the rounds."""
    first = asdict(rows[0])
    numbers = {name: median(getattr(row, name) for row in rows) for name, value in first.items() if _measures(value)}
    return Row(**{**first, **numbers})


def _measures(value: object) -> bool:
    return isinstance(value, float)


# --- figures --------------------------------------------------------------------------------------------------------


def _figures(rows: Rows) -> Iterator[Figure]:
    for callers in CALLERS:
        point = Point(USUAL, callers)
        for name in (ONE, ALL):
            yield _rates(rows, point, name, LIMIT, "0.75" if callers > 1 else "none")
        for peer in PEERS:
            yield _rates(rows, point, ALL, peer, "> 1")
            yield _tails(rows, point, peer)
    for point in PAGE_POINTS:
        for peer in (LIMIT, *PEERS):
            yield _rates(rows, point, ALL, peer, "none" if peer == LIMIT else "> 1")


def _rates(rows: Rows, point: Point, ours: str, theirs: str, goal: str) -> Figure:
    own, other = _of(rows, ours, point), _of(rows, theirs, point)
    ratio = median_ratio([row.rate for row in own], [row.rate for row in other])
    best, peer = _typical(own), _typical(other)
    detail = (
        f"{best.rate:,.1f} calls a second against {peer.rate:,.1f}; CPU for a thousand answers, server and database:"
        f" {best.server_cpu:.2f} + {best.database_cpu:.2f} s against {peer.server_cpu:.2f} + {peer.database_cpu:.2f}"
    )
    return Figure(f"peers {point.title}, {ours} / {theirs}", ratio, goal, detail)


def _tails(rows: Rows, point: Point, peer: str) -> Figure:
    own, other = _of(rows, ALL, point), _of(rows, peer, point)
    ratio = median_ratio([row.p99 for row in own], [row.p99 for row in other])
    detail = f"{_typical(own).p99:.1f} ms against {_typical(other).p99:.1f}"
    return Figure(f"peers {point.title}, 99 % of {ALL} / {peer}", ratio, "< 1", detail)


def _of(rows: Rows, name: str, point: Point) -> Sequence[Row]:
    """By the generator that takes least from it."""
    keys = [(name, generator, point) for generator in _CHEAPEST]
    return next(rows[key] for key in keys if key in rows)


def _print_setting(url: str) -> None:
    postgresql, postgis = versions(url)
    h2load = output([find("h2load"), "--version"]).split()[-1]
    each = f"{ROUNDS} rounds, {SECONDS:g} s each, longer for long answers"
    print_lines(
        [
            *machine(),
            ("database", f"PostgreSQL {postgresql}, PostGIS {postgis}; {ROWS:,} rows"),
            ("measured", f"{each}; servers, load generators and database share the machine"),
            ("generators", f"h2load {h2load} and ghz {go_version('ghz')} for gRPC, wrk for HTTP, pgbench for SQL"),
            (
                "pg_featureserv",
                f"{go_version('pg_featureserv')}; one process, {CONNECTIONS} connections, new each time",
            ),
            ("TiPg", f"{python_package('tipg', 'tipg')}; uvicorn, {CORES} workers, {CONNECTIONS} connections each"),
            ("pygeoapi", f"{python_package('pygeoapi', 'pygeoapi')}; gunicorn, {PYGEOAPI_WORKERS} gevent workers"),
        ]
    )
