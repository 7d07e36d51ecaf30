"""Contests: this service and others over the same table, each set up for production, asked the same in turns.

pgbench sends the service's statement, and is the limit. Circles are asked for from those who can answer about them, and
boxes as large from everyone. Beside calls a second: what each answer costs the server and the database.
"""

import os
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from functools import partial
from statistics import median
from typing import NamedTuple

from benchmarks import asking
from benchmarks.asking import Asked, Contender, disagreement, ids_of
from benchmarks.cluster import database_url
from benchmarks.contenders import NOBODY_IS_REFUSED, running_service
from benchmarks.database import versions
from benchmarks.dataset import ROWS, centres
from benchmarks.environments import go_program, go_version, python_package
from benchmarks.figures import Figure, machine, median_ratio, print_lines, seconds_each
from benchmarks.http_peers import CONNECTIONS, PYGEOAPI_WORKERS, pg_featureserv, publish, pygeoapi, tipg
from benchmarks.load import patiently
from benchmarks.programs import find, output, say
from benchmarks.questions import AREAS, BOX, CIRCLE, USUAL, Ids, Question
from benchmarks.usage import Meter, cost

SECONDS = seconds_each(2)
MOST_SECONDS = 5 * SECONDS  # for answers that take so long that a short run would see too few
# So far from the border that the largest circle lies among the points.
MARGIN = 1.2

CORES = len(os.sched_getaffinity(0))
ONE, ALL = "service, 1 worker", f"service, {CORES} workers"
LIMIT, PG_FEATURESERV, TIPG, PYGEOAPI = "pgbench", "pg_featureserv", "TiPg", "pygeoapi"
PEERS = {CIRCLE: (PG_FEATURESERV, TIPG), BOX: (PG_FEATURESERV, TIPG, PYGEOAPI)}
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


@dataclass(frozen=True)
class Row:
    """A contender at a point: milliseconds to an answer, and CPU seconds for a thousand answers."""

    contender: str
    area: str
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


class Key(NamedTuple):
    contender: str
    area: str
    generator: str
    point: Point


Rows = dict[Key, list[Row]]
Figures = Callable[[Sequence[Point], Rows], Iterator[Figure]]


def held(points: Sequence[Point], figures: Figures, rounds: int, *, ghz: bool) -> dict[str, object]:
    """Everyone at all points; ghz, beside h2load, takes its time."""
    for program in ("h2load", "pgbench", "wrk"):
        find(program)
    if ghz:
        go_program("ghz")
    with database_url() as url, ExitStack() as stack:
        publish(url)
        contenders = list(_contenders(url, stack, ghz=ghz))
        _print_setting(url, rounds, ghz=ghz)
        rows = _rounds(url, contenders, points, rounds)
    for figure in figures(points, rows):
        print(figure, flush=True)
    return {"rows": [asdict(typical(each)) for each in rows.values()]}


def _contenders(url: str, stack: ExitStack, *, ghz: bool) -> Iterator[Contender]:
    yield from (asking.database(LIMIT, url, area) for area in AREAS)
    for name, workers in {ONE: 1, ALL: CORES}.items():
        settings = {**NOBODY_IS_REFUSED, "SPATIAL_WORKERS": str(workers)}
        server = stack.enter_context(running_service(url, f"peers-{workers}", settings))
        yield asking.service(name, server, CIRCLE)
        if ghz:
            yield asking.service_by_ghz(name, server)
    yield asking.service(ALL, server, BOX)
    started = {PG_FEATURESERV: pg_featureserv(url), TIPG: tipg(url, CORES), PYGEOAPI: pygeoapi(url)}
    peers = {name: stack.enter_context(peer) for name, peer in started.items()}
    yield from (asking.peer(name, peers[name], area) for area, names in PEERS.items() for name in names)


# --- measuring ------------------------------------------------------------------------------------------------------


def _rounds(url: str, contenders: Sequence[Contender], points: Sequence[Point], rounds: int) -> Rows:
    rows: Rows = defaultdict(list)
    asked = _asked(url, contenders, points)
    # Each connection to the database has had its first statement, which takes long.
    for contender in contenders:
        warming = asked[contender, points[0]]
        warming.process()
        patiently(partial(warming.run, max(point.callers for point in points)), SECONDS)
    turn = list(asked)
    for number in range(1, rounds + 1):
        for contender, point in turn:
            row = _measured(url, contender, point, asked[contender, point])
            rows[Key(contender.name, contender.area, contender.generator, point)].append(row)
            say(f"round {number}: {point.title}: {row.contender}, {row.area} ({row.generator}) {row.rate:,.1f}/s")
        # Whoever came last comes first, lest a place in the order be an advantage.
        turn.reverse()
    # As they are listed, whoever came first.
    return {key: rows[key] for key in (Key(each.name, each.area, each.generator, point) for each, point in asked)}


