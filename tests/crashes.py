"""Crashes of the service and of PostgreSQL, at moments that a seed chooses, as often as wanted."""

import asyncio
import logging
import multiprocessing
import os
import signal
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from random import Random
from typing import Any

import grpc
import psycopg2
import uvloop

from service.embedded import EmbeddedPostgres
from service.heap import few_arenas
from service.postgres.processes import free_port
from service.server import running_server
from service.settings import Settings
from service.workers.worker import settle
from tests.clusters import PREPARED, throw_away
from tests.situations import eventually, fetch

# A crash of the server loses nothing that it has told the kernel; commits must be told before they are acknowledged.
SETTINGS = {"fsync": "off", "full_page_writes": "off", "synchronous_commit": "on", "max_connections": "100"}
# Callers must not take longer to come back than the service does.
CHANNEL = [
    ("grpc.initial_reconnect_backoff_ms", 50),
    ("grpc.min_reconnect_backoff_ms", 50),
    ("grpc.max_reconnect_backoff_ms", 100),
]


@dataclass
class Crashes:
    """How many, and what chooses their moments."""

    rounds: int
    seed: int
    random: Random = field(init=False)

    def __post_init__(self) -> None:
        self.random = Random(self.seed)


class Service:
    """The service in a process of its own, on one port for all its lives. Its processes are forks of one that has
    loaded everything, so that the next life begins at once."""

    def __init__(self, url: str, **settings: Any) -> None:
        self._url = url
        self._forks = multiprocessing.get_context("forkserver")
        self._forks.set_forkserver_preload(["pytest", "tests.crashes"])
        self.port = free_port()
        given = {"listen": f"127.0.0.1:{self.port}", "metrics_listen": "127.0.0.1:0", "health_interval": 0.1}
        self._settings = {**given, **settings}
        self._process: BaseProcess | None = None

    def start(self) -> None:
        """Returns when it listens."""
        ours, theirs = self._forks.Pipe(duplex=False)
        self._process = self._forks.Process(target=_serve, args=(self._url, self._settings, theirs), daemon=True)
        self._process.start()
        theirs.close()
        assert ours.poll(30), "the service does not start"
        ours.recv()

    @property
    def pid(self) -> int:
        assert self._process is not None
        assert self._process.pid is not None
        return self._process.pid

    def kill(self) -> None:
        """At once, as a lost machine would end it."""
        assert self._process is not None
        self._process.kill()
        self._process.join(10)

    def restart(self) -> None:
        self.kill()
        self.start()

    def channel(self) -> grpc.Channel:
        return grpc.insecure_channel(f"127.0.0.1:{self.port}", CHANNEL)


def _serve(url: str, settings: dict[str, Any], ready: Connection) -> None:
    """As `spatial serve` does."""

    async def serve() -> None:
        async with running_server(Settings(**settings), url):
            settle()
            ready.send(True)
            await asyncio.Event().wait()

    logging.disable()  # what crashes make it say would bury all else
    few_arenas()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve())


@dataclass
class Stage:
    """A database and a service that may be ended in several ways, and are there again afterwards."""

    cluster: EmbeddedPostgres
    service: Service

    @property
    def url(self) -> str:
        return self.cluster.url

    def crash(self, random: Random) -> str:
        """One of the ways, by chance."""
        way = random.choice([self.kill_service, self.kill_service, self.crash_postgres, self.end_backends])
        way()
        return way.__name__

    def kill_service(self) -> None:
        self.service.restart()

    def crash_postgres(self) -> None:
        """One of its processes is killed: PostgreSQL ends all others, and recovers from its log."""
        with closing(psycopg2.connect(self.url)) as witness:
            pids = self._backends()
            os.kill(pids[-1] if pids else witness.info.backend_pid, signal.SIGKILL)
            eventually(lambda: not _answers(witness), within=30)
        eventually(self._connects, within=30)

    def end_backends(self) -> None:
        """As an administrator would, or a failover."""
        fetch(self.url, f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {_OURS}")

    def _backends(self) -> list[int]:
        return [pid for (pid,) in fetch(self.url, f"SELECT pid FROM pg_stat_activity WHERE {_OURS}")]

    def _connects(self) -> bool:
        try:
            fetch(self.url, "SELECT")
        except psycopg2.OperationalError:
            return False
        return True


def _answers(connection: Any) -> bool:
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT")
    except psycopg2.Error:
        return False
    return True


_OURS = "application_name LIKE 'spatial-service/%' AND pid <> pg_backend_pid()"


@contextmanager
def stage(**settings: Any) -> Iterator[Stage]:
    """A migrated database in a cluster of its own, and a service over it."""
    with throw_away(SETTINGS, PREPARED) as cluster:
        service = Service(cluster.url, **settings)
        service.start()
        try:
            yield Stage(cluster, service)
        finally:
            service.kill()
