"""Single writes: CreateFeature against pgbench's INSERT of the same row, each on disk when it is answered. Everyone
writes to the same table, turn by turn, in rounds; a figure is the median of the rounds' ratios.
"""

import os
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing
from functools import partial
from statistics import median

import grpc
import psycopg2

from benchmarks.contenders import running_service
from benchmarks.database import versions
from benchmarks.figures import Figure, machine, median_ratio, print_lines, rounds_each, seconds_each
from benchmarks.load import Exchange, Load, grpc_load_of_one, sql_load
from benchmarks.programs import LOCAL, find, say
from service.embedded import throw_away
from service.migrations import upgrade
from spatial.v1 import feature_pb2, geometry_pb2, write_pb2, write_pb2_grpc

ROUNDS = rounds_each(5)
SECONDS = seconds_each(4)
CALLERS = (16, 1)
CORES = len(os.sched_getaffinity(0))
WORKERS = f"{CORES} workers"
GOALS = {16: "0.4", 1: "none"}
METHOD = "/spatial.v1.FeatureService/CreateFeature"
# PostgreSQL's own defaults are durable: fsync, full pages, synchronous commits.
_SETTINGS = {"shared_buffers": "512MB", "max_wal_size": "4GB"}
_INSERT = """INSERT INTO facilities (name, kind, population, location, tags, attributes)
 VALUES ('Library 5', 'library', 12, '0101000020E610000000000000000024400000000000004940', '{open,public}',
 '{"level": 3}')"""
_VARIES = 12  # the digits of ids, versions and moments

Rates = dict[str, list[float]]


def run() -> None:
    for program in ("h2load", "pgbench"):
        find(program)
    LOCAL.mkdir(parents=True, exist_ok=True)
    with throw_away(_SETTINGS) as cluster:
        upgrade(cluster.url)
        figures = list(_figures(cluster.url))
        _print_setting(cluster.url)
    for figure in figures:
        print(figure)


def _figures(url: str) -> Iterator[Figure]:
    with ExitStack() as stack:
        one = stack.enter_context(running_service(url, "writes")).port
        several = stack.enter_context(running_service(url, "writes-workers", {"SPATIAL_WORKERS": str(CORES)})).port
        exchange = _exchange(one)
        for callers in CALLERS:
            ports = {"service": one, **({WORKERS: several} if callers > 1 else {})}
            loads = {
                name: partial(grpc_load_of_one, port, METHOD, exchange, callers, SECONDS)
                for name, port in ports.items()
            }
            rates = _rates(url, loads, callers)
            yield from (_figure(callers, rates, name) for name in ports)


def _rates(url: str, loads: Mapping[str, Callable[[], Load]], callers: int) -> Rates:
    runs = {"pgbench": lambda: sql_load(url, [_INSERT] * callers, SECONDS), **loads}
    rates: Rates = defaultdict(list)
    turn = list(runs)
    for number in range(1, ROUNDS + 1):
        for name in turn:
            _empty(url)
            rates[name].append(runs[name]().rate)
        turn.reverse()
        last = ", ".join(f"{name} {rates[-1]:,.0f}/s" for name, rates in rates.items())
        say(f"{callers} callers, round {number}: {last}")
    return rates


def _empty(url: str) -> None:
    """Whoever comes later must not find a larger table, nor have its checkpoint."""
    with closing(psycopg2.connect(url)) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute("TRUNCATE facilities")
            cursor.execute("CHECKPOINT")


def _figure(callers: int, rates: Rates, name: str) -> Figure:
    ours, theirs = rates[name], rates["pgbench"]
    detail = f"{median(ours):,.0f} features a second against {median(theirs):,.0f} rows"
    which = "" if name == "service" else f", {name}"
    title = f"writes CreateFeature {callers} caller{'s' * (callers > 1)} / pgbench INSERT{which}"
    return Figure(title, median_ratio(ours, theirs), GOALS[callers], detail)


def _exchange(port: int) -> Exchange:
    """The same row as pgbench's, with everything answered that is stored."""
    location = geometry_pb2.Geometry(wkb=bytes.fromhex("010100000000000000000024400000000000004940"))
    feature = feature_pb2.Feature(geometry=location)
    feature.properties.update({"name": "Library 5", "kind": "library", "population": 12, "attributes": {"level": 3}})
    feature.properties.get_or_create_list("tags").extend(["open", "public"])
    request = write_pb2.CreateFeatureRequest(layer="facilities", feature=feature)
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        stub = write_pb2_grpc.FeatureServiceStub(channel)
        answer = stub.CreateFeature(request, timeout=10)
    if answer.feature.geometry.wkb != location.wkb or answer.feature.properties["name"] != "Library 5":
        raise RuntimeError(f"CreateFeature answers {answer}")
    return Exchange(request.SerializeToString(), answer.ByteSize(), give_or_take=_VARIES)


def _print_setting(url: str) -> None:
    postgresql, postgis = versions(url)
    lines = [
        *machine(),
        ("database", f"PostgreSQL {postgresql}, PostGIS {postgis}; durable: fsync and synchronous_commit are on"),
        ("measured", f"{ROUNDS} rounds, {SECONDS:g} s each; load, server and database share the machine"),
    ]
    print_lines(lines)
