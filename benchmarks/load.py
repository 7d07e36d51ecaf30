"""What a load came to, and the load generators: pgbench, h2load and wrk, all written in C, so that they steal little.

h2load posts one body per process, so every caller is a process with a connection of its own, asking about its centre.
That takes 80 microseconds of CPU a call where one process for all would take 40, and leaves the servers the rest.
"""

import re
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from benchmarks.programs import find, output

WARM_UP_SECONDS = 0.5


@dataclass(frozen=True)
class Load:
    """Calls a second and, where the generator tells, how long each took, in milliseconds and in ascending order."""

    rate: float
    latencies: tuple[float, ...] = ()

    @property
    def mean(self) -> float:
        return fmean(self.latencies)

    @property
    def worst(self) -> float:
        return self.latencies[-1]

    def percentile(self, percent: float) -> float:
        return self.latencies[min(len(self.latencies) - 1, int(len(self.latencies) * percent / 100))]


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

    def start(self, port: int, method: str, seconds: float) -> subprocess.Popen[str]:
        command = [find("h2load"), "-c1", "-m1", f"--duration={round(seconds * 1000)}ms"]
        command += [f"--data={self.body}", f"--log-file={self.log}"]
        command += ["-Hcontent-type: application/grpc", "-Hte: trailers", f"http://127.0.0.1:{port}{method}"]
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    def calls(self, report: str) -> list[Call]:
        return checked_calls(
            self.log.read_text() if self.log.exists() else "", report, self.answer_bytes, self.give_or_take
        )


def checked_calls(log: str, report: str, answer_bytes: int, give_or_take: int = 0) -> list[Call]:
    """The calls in the log, if each was answered in full; a gRPC error would be HTTP 200 without data."""
    calls, failed = parse_h2load_log(log)
    answered, data = parse_h2load_report(report)
    # The call that the end cuts off may have brought some of its data.
    least, most = answered * (answer_bytes - give_or_take), (answered + 1) * (answer_bytes + give_or_take)
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
    return int(_number(r"(\d+) succeeded", text)), int(_number(r"\((\d+)\) data", text))


def summary(callers: Sequence[Sequence[Call]]) -> Load:
    """Counts the calls that lie in the time when all callers were at work, the warm-up left out."""
    since = max(calls[0].start for calls in callers) + int(WARM_UP_SECONDS * 1e6)
    until = min(calls[-1].end for calls in callers)
    counted = [call for calls in callers for call in calls if call.start >= since and call.end <= until]
    return Load(len(counted) / (until - since) * 1e6, tuple(sorted((call.end - call.start) / 1e3 for call in counted)))


# --- SQL, by pgbench -----------------------------------------------------------------------------------------------


def sql_load(url: str, statements: Sequence[str], seconds: int) -> Load:
    """A client per statement, on at most two threads, each sending one of the statements at random, over and over."""
    with tempfile.TemporaryDirectory() as folder:
        scripts = [Path(folder) / f"{index}.sql" for index in range(len(statements))]
        for script, statement in zip(scripts, statements, strict=True):
            script.write_text(" ".join(statement.split()) + ";\n")
        files = [f"--file={script}" for script in scripts]
        clients = [f"--client={len(statements)}", f"--jobs={min(2, len(statements))}"]
        report = output([find("pgbench"), "-n", "--protocol=simple", *clients, f"--time={seconds}", *files, url])
    return parse_pgbench(report)


def parse_pgbench(text: str) -> Load:
    if failed := int(_number(r"number of failed transactions: (\d+)", text)):
        raise RuntimeError(f"{failed} statements failed:\n{text}")
    return Load(_number(r"^tps = ([\d.]+) \(without", text))


# --- HTTP, by wrk --------------------------------------------------------------------------------------------------


def http_load(port: int, paths: Sequence[str], seconds: int) -> Load:
    """A connection per path, on one thread, asking for the paths in turn."""
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as script:
        listed = ", ".join(f'"{path}"' for path in paths)
        script.write(f"local paths, turn = {{{listed}}}, 0\n")
        script.write("request = function() turn = turn % #paths + 1; return wrk.format('GET', paths[turn]) end\n")
        script.flush()
        command = [
            find("wrk"),
            "-t1",
            f"-c{len(paths)}",
            f"-d{seconds}s",
            "-s",
            script.name,
            f"http://127.0.0.1:{port}",
        ]
        return parse_wrk(output(command))


def parse_wrk(text: str) -> Load:
    if "Non-2xx" in text or "Socket errors" in text:
        raise RuntimeError(f"requests failed:\n{text}")
    return Load(_number(r"^Requests/sec:\s+([\d.]+)", text))


def _number(pattern: str, text: str) -> float:
    found = re.search(pattern, text, re.MULTILINE)
    if found is None:
        raise ValueError(f"no {pattern!r} in:\n{text}")
    return float(found[1])
