"""Overload: SearchRadius by four times as many callers as saturate the server, each sending its next call at once.

Callers come again when a refusal tells them to, as `spatial_client` does; those who do not are looked at apart. They
are grpc.aio clients in two processes, which take about as much CPU as the server does. An answer waits there for its
turn among all others, which is no doing of the server's; so how long calls take is what a few callers say who pause
after each, in a process beside those. Saturated is what the fewest callers do that reach 90 % of the best rate; both
loads are measured turn by turn, and rates are medians of rounds.
"""

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median
from threading import Event, Thread

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from benchmarks.cluster import database_url
from benchmarks.contenders import GrpcServer, service
from benchmarks.database import versions
from benchmarks.dataset import ROWS, centres
from benchmarks.figures import Figure, machine, print_lines, rounds_each, seconds_each
from benchmarks.grpc_question import Answers, request
from benchmarks.programs import say
from spatial_client import ResourceExhausted, SpatialError
from spatial_client.aio import AsyncSpatialClient

CALLERS = (4, 8, 16, 32, 64)
SATURATED = 0.9
TIMES = 4
ROUNDS = rounds_each(5)
SECONDS = seconds_each(4)
CHOICE_SECONDS = seconds_each(3)
PROCESSES = 2
PROBE_SECONDS = 0.1
BESIDE = 4  # callers who pause


@dataclass(frozen=True)
class Heard:
    """What the callers of a load heard, in seconds and in ascending order; `beside` are those who pause, and `probes`
    calls of Health.Check."""

    answered: Sequence[float]
    refused: Sequence[float]
    untold: int
    answered_beside: Sequence[float]
    refused_beside: Sequence[float]
    probes: Sequence[float]

    @property
    def rate(self) -> float:
        return len(self.answered) / SECONDS


def run() -> None:
    with database_url() as url:
        answers = Answers(centres())
        with service(url, answers, "overload") as server:
            saturating, best = _saturating(server)
            _print_setting(url, saturating)
            calm, flooded, insisted = _rounds(server, saturating)
            clients = _clients(server.port, TIMES * saturating)
    for figure in _figures(best, calm, flooded, insisted):
        print(figure)
    print(clients)


def _saturating(server: GrpcServer) -> tuple[int, float]:
    """The fewest callers that come near the best rate, and that."""
    rates = {callers: len(_load(server.port, callers, CHOICE_SECONDS).answered) / CHOICE_SECONDS for callers in CALLERS}
    say(", ".join(f"{callers} callers {rate:,.0f}/s" for callers, rate in rates.items()))
    best = max(rates.values())
    return next(callers for callers, rate in rates.items() if rate >= SATURATED * best), best


def _rounds(server: GrpcServer, saturating: int) -> tuple[list[Heard], list[Heard], list[Heard]]:
    calm, flooded, insisted = [], [], []
    for number in range(ROUNDS):
        calm.append(_load(server.port, saturating, SECONDS))
        flooded.append(_load(server.port, TIMES * saturating, SECONDS))
        insisted.append(_load(server.port, TIMES * saturating, SECONDS, "insist"))
        rates = ", ".join(f"{each[-1].rate:,.0f}/s" for each in (calm, flooded, insisted))
        say(f"round {number + 1}: saturated, overloaded, by callers that insist: {rates}")
    return calm, flooded, insisted


