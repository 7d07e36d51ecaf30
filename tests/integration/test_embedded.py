"""The private cluster, against the real PostgreSQL: what it survives, and what it refuses."""

import os
import pwd
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import psycopg2
import pytest

from service.embedded import EmbeddedPostgres, Mode, main
from service.postgres import programs
from service.postgres.programs import PostgresError

# A commit is in the operating system's hands: a killed server loses nothing of it.
SETTINGS = {"fsync": "off"}
OWNER = """
import sys, time
from service.embedded import EmbeddedPostgres
cluster = EmbeddedPostgres(sys.argv[1], settings={"fsync": "off"})
cluster.start()
print(cluster.pid, cluster._guard.pid, flush=True)
time.sleep(600)
"""


@pytest.fixture(scope="module")
def shared_directory() -> Iterator[Path]:
    """One for the module, whose data are made once."""
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        directory.chmod(0o711)
        yield directory
        embedded(directory).remove()


@pytest.fixture
def cluster(shared_directory: Path) -> Iterator[EmbeddedPostgres]:
    with embedded(shared_directory) as cluster:
        yield cluster


@pytest.fixture
def directory(shared_directory: Path) -> Path:
    """The shared directory, with no server running on it."""
    return shared_directory


def embedded(directory: Path) -> EmbeddedPostgres:
    return EmbeddedPostgres(directory, settings=SETTINGS)


def ask(url: str, statement: str) -> str:
    with closing(psycopg2.connect(url)) as connection, connection, connection.cursor() as cursor:
        cursor.execute(statement)
        row = cursor.fetchone() if cursor.description else None
        return str(row[0]) if row else ""


def remember(cluster: EmbeddedPostgres, word: str) -> None:
    ask(cluster.url, f"CREATE TABLE IF NOT EXISTS memory (word text); INSERT INTO memory VALUES ('{word}')")


def remembers(cluster: EmbeddedPostgres, word: str) -> bool:
    return ask(cluster.url, f"SELECT count(*) FROM memory WHERE word = '{word}'") == "1"


def eventually(condition: Callable[[], bool], seconds: float = 20) -> bool:
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.02)
    return condition()


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes() != b""
    except FileNotFoundError:
        return False


