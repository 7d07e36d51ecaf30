"""The service under everything at once, for SOAK_SECONDS: it needs no more at the end than after it had warmed up.

Rounds of load with pauses between them: in a pause nothing is under way, so that what is left can be counted.
"""

import os
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from random import Random, randrange
from statistics import median
from threading import Event, Lock
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import grpc
import psycopg2
import pytest

from spatial.v1 import query_pb2
from tests import situations
from tests.calls import CALLS, Caller
from tests.crashes import CHANNEL, Stage, stage
from tests.outages import PARCELS, code_and_reason
from tests.proxy import Proxy, proxied
from tests.questions import fill, radius
from tests.situations import eventually
from tests.streams import whole

SECONDS = float(os.environ.get("SOAK_SECONDS") or 12)
ROUNDS = max(4, min(20, round(SECONDS / 60)))
CALLERS = 6
# Not once warmed up, and never for what a caller did right, was cancelled or was cut off.
UNEXPECTED = {"INTERNAL", "UNKNOWN", "DATA_LOSS", "UNIMPLEMENTED"}


def fetch(url: str, query: str) -> list[tuple[Any, ...]]:
    """What PostgreSQL says, as soon as it says anything: ending a session that is sending has been seen to crash 15.18,
    which then needs a moment to recover."""
    until = time.monotonic() + 60
    while True:
        try:
            return situations.fetch(url, query)
        except psycopg2.OperationalError:
            if time.monotonic() > until:
                raise
        time.sleep(0.2)


class Needs(NamedTuple):
    """What a process has at a moment."""

    resident: float  # MiB
    descriptors: int
    threads: int
    connections: int  # to PostgreSQL

    @classmethod
    def of(cls, pid: int, url: str) -> "Needs":
        process = Path(f"/proc/{pid}")
        status = dict(line.split(":", 1) for line in (process / "status").read_text().splitlines())
        ours = "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'spatial-service/%'"
        return cls(
            int(status["VmRSS"].split()[0]) / 1024,
            len(list((process / "fd").iterdir())),
            int(status["Threads"]),
            int(fetch(url, ours)[0][0]),
        )


@dataclass
class Soak:
    """`told` counts what became of calls, by code and reason; those that were left or cut off are no failures."""

    address: str
    proxy: Proxy
    url: str
    told: Counter[tuple[str, str]] = field(default_factory=Counter)
    lock: Lock = field(default_factory=Lock)

    def run(self, seconds: float, seed: int) -> None:
        over = Event()
        randoms = [Random(seed + number) for number in range(CALLERS + 1)]
        with ThreadPoolExecutor(CALLERS + 1) as threads:
            working = [threads.submit(self._call_on_and_on, over, random) for random in randoms[1:]]
            working.append(threads.submit(self._cut_on_and_on, over, randoms[0]))
            over.wait(seconds)
            over.set()
            for each in working:
                each.result()

    def _call_on_and_on(self, over: Event, random: Random) -> None:
        """A few calls over each connection; the next is a new one. Some go over the proxy, which cuts them off."""
        while not over.is_set():
            cut = random.random() < 0.3
            address = f"127.0.0.1:{self.proxy.port}" if cut else self.address
            with grpc.insecure_channel(address, CHANNEL) as channel:
                for _ in range(random.randrange(1, 40)):
                    if over.is_set():
                        break
                    self._call(Caller(channel), random, cut=cut)

    def _call(self, caller: Caller, random: Random, *, cut: bool) -> None:
        how = random.choices([_ask, _be_refused, _leave, _leave_a_stream], [12, 2, 2, 1])[0]
        told = ("OK", "")
        try:
            how(caller, random)
        except grpc.RpcError as error:
            told = code_and_reason(error)
        except AssertionError:
            if not cut:  # what was cut off may have left half of its work behind
                raise
        with self.lock:
            self.told[("cut", "") if cut and told[0] == "UNAVAILABLE" else told] += 1

    def _cut_on_and_on(self, over: Event, random: Random) -> None:
        """Connections of callers, and now and then one of PostgreSQL's sessions."""
        while not over.wait(random.uniform(0.2, 1.0)):
            self.proxy.cut_all()
            if random.random() < 0.2:
                ours = "application_name LIKE 'spatial-service/%' AND pid <> pg_backend_pid()"
                fetch(
                    self.url,
                    f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {ours} ORDER BY random() LIMIT 1",
                )


