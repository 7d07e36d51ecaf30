"""The folder of a private cluster: who may use it, and what lies in it."""

import fcntl
import os
import secrets
import shutil
import tempfile
import time
from pathlib import Path
from typing import IO

from service.postgres import processes
from service.postgres.programs import PostgresError, User, find_programs

USER = DATABASE = "spatial"
LOCK_SECONDS = 5.0


class Home:
    """`directory`/postgres: data, password, log and socket; a link if the server's user cannot enter `directory`."""

    def __init__(self, directory: Path) -> None:
        self._lock_file = directory / "postgres.lock"
        self._lock: IO[str] | None = None
        self.path = directory / "postgres"
        self.user = User.for_data_in(self.path)

    @property
    def _real(self) -> Path:
        """What the server's user is told: it may not be able to follow the link."""
        return self.path.resolve()

    @property
    def data(self) -> Path:
        return self._real / "data"

    @property
    def log(self) -> Path:
        return self.path / "log"

    @property
    def password(self) -> str:
        return (self.path / "password").read_text()

    @property
    def is_locked(self) -> bool:
        return self._lock is not None

    @property
    def lock_descriptor(self) -> int:
        """For a child that must keep the folder locked beyond its parent's end."""
        return self._lock.fileno() if self._lock else -1

    def pid_file(self) -> list[str]:
        """What the running server says of itself; empty if there is none."""
        try:
            return [line.strip() for line in (self.data / "postmaster.pid").read_text().splitlines()]
        except FileNotFoundError:
            return []

    def lock(self) -> None:
        """Keep other owners out, until `unlock`; PostgresError if one is there already."""
        if self._lock:
            return
        lock = self._open_lock()
        try:
            self._wait_for(lock)
        except BaseException:
            lock.close()
            raise
        lock.truncate(0)
        print(os.getpid(), file=lock, flush=True)
        self._lock = lock

    def unlock(self) -> None:
        if self._lock:
            self._lock.close()
        self._lock = None

    def prepare(self, *, durable: bool) -> Path:
        """Make what is missing. The programs that suit the data."""
        self._make_folder()
        version = self.data / "PG_VERSION"
        programs = find_programs(version.read_text().strip() if version.exists() else None)
        self._make_password()
        for unfinished in self.path.glob("making-*"):
            shutil.rmtree(unfinished, ignore_errors=True)
        if not version.exists():
            self._make_data(programs, ["--no-sync"] if not durable else [])
        return programs

    def socket_directory(self) -> Path:
        """Where the server may put its socket; beside the data, unless that path is too long for the kernel."""
        folder = self._real / "socket"
        if processes.fits_socket(folder):
            folder.mkdir(exist_ok=True)
            self.user.take(folder, 0o700)
            return folder
        if not folder.exists():
            folder.unlink(missing_ok=True)
            folder.symlink_to(self._folder_elsewhere("/tmp"))  # noqa: S108 - random and private
        return folder.resolve()

    def remove(self) -> None:
        for path in (self.path / "socket", self.path):
            shutil.rmtree(path.resolve(), ignore_errors=True)
            path.unlink(missing_ok=True)

    def _open_lock(self) -> IO[str]:
        self._lock_file.parent.mkdir(parents=True, exist_ok=True)
        try:
            return self._lock_file.open("a+")
        except PermissionError:
            raise PostgresError(f"{self._lock_file} belongs to another user, who must run this or remove it") from None

    def _wait_for(self, lock: IO[str]) -> None:
        """A living owner keeps the folder; what a dead one left behind may take a moment to go."""
        deadline = time.monotonic() + LOCK_SECONDS
        while not _try_lock(lock):
            lock.seek(0)
            owner = lock.read().strip()
            if time.monotonic() > deadline or (owner and processes.is_alive(int(owner))):
                raise PostgresError(f"the database in {self.path} is in use by process {owner}: stop that first")
            time.sleep(processes.MOMENT)

    def _make_folder(self) -> None:
        if self.path.is_symlink() and not self.path.exists():
            self.path.unlink()
        self.user = User.for_data_in(self.path)
        if self.path.exists():
            return
        if self.user.can_enter(self.path.parent):
            self.path.mkdir()
            self.user.take(self.path, 0o700)
        else:  # a checkout below /root, say, whose parents the server's user may not enter
            self.path.symlink_to(self._folder_elsewhere("/var/tmp"))  # noqa: S108 - random and private

    def _folder_elsewhere(self, parent: str) -> Path:
        folder = Path(tempfile.mkdtemp(prefix="spatial-", dir=parent))
        self.user.take(folder, 0o700)
        return folder

    def _make_password(self) -> None:
        if (self.path / "password").exists():
            return
        draft = self.path / "password.new"
        draft.touch()
        self.user.take(draft, 0o600)
        draft.write_text(secrets.token_urlsafe(24))
        draft.rename(self.path / "password")

    def _make_data(self, programs: Path, options: list[str]) -> None:
        """Under another name until it is whole, so that a killed initdb leaves nothing that looks finished."""
        making = Path(tempfile.mkdtemp(prefix="making-", dir=self._real))
        self.user.take(making, 0o700)
        options += [f"--username={USER}", f"--pwfile={self._real / 'password'}", "--auth=scram-sha-256"]
        options += ["--encoding=UTF8", "--locale=C.UTF-8"]
        self.user.must(programs / "initdb", f"--pgdata={making}", *options)
        self.user.must(
            programs / "postgres", "--single", "-D", making, "postgres", stdin=f"CREATE DATABASE {DATABASE}\n"
        )
        making.rename(self.data)


def _try_lock(lock: IO[str]) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
