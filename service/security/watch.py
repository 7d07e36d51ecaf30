"""Files that are read again when they change. Kubernetes replaces them by swapping the folder that a link points to, so
what is looked at is the file behind all links."""

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from threading import Event, Thread

from service.security.errors import SecurityProblem

log = logging.getLogger("spatial.security")

LOOK_SECONDS = 1.0
Stamp = tuple[tuple[int, int, int] | None, ...]


class Watch:
    """A thread that looks once a second. What cannot be used is logged, and what there was before stays."""

    def __init__(self) -> None:
        self._watched: list[_Watched] = []
        self._closed = Event()
        self._thread = Thread(target=self._run, name="security-files", daemon=True)

    def add(self, paths: Sequence[Path], read: Callable[[], None]) -> None:
        """Calls `read` now, which may raise SecurityProblem, and after each change."""
        watched = _Watched(paths, read)
        watched.stamp = watched.now()
        read()
        self._watched.append(watched)

    def start(self) -> None:
        if self._watched:
            self._thread.start()

    def close(self) -> None:
        self._closed.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        while not self._closed.wait(LOOK_SECONDS):
            for each in self._watched:
                each.look()


class _Watched:
    def __init__(self, paths: Sequence[Path], read: Callable[[], None]) -> None:
        self._paths = paths
        self._read = read
        self.stamp: Stamp = ()

    def now(self) -> Stamp:
        return tuple(_stamp(path) for path in self._paths)

    def look(self) -> None:
        # Before the file is read: one that changes meanwhile is read once more.
        stamp = self.now()
        if stamp == self.stamp:
            return
        self.stamp = stamp
        names = ", ".join(map(str, self._paths))
        try:
            self._read()
        except SecurityProblem as problem:
            log.error("%s changed and cannot be used, so what was read before stays: %s", names, problem)
        else:
            log.info("%s changed and was read again", names)


def _stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


def contents(path: Path, setting: str) -> bytes:
    """Of a file that a setting names."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise SecurityProblem(f"{setting}: {path}: {error.strerror}") from None
