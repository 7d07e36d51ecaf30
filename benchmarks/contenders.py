"""Who answers the question: the database itself, a bare handler, and this service; http_peers.py has the others."""

import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from benchmarks.dataset import Centre
from benchmarks.grpc_question import METHOD, Answers, Client
from benchmarks.load import Load, grpc_load, sql_load
from benchmarks.programs import free_port, serving

NO_SETTINGS: Mapping[str, str] = {}
# Whoever waits is answered in the end, as by contenders that have no such limit.
NOBODY_IS_REFUSED: Mapping[str, str] = {"SPATIAL_ADAPTIVE_LIMIT": "false"}


class Contender(Protocol):
    def run(self, centres: Sequence[Centre], seconds: float) -> Load:
        """As many callers as centres, at once, each sending its next call when the last is answered."""


class Database:
    """The same statement, straight from pgbench: the limit for one call at a time and connection."""

    def __init__(self, url: str) -> None:
        self._url = url

    def run(self, centres: Sequence[Centre], seconds: float) -> Load:
        return sql_load(self._url, [centre.statement for centre in centres], seconds)


@dataclass(frozen=True)
class Running:
    """A gRPC server: where it listens, its first process, and a client of it."""

    port: int
    process: int
    client: Client


class GrpcServer:
    """A server of the contract, whose answers are checked now and every time before and after it is measured."""

    def __init__(self, name: str, running: Running, answers: Answers) -> None:
        self._name = name
        self.port = running.port
        self.process = running.process
        self._client = running.client
        self._answers = answers
        self.check()

    def check(self) -> None:
        self._answers.check(self._name, self._client)

    def run(self, centres: Sequence[Centre], seconds: float) -> Load:
        exchanges = [self._answers.exchanges[centre] for centre in centres]
        return grpc_load(self.port, METHOD, exchanges, seconds)


@contextmanager
def bare_handler(url: str, threads: int, answers: Answers) -> Iterator[GrpcServer]:
    name, port = f"bare-{threads}", free_port()
    command = [sys.executable, "-m", "benchmarks.bare_handler", url, str(port), str(threads)]
    with _running(name, port, command, {}) as running:
        yield from _checked(name, running, answers)


@contextmanager
def service(
    url: str, answers: Answers, name: str = "spatial-service", settings: Mapping[str, str] = NO_SETTINGS
) -> Iterator[GrpcServer]:
    with running_service(url, name, settings) as running:
        yield from _checked(name, running, answers)


def _checked(name: str, running: Running, answers: Answers) -> Iterator[GrpcServer]:
    server = GrpcServer(name, running, answers)
    yield server
    server.check()


@contextmanager
def running_service(url: str, name: str, settings: Mapping[str, str] = NO_SETTINGS) -> Iterator[Running]:
    """One process, unless SPATIAL_WORKERS says otherwise."""
    port = free_port()
    defaults = {
        "SPATIAL_DATABASE_URL": url,
        "SPATIAL_LISTEN": f"127.0.0.1:{port}",
        "SPATIAL_METRICS_LISTEN": f"127.0.0.1:{free_port()}",
        "SPATIAL_LOG_LEVEL": "warning",
        "SPATIAL_WORKERS": "1",
        # The load generators open their connections once, and would end with them.
        "SPATIAL_MAX_CONNECTION_AGE": "0",
    }
    command = [str(Path(sys.executable).with_name("spatial")), "serve"]
    with _running(name, port, command, {**defaults, **settings}) as running:
        yield running


@contextmanager
def _running(name: str, port: int, command: Sequence[str], settings: Mapping[str, str]) -> Iterator[Running]:
    with (
        closing(Client(port)) as client,
        serving(name, command, client.ready, os.environ | settings) as process,
    ):
        yield Running(port, process, client)
