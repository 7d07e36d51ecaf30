"""Single changes while the service and PostgreSQL crash: what was acknowledged is there, once, and nothing else is.

Every change that reaches a table leaves a line in a log of the database's own, in the same transaction.
"""

from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import count
from threading import Event
from typing import Any, cast
from uuid import NAMESPACE_OID, uuid5

import grpc
import pytest

from spatial.v1 import write_pb2 as write
from spatial.v1 import write_pb2_grpc
from tests.crashes import Crashes, Stage, stage
from tests.edits import facility, made
from tests.servers import refusal
from tests.situations import eventually, fetch

CALLERS = 4
ANSWERED = 3  # between two crashes, at least
_PASSING = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED)
LOG = """
CREATE TABLE log (act text, name text, kind text);
CREATE FUNCTION log() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO log VALUES (TG_OP, coalesce(NEW.name, OLD.name), coalesce(NEW.kind, 'gone'));
  RETURN NULL;
END $$;
CREATE TRIGGER log AFTER INSERT OR UPDATE OR DELETE ON facilities FOR EACH ROW EXECUTE FUNCTION log();
"""


@pytest.fixture(scope="module")
def staged() -> Iterator[Stage]:
    with stage() as staged:
        fetch(staged.url, LOG)
        yield staged


@dataclass
class Caller:
    """Creates a feature, changes it, and removes every other one, on and on. With ids, each request is sent until it is
    answered; without, it is sent once."""

    name: str
    stub: Any
    ids: bool
    seed: int
    over: Event
    acknowledged: list[tuple[str, str, str]] = field(default_factory=list)
    unknown: list[tuple[str, str, str]] = field(default_factory=list)
    refused: list[tuple[str, str, str]] = field(default_factory=list)

    def work(self) -> None:
        for number in count():
            if self.over.is_set():
                return
            name = f"{self.name}/{number}"
            created = self._call("INSERT", name, "new", self.stub.CreateFeature, self._create(name))
            if created is None:
                continue
            key = created.feature.id
            self._call("UPDATE", name, "changed", self.stub.UpdateFeature, self._update(key))
            if number % 2:
                self._call("DELETE", name, "gone", self.stub.DeleteFeature, self._delete(key))

    def _create(self, name: str) -> write.CreateFeatureRequest:
        return write.CreateFeatureRequest(layer="facilities", feature=facility(name=name, kind="new"))

    def _update(self, key: str) -> write.UpdateFeatureRequest:
        return write.UpdateFeatureRequest(layer="facilities", feature=made(key=key, kind="changed"))

    def _delete(self, key: str) -> write.DeleteFeatureRequest:
        return write.DeleteFeatureRequest(layer="facilities", id=key)

    def _call(self, act: str, name: str, kind: str, call: Any, request: Any) -> Any:
        """The answer; without ids, None where there was none."""
        done = (act, name, kind)
        if self.ids:
            request.request_id = str(uuid5(NAMESPACE_OID, f"{self.seed} {done}"))
        while True:
            try:
                answer = call(request, timeout=20)
            except grpc.RpcError as error:
                if error.code() not in _PASSING:
                    raise
                if not self.ids:
                    (self.unknown if _is_unknown(error) else self.refused).append(done)
                    return None
                self.over.wait(0.02)
            else:
                self.acknowledged.append(done)
                return answer


def _is_unknown(error: grpc.RpcError) -> bool:
    """Whether the change may have taken effect: the service says so, or says nothing any more."""
    trailing: dict[str, Any] = dict(cast("Any", error.trailing_metadata() or ()))
    return "grpc-status-details-bin" not in trailing or refusal(error).reason == "OUTCOME_UNKNOWN"


def crashed(staged: Stage, crashes: Crashes, *, ids: bool, rounds: int) -> list[Caller]:
    """What callers were told who worked through so many crashes."""
    over = Event()
    with staged.service.channel() as channel, ThreadPoolExecutor(CALLERS) as threads:
        stub = write_pb2_grpc.FeatureServiceStub(channel)
        callers = [Caller(f"{ids}/{number}", stub, ids, crashes.seed, over) for number in range(CALLERS)]
        working = [threads.submit(caller.work) for caller in callers]
        try:
            for _ in range(rounds):
                _some_are_answered(callers)
                over.wait(crashes.random.uniform(0.02, 0.25))
                staged.crash(crashes.random)
        finally:
            over.set()
        for each in working:
            each.result()
    return callers


def _some_are_answered(callers: list[Caller]) -> None:
    """A crash that finds nobody at work shows nothing, and a busy machine takes its time."""

    def answered() -> int:
        return sum(len(caller.acknowledged) for caller in callers)

    before = answered()
    eventually(lambda: answered() >= before + ANSWERED, within=60)


def test_requests_with_ids_that_are_sent_until_they_are_answered_take_effect_once(
    staged: Stage, crashes: Crashes
) -> None:
    fetch(staged.url, "TRUNCATE facilities, log, spatial_requests")

    callers = crashed(staged, crashes, ids=True, rounds=(crashes.rounds + 1) // 2)

    acknowledged = [each for caller in callers for each in caller.acknowledged]
    assert len(acknowledged) > crashes.rounds
    assert Counter(fetch(staged.url, "SELECT * FROM log")) == Counter(acknowledged)
    _same_as_the_log(staged)


def test_of_requests_without_ids_nothing_acknowledged_is_lost_and_nothing_refused_is_there(
    staged: Stage, crashes: Crashes
) -> None:
    fetch(staged.url, "TRUNCATE facilities, log, spatial_requests")

    callers = crashed(staged, crashes, ids=False, rounds=crashes.rounds // 2)

    logged = Counter(fetch(staged.url, "SELECT * FROM log"))
    acknowledged = Counter(each for caller in callers for each in caller.acknowledged)
    unknown = Counter(each for caller in callers for each in caller.unknown)
    assert max(logged.values()) == 1
    assert acknowledged - logged == Counter()
    assert logged - acknowledged <= unknown
    _same_as_the_log(staged)


def _same_as_the_log(staged: Stage) -> None:
    """The table has what its log says, no more and no less."""
    created, gone = (
        {name for (name,) in fetch(staged.url, "SELECT name FROM log WHERE act = %s", act)}
        for act in ("INSERT", "DELETE")
    )
    rows = [name for (name,) in fetch(staged.url, "SELECT name FROM facilities")]
    assert sorted(rows) == sorted(created - gone)
