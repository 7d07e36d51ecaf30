"""The programs that the benchmarks run: found by name, started, waited for, and always ended."""

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from service.postgres.programs import find_programs

START_SECONDS = 180  # peers load much before they listen, on a machine that is busy
LOCAL = Path(__file__).resolve().parent.parent / ".local" / "bench"
_PACKAGES = {
    "ogr2ogr": "gdal-bin",
    "h2load": "nghttp2-client",
    "wrk": "wrk",
    "pgbench": "postgresql-15",
    "psql": "postgresql-client-15",
}
_ADVICE = {"go": "ghz and pg_featureserv are built with it: install Go 1.24 or newer"}


class MissingProgramError(Exception):
    """A program that the benchmarks need is not installed."""

    def __init__(self, program: str) -> None:
        super().__init__(f"{program} is missing; {_ADVICE.get(program) or _debian(program)}")


def _debian(program: str) -> str:
    return f"on Debian: apt-get install {_PACKAGES[program]}"


@cache
def find(program: str) -> str:
    """The path of a program, on PATH or among PostgreSQL's own; MissingProgramError names the package otherwise."""
    found = shutil.which(program, path=f"{find_programs()}{os.pathsep}{os.environ['PATH']}")
    if found is None:
        raise MissingProgramError(program)
    return found


def output(command: Sequence[str | Path]) -> str:
    """What a command prints; its error output belongs to the failure where it fails."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{command[0]} failed with {done.returncode}:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return done.stdout


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


@contextmanager
def serving(
    name: str, command: Sequence[str | Path], ready: Callable[[], bool], environment: Mapping[str, str]
) -> Iterator[int]:
    """Runs a server for the length of a `with` and gives its process id; its output goes to a log file, whose end an
    early death quotes."""
    log = LOCAL / f"{name}.log"
    with log.open("w") as stream:
        process = subprocess.Popen(command, stdout=stream, stderr=subprocess.STDOUT, env=environment)
    try:
        _wait(name, process, ready, log)
        yield process.pid
    finally:
        process.terminate()
        try:
            process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait(name: str, process: subprocess.Popen[bytes], ready: Callable[[], bool], log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not ready():
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"{name} did not come up:\n{log.read_text()[-3000:]}")
        time.sleep(0.1)


def say(message: str) -> None:
    """Progress, apart from the figures."""
    print(message, file=sys.stderr, flush=True)
