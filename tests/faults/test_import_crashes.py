"""Imports while the service and PostgreSQL crash and connections break: every row is in once, however often sent.

Some rows are bad, so that totals tell of them, too.
"""

import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from itertools import count
from random import Random
from threading import Event
from typing import Any
from uuid import uuid4

import grpc
import pytest

from service.changes import Totals
from service.errors import Aborted, Unavailable
from spatial.v1 import feature_pb2, write_pb2, write_pb2_grpc
from tests.conftest import NewDatabase
from tests.crashes import Crashes, Stage, stage
from tests.imports import LAYERS, facilities, importer, plan, point
from tests.proxy import proxied
from tests.situations import fetch

ROWS, MESSAGE, BAD = 3000, 200, 97  # of an import; of a message; every so many rows one is refused
INSERTED = ROWS - len(range(0, ROWS, BAD))
MOST_ROUNDS = 50  # on a machine so busy that cuts hit nothing
_PASSING = ("UNAVAILABLE", "ABORTED", "RESOURCE_EXHAUSTED")


def name(import_: str, row: int) -> str:
    return f"{import_}/{row}"


def columns(import_: str, first: int, end: int) -> feature_pb2.FeatureColumns:
    rows = range(first, end)
    names = feature_pb2.Column(
        name="name",
        strings=feature_pb2.StringValues(values=[name(import_, row) for row in rows]),
        null_rows=[place for place, row in enumerate(rows) if row % BAD == 0],
    )
    kinds = feature_pb2.Column(name="kind", strings=feature_pb2.StringValues(values=["test"] * len(rows)))
    return feature_pb2.FeatureColumns(
        count=len(rows), wkb=[point(row % 180, row % 90) for row in rows], properties=[names, kinds]
    )


def requests(import_: str, first: int) -> Iterator[write_pb2.ImportFeaturesRequest]:
    """From a row on; the plan is the same whatever the row."""
    asked = write_pb2.ImportPlan(layer="facilities", import_id=import_, max_rejections=2)
    yield write_pb2.ImportFeaturesRequest(plan=asked)
    for start in range(first, ROWS, MESSAGE):
        end = min(start + MESSAGE, ROWS)
        yield write_pb2.ImportFeaturesRequest(columns=columns(import_, start, end), first_row=start)


@dataclass
class Caller:
    """Imports again and again, each time until it is told that all is in, beginning where the ledger or its own memory
    says, or at the first row."""

    stub: Any
    random: Random
    over: Event
    acknowledged: dict[str, write_pb2.ImportFeaturesResponse] = field(default_factory=dict)
    calls: int = 0

    def work(self) -> None:
        while not self.over.is_set():
            import_ = str(uuid4())
            self.acknowledged[import_] = self._imported(import_)

    def _imported(self, import_: str) -> write_pb2.ImportFeaturesResponse:
        for attempt in count():
            try:
                first = self._known(import_) if attempt and self.random.random() < 0.7 else 0
                self.calls += 1
                answer: write_pb2.ImportFeaturesResponse = self.stub.ImportFeatures(
                    requests(import_, first), timeout=30
                )
                return answer
            except grpc.RpcError as error:
                if error.code().name not in _PASSING:
                    raise
                time.sleep(0.02)
        raise AssertionError

    def _known(self, import_: str) -> int:
        """How far it is, by the ledger."""
        try:
            found = self.stub.GetImport(write_pb2.GetImportRequest(import_id=import_), timeout=10)
        except grpc.RpcError as error:
            if error.code() is grpc.StatusCode.NOT_FOUND:
                return 0
            raise
        return int(found.totals.rows)


@pytest.fixture(scope="module")
def staged() -> Iterator[Stage]:
    # A service that is up finds the database again by itself; half of it is left to callers.
    with stage(import_patience=2.0) as staged:
        yield staged


def test_every_row_is_in_once_through_crashes_of_the_service_and_of_postgresql(staged: Stage, crashes: Crashes) -> None:
    over = Event()
    with staged.service.channel() as channel, ThreadPoolExecutor(2) as threads:
        stub = write_pb2_grpc.FeatureServiceStub(channel)
        callers = [Caller(stub, Random(crashes.random.random()), over) for _ in range(2)]
        working = [threads.submit(caller.work) for caller in callers]
        try:
            for _ in range(crashes.rounds):
                over.wait(crashes.random.uniform(0.02, 0.5))
                staged.crash(crashes.random)
        finally:
            over.set()
        for each in working:
            each.result()

    acknowledged = {key: answer for caller in callers for key, answer in caller.acknowledged.items()}
    assert sum(caller.calls for caller in callers) > len(acknowledged), "no crash hit an import"
    expected = Counter(name(import_, row) for import_ in acknowledged for row in range(ROWS) if row % BAD)
    assert Counter(each for (each,) in fetch(staged.url, "SELECT name FROM facilities")) == expected
    for answer in acknowledged.values():
        totals = answer.totals
        assert (totals.rows, totals.inserted, totals.rejected) == (ROWS, INSERTED, ROWS - INSERTED)
        assert [each.row for each in answer.rejections] == [0, BAD]
    assert fetch(staged.url, "SELECT count(*) FROM spatial_imports WHERE complete") == [(len(acknowledged),)]


@pytest.mark.parametrize("mode", ["INSERT", "UPSERT"])
def test_every_row_is_in_once_though_connections_break(new_database: NewDatabase, crashes: Crashes, mode: str) -> None:
    """At any moment, that of a COMMIT included: then nobody knows what became of it, and the import finds out."""
    retries = rounds = 0
    with new_database() as url, proxied(url) as proxy, ThreadPoolExecutor(1) as threads:
        fetch(url, "CREATE TABLE log (name text); " + LOG)
        while rounds < crashes.rounds // 2 or (not retries and rounds < MOST_ROUNDS):
            rounds += 1
            fetch(url, "TRUNCATE facilities, log")
            over = Event()
            cutting = threads.submit(cut_a_few_times, proxy, crashes.random.random(), over)
            try:
                totals = imported(proxy.url, mode)
            finally:
                over.set()
            cutting.result()
            retries += totals.retries
            assert totals == Totals(2000, 2000, 0, 0, totals.chunks, totals.retries)
            assert fetch(url, "SELECT count(*), count(DISTINCT name) FROM log") == [(2000, 2000)]
            assert fetch(url, "SELECT count(*) FROM facilities") == [(2000,)]
    assert retries


LOG = """
CREATE FUNCTION log() RETURNS trigger LANGUAGE plpgsql AS
  $$ BEGIN INSERT INTO log VALUES (NEW.name); RETURN NULL; END $$;
CREATE TRIGGER log AFTER INSERT OR UPDATE ON facilities FOR EACH ROW EXECUTE FUNCTION log()
"""


def cut_a_few_times(proxy: Any, seed: float, over: Event) -> None:
    random = Random(seed)
    for _ in range(3):
        if over.wait(random.uniform(0.02, 0.2)):
            return
        proxy.cut_all()


def imported(url: str, mode: str) -> Totals:
    """With keys, in chunks as small as they get; begun anew as often as beginning fails."""
    asked = plan(mode=mode)
    with importer(url, pool_timeout=5.0) as made:
        while True:
            try:
                progress = made.begin(asked, LAYERS["facilities"])
                break
            except (Aborted, Unavailable):  # nothing has been begun, so that nothing is tried again
                time.sleep(0.02)
        with progress:
            progress.importing._size.rows = 100
            for first in range(0, 2000, 100):
                made.write(progress, replace(facilities(100, first), keys=[str(first + row + 1) for row in range(100)]))
            return made.finish(progress).totals