def _asked(url: str, contenders: Sequence[Contender], points: Sequence[Point]) -> dict[tuple[Contender, Point], Asked]:
    """Everyone was asked about each place of each point, and all agree on what there is."""
    places, asked = centres(MARGIN), {}
    for point in points:
        some = places[: point.places]
        everything = {
            area: list(ids_of(url, [point.question.within(area).unlimited(place) for place in some])) for area in AREAS
        }
        for contender in contenders:
            answers = asked[contender, point] = contender.ask(point.question, some)
            _check(contender, point.question.within(contender.area), answers, everything[contender.area])
    return asked


def _check(contender: Contender, question: Question, asked: Asked, everything: Sequence[Ids]) -> None:
    for found, right in zip(asked.ids, everything, strict=True):
        if problem := disagreement(question, found, right):
            raise RuntimeError(f"{contender.name} answers about a {question.area} of {question.name} with {problem}")


def _measured(url: str, contender: Contender, point: Point, asked: Asked) -> Row:
    seconds = min(MOST_SECONDS, max(SECONDS, 3 * asked.seconds * point.callers / CORES))
    run = partial(asked.run, point.callers)
    load, used = cost(Meter(asked.process(), url), run, contender.warm_up(point.callers), seconds)
    return Row(
        contender=contender.name,
        area=contender.area,
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


def typical(rows: Sequence[Row]) -> Row:
    """The medians of the rounds."""
    first = asdict(rows[0])
    numbers = {name: median(getattr(row, name) for row in rows) for name, value in first.items() if _measures(value)}
    return Row(**{**first, **numbers})


def _measures(value: object) -> bool:
    return isinstance(value, float)


# --- figures --------------------------------------------------------------------------------------------------------


def rates(rows: Rows, suite: str, point: Point, ours: tuple[str, str], theirs: tuple[str, str], goal: str) -> Figure:
    """Calls a second of a contender about an area, against those of another."""
    own, other = _of(rows, *ours, point), _of(rows, *theirs, point)
    ratio = median_ratio([row.rate for row in own], [row.rate for row in other])
    best, peer = typical(own), typical(other)
    detail = (
        f"{best.rate:,.1f} calls a second against {peer.rate:,.1f}; CPU for a thousand answers, server and database:"
        f" {best.server_cpu:.2f} + {best.database_cpu:.2f} s against {peer.server_cpu:.2f} + {peer.database_cpu:.2f}"
    )
    return Figure(f"{suite} {point.title}, {_between(ours, theirs)}", ratio, goal, detail)


def tails(rows: Rows, suite: str, point: Point, ours: tuple[str, str], theirs: tuple[str, str], goal: str) -> Figure:
    """The 99th percentile of a contender about an area, against that of another."""
    own, other = _of(rows, *ours, point), _of(rows, *theirs, point)
    ratio = median_ratio([row.p99 for row in own], [row.p99 for row in other])
    detail = f"{typical(own).p99:.1f} ms against {typical(other).p99:.1f}"
    return Figure(f"{suite} {point.title}, 99 %, {_between(ours, theirs)}", ratio, goal, detail)


def _between(ours: tuple[str, str], theirs: tuple[str, str]) -> str:
    (own, area), (other, other_area) = ours, theirs
    return f"{area}: {own} / {other}" if area == other_area else f"{own}, {area} / {other}, {other_area}"


def _of(rows: Rows, name: str, area: str, point: Point) -> Sequence[Row]:
    """By the generator that takes least from it."""
    keys = [Key(name, area, generator, point) for generator in _CHEAPEST]
    return next(rows[key] for key in keys if key in rows)


def _print_setting(url: str, rounds: int, *, ghz: bool) -> None:
    postgresql, postgis = versions(url)
    h2load = output([find("h2load"), "--version"]).split()[-1]
    by_ghz = f" and ghz {go_version('ghz')}" if ghz else ""
    each = f"{rounds} rounds, {SECONDS:g} s each, longer for long answers"
    print_lines(
        [
            *machine(),
            ("database", f"PostgreSQL {postgresql}, PostGIS {postgis}; {ROWS:,} rows"),
            ("measured", f"{each}; servers, load generators and database share the machine"),
            ("generators", f"h2load {h2load}{by_ghz} for gRPC, wrk for HTTP, pgbench for SQL"),
            (
                "pg_featureserv",
                f"{go_version('pg_featureserv')}; one process, {CONNECTIONS} connections, new each time",
            ),
            ("TiPg", f"{python_package('tipg', 'tipg')}; uvicorn, {CORES} workers, {CONNECTIONS} connections each"),
            ("pygeoapi", f"{python_package('pygeoapi', 'pygeoapi')}; gunicorn, {PYGEOAPI_WORKERS} gevent workers"),
        ]
    )
