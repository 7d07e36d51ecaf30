"""Where an issuer's keys come from: a file, or an address that they are fetched from again and again."""

import logging
from collections.abc import Callable
from pathlib import Path
from threading import Condition, Event, Thread
from time import monotonic
from typing import Protocol
from urllib.request import Request, urlopen

from service.security.errors import SecurityProblem
from service.security.keys import KeySet, read_key_set
from service.security.watch import Watch, contents

log = logging.getLogger("spatial.security")

REFRESH_SECONDS = 300.0
LEAST_SECONDS = 5.0  # between two fetches, however many unknown keys are asked for
FETCH_SECONDS = 5.0
ANSWER_SECONDS = 0.25  # in which an issuer answers, as a rule
FIRST_SECONDS = 2.0  # that a server waits for keys before it serves
MOST_BYTES = 1024 * 1024
MOST_UNKNOWN = 1000


class Keys(Protocol):
    """`current` is replaced as a whole. `unknown` hears of a key that is not there, and says after how many seconds it
    may be; None if it is known not to be."""

    current: KeySet

    def unknown(self, id_: str | None) -> float | None: ...


class FileKeys:
    def __init__(self, path: Path, watch: Watch) -> None:
        self._path = path
        self.current = KeySet()
        watch.add([path], self._read)

    def unknown(self, id_: str | None) -> float | None:
        return None

    def _read(self) -> None:
        try:
            self.current = read_key_set(contents(self._path, "SPATIAL_JWKS"))
        except SecurityProblem as problem:
            raise SecurityProblem(f"SPATIAL_JWKS: {self._path}: {problem}") from None


class FetchedKeys:
    """A thread fetches: at once, every few minutes, and when a key is asked for that is not there, but never more than
    once in LEAST_SECONDS. While the issuer is away the keys stay as they are."""

    def __init__(self, url: str, told: Callable[[bool], None]) -> None:
        """`told` hears whether a fetch succeeded."""
        self._url = url
        self._told = told
        self.current = KeySet()
        self._asked_for: set[str | None] = set()
        self._missing: frozenset[str | None] = frozenset()
        self._fetched = Event()
        self._started = 0.0
        self._wanted = False
        self._closed = False
        self._changed = Condition()
        self._thread = Thread(target=self._run, name="security-keys", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def wait(self) -> None:
        """For the first fetch to end, though not for ever; it blocks."""
        self._fetched.wait(FIRST_SECONDS)

    def close(self) -> None:
        """Does not wait: a fetch may be under way."""
        with self._changed:
            self._closed = True
            self._changed.notify()

    def unknown(self, id_: str | None) -> float | None:
        if id_ in self._missing:
            return None
        with self._changed:
            if len(self._asked_for) < MOST_UNKNOWN:
                self._asked_for.add(id_)
            self._wanted = True
            self._changed.notify()
        return max(0.0, self._started + LEAST_SECONDS - monotonic()) + ANSWER_SECONDS

    def _run(self) -> None:
        while True:
            self._started = monotonic()
            with self._changed:
                self._wanted, asked_for = False, frozenset(self._asked_for)
                self._asked_for.clear()
            succeeded = self._fetch()
            if succeeded:
                self._missing = asked_for - {key.id for key in self.current.keys}
            self._told(succeeded)
            self._fetched.set()
            if not self._sleep(REFRESH_SECONDS if succeeded else LEAST_SECONDS):
                return

    def _sleep(self, seconds: float) -> bool:
        """Until the next fetch; False where there is to be none."""
        with self._changed:
            self._changed.wait_for(lambda: self._wanted or self._closed, timeout=seconds)
            rest = self._started + LEAST_SECONDS - monotonic()
            self._changed.wait_for(lambda: self._closed, timeout=max(0.0, rest))
            return not self._closed

    def _fetch(self) -> bool:
        try:
            with urlopen(Request(self._url, headers={"Accept": "application/json"}), timeout=FETCH_SECONDS) as answer:  # noqa: S310 - its scheme was checked
                self.current = read_key_set(answer.read(MOST_BYTES))
        except (OSError, ValueError, SecurityProblem) as error:
            kept = "what was fetched before stays" if self.current.keys else "no token can be checked"
            log.warning("the keys of SPATIAL_JWKS could not be fetched, so %s: %s", kept, error)
            return False
        return True
