"""Contenders that were started, and what it takes to ask each of them a question over and over."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from statistics import fmean

import psycopg2

from benchmarks.contenders import Running
from benchmarks.dataset import Centre
from benchmarks.ghz import ghz_load
from benchmarks.http_peers import HttpPeer
from benchmarks.load import WARM_UP_SECONDS, Exchange, Load, grpc_load_once, http_load_once, sql_load_once, sql_warm_up
from benchmarks.questions import Question

Run = Callable[[int, float], Load]


@dataclass(frozen=True)
class Asked:
    """A contender that was asked a question about each place, and can be now in earnest: by how many, and for how long.

    Beside it how long an answer took, and how many features and bytes it had; of a database the bytes are not known.
    """

    run: Run
    seconds: float = 0.0
    features: float = 0.0
    bytes_: float = 0.0
    # The process whose CPU is the server's, if there is one; called before each measurement.
    process: Callable[[], int] = lambda: 0


@dataclass(frozen=True)
class Contender:
    """Whoever is asked, and by which load generator."""

    name: str
    generator: str
    ask: Callable[[Question, Sequence[Centre]], Asked]

    def warm_up(self, callers: int) -> float:
        """Seconds after which a load of it is as it stays."""
        return sql_warm_up(callers) if self.generator == "pgbench" else WARM_UP_SECONDS


def database(name: str, url: str) -> Contender:
    def ask(question: Question, places: Sequence[Centre]) -> Asked:
        statements = [question.statement(place) for place in places]
        began = time.perf_counter()
        features = fmean(_rows(url, statements))
        return Asked(partial(sql_load_once, url, statements), (time.perf_counter() - began) / len(places), features)

    return Contender(name, "pgbench", ask)


def _rows(url: str, statements: Sequence[str]) -> Iterator[int]:
    with closing(psycopg2.connect(url)) as connection, connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)
            yield cursor.rowcount


def service(name: str, server: Running) -> Contender:
    """By h2load, which looks at no more than the length of an answer."""

    def ask(question: Question, places: Sequence[Centre]) -> Asked:
        began = time.perf_counter()
        exchanges, features = question.exchanges(server.client, places)
        seconds = (time.perf_counter() - began) / len(places)
        run = partial(_by_h2load, server.port, question.method, exchanges)
        bytes_ = fmean(each.answer_bytes for each in exchanges)
        return Asked(run, seconds, features, bytes_, lambda: server.process)

    return Contender(name, "h2load", ask)


def _by_h2load(port: int, method: str, exchanges: Sequence[Exchange], callers: int, seconds: float) -> Load:
    return grpc_load_once(port, method, [exchanges[number % len(exchanges)] for number in range(callers)], seconds)


def service_by_ghz(name: str, server: Running) -> Contender:
    """By ghz, which decodes every answer."""

    def ask(question: Question, places: Sequence[Centre]) -> Asked:
        exchanges, features = question.exchanges(server.client, places)
        run = partial(ghz_load, server.port, question.method, [question.request(place) for place in places])
        bytes_ = fmean(each.answer_bytes for each in exchanges)
        return Asked(run, 0.0, features, bytes_, lambda: server.process)

    return Contender(name, "ghz", ask)


def peer(name: str, server: HttpPeer) -> Contender:
    def ask(question: Question, places: Sequence[Centre]) -> Asked:
        began = time.perf_counter()
        answers = [server.answer(question, place) for place in places]
        seconds = (time.perf_counter() - began) / len(places)
        bytes_, features = (fmean(each) for each in zip(*answers, strict=True))
        paths = [server.path(question, place) for place in places]
        run = partial(http_load_once, server.port, paths)
        return Asked(run, seconds, features, bytes_, lambda: server.renewed(paths))

    return Contender(name, "wrk", ask)
