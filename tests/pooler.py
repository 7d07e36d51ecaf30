"""The real PgBouncer, in transaction mode with its defaults, before a database."""

import os
import pwd
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import psycopg2

from service.db.cancel import LOAD_POSTGIS
from service.postgres.processes import free_port
from service.postgres.programs import User
from tests.situations import eventually

CONSOLE_USER = "console"


class PgBouncer:
    """Stands before the database at a URL; `url` is the one to use instead. All of its settings that matter to clients
    are the defaults, but for the mode, the size of the pool and what a new session does first."""

    def __init__(self, program: str, folder: Path, url: str, pool_size: int) -> None:
        parts = urlsplit(url)
        self.port = free_port()
        self.url = urlunsplit(parts._replace(netloc=f"{parts.username}:{parts.password}@127.0.0.1:{self.port}"))
        self._program = program
        self._process: subprocess.Popen[bytes] | None = None
        self._ini, self.log = folder / "pgbouncer.ini", folder / "log"
        users = folder / "users"
        users.write_text(f'"{parts.username}" "{parts.password}"\n"{CONSOLE_USER}" "console"\n')
        self._ini.write_text(f"""
[databases]
{parts.path[1:]} = host={parts.hostname} port={parts.port} connect_query='{LOAD_POSTGIS}'
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {self.port}
unix_socket_dir =
auth_type = scram-sha-256
auth_file = {users}
admin_users = {CONSOLE_USER}
pool_mode = transaction
default_pool_size = {pool_size}
""")
        user = User.for_data_in(folder / "none")
        for path in (folder, users, self._ini):
            user.take(path, 0o700 if path.is_dir() else 0o600)
        # As root it refuses to be, and becomes somebody else by itself.
        self._as_user = ["-u", pwd.getpwuid(user.uid).pw_name] if os.geteuid() == 0 else []

    def start(self) -> None:
        """Returns when it takes connections."""
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [self._program, *self._as_user, self._ini], stdout=log, stderr=log, start_new_session=True
            )
        eventually(self._answers, within=10)

    def stop(self) -> None:
        """At once, whatever its clients are at."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(10)
            self._process = None

    def restart(self) -> None:
        self.stop()
        self.start()

    def tell(self, command: str) -> list[tuple[object, ...]]:
        """A command of its console."""
        address = f"postgresql://{CONSOLE_USER}:console@127.0.0.1:{self.port}/pgbouncer"
        with closing(psycopg2.connect(address)) as connection:
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute(command)
                return cursor.fetchall() if cursor.description else []

    def _answers(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, self.log.read_text()
        try:
            self.tell("SHOW VERSION")
        except psycopg2.OperationalError:
            return False
        return True


@contextmanager
def pooled(program: str, url: str, *, pool_size: int) -> Iterator[PgBouncer]:
    with tempfile.TemporaryDirectory(prefix="pgbouncer-") as folder:
        bouncer = PgBouncer(program, Path(folder), url, pool_size)
        try:
            bouncer.start()
            yield bouncer
        finally:
            bouncer.stop()
