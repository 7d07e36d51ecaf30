"""Where this machine's PostgreSQL with PostGIS is, and which user may run it."""

import os
import pwd
import re
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Self

DEBIAN = Path("/usr/lib/postgresql")
PACKAGES = "postgresql-15 and postgresql-15-postgis-3"


class PostgresError(RuntimeError):
    """PostgreSQL is missing, or would not do what was asked; the message says what to do about it."""


def find_programs(version: str | None = None) -> Path:
    """The folder of the newest PostgreSQL that has PostGIS; of `version` ("15") where data of that version exist."""
    seen = [folder for folder in _candidates() if (folder / "initdb").is_file()]
    for folder in seen:
        if _has_postgis(folder) and version in (None, _version(folder)):
            return folder
    wanted = f"PostgreSQL {version}, which made the data here," if version else "PostgreSQL"
    found = f" (without PostGIS or of another version: {', '.join(map(str, seen))})" if seen else ""
    raise PostgresError(f"no {wanted} with PostGIS found{found}; on Debian install the packages {PACKAGES}")


def _candidates() -> Iterator[Path]:
    versions = [folder for folder in DEBIAN.glob("*/bin") if re.fullmatch(r"\d+", folder.parent.name)]
    yield from sorted(versions, key=lambda folder: int(folder.parent.name), reverse=True)
    if shutil.which("pg_config"):
        yield Path(_ask(Path("pg_config"), "--bindir"))
    if on_path := shutil.which("postgres"):
        yield Path(on_path).resolve().parent


def _has_postgis(programs: Path) -> bool:
    config = programs / "pg_config"
    return config.is_file() and (Path(_ask(config, "--sharedir")) / "extension/postgis.control").is_file()


def _version(programs: Path) -> str:
    return _ask(programs / "postgres", "--version").split()[2].partition(".")[0]


def _ask(program: Path, question: str) -> str:
    return subprocess.run([program, question], check=True, capture_output=True, text=True).stdout.strip()


@dataclass(frozen=True)
class User:
    """Who runs the server's processes; PostgreSQL refuses to be root."""

    uid: int
    gid: int

    @classmethod
    def for_data_in(cls, home: Path) -> Self:
        """Ourselves; for root, whoever owns the data that are there already, else `postgres`, else `nobody`."""
        if os.geteuid() != 0:
            return cls(os.geteuid(), os.getegid())
        if home.exists() and (owner := home.stat()).st_uid != 0:
            return cls(owner.st_uid, owner.st_gid)
        for name in ("postgres", "nobody"):
            try:
                entry = pwd.getpwnam(name)
            except KeyError:
                continue
            return cls(entry.pw_uid, entry.pw_gid)
        raise PostgresError("PostgreSQL must not run as root, and there is neither a user postgres nor a user nobody")

    def run(self, *command: str | Path, stdin: str = "") -> subprocess.CompletedProcess[str]:
        """Run a command as this user, to its end."""
        return subprocess.run(self._own(command), input=stdin, capture_output=True, text=True, check=False, cwd="/")

    def must(self, *command: str | Path, stdin: str = "") -> None:
        done = self.run(*command, stdin=stdin)
        if done.returncode != 0:
            raise PostgresError(f"{command[0]} failed:\n{done.stderr or done.stdout}")

    def start(
        self, *command: str | Path, stdin: int = subprocess.DEVNULL, output: IO[bytes] | None = None, keep: int = -1
    ) -> subprocess.Popen[bytes]:
        """Start a command as this user; `keep` is a file descriptor that it holds open too.

        In a session of its own, out of reach of the terminal's Ctrl-C: its owner stops it in order.
        """
        return subprocess.Popen(
            self._own(command),
            stdin=stdin,
            stdout=output or subprocess.DEVNULL,
            stderr=subprocess.STDOUT,
            cwd="/",
            start_new_session=True,
            pass_fds=[keep] if keep >= 0 else [],
        )

    def can_enter(self, folder: Path) -> bool:
        """Whether this user may use what lies in `folder`, its parents included."""
        return self.run("test", "-x", folder).returncode == 0

    def take(self, path: Path, mode: int) -> None:
        """Make a file or folder this user's."""
        path.chmod(mode)
        os.chown(path, self.uid, self.gid)

    def _own(self, command: Sequence[str | Path]) -> list[str | Path]:
        """The command with what makes it this user's. subprocess could do that, but by a real fork, which a process
        with gRPC's threads does not always survive; without it Python forks in the way that is safe."""
        if os.geteuid() != 0:
            return [*command]
        return ["setpriv", f"--reuid={self.uid}", f"--regid={self.gid}", "--clear-groups", "--", *command]
