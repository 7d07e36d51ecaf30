"""A private PostgreSQL + PostGIS cluster from the system's programs, for `make run` and the tests.

As a command, `python -m service.embedded COMMAND…` runs a command with SPATIAL_DATABASE_URL set to a throw-away one.
"""

import os
import signal
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Literal, Self

from service.postgres import processes
from service.postgres.home import DATABASE, USER, Home
from service.postgres.programs import PostgresError

Mode = Literal["smart", "fast", "immediate"]
ServerSettings = Mapping[str, str]

DEMO_SETTINGS: ServerSettings = MappingProxyType({"shared_buffers": "256MB"})
# Nothing survives a crash of the machine with these; a crash of the server costs the last commits.
THROW_AWAY_SETTINGS: ServerSettings = MappingProxyType(
    {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off", "max_connections": "200"}
)
SIGNALS = MappingProxyType({"smart": signal.SIGTERM, "fast": signal.SIGINT, "immediate": signal.SIGQUIT})
START_SECONDS = 120.0
STOP_SECONDS = 60.0
# Waits for its owner's word or end; without the word it shuts down the server that the pid file names.
GUARD = 'read -r word || { read -r pid <"$0" && kill -INT "$pid"; }'


class EmbeddedPostgres:
    """One cluster in `directory`/postgres: made at the first start, used again at the next, stopped with its owner.

    A context manager; or `start` and `stop` as often as you like: url and port stay the same for this object. Only one
    process at a time may have a directory. If the owner is killed the server shuts down too; a successor waits for
    that, or takes over a server that still runs. `settings` are PostgreSQL's own, for the servers started here.
    """

    def __init__(self, directory: Path | str, *, settings: ServerSettings = DEMO_SETTINGS) -> None:
        self._home = Home(Path(directory).resolve())
        self._settings = settings
        self._server: subprocess.Popen[bytes] | None = None
        self._guard: subprocess.Popen[bytes] | None = None
        self._address: tuple[int, Path] | None = None

    @property
    def url(self) -> str:
        """The service's database, as its owner and superuser; for SQLAlchemy, psycopg2 and psql alike."""
        return self.url_of(DATABASE)

    def url_of(self, database: str) -> str:
        return f"postgresql://{USER}:{self._home.password}@127.0.0.1:{self.port}/{database}"

    @property
    def port(self) -> int:
        return self._known_address()[0]

    @property
    def socket_directory(self) -> Path:
        return self._known_address()[1]

    @property
    def home(self) -> Path:
        """The folder with the data, the password and the server's log."""
        return self._home.path

    @property
    def pid(self) -> int | None:
        """The running server's first process."""
        lines = self._home.pid_file()
        return int(lines[0]) if lines and processes.is_server(int(lines[0]), self._home.data) else None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Make what is missing, and return when the server takes connections."""
        self._home.lock()
        try:
            programs = self._home.prepare(durable=self._settings.get("fsync") != "off")
            if not self._adopt():
                self._launch(programs)
            self._watch_over()
        except BaseException:
            self.stop()
            raise

    def stop(self, mode: Mode = "fast") -> None:
        """Stop the server and let go of the directory; `immediate` is a crash, from which the next start recovers."""
        if self._home.is_locked:
            self._stop_server(mode)
            self._home.unlock()

    def restart(self, mode: Mode = "fast") -> None:
        """Stop and start, for a test of what clients see."""
        self._stop_server(mode)
        self.start()

    def remove(self) -> None:
        """Stop, and delete the cluster wherever its data lie; PostgresError if another process uses it."""
        self._home.lock()
        self.stop("immediate")
        self._home.remove()

    def _adopt(self) -> bool:
        """Take over the server that a killed predecessor left; wait for one that is going down."""
        deadline = time.monotonic() + STOP_SECONDS
        while self.pid is not None:
            lines = self._home.pid_file()
            if lines[7:] == ["ready"] and processes.answers(int(lines[3])):
                self._address = int(lines[3]), Path(lines[4])
                return True
            processes.wait(deadline, f"the server in {self._home.data} neither starts nor stops")
        return False

    def _launch(self, programs: Path) -> None:
        if self._server:
            self._server.wait(STOP_SECONDS)
        self._end_orphans()
        # The lock says that no server runs; PostgreSQL would mistake any process of that number for one.
        (self._home.data / "postmaster.pid").unlink(missing_ok=True)
        if self._home.log.exists():
            self._home.log.rename(self._home.log.with_suffix(".previous"))
        port = self._address[0] if self._address else processes.free_port()
        self._address = port, self._home.socket_directory()
        options = [word for name, value in self._options().items() for word in ("-c", f"{name}={value}")]
        with self._home.log.open("wb") as log:
            self._server = self._home.user.start(programs / "postgres", "-D", self._home.data, *options, output=log)
        self._await_ready(self._server)

    def _options(self) -> dict[str, str]:
        return {
            "listen_addresses": "127.0.0.1",
            "port": str(self.port),
            "unix_socket_directories": str(self.socket_directory),
            "cluster_name": self._cluster_name(),
            "log_line_prefix": "%m [%p] %q%a ",
            "timezone": "UTC",
            **self._settings,
        }

    def _cluster_name(self) -> str:
        """In the title of every process of the server: by it the backends of a killed one are found."""
        return f"spatial-{zlib.crc32(os.fsencode(self._home.data)):08x}"

    def _await_ready(self, server: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + START_SECONDS
        while (lines := self._home.pid_file())[7:] != ["ready"] or lines[0] != str(server.pid):
            if server.poll() is not None:
                end = "\n".join(self._home.log.read_text(errors="replace").splitlines()[-10:])
                raise PostgresError(f"PostgreSQL did not start; the end of {self._home.log}:\n{end}")
            processes.wait(deadline, f"PostgreSQL was not ready after {START_SECONDS:.0f} s; see {self._home.log}")

    def _watch_over(self) -> None:
        """The guard has the lock too: a successor gets it only when the guard has done its work."""
        if self._guard is None:
            command = ("/bin/sh", "-c", GUARD, self._home.data / "postmaster.pid")
            self._guard = self._home.user.start(*command, stdin=subprocess.PIPE, keep=self._home.lock_descriptor)

    def _stop_server(self, mode: Mode) -> None:
        if self._guard:
            self._guard.communicate(b"done\n")
            self._guard = None
        deadline = time.monotonic() + STOP_SECONDS
        if (pid := self.pid) is not None:
            processes.send(pid, SIGNALS[mode])
            # Its pid file goes a moment before the server itself does.
            while processes.is_server(pid, self._home.data):
                processes.wait(deadline, f"process {pid} of {self._home.data} does not stop")
        if self._server:
            self._server.wait(STOP_SECONDS)
            self._server = None

    def _end_orphans(self) -> None:
        deadline = time.monotonic() + STOP_SECONDS
        while orphans := list(processes.backends(self._cluster_name())):
            for pid in orphans:
                processes.send(pid, signal.SIGQUIT)
            processes.wait(deadline, f"processes {orphans} of a killed server do not stop")

    def _known_address(self) -> tuple[int, Path]:
        if self._address is None:
            raise PostgresError("the cluster was never started")
        return self._address


@contextmanager
def throw_away(settings: ServerSettings = THROW_AWAY_SETTINGS) -> Iterator[EmbeddedPostgres]:
    """A running cluster that leaves nothing behind."""
    with tempfile.TemporaryDirectory(prefix="spatial-", ignore_cleanup_errors=True) as directory:
        Path(directory).chmod(0o711)  # the server's user must be able to pass
        cluster = EmbeddedPostgres(directory, settings=settings)
        try:
            cluster.start()
            yield cluster
        finally:
            cluster.remove()


def main(command: list[str]) -> int:
    with throw_away() as cluster:
        environment = {**os.environ, "SPATIAL_DATABASE_URL": cluster.url}
        return subprocess.run(command, env=environment, check=False).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
