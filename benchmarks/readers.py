"""Reader processes, started once and given one job after the other, so that none of them has to warm up twice."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from benchmarks.jobs import Job, Taken


class ReaderProcess:
    def __init__(self, process: subprocess.Popen[str]) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self._jobs = process.stdin
        self._results = process.stdout

    def give(self, job: Job) -> None:
        """Starts it; `take` waits for its end."""
        self._jobs.write(job.line())
        self._jobs.flush()

    def take(self) -> Taken:
        line = self._results.readline()
        if not line:
            raise RuntimeError("a reader died; what it died of is above")
        return Taken.read(line)

    def read(self, job: Job) -> Taken:
        self.give(job)
        return self.take()


@contextmanager
def readers(count: int) -> Iterator[list[ReaderProcess]]:
    with ExitStack() as stack:
        yield [stack.enter_context(_reader()) for _ in range(count)]


@contextmanager
def _reader() -> Iterator[ReaderProcess]:
    command = [sys.executable, "-m", "benchmarks.reader"]
    quiet = os.environ | {"GRPC_VERBOSITY": "ERROR"}  # a server that goes is no news
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=quiet) as process:
        try:
            yield ReaderProcess(process)
        finally:
            process.terminate()
