"""A cluster with a tablespace on a disk of a few megabytes, which can be filled up and cleared again.

The disk is a tmpfs in a mount namespace of its own, and so is the cluster: it runs in a process that was started there,
which this module is, too (`python -m tests.small_disk FOLDER`). That takes root, or a kernel that lets users have
namespaces.
"""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from errno import ENOSPC
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from tests.clusters import PREPARED, throw_away
from tests.crashes import SETTINGS

MEGABYTES = 24
_MOUNT = f'mount -t tmpfs -o size={MEGABYTES}m,mode=0755 tmpfs "$1"'
_RUN = f'"{sys.executable}" -m tests.small_disk "$1"'


class NoDisk(Exception):
    """This machine lets nobody mount anything here."""


class SmallDisk:
    """`url` is the cluster's database, in which the tablespace is called `small`."""

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self.url = ""

    def __enter__(self) -> Self:
        command = ["unshare", "--mount", "--propagation", "private"]
        script = f"{_MOUNT} && exec {_RUN}"
        if os.geteuid() != 0:
            command.append("--map-root-user")
            own = f"unshare --user --map-user={os.geteuid()} --map-group={os.getegid()}"
            script = f"{_MOUNT} && exec {own} {_RUN}"
        self._process = subprocess.Popen(
            [*command, "sh", "-c", script, "sh", self._folder],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.url = self._answer()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._process.communicate(timeout=60)

    @contextmanager
    def full(self) -> Iterator[None]:
        """There is no room until the block ends."""
        self._tell("fill")
        try:
            yield
        finally:
            self._tell("clear")

    def _tell(self, word: str) -> None:
        _pipe(self._process.stdin).write(f"{word}\n")
        _pipe(self._process.stdin).flush()
        assert self._answer() == word

    def _answer(self) -> str:
        answer = _pipe(self._process.stdout).readline().strip()
        if not answer:
            raise NoDisk(self._process.communicate(timeout=60)[1].strip())
        return answer


def _pipe(pipe: IO[str] | None) -> IO[str]:
    assert pipe is not None
    return pipe


@contextmanager
def small_disk() -> Iterator[SmallDisk]:
    """NoDisk where this machine does not allow it."""
    with tempfile.TemporaryDirectory(prefix="disk-") as folder:
        Path(folder).chmod(0o711)
        with SmallDisk(folder) as disk:
            yield disk


def main(folder: Path) -> None:
    """Inside: says the URL, and then does what it is told, until nobody is there any more."""
    ballast = folder / "ballast"
    with throw_away(SETTINGS, PREPARED) as cluster:
        space = folder / "space"
        space.mkdir(mode=0o700)
        owner = cluster.home.stat()
        os.chown(space, owner.st_uid, owner.st_gid)
        cluster_url = cluster.url
        _make(cluster_url, space)
        print(cluster_url, flush=True)
        for line in sys.stdin:
            _fill(ballast) if line.strip() == "fill" else ballast.unlink()
            print(line.strip(), flush=True)


def _make(url: str, space: Path) -> None:
    from tests.situations import fetch

    fetch(url, f"CREATE TABLESPACE small LOCATION '{space}'")


def _fill(ballast: Path) -> None:
    with ballast.open("wb", buffering=0) as file:
        size = 1 << 20
        while size:
            try:
                file.write(bytes(size))
            except OSError as error:
                if error.errno != ENOSPC:
                    raise
                size //= 2


if __name__ == "__main__":
    main(Path(sys.argv[1]))
