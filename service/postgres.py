"""Where this machine's PostgreSQL with PostGIS is, and which user may run it."""

import os
import pwd
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

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

    def command(self, *words: str | Path) -> list[str]:
        """These words as a command that runs as this user."""
        return [str(word) for word in words]

    def can_enter(self, folder: Path) -> bool:
        """Whether this user may use what lies below `folder`, its parents included."""
        return self.run(["test", "-x", str(folder)]).returncode == 0

    def run(self, command: list[str], **options: object) -> "subprocess.CompletedProcess[str]":
        """Run a command as this user, to its end."""
        return subprocess.run(command, text=True, capture_output=True, check=False, cwd="/", **self.identity)

    @property
    def identity(self) -> dict[str, object]:
        return {}
