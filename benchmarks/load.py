"""What a load came to, and two load generators: pgbench and h2load, written in C, so that they steal little.

h2load posts one body per process, so callers who ask about different centres are processes with a connection each. That
takes 80 microseconds of CPU a call where one process for all takes 40, as it does for callers who send the same.
wrk is in wrk.py; ghz, which decodes what it gets, in ghz.py.
"""

import re
import subprocess
import tempfile
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise
from math import ceil
from pathlib import Path
from statistics import fmean

from benchmarks.programs import find, output, say

WARM_UP_SECONDS = 0.5


@dataclass(frozen=True)
class Load:
    """Calls a second and, where the generator tells, how long each took, in milliseconds and in ascending order.

    `answered` are all that were answered, those of the warm-up too; `told` are percentiles from a generator that tells
    nothing of single calls.
    """

    rate: float
    latencies: tuple[float, ...] = ()
    answered: int = 0
    told: Mapping[float, float] = field(default_factory=dict)

    @property
    def mean(self) -> float:
        return fmean(self.latencies)

    @property
    def worst(self) -> float:
        return self.latencies[-1]

    def percentile(self, percent: float) -> float:
        if percent in self.told:
            return self.told[percent]
        return self.latencies[min(len(self.latencies) - 1, int(len(self.latencies) * percent / 100))]


class TooFewCallsError(Exception):
    """Not all callers had an answer, and another when they were warm."""


def patiently(load: Callable[[float], Load], seconds: float) -> Load:
    """A load for so many seconds, or for as much more as it then takes to see enough of it."""
    for times in (1, 4):
        try:
            return load(times * seconds)
        except TooFewCallsError:
            say(f"too few calls in {times * seconds:g} s")
    return load(12 * seconds)


@dataclass(frozen=True)
class Call:
    """One answered call, in microseconds since the epoch."""

    start: int
    end: int


# --- gRPC, by h2load -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Exchange:
    """A serialized request and how many bytes its right answer has, give or take some that change from call to call."""

    request: bytes
    answer_bytes: int
    give_or_take: int = 0


def grpc_load(port: int, method: str, exchanges: Sequence[Exchange], seconds: float) -> Load:
    """One caller per exchange, each sending its next call when the last is answered."""
    return patiently(partial(grpc_load_once, port, method, exchanges), seconds)


def grpc_load_of_one(port: int, method: str, exchange: Exchange, callers: int, seconds: float) -> Load:
    """Callers with a connection each, who all send the same: one process is enough for them."""
    return patiently(partial(_grpc_load_of_one, port, method, exchange, callers), seconds)


def _grpc_load_of_one(port: int, method: str, exchange: Exchange, callers: int, seconds: float) -> Load:
    """Its log does not tell callers apart: they are warm when as many calls as there are callers have been answered."""
    with tempfile.TemporaryDirectory() as folder:
        caller = _Caller(Path(folder), 0, exchange)
        process = caller.start(port, method, seconds + WARM_UP_SECONDS, callers)
        calls = sorted(caller.calls(process.communicate()[0], callers), key=lambda call: call.end)
    if len(calls) <= callers:
        raise TooFewCallsError
    return summary([calls[callers - 1 :]])


def grpc_load_once(port: int, method: str, exchanges: Sequence[Exchange], seconds: float) -> Load:
    """TooFewCallsError where that was not long enough."""
    with tempfile.TemporaryDirectory() as folder:
        callers = [_Caller(Path(folder), index, exchange) for index, exchange in enumerate(exchanges)]
        processes = [caller.start(port, method, seconds + WARM_UP_SECONDS) for caller in callers]
        reports = [process.communicate()[0] for process in processes]
        calls = [caller.calls(report) for caller, report in zip(callers, reports, strict=True)]
    return summary(calls)


class _Caller:
    def __init__(self, folder: Path, index: int, exchange: Exchange) -> None:
        self.body = folder / f"{index}.body"
        self.log = folder / f"{index}.log"
        self.answer_bytes = len(framed(b"")) + exchange.answer_bytes
        self.give_or_take = exchange.give_or_take
        self.body.write_bytes(framed(exchange.request))

    def start(self, port: int, method: str, seconds: float, connections: int = 1) -> subprocess.Popen[str]:
        command = [find("h2load"), f"-c{connections}", "-m1", f"--duration={round(seconds * 1000)}ms"]
        command += [f"--data={self.body}", f"--log-file={self.log}"]
        command += ["-Hcontent-type: application/grpc", "-Hte: trailers", f"http://127.0.0.1:{port}{method}"]
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    def calls(self, report: str, connections: int = 1) -> list[Call]:
        log = self.log.read_text() if self.log.exists() else ""
        return checked_calls(log, report, self.answer_bytes, self.give_or_take, connections)


