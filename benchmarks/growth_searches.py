"""Searches in tables of growing size, by the service and by pgbench in turns."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from statistics import fmean, median
from typing import NamedTuple, Self

from benchmarks.contenders import Running
from benchmarks.dataset import Centre
from benchmarks.load import WARM_UP_SECONDS, Exchange, Load, grpc_load_once, sql_load_once, sql_warm_up
from benchmarks.programs import say
from benchmarks.questions import Question
from benchmarks.usage import Meter, Used, cost


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


@dataclass(frozen=True)
class Subject:
    """What is asked, by how many and for how long; its places in the order of how much there is about them."""

    question: Question
    callers: int
    rows: int
    features: float
    exchanges: Sequence[Exchange]
    statements: Sequence[str]
    seconds: float

    @classmethod
    def of(
        cls, server: Running, question: Question, places: Sequence[Centre], callers: int, rows: int, seconds: float
    ) -> Self:
        """Every place is asked about, so that what it needs is in memory."""
        began = time.perf_counter()
        exchanges, found = question.exchanges(server.client, places)
        lasting = max(seconds, 4 * (time.perf_counter() - began) / len(places))
        ranked = sorted(range(len(places)), key=lambda place: len(found[place]))
        return cls(
            question=question,
            callers=callers,
            rows=rows,
            features=fmean(map(len, found)),
            exchanges=[exchanges[place] for place in ranked],
            statements=[question.statement(place) for place in places],
            seconds=lasting,
        )

    def sent(self, number: int, rounds: int) -> list[Exchange]:
        """What each caller sends in a round: with few callers another place each time, from poor to rich."""
        count = len(self.exchanges)
        first = (2 * number + 1) * count // (2 * rounds)
        return [self.exchanges[(first + caller) % count] for caller in range(self.callers)]


class Round(NamedTuple):
    """The service's load and pgbench's, and what a thousand answers took of each."""

    load: Load
    used: Used
    limit: Load
    limit_used: Used


@dataclass(frozen=True)
class Measured:
    subject: Subject
    rounds: list[Round]

    @property
    def medians(self) -> list[float]:
        return [each.load.percentile(50) for each in self.rounds]

    @property
    def limit_medians(self) -> list[float]:
        return [each.limit.percentile(50) for each in self.rounds]

    def row(self) -> Row:
        return Row(
            rows=self.subject.rows,
            found=int(self.subject.question.name),
            callers=self.subject.callers,
            features=self.subject.features,
            rate=median(each.load.rate for each in self.rounds),
            median=median(self.medians),
            p99=median(each.load.percentile(99) for each in self.rounds),
            server_cpu=median(each.used.server for each in self.rounds),
            database_cpu=median(each.used.database for each in self.rounds),
            pgbench_rate=median(each.limit.rate for each in self.rounds),
            pgbench_median=median(self.limit_medians),
            pgbench_cpu=median(each.limit_used.database for each in self.rounds),
        )


def in_turns(url: str, server: Running, subjects: Sequence[Subject], rounds: int) -> list[Measured]:
    """So that what else the machine does hits all alike."""
    measured = [Measured(subject, []) for subject in subjects]
    meter, turn = Meter(server.process, url), list(measured)
    for number in range(rounds):
        for each in turn:
            each.rounds.append(_round(url, server, meter, each.subject, each.subject.sent(number, rounds)))
            told = f"{each.subject.rows:,} rows, {each.subject.question.name} features, {each.subject.callers} callers"
            say(f"growth: round {number + 1}: {told}: {each.rounds[-1].load.rate:,.0f}/s")
        turn.reverse()
    return measured


def _round(url: str, server: Running, meter: Meter, subject: Subject, sent: Sequence[Exchange]) -> Round:
    asked = partial(grpc_load_once, server.port, subject.question.method, sent)
    alone = partial(sql_load_once, url, subject.statements, subject.callers)
    load, used = cost(meter, asked, WARM_UP_SECONDS, subject.seconds)
    return Round(load, used, *cost(meter, alone, sql_warm_up(subject.callers), subject.seconds))
