"""Real streaming replication: a primary and its standbys, each a private cluster that tests may end as they like."""

import os
import signal
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from service.embedded import THROW_AWAY_SETTINGS, EmbeddedPostgres
from service.postgres.home import DATABASE, USER, Home
from service.postgres.programs import find_programs
from tests.situations import eventually, fetch

# What is acknowledged has been written to the log; standbys reconnect at once.
# What is replayed goes before what is read, at once; and nothing is, but what a test writes.
SETTINGS = {
    **THROW_AWAY_SETTINGS,
    "synchronous_commit": "on",
    "wal_retrieve_retry_interval": "100ms",
    "max_standby_streaming_delay": "0",
    "autovacuum": "off",
}
POSITION = "SELECT (pg_current_wal_flush_lsn() - '0/0')::bigint"
REPLAYED = "SELECT (pg_last_wal_replay_lsn() - '0/0')::bigint"


@dataclass
class Standby:
    """What a test does with one. It has the primary's data, and its password."""

    cluster: EmbeddedPostgres
    database: str = DATABASE

    @property
    def url(self) -> str:
        return self.cluster.url_of(self.database)

    def pause(self) -> None:
        """What comes from the primary is kept, and not applied."""
        fetch(self.url, "SELECT pg_wal_replay_pause()")
        eventually(lambda: fetch(self.url, "SELECT pg_get_wal_replay_pause_state()") == [("paused",)], within=20)

    def resume(self) -> None:
        fetch(self.url, "SELECT pg_wal_replay_resume()")

    def promote(self) -> None:
        """Returns when it takes writes."""
        assert fetch(self.url, "SELECT pg_promote(true, 30)") == [(True,)]

    def replayed(self) -> int:
        ((position,),) = fetch(self.url, REPLAYED)
        return int(position)

    def kill(self) -> None:
        kill(self.cluster)


@dataclass
class Replication:
    primary: EmbeddedPostgres
    standbys: list[Standby] = field(default_factory=list)
    database: str = DATABASE
    stack: ExitStack = field(default_factory=ExitStack)  # what is to be removed in the end

    def add_standby(self) -> None:
        cluster = _cluster(self.stack)
        copy_to(cluster.home, self.primary)
        cluster.start()
        self.standbys.append(Standby(cluster))

    def replace_primary(self, promoted: Standby) -> None:
        """For those who come later: as many standbys as there were."""
        others = [standby for standby in self.standbys if standby.cluster is not promoted.cluster]
        self.primary, self.standbys = promoted.cluster, others
        self.add_standby()

    def new_database(self, name: str) -> "Replication":
        """The same servers, with an empty database of this name."""
        fetch(self.url, f"CREATE DATABASE {name}")
        self.catch_up()
        return Replication(self.primary, [Standby(standby.cluster, name) for standby in self.standbys], name)

    @property
    def url(self) -> str:
        return self.primary.url_of(self.database)

    @property
    def replica_urls(self) -> str:
        return " ".join(standby.url for standby in self.standbys)

    def position(self) -> int:
        ((position,),) = fetch(self.url, POSITION)
        return int(position)

    def catch_up(self, *standbys: Standby) -> None:
        """Returns when they have replayed all that the primary has written until now."""
        position = self.position()
        for standby in standbys or self.standbys:
            eventually(lambda standby=standby: standby.replayed() >= position, within=20)  # type: ignore[misc]


def kill(cluster: EmbeddedPostgres) -> None:
    """All its processes, at once, as a lost machine would end them."""
    pid = cluster.pid
    assert pid
    # A backend that has no need to wait would send all it has before it noticed that the first of them is gone.
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    for each in (pid, *map(int, children)):
        with suppress(ProcessLookupError):
            os.kill(each, signal.SIGKILL)
    eventually(lambda: cluster.pid is None, within=20)
    cluster.stop()  # lets go of the directory


@contextmanager
def replication(standbys: int = 1) -> Iterator[Replication]:
    """A primary with an empty database, and so many that follow it."""
    with ExitStack() as stack:
        primary = _cluster(stack)
        primary.start()
        replicated = Replication(primary, stack=stack)
        for _ in range(standbys):
            replicated.add_standby()
        yield replicated


def _cluster(stack: ExitStack) -> EmbeddedPostgres:
    folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="spatial-", ignore_cleanup_errors=True))
    Path(folder).chmod(0o711)  # the server's user must be able to pass
    cluster = EmbeddedPostgres(folder, settings=SETTINGS)
    stack.callback(cluster.remove)
    return cluster


def copy_to(path: Path, primary: EmbeddedPostgres) -> None:
    """A base backup as the data of a home that has none yet: it is started as a standby."""
    home = Home(path.parent)
    home.path.mkdir()
    home.user.take(home.path, 0o700)
    password = home.path / "password"
    password.write_text((primary.home / "password").read_text())
    home.user.take(password, 0o600)
    source = f"host=127.0.0.1 port={primary.port} user={USER} password={password.read_text()}"
    home.user.must(
        find_programs() / "pg_basebackup",
        *("--dbname", source, "--pgdata", home.data, "--write-recovery-conf", "--checkpoint=fast", "--no-sync"),
    )
