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


def connections_wanted(settings: Settings) -> int:
    """How many connections a process of the service may open."""
    return settings.pool_size + settings.bulk_pool_size + settings.write_pool_size + CONTROL_CONNECTIONS
