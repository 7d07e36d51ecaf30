"""Unary calls: SearchRadius about sixteen centres among a million points, 22 features of three properties each.

Everyone is asked on the same database, turn by turn, in rounds; a figure is the median of the rounds' ratios.
"""

import os
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from itertools import islice
from statistics import median

from benchmarks.cluster import database_url
from benchmarks.contenders import Contender, Database, GrpcServer, bare_handler, service
from benchmarks.database import versions
from benchmarks.dataset import ROWS, Centre, centres
from benchmarks.figures import Figure, machine, median_ratio, print_lines, rounds_each, seconds_each
from benchmarks.grpc_question import Answers
from benchmarks.http_peers import tipg
from benchmarks.load import Load
from benchmarks.programs import find, say

ROUNDS = rounds_each(5)
SECONDS = seconds_each(2)
CHOICE_SECONDS = seconds_each(3)
LONG_SECONDS = seconds_each(60)
THREADS = (4, 8, 16)

CORES = len(os.sched_getaffinity(0))
WORKERS = f"{CORES} workers"

Rates = dict[str, list[float]]


def run() -> None:
    for program in ("h2load", "pgbench", "wrk"):
        find(program)
    with database_url() as url, ExitStack() as stack:
        places = centres()
        answers = Answers(places)
        threads = _best_threads(url, places, answers)
        contenders: dict[str, Contender] = {
            "pgbench": Database(url),
            "bare handler": stack.enter_context(bare_handler(url, threads, answers)),
            "TiPg": (peer := stack.enter_context(tipg(url))),
            "service": (ours := stack.enter_context(service(url, answers))),
            WORKERS: stack.enter_context(service(url, answers, "spatial-workers", {"SPATIAL_WORKERS": str(CORES)})),
        }
        _print_setting(url, len(places), answers.features, peer.features(places), threads)
        many, one = _rounds(contenders, places)
        long = _long(ours, places)
    for figure in (*_rate_figures(many, one), _tail_figure(long)):
        print(figure)


def _best_threads(url: str, places: Sequence[Centre], answers: Answers) -> int:
    """How many threads serve the bare handler best: it competes at its best."""
    rates: dict[int, float] = {}
    for threads in THREADS:
        with bare_handler(url, threads, answers) as server:
            rates[threads] = server.run(places, CHOICE_SECONDS).rate
    say("bare handler: " + ", ".join(f"{threads} threads {rate:,.0f}/s" for threads, rate in rates.items()))
    return max(rates, key=rates.__getitem__)


def _rounds(contenders: dict[str, Contender], places: Sequence[Centre]) -> tuple[Rates, Rates]:
    """Calls a second by contender, a value a round: with a caller at every centre, and with one caller at one."""
    many: Rates = defaultdict(list)
    one: Rates = defaultdict(list)
    turn = list(contenders)
    for number, place in enumerate(islice(places, ROUNDS), 1):
        for name in turn:
            many[name].append(contenders[name].run(places, SECONDS).rate)
        for name in turn:
            if name not in ("TiPg", WORKERS):
                one[name].append(contenders[name].run([place], SECONDS).rate)
        # Whoever came last comes first, lest a place in the order be an advantage.
        turn.reverse()
        say(f"round {number}: " + ", ".join(f"{name} {rates[-1]:,.0f}/s" for name, rates in many.items()))
    return many, one


def _long(ours: GrpcServer, places: Sequence[Centre]) -> Load:
    say(f"{LONG_SECONDS:g} seconds of the service alone")
    return ours.run(places, LONG_SECONDS)


def _rate_figures(many: Rates, one: Rates) -> Iterator[Figure]:
    for name, goal in {"pgbench": "0.55", "bare handler": "1.4", "TiPg": "4"}.items():
        yield _against(f"unary 16 callers / {name}", many, name, goal)
    yield _against(f"unary 16 callers / pgbench, {WORKERS}", many, "pgbench", "0.55", ours=WORKERS)
    alone = f"; pgbench {median(one['pgbench']):,.0f}"
    yield _against("unary 1 caller / bare handler", one, "bare handler", "1.0", alone)


def _against(title: str, rates: Rates, name: str, goal: str, besides: str = "", ours: str = "service") -> Figure:
    own, theirs = rates[ours], rates[name]
    detail = f"{median(own):,.0f} calls a second against {median(theirs):,.0f}{besides}"
    return Figure(title, median_ratio(own, theirs), goal, detail)


def _tail_figure(load: Load) -> Figure:
    detail = (
        f"{len(load.latencies):,} calls, {load.rate:,.0f} a second; mean {load.mean:.2f} ms, "
        f"median {load.percentile(50):.2f}, 99 % {load.percentile(99):.2f}, worst {load.worst:.2f}"
    )
    return Figure(f"unary worst / mean over {LONG_SECONDS:g} s", load.worst / load.mean, "< 20", detail)


def _print_setting(url: str, places: int, features: int, peer_features: int, threads: int) -> None:
    postgresql, postgis = versions(url)
    lines = [
        *machine(),
        ("database", f"PostgreSQL {postgresql}, PostGIS {postgis}; {ROWS:,} rows"),
        (
            "answers",
            f"{features / places:.1f} features each (TiPg, by box, {peer_features / places:.1f}); {places} centres",
        ),
        ("measured", f"{ROUNDS} rounds, {SECONDS:g} s each; load, servers and database share the machine"),
        ("bare handler", f"{threads} threads, the best of {', '.join(map(str, THREADS))}"),
    ]
    print_lines(lines)