def _ask(caller: Caller, random: Random) -> None:
    CALLS[random.choice(list(CALLS))](caller)


REFUSED: list[Callable[[Caller], object]] = [
    lambda caller: caller.spatial.SearchRadius(radius(meters=-1), timeout=10),
    lambda caller: caller.spatial.SearchRadius(radius("rivers"), timeout=10),
    lambda caller: list(caller.spatial.StreamFeatures(whole("rivers"), timeout=10)),
    lambda caller: caller.spatial.SearchNearest(query_pb2.SearchNearestRequest(), timeout=10),
    lambda caller: caller.spatial.SearchRadius(radius(meters=2e6), timeout=0.001),
]


def _be_refused(caller: Caller, random: Random) -> None:
    random.choice(REFUSED)(caller)


def _leave(caller: Caller, random: Random) -> None:
    leaving = caller.spatial.SearchRadius.future(radius(meters=random.choice([1000, 2e6])), timeout=10)
    time.sleep(random.uniform(0, 0.01))  # spreads the moments; no outcome depends on it
    leaving.cancel()


def _leave_a_stream(caller: Caller, random: Random) -> None:
    request = whole("parcels", layout=random.choice(["ROWS", "COLUMNS", "ARROW"]))
    batches = caller.spatial.StreamFeatures(request, timeout=10)
    next(batches)
    batches.cancel()


@pytest.fixture(scope="module")
def staged() -> Iterator[Stage]:
    with stage(max_connection_age=0) as staged:
        fill(staged.url)
        fetch(staged.url, PARCELS)
        yield staged


def quiet(staged: Stage) -> Callable[[], bool]:
    """Whether neither callers nor statements are left."""
    active = "application_name LIKE 'spatial-service/%' AND state <> 'idle'"
    callers = f"{staged.service.port:04X}"

    def check() -> bool:
        established = [
            line
            for line in Path("/proc/net/tcp").read_text().splitlines()[1:]
            if line.split()[1].endswith(f":{callers}") and line.split()[3] == "01"
        ]
        control = "query LIKE '%alembic_version%' OR query LIKE '%spatial_requests%'"
        statements = fetch(staged.url, f"SELECT FROM pg_stat_activity WHERE {active} AND NOT ({control})")
        return not established and not statements

    return check


def test_nothing_grows_under_everything_at_once(staged: Stage) -> None:
    seed = int(os.environ.get("SEED") or randrange(10**6))
    print(f"\nSEED={seed} SOAK_SECONDS={SECONDS:g}")
    port = staged.service.port
    pid = staged.service.pid
    needs: list[Needs] = []
    parts = urlsplit(staged.url)
    with proxied(f"grpc://{parts.username}:none@127.0.0.1:{port}") as proxy:
        soak = Soak(f"127.0.0.1:{port}", proxy, staged.url)
        for number in range(ROUNDS):
            soak.run(SECONDS / ROUNDS, seed + 100 * number)
            eventually(quiet(staged), within=60)
            needs.append(Needs.of(pid, staged.url))
            print(f"{(number + 1) * SECONDS / ROUNDS:6.0f} s  {sum(soak.told.values()):7d} calls  {needs[-1]}")
    print(dict(soak.told))

    assert not {code for code, _ in soak.told} & UNEXPECTED
    assert soak.told["OK", ""] > sum(soak.told.values()) / 2
    assert {"INVALID_ARGUMENT", "NOT_FOUND", "cut"} <= {code for code, _ in soak.told}
    warm, late = needs[1 : 1 + len(needs) // 2], needs[-max(1, len(needs) // 4) :]
    assert max(each.threads for each in late) <= max(each.threads for each in warm) + 6
    assert max(each.descriptors for each in late) <= max(each.descriptors for each in warm) + 8
    assert max(each.connections for each in needs) <= 6 + 8 + 8 + 3
    # What libraries learn and keep comes to an end: half of an hour at most is spent on learning.
    allowed = 1.05 if SECONDS >= 600 else 1.25
    assert median(each.resident for each in late) <= allowed * median(each.resident for each in warm)