def _load(port: int, callers: int, seconds: float, manner: str = "honour") -> Heard:
    shares = [callers // PROCESSES + (number < callers % PROCESSES) for number in range(PROCESSES)]
    command = [sys.executable, "-m", "benchmarks.callers", str(port)]
    with _probing(port) as probes:
        processes = [
            subprocess.Popen([*command, str(count), str(seconds), how], stdout=subprocess.PIPE)
            for count, how in [*((share, manner) for share in shares), (BESIDE, "pause")]
        ]
        *heard, beside = [json.loads(process.communicate()[0]) for process in processes]
    if errors := [error for each in (*heard, beside) for error in each["errors"]]:
        raise RuntimeError(f"{len(errors)} calls failed, the first with {errors[0]}")
    hints = [hint for each in heard for hint in each["hints"]]
    return Heard(
        sorted(second for each in heard for second in each["answered"]),
        sorted(second for each in heard for second in each["refused"]),
        hints.count(None),
        sorted(beside["answered"]),
        sorted(beside["refused"]),
        sorted(probes.seconds),
    )


class _probing:  # noqa: N801 - read as a statement
    """Asks for health ten times a second."""

    def __init__(self, port: int) -> None:
        self.seconds: list[float] = []
        self._port = port
        self._ended = Event()
        self._thread = Thread(target=self._probe)

    def __enter__(self) -> "_probing":
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._ended.set()
        self._thread.join()

    def _probe(self) -> None:
        with grpc.insecure_channel(f"127.0.0.1:{self._port}") as channel:
            health = health_pb2_grpc.HealthStub(channel)
            health.Check(health_pb2.HealthCheckRequest(), timeout=10)
            while not self._ended.wait(PROBE_SECONDS):
                begun = time.perf_counter()
                health.Check(health_pb2.HealthCheckRequest(), timeout=10)
                self.seconds.append(time.perf_counter() - begun)


def _clients(port: int, callers: int) -> str:
    """What callers of `spatial_client` with its default retries get, all on one event loop."""
    answered, failed = asyncio.run(_use_clients(port, callers))
    return f"{callers} spatial_client.aio callers, default retries: {answered / SECONDS:,.0f}/s, {failed} calls failed"


async def _use_clients(port: int, callers: int) -> tuple[int, int]:
    """How many calls were answered and how many failed."""
    answered = failed = 0
    messages = [request(centre) for centre in centres()]
    until = time.perf_counter() + SECONDS

    async def call_on_and_on(number: int) -> None:
        nonlocal answered, failed
        query = messages[number % len(messages)].query
        point = query.center.point
        while time.perf_counter() < until:
            try:
                await client.search_radius(
                    "facilities", (point.longitude, point.latitude), query.radius_meters, timeout=30
                )
                answered += 1
            except ResourceExhausted:
                failed += 1
            except SpatialError as error:
                raise RuntimeError(error) from None

    async with AsyncSpatialClient(f"127.0.0.1:{port}") as client:
        await asyncio.gather(*(call_on_and_on(number) for number in range(callers)))
    return answered, failed


def _figures(best: float, calm: Sequence[Heard], flooded: Sequence[Heard], insisted: Sequence[Heard]) -> list[Figure]:
    rate = [each.rate for each in calm]
    refused = _all(each.refused_beside for each in flooded)
    crowd = _all(each.refused for each in flooded)
    before, after = (_all(each.answered_beside for each in loads) for loads in (calm, flooded))
    crowded = [_ms(_all(each.answered for each in loads), 99) for loads in (calm, flooded)]
    return [
        Figure(
            "overload goodput / saturated",
            median(f.rate / c.rate for c, f in zip(calm, flooded, strict=True)),
            "> 0.85",
            f"{median(f.rate for f in flooded):,.0f} answered a second against {median(rate):,.0f}"
            f" ({best:,.0f} at best before); {median(len(f.refused) / SECONDS for f in flooded):,.0f} refused a second",
        ),
        Figure(
            "overload 99 % / 99 % at saturation",
            _ms(after, 99) / _ms(before, 99),
            "< 3",
            f"{_ms(after, 99):.1f} ms against {_ms(before, 99):.1f}, of {len(after):,} and {len(before):,}; "
            f"as callers have it who never pause, {crowded[1]:.1f} against {crowded[0]:.1f}",
        ),
        Figure(
            "overload 99 % of refusals / 50 ms",
            _ms(refused, 99) / 50,
            "< 1",
            f"{_ms(refused, 99):.1f} ms, median {_ms(refused, 50):.1f}, of {len(refused):,}; "
            f"as callers have it who never pause, {_ms(crowd, 99):.1f}; "
            f"{sum(f.untold for f in flooded)} of {len(crowd):,} without RetryInfo",
        ),
        Figure(
            "overload worst Health.Check / 100 ms",
            max(f.probes[-1] for f in (*flooded, *insisted)) * 10,
            "< 1",
            f"of {sum(len(f.probes) for f in (*flooded, *insisted))}; "
            f"median {median(_ms(f.probes, 50) for f in flooded):.1f} ms",
        ),
        Figure(
            "overload by callers that insist, goodput / saturated",
            median(i.rate / c.rate for c, i in zip(calm, insisted, strict=True)),
            "none",
            f"{median(i.rate for i in insisted):,.0f} answered and "
            f"{median(len(i.refused) / SECONDS for i in insisted):,.0f} refused a second; 99 % of answers "
            f"{median(_ms(i.answered, 99) for i in insisted):.1f} ms",
        ),
    ]


def _all(loads: Iterable[Sequence[float]]) -> Sequence[float]:
    return sorted(second for each in loads for second in each)


def _ms(seconds: Sequence[float], percent: float) -> float:
    """0 where there is none."""
    if not seconds:
        return 0.0
    return seconds[min(len(seconds) - 1, int(len(seconds) * percent / 100))] * 1000


def _print_setting(url: str, saturating: int) -> None:
    postgresql, postgis = versions(url)
    print_lines(
        [
            *machine(),
            ("database", f"PostgreSQL {postgresql}, PostGIS {postgis}; {ROWS:,} rows"),
            ("saturated", f"by {saturating} callers; overloaded by {TIMES * saturating}"),
            ("callers", f"grpc.aio in {PROCESSES} processes; they honour RetryInfo unless they are said to insist"),
            ("latencies", f"of {BESIDE} more callers in a process beside them, who pause after each call"),
            ("measured", f"{ROUNDS} rounds, {SECONDS:g} s each; load, server and database share the machine"),
        ]
    )