class Owner:
    """Another process with a cluster, to be killed."""

    def __init__(self, directory: Path) -> None:
        command = [sys.executable, "-c", OWNER, str(directory)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout
        with self.process.stdout as output:
            self.server, self.guard = map(int, output.readline().split())

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


@pytest.fixture
def owner(directory: Path) -> Iterator[Owner]:
    owner = Owner(directory)
    yield owner
    owner.kill()


def test_the_service_s_database_is_utf8_and_postgis_can_be_made_in_it(cluster: EmbeddedPostgres) -> None:
    assert ask(cluster.url, "SELECT current_database() || current_setting('server_encoding')") == "spatialUTF8"
    ask(cluster.url, "CREATE EXTENSION IF NOT EXISTS postgis")
    assert ask(cluster.url, "SELECT ST_AsText(ST_Point(1, 2))") == "POINT(1 2)"


def test_it_listens_on_loopback_alone_and_on_a_socket_of_its_own(cluster: EmbeddedPostgres) -> None:
    assert ask(cluster.url, "SHOW listen_addresses") == "127.0.0.1"
    assert (cluster.socket_directory / f".s.PGSQL.{cluster.port}").is_socket()
    by_socket = (
        cluster.url.replace(f"127.0.0.1:{cluster.port}", "") + f"?host={cluster.socket_directory}&port={cluster.port}"
    )
    assert ask(by_socket, "SELECT 1") == "1"


@pytest.mark.parametrize("host", ["127.0.0.1", "socket"])
def test_nobody_comes_in_without_the_password(cluster: EmbeddedPostgres, host: str) -> None:
    where = str(cluster.socket_directory) if host == "socket" else host
    with pytest.raises(psycopg2.OperationalError, match="password authentication failed"):
        psycopg2.connect(host=where, port=cluster.port, user="spatial", dbname="spatial", password="guess")


def test_password_and_data_are_readable_by_the_server_s_user_alone(cluster: EmbeddedPostgres) -> None:
    modes = {name: (cluster.home / name).stat().st_mode & 0o777 for name in (".", "password", "data")}
    assert modes == {".": 0o700, "password": 0o600, "data": 0o700}


def test_the_server_does_not_run_as_root(cluster: EmbeddedPostgres) -> None:
    expected = pwd.getpwnam("postgres").pw_uid if os.geteuid() == 0 else os.geteuid()
    assert Path(f"/proc/{cluster.pid}").stat().st_uid == expected != 0


def test_the_next_start_uses_the_same_data_and_password(directory: Path) -> None:
    with embedded(directory) as first:
        remember(first, "reuse")
        password = (first.home / "password").read_text()
    with embedded(directory) as second:
        assert remembers(second, "reuse")
        assert (second.home / "password").read_text() == password


def test_the_server_stops_with_its_owner(directory: Path) -> None:
    with embedded(directory) as cluster:
        pid = cluster.pid
    assert pid is not None
    assert not is_running(pid)
    assert cluster.pid is None


@pytest.mark.parametrize("mode", ["fast", "immediate"])
def test_a_restart_keeps_address_and_data(cluster: EmbeddedPostgres, mode: Mode) -> None:
    remember(cluster, mode)
    before = cluster.url, cluster.pid
    cluster.restart(mode)
    assert cluster.url == before[0]
    assert cluster.pid != before[1]
    assert remembers(cluster, mode)


def test_when_its_owner_is_killed_the_server_shuts_down_and_a_successor_starts_at_once(
    owner: Owner, directory: Path
) -> None:
    owner.kill()
    with embedded(directory) as successor:
        assert successor.pid != owner.server
        assert ask(successor.url, "SELECT 1") == "1"
    assert "database system was shut down" in successor.home.joinpath("log").read_text()


def test_a_server_that_outlived_its_owner_is_taken_over_and_stopped_at_the_end(owner: Owner, directory: Path) -> None:
    os.kill(owner.guard, signal.SIGKILL)
    owner.kill()
    with embedded(directory) as successor:
        assert successor.pid == owner.server
        assert ask(successor.url, "SELECT 1") == "1"
    assert not is_running(owner.server)


def test_a_server_killed_while_its_backends_work_comes_back_with_its_data(cluster: EmbeddedPostgres) -> None:
    remember(cluster, "killed")
    # Such a computation does not notice that its server is gone.
    command = ["psql", cluster.url, "-c", "SELECT sum(n) FROM generate_series(1, 1000000000) n"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as busy:
        working = "SELECT pid FROM pg_stat_activity WHERE query LIKE 'SELECT sum%' AND state = 'active'"
        assert eventually(lambda: ask(cluster.url, f"SELECT count(*) FROM ({working}) q") == "1")
        backend = int(ask(cluster.url, working))
        assert cluster.pid
        os.kill(cluster.pid, signal.SIGKILL)
        assert is_running(backend)
        cluster.start()
        assert not is_running(backend)
    assert remembers(cluster, "killed")
    assert busy.returncode != 0


def test_a_server_killed_together_with_its_owner_comes_back(owner: Owner, directory: Path) -> None:
    os.kill(owner.server, signal.SIGKILL)
    owner.kill()
    with embedded(directory) as successor:
        assert ask(successor.url, "SELECT 1") == "1"


def test_a_stale_pid_file_that_names_a_living_stranger_is_no_obstacle(directory: Path) -> None:
    with embedded(directory) as cluster:
        file = cluster.home / "data/postmaster.pid"
        text = file.read_text()
    file.write_text("\n".join([str(os.getpid()), *text.splitlines()[1:]]) + "\n")
    with cluster:
        assert ask(cluster.url, "SELECT 1") == "1"


def test_a_second_owner_is_refused_and_told_whose_the_directory_is(cluster: EmbeddedPostgres, directory: Path) -> None:
    with pytest.raises(PostgresError, match=f"in use by process {os.getpid()}"):
        embedded(directory).start()
    assert ask(cluster.url, "SELECT 1") == "1"


def test_data_whose_making_was_killed_are_made_again(tmp_path_open: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", OWNER, str(tmp_path_open)], stdout=subprocess.DEVNULL) as owner:
        assert eventually(lambda: any(tmp_path_open.glob("postgres/making-*/PG_VERSION")))
        owner.kill()
    assert not (tmp_path_open / "postgres/data").exists()
    with embedded(tmp_path_open) as cluster:
        assert ask(cluster.url, "SELECT 1") == "1"
    cluster.remove()


def test_a_directory_too_deep_for_a_socket_gets_one_elsewhere(tmp_path_open: Path) -> None:
    deep = tmp_path_open / ("d" * 100)
    deep.mkdir(mode=0o755)
    with embedded(deep) as cluster:
        assert len(str(cluster.socket_directory)) < 50
        folder = cluster.socket_directory
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(str(folder / f".s.PGSQL.{cluster.port}"))
    cluster.remove()
    assert not folder.exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can have folders that the server's user cannot enter")
def test_data_go_elsewhere_where_the_server_s_user_cannot_enter_the_directory(tmp_path_open: Path) -> None:
    closed = tmp_path_open / "closed"
    closed.mkdir(mode=0o700)
    with embedded(closed) as cluster:
        elsewhere = cluster.home.readlink()
        assert ask(cluster.url, "SELECT 1") == "1"
    with embedded(closed) as again:
        assert again.home.readlink() == elsewhere
    again.remove()
    assert not elsewhere.exists()


@pytest.fixture
def tmp_path_open() -> Iterator[Path]:
    """pytest's own folders are closed to the server's user."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o711)
        yield Path(name)


def test_without_postgis_the_message_names_the_packages(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(programs, "DEBIAN", tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(PostgresError, match="postgresql-15 and postgresql-15-postgis-3"):
        programs.find_programs()


def test_data_of_a_version_that_is_not_installed_are_refused_by_name() -> None:
    with pytest.raises(PostgresError, match="PostgreSQL 9, which made the data"):
        programs.find_programs("9")


def test_a_setting_that_postgresql_refuses_is_reported_from_its_log(directory: Path) -> None:
    with pytest.raises(PostgresError, match="shared_buffers"):
        EmbeddedPostgres(directory, settings={"shared_buffers": "none"}).start()
    with embedded(directory) as cluster:
        assert ask(cluster.url, "SELECT 1") == "1"


def test_the_command_runs_another_with_a_throw_away_database_and_returns_its_exit_code() -> None:
    assert main(["sh", "-c", '[ "$(psql -Atc "SELECT 41 + 1" "$SPATIAL_DATABASE_URL")" = 42 ] && exit 7']) == 7
