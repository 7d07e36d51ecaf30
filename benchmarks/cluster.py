"""The database that the benchmarks run on: a private cluster, kept, so that only the first run has to load it."""

from collections.abc import Iterator
from contextlib import contextmanager

from benchmarks import growth_data
from benchmarks.database import fill
from benchmarks.programs import LOCAL
from service.embedded import EmbeddedPostgres
from service.migrations import upgrade

# All of the data fit in memory, loading them does not stop for checkpoints, and all contenders have their connections.
_SETTINGS = {
    "shared_buffers": "512MB",
    "max_wal_size": "4GB",
    "maintenance_work_mem": "256MB",
    "max_connections": "300",
}


@contextmanager
def database_url() -> Iterator[str]:
    """Migrated to head and filled, for the length of a `with`."""
    with EmbeddedPostgres(LOCAL, settings=_SETTINGS) as cluster:
        upgrade(cluster.url)
        fill(cluster.url)
        yield cluster.url


@contextmanager
def growth_url() -> Iterator[str]:
    """The database that the tables of growing size lie in, for the length of a `with`; the caller makes them."""
    with EmbeddedPostgres(LOCAL, settings=_SETTINGS) as cluster:
        growth_data.make_database(cluster.url)
        url = cluster.url_of(growth_data.DATABASE)
        growth_data.prepare_database(url)
        yield url
