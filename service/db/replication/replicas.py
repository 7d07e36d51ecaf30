"""The pools over each replica, whose connections lead to the server that was looked at and to no other."""

from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import psycopg2
from sqlalchemy import Engine, event

from service.db.address import addresses
from service.db.canceller import Canceller
from service.db.engine import Pool, bulk_pool, control_engine, read_pool
from service.db.occupancy import connections_wanted_of_replica
from service.db.pooler import Hearing
from service.db.replication.replica import Replica
from service.db.replication.sight import STARTED, Sight
from service.db.replication.watching import Watcher
from service.observability.metrics import Metrics
from service.settings import Settings

ATTEMPTS = 8  # to come to the right server, where an address leads to several


@dataclass(frozen=True, slots=True)
class ReplicaPools:
    state: Replica
    read: Pool
    bulk: Pool
    control: Engine
    canceller: Canceller

    @property
    def engines(self) -> dict[str, Engine]:
        """By the names of their pools."""
        return {
            self.read.name: self.read.engine,
            self.bulk.name: self.bulk.engine,
            f"control@{self.state.name}": self.control,
        }

    def close(self) -> None:
        self.canceller.close()
        for engine in self.engines.values():
            engine.dispose()


def replica_pools(settings: Settings, metrics: Metrics) -> list[ReplicaPools]:
    """For each of the replicas that the settings name."""
    urls = addresses(settings.replica_urls.get_secret_value())
    return [_pools(settings, f"replica-{number}", url, metrics) for number, url in enumerate(urls, 1)]


def _pools(settings: Settings, name: str, url: str, metrics: Metrics) -> ReplicaPools:
    control = control_engine(settings, url)
    read, bulk = read_pool(settings, url, metrics, name), bulk_pool(settings, url, metrics, name)
    hearing = Hearing((read.engine, bulk.engine, control))
    state = Replica(name, Sight(name, control, hearing), settings.replica_max_lag_bytes)
    for pool in (read, bulk):
        _lead_to(state, pool.engine)
    return ReplicaPools(state, read, bulk, control, Canceller(control, metrics))


def _lead_to(state: Replica, engine: Engine) -> None:
    """A balancer may have put another server behind the address, whose data nobody knows to be fresh."""

    @event.listens_for(engine, "do_connect")
    def connect(dialect: Any, record: Any, arguments: Any, named: Any) -> Any:
        for _ in range(ATTEMPTS):
            connection = dialect.connect(*arguments, **named)
            if _started(connection) == state.started:
                return connection
            connection.close()
        raise psycopg2.OperationalError(f"the address of {state.name} leads to other servers than was looked at")


def _started(connection: Any) -> int:
    connection.autocommit = True
    with closing(connection.cursor()) as cursor:
        cursor.execute(f"SELECT {STARTED}")
        ((started,),) = cursor.fetchall()
    connection.autocommit = False
    return int(started)


def watcher(settings: Settings, primary: Sight, replicas: Iterable[ReplicaPools], metrics: Metrics) -> Watcher:
    states = [each.state for each in replicas]
    wanted = connections_wanted_of_replica(settings)
    return Watcher(primary, states, settings.replica_interval, wanted, metrics)
