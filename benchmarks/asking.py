"""Contenders that were started, and what it takes to ask each of them a question over and over."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from statistics import fmean

from benchmarks.contenders import Running
from benchmarks.database import cursor_of
from benchmarks.dataset import Centre
from benchmarks.ghz import ghz_load
from benchmarks.http_peers import HttpPeer
from benchmarks.load import WARM_UP_SECONDS, Exchange, Load, grpc_load_once, sql_load_once, sql_warm_up
from benchmarks.questions import CIRCLE, Ids, Question
from benchmarks.wrk import http_load_once

Run = Callable[[int, float], Load]


@dataclass(frozen=True)
class Asked:
    """A contender that was asked a question about each place, and can be now in earnest: by how many, and for how long.

    Beside it how long an answer took, and which features and how many bytes it had; of a database the bytes are not
    known.
    """

    run: Run
    seconds: float
    ids: Sequence[Ids]
    bytes_: float = 0.0
    # The process whose CPU is the server's, if there is one; called before each measurement.
    process: Callable[[], int] = lambda: 0

    @property
    def features(self) -> float:
        return fmean(map(len, self.ids))


@dataclass(frozen=True)
class Contender:
    """Whoever is asked, by which load generator, and whether about circles or about boxes."""

    name: str
    generator: str
    area: str
    ask: Callable[[Question, Sequence[Centre]], Asked]

    def warm_up(self, callers: int) -> float:
        """Seconds after which a load of it is as it stays."""
        return sql_warm_up(callers) if self.generator == "pgbench" else WARM_UP_SECONDS


def database(name: str, url: str, area: str) -> Contender:
    def ask(question: Question, places: Sequence[Centre]) -> Asked:
        statements = [question.within(area).statement(place) for place in places]
        began = time.perf_counter()
        ids = list(ids_of(url, statements))
        return Asked(partial(sql_load_once, url, statements), (time.perf_counter() - began) / len(places), ids)

    return Contender(name, "pgbench", area, ask)


def ids_of(url: str, statements: Sequence[str]) -> Iterator[Ids]:
    """What each statement finds, whose first column is the id."""
    with cursor_of(url) as cursor:
        for statement in statements:
            cursor.execute(statement)
            yield [row[0] for row in cursor.fetchall()]


def service(name: str, server: Running, area: str) -> Contender:
    """By h2load, which looks at no more than the length of an answer."""

    def ask(question: Question, places: Sequence[Centre]) -> Asked:
        asked, began = question.within(area), time.perf_counter()
        exchanges, ids = asked.exchanges(server.client, places)
        seconds = (time.perf_counter() - began) / len(places)
        run = partial(_by_h2load, server.port, asked.method, exchanges)
        bytes_ = fmean(each.answer_bytes for each in exchanges)
        return Asked(run, seconds, ids, bytes_, lambda: server.process)

    return Contender(name, "h2load", area, ask)


def _by_h2load(port: int, method: str, exchanges: Sequence[Exchange], callers: int, seconds: float) -> Load:
    return grpc_load_once(port, method, [exchanges[number % len(exchanges)] for number in range(callers)], seconds)


def service_by_ghz(name: str, server: Running) -> Contender:
    """By ghz, which decodes every answer."""

    def ask(question: Question, places: Sequence[Centre]) -> Asked:
        exchanges, ids = question.exchanges(server.client, places)
        run = partial(ghz_load, server.port, question.method, [question.request(place) for place in places])
        bytes_ = fmean(each.answer_bytes for each in exchanges)
        return Asked(run, 0.0, ids, bytes_, lambda: server.process)

    return Contender(name, "ghz", CIRCLE, ask)


def peer(name: str, server: HttpPeer, area: str) -> Contender:
    def ask(question: Question, places: Sequence[Centre]) -> Asked:
        asked, began = question.within(area), time.perf_counter()
        sizes, ids = zip(*(server.answer(asked, place) for place in places), strict=True)
        seconds = (time.perf_counter() - began) / len(places)
        paths = [server.path(asked, place) for place in places]
        run = partial(http_load_once, server.port, paths)
        return Asked(run, seconds, ids, fmean(sizes), lambda: server.renewed(paths))

    return Contender(name, "wrk", area, ask)


def disagreement(question: Question, found: Ids, everything: Ids) -> str | None:
    """What is wrong with an answer, where `everything` lies in the area, in order; nothing, if nothing is.

    A circle's page holds the nearest, in order. A box's holds whichever were found first, as long as there are enough.
    """
    if question.area == CIRCLE and question.is_page:
        right = found == everything[: question.limit]
    else:
        right = len(found) == min(question.limit, len(everything)) and len({*found} & {*everything}) == len(found)
    return None if right else f"{len(found)} features, {found[:5]} …, of {len(everything)}, {everything[:5]} …"
