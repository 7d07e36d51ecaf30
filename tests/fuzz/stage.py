"""A server of everything that tests have tables for, and what must still be so when its callers have gone."""

import re
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread
from typing import NamedTuple

import grpc

from service.embedded import EmbeddedPostgres
from tests import awkward, questions
from tests.fuzz.caller import Fault
from tests.processes import Serving, health, spatial_serve
from tests.situations import eventually, fetch

# All that can be written is: what PostgreSQL refuses of it is to be refused well.
LAYERS = """
models: true
layers:
  - {table: "public.*", writable: true}
  - {table: "gis.*", writable: true}
  - {table: '"Straße 1.a".*', writable: true}
"""
OURS = "application_name LIKE 'spatial-service/%'"
SETTINGS = {
    "workers": "1",
    "max_connection_age": "0",
    "adaptive_limit": "false",
    "import_patience": "0.5",
    "log_rate": "0",
    "admin": "true",
}
# A backend that crashes takes all others with it; PostgreSQL then goes on without a word to whoever asks later.
_CRASHED = re.compile(
    r"PANIC|was terminated by signal|crash of another server process|database system was not properly"
)
_IN_USE = re.compile(r'^spatial_pool_connections\{pool="(\w+)",state="in_use"\} (\S+)$', re.MULTILINE)
_RUNNING = re.compile(r"^spatial_(?:calls|streams|imports)_in_flight (\S+)$", re.MULTILINE)
HEALTH_SECONDS = 0.1
# An event loop that one request keeps so long from all others is a fault, also on a machine with much to do.
MOST_SILENT = 10.0
SETTLED_WITHIN = 30.0


class Needs(NamedTuple):
    resident: float  # MiB
    threads: int
    descriptors: int

    @classmethod
    def of(cls, pid: int) -> "Needs":
        status = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
        return cls(
            int(status["VmRSS"].split()[0]) / 1024, int(status["Threads"]), len(list(Path(f"/proc/{pid}/fd").iterdir()))
        )


def prepare(url: str) -> None:
    """Everything into a migrated database."""
    questions.fill(url)
    awkward.make(url)


def restore(url: str) -> None:
    """The shipped layers as they were, however much of them was deleted."""
    fetch(url, "TRUNCATE facilities, zones, districts, parcels RESTART IDENTITY CASCADE")
    questions.fill(url)


class Stage:
    """`told` counts how calls ended."""

    def __init__(self, cluster: EmbeddedPostgres, url: str, serving: Serving, channel: grpc.Channel) -> None:
        self.url = url
        self.channel = channel
        self.told: Counter[str] = Counter()
        self.silent = 0.0
        self._cluster = cluster
        self._serving = serving
        self._log = cluster.home / "log"
        self._log_begins = self._log.stat().st_size
        self._started = fetch(url, "SELECT pg_postmaster_start_time()")
        self._lines = len(serving.lines)
        self.before: Needs | None = None

    @property
    def pid(self) -> int:
        return self._serving.process.pid

    def warm(self) -> None:
        """What the server needs once it has done everything once."""
        self.before = Needs.of(self.pid)

    def check_alive(self) -> None:
        if self._serving.process.poll() is not None:
            raise Fault(f"the server ended with {self._serving.process.returncode}: {self._serving.rest[-20:]}")
        if self.silent > MOST_SILENT:
            silent, self.silent = self.silent, 0.0
            raise Fault(f"the server's health was not to be had for {silent:.1f} s")

    def check_idle(self) -> None:
        """Nothing goes on once its caller has gone: neither calls nor statements, and no connection is kept."""
        try:
            eventually(lambda: not self._at_work(), within=SETTLED_WITHIN)
        except AssertionError:
            raise Fault(f"still at work: {self._at_work()}") from None

    def _at_work(self) -> list[object]:
        page = self._serving.page()
        kept = [found for found in _IN_USE.findall(page) if float(found[1])]
        running = [found for found in _RUNNING.findall(page) if float(found)]
        state = f"SELECT application_name, state, query FROM pg_stat_activity WHERE {OURS} AND state <> 'idle'"
        quick = " AND (now() - xact_start > interval '1 s' OR state LIKE 'idle in%')"  # readiness looks all the time
        return [*kept, *running, *fetch(self.url, state + quick)]

    def check_sound(self) -> None:
        """At the end of a run."""
        self.check_alive()
        self.check_idle()
        if health(self.channel) != "SERVING":
            raise Fault("the server is no longer ready")
        self._check_postgres()
        self.check_log()
        self._check_needs()

    def _check_postgres(self) -> None:
        with self._log.open(errors="replace") as log:
            log.seek(self._log_begins)
            if crashed := [line for line in log if _CRASHED.search(line)]:
                raise Fault(f"PostgreSQL crashed: {crashed[:5]}")
        if fetch(self.url, "SELECT pg_postmaster_start_time()") != self._started:
            raise Fault("PostgreSQL was started again")

    def last_error(self) -> str:
        """What the log says of it: what it says of an earlier one, where the line is not there yet."""
        return "\n".join(str(line.get("exception", line)) for line in self._serving.lines if line["level"] == "error")[
            -3000:
        ]

    def forget_log(self) -> None:
        """What was said of failures that are known."""
        self._lines = len(self._serving.lines)
        self._serving.rest.clear()

    def check_log(self) -> None:
        """Lines that tell of a bug: each is told once."""
        lines, self._lines = self._serving.lines[self._lines :], len(self._serving.lines)
        rest, self._serving.rest[:] = list(self._serving.rest), []
        if bad := [line for line in lines if line["level"] in ("error", "critical")]:
            raise Fault(f"the log tells of {len(bad)} errors, the first: {bad[0]}")
        if rest:
            raise Fault("written beside the log: " + "\n".join(rest[:40]))

    def _check_needs(self) -> None:
        if self.before is None:
            return
        now = Needs.of(self.pid)
        # Threads that hold connections stay; those of a call do not.
        if now.threads > self.before.threads + 24 or now.descriptors > self.before.descriptors + 40:
            raise Fault(f"from {self.before} to {now}")
        if now.resident > self.before.resident * 2 + 200:
            raise Fault(f"from {self.before} to {now}")

    def watch(self, over: Event) -> None:
        """Asks for health all the time, and notes the longest that it took."""
        with grpc.insecure_channel(self._serving.address) as channel:
            while not over.wait(HEALTH_SECONDS):
                began = time.monotonic()
                try:
                    health(channel)
                except grpc.RpcError as error:
                    if over.is_set() or self._serving.process.poll() is not None:
                        return
                    self.told[f"health: {error.code().name}"] += 1
                self.silent = max(self.silent, time.monotonic() - began)


@contextmanager
def staged(cluster: EmbeddedPostgres, url: str, folder: Path) -> Iterator[Stage]:
    """A server over a database that is prepared; `folder` is for its file of layers."""
    layers = folder / "layers.yaml"
    layers.write_text(LAYERS)
    over = Event()
    with (
        spatial_serve(database_url=url, layers=str(layers), **SETTINGS) as serving,
        grpc.insecure_channel(serving.address, [("grpc.max_receive_message_length", -1)]) as channel,
    ):
        eventually(lambda: health(channel) == "SERVING", within=60)
        stage = Stage(cluster, url, serving, channel)
        watching = Thread(target=stage.watch, args=(over,))
        watching.start()
        try:
            yield stage
        finally:
            over.set()
            watching.join(20)
