"""The database goes, and comes back: callers are told to try again, and nothing has to be restarted."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from threading import Event, Thread

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from service.embedded import EmbeddedPostgres
from tests.clusters import PREPARED, throw_away
from tests.crashes import SETTINGS
from tests.proxy import proxied
from tests.questions import facility, fill, radius, zone
from tests.servers import Refusal, Served, refusal, serving
from tests.situations import BLOCKED, SESSIONS, blocked, eventually, fetch, locked, sessions

IN_USE = 'spatial_pool_connections{pool="read",state="in_use"}'
INVALIDATIONS = 'spatial_pool_invalidations_total{pool="read"}'
CALLERS = 8


@pytest.fixture(scope="module")
def cluster() -> Iterator[EmbeddedPostgres]:
    """A cluster that these tests may end as they like: what was written stays."""
    with throw_away(SETTINGS, PREPARED) as cluster:
        fill(cluster.url)
        yield cluster


@dataclass
class Load:
    """Callers that ask without a pause, and what they were told."""

    served: Served
    over: Event = field(default_factory=Event)
    refusals: list[Refusal] = field(default_factory=list)
    answered: list[int] = field(default_factory=lambda: [0] * CALLERS)

    def call_on_and_on(self, caller: int) -> None:
        ask = [lambda: self.served.stub.SearchNearest(facility(caller + 1), timeout=10)]
        ask.append(lambda: self.served.stub.SearchIntersects(zone(caller + 1), timeout=10))
        while not self.over.is_set():
            try:
                found = [feature.id for feature in ask[caller % 2]().features]
                assert found == [str(caller + 1)]
                self.answered[caller] += 1
            except grpc.RpcError as error:
                self.refusals.append(refusal(error))
                self.over.wait(0.02)

    def all_answered_again(self) -> Callable[[], bool]:
        before = list(self.answered)
        return lambda: all(now > then for now, then in zip(self.answered, before, strict=True))


@dataclass
class HealthWatch:
    """What a client that watches health is told, and when."""

    served: Served
    seen: list[tuple[str, float]] = field(default_factory=list)
    ended: grpc.StatusCode | None = None

    def __enter__(self) -> "HealthWatch":
        self._stream = health_pb2_grpc.HealthStub(self.served.channel).Watch(health_pb2.HealthCheckRequest())
        self._thread = Thread(target=self._follow)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stream.cancel()
        self._thread.join(5)
        assert self.ended is grpc.StatusCode.CANCELLED

    def _follow(self) -> None:
        try:
            for answer in self._stream:
                name = health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status)
                self.seen.append((name, time.monotonic()))
        except grpc.RpcError as error:
            self.ended = error.code()

    @property
    def states(self) -> list[str]:
        return [name for name, _ in self.seen]


def stop_gently(cluster: EmbeddedPostgres) -> None:
    cluster.stop("fast")


def crash(cluster: EmbeddedPostgres) -> None:
    cluster.stop("immediate")


def kill_the_first_process(cluster: EmbeddedPostgres) -> None:
    pid = cluster.pid
    assert pid
    os.kill(pid, signal.SIGKILL)
    eventually(lambda: cluster.pid is None)
    cluster.stop()  # lets go of the directory


@pytest.mark.parametrize("end", [stop_gently, crash, kill_the_first_process])
def test_a_database_that_goes_and_comes_under_load(
    cluster: EmbeddedPostgres, end: Callable[[EmbeddedPostgres], None]
) -> None:
    with serving(cluster.url, health_interval=0.5) as served, HealthWatch(served) as watch:
        load = Load(served)
        with ThreadPoolExecutor(CALLERS) as threads:
            callers = [threads.submit(load.call_on_and_on, caller) for caller in range(CALLERS)]
            try:
                eventually(load.all_answered_again())
                assert not load.refusals
                end(cluster)
                gone = time.monotonic()
                eventually(lambda: watch.states == ["SERVING", "NOT_SERVING"])
                assert served.health("liveness") == "SERVING"
                eventually(lambda: len(load.refusals) >= 2 * CALLERS)
                cluster.start()
                back = time.monotonic()
                eventually(lambda: watch.states == ["SERVING", "NOT_SERVING", "SERVING"])
                eventually(load.all_answered_again())
            finally:
                load.over.set()
            for caller in callers:
                caller.result()
        assert {(told.code, told.reason) for told in load.refusals} == {("UNAVAILABLE", "DATABASE_UNAVAILABLE")}
        assert {told.retry_seconds for told in load.refusals} == {1.0}
        assert {told.message for told in load.refusals} == {"the database cannot be reached"}
        assert watch.seen[1][1] - gone < 20
        assert watch.seen[2][1] - back < 20
        eventually(lambda: served.metric(IN_USE) == 0)


@pytest.fixture
def served(cluster: EmbeddedPostgres) -> Iterator[Served]:
    with serving(cluster.url, lock_timeout=60) as served:
        yield served


def test_a_backend_that_is_terminated_during_a_statement(served: Served, cluster: EmbeddedPostgres) -> None:
    with locked(cluster.url, "facilities"):
        call = served.stub.SearchRadius.future(radius(), timeout=30)
        eventually(blocked(cluster.url))
        fetch(cluster.url, "SELECT pg_terminate_backend(%s)", *sessions(cluster.url, BLOCKED))
        told = refusal(call.exception())
        assert (told.code, told.reason, told.retry_seconds) == ("UNAVAILABLE", "DATABASE_UNAVAILABLE", 1.0)
    assert served.metric(INVALIDATIONS) == 1
    assert served.stub.SearchRadius(radius(), timeout=5).features
    eventually(lambda: served.health() == "SERVING")


def test_a_backend_that_dies_takes_all_sessions_with_it_and_they_come_back(
    served: Served, cluster: EmbeddedPostgres
) -> None:
    with locked(cluster.url, "facilities"):
        call = served.stub.SearchRadius.future(radius(), timeout=30)
        eventually(blocked(cluster.url))
        (backend,) = sessions(cluster.url, BLOCKED)
        os.kill(backend, signal.SIGKILL)
        told = refusal(call.exception())
    assert (told.code, told.reason) == ("UNAVAILABLE", "DATABASE_UNAVAILABLE")
    eventually(lambda: served.health() == "SERVING" and answers(served))


def answers(served: Served) -> bool:
    try:
        return bool(served.stub.SearchRadius(radius(), timeout=5).features)
    except grpc.RpcError as error:
        if refusal(error).reason != "DATABASE_UNAVAILABLE":
            raise
        return False


def test_connections_that_the_server_closed_while_they_idled_are_replaced_unseen(
    served: Served, cluster: EmbeddedPostgres
) -> None:
    assert answers(served)
    eventually(lambda: served.metric(IN_USE) == 0)
    idle = sessions(cluster.url, SESSIONS)
    assert idle
    for backend in idle:
        fetch(cluster.url, "SELECT pg_terminate_backend(%s)", backend)
    eventually(lambda: not sessions(cluster.url, SESSIONS))
    assert served.stub.SearchRadius(radius(), timeout=5).features
    assert not set(idle) & set(sessions(cluster.url, SESSIONS))


def test_a_connection_that_the_network_forgot_while_it_idled_is_replaced_unseen(cluster: EmbeddedPostgres) -> None:
    """Nobody hears of it: the first byte sent is answered by a reset."""
    with proxied(cluster.url) as proxy, serving(proxy.url, health_interval=60) as served:
        assert answers(served)
        eventually(lambda: served.metric(IN_USE) == 0)
        proxy.cut_all()
        assert served.stub.SearchRadius(radius(), timeout=5).features


def test_a_network_that_swallows_everything_costs_callers_no_more_than_their_deadline(
    cluster: EmbeddedPostgres,
) -> None:
    with (
        proxied(cluster.url) as proxy,
        serving(proxy.url, connect_timeout=2, health_interval=0.5, pool_size=8) as served,
        HealthWatch(served) as watch,
    ):
        assert answers(served)
        proxy.mode = "swallow"
        started = time.monotonic()
        calls = [served.stub.SearchNearest.future(facility(1), timeout=1) for _ in range(CALLERS)]
        codes = {call.exception().code() for call in calls}
        assert time.monotonic() - started < 10
        assert codes <= {grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.UNAVAILABLE}
        eventually(lambda: watch.states[-1] == "NOT_SERVING")
        assert served.health("liveness") == "SERVING"

        proxy.mode = "relay"
        proxy.cut_all()  # what was swallowed is lost; the peers learn of it from the resets
        eventually(lambda: watch.states[-1] == "SERVING")
        eventually(lambda: answers(served))
        eventually(lambda: served.metric(IN_USE) == 0)
        assert served.metric("spatial_lane_depth") == 0
