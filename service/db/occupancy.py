"""The connections of this process: how many there may be, and what they are at."""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from sqlalchemy import Engine, QueuePool

from service.settings import Settings

CONTROL_CONNECTIONS = 2


class Occupancy(NamedTuple):
    """Of a pool's connections."""

    name: str
    size: int
    in_use: int
    idle: int


def occupancies(engines: Mapping[str, Engine]) -> Callable[[], Sequence[Occupancy]]:
    """What says how it is at the moment, by the names of the pools."""
    return lambda: [_occupancy(name, engine) for name, engine in engines.items()]


def _occupancy(name: str, engine: Engine) -> Occupancy:
    pool = engine.pool
    assert isinstance(pool, QueuePool)
    in_use = pool.checkedout()
    return Occupancy(name, max(pool.size(), in_use), in_use, pool.checkedin())


class Wanted(NamedTuple):
    """Connections that a service may open at the most."""

    replicas: int
    workers: int
    each: int

    @property
    def total(self) -> int:
        return self.replicas * self.workers * self.each

    def __str__(self) -> str:
        return f"{self.replicas} replicas x {self.workers} workers x {self.each} connections = {self.total}"


def connections_wanted(settings: Settings) -> Wanted:
    """Of PostgreSQL; a pooler's are its own affair."""
    pools = settings.pool_size + settings.bulk_pool_size + settings.write_pool_size + CONTROL_CONNECTIONS
    each = pools if settings.pooler == "none" else 0
    return Wanted(settings.expected_replicas, settings.workers or 1, each)


def connections_wanted_of_replica(settings: Settings) -> Wanted:
    """Of each replica: what looks at one has a connection more, and changes none."""
    pools = settings.pool_size + settings.bulk_pool_size + CONTROL_CONNECTIONS + 1
    each = pools if settings.pooler == "none" else 0
    return Wanted(settings.expected_replicas, settings.workers or 1, each)
