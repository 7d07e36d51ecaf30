"""Load of every kind, on and on, with an account of what callers were told and of what was acknowledged to them."""

import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from math import inf
from threading import Event, Lock
from typing import Any, cast
from uuid import uuid4

import grpc

from spatial.v1 import write_pb2 as write
from tests.calls import Caller, imported
from tests.edits import facility
from tests.questions import facility as facility_asked
from tests.questions import zone
from tests.servers import refusal
from tests.situations import fetch
from tests.streams import size, whole

STREAMED = 20_000  # parcels, about 4 MB in rows
IMPORTED = 400
LAST_SECONDS = 60.0
READERS, WRITERS = 4, 4
PARCELS = f"""
TRUNCATE parcels;
INSERT INTO parcels (number, name, land_use, district_id, boundary)
SELECT n, 'Parcel ' || n, 'park', 1, ST_MakeEnvelope(n * 0.001, 20, n * 0.001 + 0.001, 20.1, 4326)
  FROM generate_series(1, {STREAMED}) n;
ANALYZE parcels;
"""


@dataclass
class Account:
    """Of one kind of call. `slowest` is the longest that any took, whatever came of it."""

    done: int = 0
    told: Counter[tuple[str, str]] = field(default_factory=Counter)
    slowest: float = 0.0


@dataclass
class Load:
    """Callers that go on until `over`. Writes and imports have ids, and each is sent until it is answered: what is
    acknowledged must be in the table, once, and nothing else."""

    caller: Caller
    id: str = field(default_factory=lambda: str(uuid4()))  # what everything written begins with
    over: Event = field(default_factory=Event)
    accounts: dict[str, Account] = field(default_factory=dict)
    names: list[str] = field(default_factory=list)  # acknowledged
    _lock: Lock = field(default_factory=Lock)

    @property
    def told(self) -> set[tuple[str, str]]:
        """Codes and reasons of all refusals."""
        return {told for account in self.accounts.values() for told in account.told}

    def all_served_again(self, times: int = 2) -> Callable[[], bool]:
        """Whether every kind of call has been answered well so often since now."""
        goals = {kind: account.done + times for kind, account in self.accounts.items()}
        return lambda: all(self.accounts[kind].done >= goal for kind, goal in goals.items())

    def work(self, kind: str, once: Callable[["Load"], None]) -> None:
        account = self.accounts[kind]
        while not self.over.is_set():
            self.attempt(account, partial(once, self))

    def attempt(self, account: Account, call: Callable[[], None]) -> bool:
        started = time.monotonic()
        told: tuple[str, str] | None = None
        try:
            call()
        except grpc.RpcError as error:
            told = code_and_reason(error)
        with self._lock:
            account.slowest = max(account.slowest, time.monotonic() - started)
            if told is None:
                account.done += 1
            else:
                account.told[told] += 1
        if told is not None:
            time.sleep(0.02)
        return told is None

    def until_answered(self, kind: str, call: Callable[[], None]) -> None:
        """Also beyond the end, so that it is known what became of it; but not for ever."""
        end = inf
        while not self.attempt(self.accounts[kind], call):
            if self.over.is_set():
                end = min(end, time.monotonic() + LAST_SECONDS)
            assert time.monotonic() < end, "it is not answered any more"
            assert not any(told[0] in ("INTERNAL", "UNKNOWN") for told in self.told), self.told


def code_and_reason(error: grpc.RpcError) -> tuple[str, str]:
    trailing: dict[str, Any] = dict(cast("Any", error.trailing_metadata() or ()))
    reason = refusal(error).reason if "grpc-status-details-bin" in trailing else ""
    return error.code().name, reason


def _read(load: Load) -> None:
    number = time.monotonic_ns() % 10 + 1
    found = load.caller.spatial.SearchIntersects(zone(number), timeout=load.caller.timeout)
    assert [each.id for each in found.features] == [str(number)]
    nearest = load.caller.spatial.SearchNearest(facility_asked(number), timeout=load.caller.timeout)
    assert [each.id for each in nearest.features] == [str(number)]


def _write(load: Load) -> None:
    name = f"{load.id}/{uuid4()}"
    request = write.CreateFeatureRequest(layer="facilities", feature=facility(name=name), request_id=str(uuid4()))
    load.until_answered("write", lambda: load.caller.features.CreateFeature(request, timeout=load.caller.timeout))
    load.names.append(name)


def _stream(load: Load) -> None:
    batches = load.caller.spatial.StreamFeatures(whole("parcels", layout="COLUMNS"), timeout=3 * load.caller.timeout)
    assert sum(map(size, batches)) == STREAMED


def _import(load: Load) -> None:
    id_ = str(uuid4())
    names: list[str | None] = [f"{load.id}/{id_}/{row}" for row in range(IMPORTED)]
    load.until_answered("import", lambda: _sent(load, names, id_))
    load.names += [name for name in names if name]


def _sent(load: Load, names: list[str | None], id_: str) -> None:
    assert imported(load.caller, names, import_id=id_).totals.inserted == IMPORTED


KINDS: dict[str, tuple[Callable[[Load], None], int]] = {
    "read": (_read, READERS),
    "write": (_write, WRITERS),
    "stream": (_stream, 1),
    "import": (_import, 1),
}


@contextmanager
def loaded(channel: grpc.Channel, timeout: float, *kinds: str) -> Iterator[Load]:
    """All kinds, unless some are named."""
    chosen = {kind: KINDS[kind] for kind in kinds or KINDS}
    load = Load(Caller(channel, timeout), accounts={kind: Account() for kind in chosen})
    with ThreadPoolExecutor(sum(count for _, count in chosen.values())) as threads:
        working = [
            threads.submit(_work, load, kind, once) for kind, (once, count) in chosen.items() for _ in range(count)
        ]
        try:
            yield load
        finally:
            load.over.set()
        for each in working:
            each.result()


def _work(load: Load, kind: str, once: Callable[[Load], None]) -> None:
    """Writes count their attempts themselves."""
    if kind in ("write", "import"):
        while not load.over.is_set():
            once(load)
    else:
        load.work(kind, once)


def assert_nothing_is_lost(url: str, load: Load) -> None:
    """Everything acknowledged is there once, and nothing else; call it when all callers have ended."""
    found = Counter(name for (name,) in fetch(url, "SELECT name FROM facilities WHERE name LIKE %s", f"{load.id}/%"))
    assert found == Counter(load.names)
