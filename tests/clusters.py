"""Private clusters for the tests, copied from one that a run prepares once: initdb, the migrations and the demo data
take seconds, and a copy of their files a moment. PostgreSQL takes all copies for one cluster: what tells clusters apart
needs one that initdb made (`service.embedded.throw_away`, `tests.replication`)."""

import fcntl
import os
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import psycopg2

from service import demo, migrations
from service.embedded import THROW_AWAY_SETTINGS, EmbeddedPostgres, ServerSettings
from service.postgres.home import DATABASE, Home

# Where the run keeps what is copied; workers have it from the process that began the run.
VARIABLE = "PREPARED_CLUSTERS"
# As initdb leaves them, and with the databases below.
BARE, PREPARED = "bare", "prepared"
# Databases of the prepared cluster, to make others from; nobody connects to them, so that they can be copied. The
# first has the extension and nothing else. Its own database is at head, too.
POSTGIS, MIGRATED, DEMO = "with_postgis", "migrated", "demo"
# As a file is copied: from row to row it would take twice as long.
COPIED = "STRATEGY file_copy"
# What tests ask beside the service is asked once: to compile it takes longer. What sessions run is seen whole.
SETTINGS: ServerSettings = {**THROW_AWAY_SETTINGS, "jit": "off", "track_activity_query_size": "16384"}


@contextmanager
def throw_away(settings: ServerSettings = SETTINGS, variant: str = BARE) -> Iterator[EmbeddedPostgres]:
    """A running cluster that a test may end as it likes; with `PREPARED`, its database is at head."""
    with tempfile.TemporaryDirectory(prefix="spatial-", ignore_cleanup_errors=True) as directory:
        Path(directory).chmod(0o711)  # the server's user must be able to pass
        _lay_out(Path(directory), variant)
        cluster = EmbeddedPostgres(directory, settings=settings)
        try:
            cluster.start()
            yield cluster
        finally:
            cluster.remove()


def _lay_out(directory: Path, variant: str) -> None:
    """Data and password in place of those that the first start in this directory would make."""
    home = Home(directory)
    home.path.mkdir()
    home.user.take(home.path, 0o700)
    source = _prepared() / variant / "postgres"
    for name in ("data", "password"):
        subprocess.run(["cp", "-a", "--reflink=auto", source / name, home.path], check=True)


def administrate(cluster: EmbeddedPostgres, statement: str) -> None:
    _run(cluster.url_of("postgres"), statement)


def _prepared() -> Path:
    """The folder with both variants, which whoever comes first makes."""
    folder = Path(os.environ[VARIABLE])
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "ready").exists():
            _prepare(folder)
            (folder / "ready").touch()
    return folder


def _prepare(folder: Path) -> None:
    with EmbeddedPostgres(folder / PREPARED, settings=SETTINGS) as cluster:
        cluster.stop()
        (folder / BARE).mkdir()
        subprocess.run(["cp", "-a", "--reflink=auto", cluster.home, folder / BARE], check=True)
        cluster.start()
        administrate(cluster, f"CREATE DATABASE {POSTGIS}")
        _run(cluster.url_of(POSTGIS), "CREATE EXTENSION postgis")
        administrate(cluster, f"CREATE DATABASE {MIGRATED} TEMPLATE {POSTGIS} {COPIED}")
        migrations.upgrade(cluster.url_of(MIGRATED))
        administrate(cluster, f"DROP DATABASE {DATABASE}")
        for name in (DATABASE, DEMO):
            administrate(cluster, f"CREATE DATABASE {name} TEMPLATE {MIGRATED} {COPIED}")
        demo.load(cluster.url_of(DEMO))


def _run(url: str, statement: str) -> None:
    with closing(psycopg2.connect(url)) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(statement)
