"""The database that the benchmarks run on: a private cluster, kept, so that only the first run has to load it."""

from collections.abc import Iterator
from contextlib import contextmanager

from benchmarks.database import fill
from benchmarks.programs import LOCAL
from service.embedded import EmbeddedPostgres
from service.migrations import upgrade

# All of the data fit in memory, and loading them does not stop for checkpoints.
_SETTINGS = {"shared_buffers": "512MB", "max_wal_size": "4GB", "maintenance_work_mem": "256MB"}


@contextmanager
def database_url() -> Iterator[str]:
    """Migrated to head and filled, for the length of a `with`."""
    with EmbeddedPostgres(LOCAL, settings=_SETTINGS) as cluster:
        upgrade(cluster.url)
        fill(cluster.url)
        yield cluster.url