def checked_calls(log: str, report: str, answer_bytes: int, give_or_take: int = 0, connections: int = 1) -> list[Call]:
    """The calls in the log, if each was answered in full; a gRPC error would be HTTP 200 without data."""
    calls, failed = parse_h2load_log(log)
    answered, data = parse_h2load_report(report)
    if not (calls or failed or answered or data):
        raise TooFewCallsError
    # The calls that the end cuts off may have brought some of their data.
    least, most = answered * (answer_bytes - give_or_take), (answered + connections) * (answer_bytes + give_or_take)
    if failed or not calls or not least <= data < most:
        raise RuntimeError(f"{failed} calls failed; {data} bytes in {answered} answers of {answer_bytes}:\n{report}")
    return calls


def framed(message: bytes) -> bytes:
    """A message as gRPC sends it: uncompressed, with its length in front."""
    return b"\0" + len(message).to_bytes(4, "big") + message


def parse_h2load_log(text: str) -> tuple[list[Call], int]:
    """The answered calls and how many failed; a line is start, HTTP status and duration."""
    rows = [tuple(map(int, line.split("\t")[:3])) for line in text.splitlines()]
    calls = [Call(start, start + duration) for start, status, duration in rows if status == 200]
    return calls, len(rows) - len(calls)


def parse_h2load_report(text: str) -> tuple[int, int]:
    """The calls that succeeded and the bytes of data that came back."""
    return int(number_in(r"(\d+) succeeded", text)), int(number_in(r"\((\d+)\) data", text))


def summary(callers: Sequence[Sequence[Call]]) -> Load:
    """Counts the calls that end while all callers are at work and warm, which each is only after its first answer.

    A connection's first statement takes PostgreSQL long: that is no part of it.
    """
    since = max(max(calls[0].end, calls[0].start + int(WARM_UP_SECONDS * 1e6)) for calls in callers)
    until = min(calls[-1].end for calls in callers)
    if until <= since:
        raise TooFewCallsError
    counted = [call for calls in callers for call in calls if since < call.end <= until]
    latencies = tuple(sorted((call.end - call.start) / 1e3 for call in counted))
    return Load(len(counted) / (until - since) * 1e6, latencies, sum(map(len, callers)))


# --- SQL, by pgbench -----------------------------------------------------------------------------------------------


def sql_load(url: str, statements: Sequence[str], seconds: float, callers: int = 0) -> Load:
    """A client per statement, or as many as are said, on at most two threads, each sending one of the statements at
    random, over and over."""
    return patiently(partial(sql_load_once, url, statements, callers or len(statements)), seconds)


def sql_warm_up(callers: int) -> float:
    """Seconds that connections take for their first statements."""
    return WARM_UP_SECONDS + 0.03 * callers


def sql_load_once(url: str, statements: Sequence[str], callers: int, seconds: float) -> Load:
    """TooFewCallsError where that was not long enough."""
    with tempfile.TemporaryDirectory() as folder:
        scripts = [Path(folder) / f"{index}.sql" for index in range(len(statements))]
        for script, statement in zip(scripts, statements, strict=True):
            script.write_text(" ".join(statement.split()) + ";\n")
        command = [find("pgbench"), "-n", "--protocol=simple", f"--client={callers}", f"--jobs={min(2, callers)}"]
        command += ["--log", f"--log-prefix={folder}/calls", f"--time={ceil(seconds + sql_warm_up(callers))}"]
        report = output([*command, *(f"--file={script}" for script in scripts), url])
        logs = "".join(log.read_text() for log in Path(folder).glob("calls.*"))
        return summary(pgbench_calls(report, logs, callers))


def pgbench_calls(report: str, logs: str, callers: int) -> list[list[Call]]:
    """The transactions of each client. A line is its number, one of the transaction, how many microseconds that took,
    which script it was, and when it ended, in seconds and microseconds."""
    if failed := int(number_in(r"number of failed transactions: (\d+)", report)):
        raise RuntimeError(f"{failed} statements failed:\n{report}")
    calls: dict[int, list[Call]] = defaultdict(list)
    for line in logs.splitlines():
        client, _, took, _, seconds, microseconds = map(int, line.split()[:6])
        end = seconds * 1_000_000 + microseconds
        calls[client].append(Call(end - took, end))
    if len(calls) < callers:
        raise TooFewCallsError
    return [_timed(each) for each in calls.values()]


def _timed(calls: Sequence[Call]) -> list[Call]:
    """No time has passed, pgbench says, where it did not look at the clock in between: that up to the next call has."""
    ends = [following.start if call.end == call.start else call.end for call, following in pairwise(calls)]
    return [Call(call.start, end) for call, end in zip(calls, [*ends, calls[-1].end], strict=True)]


def number_in(pattern: str, text: str) -> float:
    """What a generator reports, behind a pattern with one group."""
    found = re.search(pattern, text, re.MULTILINE)
    if found is None:
        raise ValueError(f"no {pattern!r} in:\n{text}")
    return float(found[1])
