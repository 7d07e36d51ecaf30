"""Crashes at the worst moment for creates that share a transaction: it has all been done, and COMMIT is on its way.

A proxy before PostgreSQL has the COMMIT by then. What was acknowledged is there, and of the others, when they come
again under their request ids, each is made once.
"""

import asyncio
import os
import signal
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.request import urlopen
from uuid import uuid4

import grpc
import psycopg2
import pytest

from service.postgres.processes import free_port
from spatial.v1 import write_pb2 as write
from spatial.v1 import write_pb2_grpc
from tests.clusters import PREPARED, throw_away
from tests.crashes import SETTINGS, Service, Stage
from tests.edits import facility
from tests.proxy import Proxy
from tests.situations import eventually, fetch, sessions

MEMBERS = 6
COMMIT = b"COMMIT; SELECT "
IN_TRANSACTION = "application_name = 'spatial-service/write' AND state = 'idle in transaction'"
STARTED = 'grpc_server_started_total{grpc_method="CreateFeature"'


class Holding(Proxy):
    """What would cut a connection off is held instead, until it is said what becomes of it."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.held: bytes | None = None
        self._passed_on: bool | None = None

    def hold_next(self) -> None:
        self.held, self.cut_at = None, COMMIT

    def let_go(self, *, passed_on: bool) -> None:
        self._passed_on = passed_on

    async def _cut_off(self, data: bytes, server: asyncio.StreamWriter, client: asyncio.StreamWriter) -> None:
        self.cut_at, self._passed_on, self.held = None, None, data
        while self._passed_on is None:  # noqa: ASYNC110 - another thread decides
            await asyncio.sleep(0.005)
        if self._passed_on:
            server.write(data)
            await server.drain()


@dataclass
class Scene:
    stage: Stage
    proxy: Holding
    metrics: str

    @property
    def url(self) -> str:
        return self.stage.url

    def started(self) -> int:
        with urlopen(f"http://{self.metrics}/metrics", timeout=10) as page:
            lines = page.read().decode().splitlines()
        return sum(int(float(line.rpartition(" ")[2])) for line in lines if line.startswith(STARTED))


@pytest.fixture(scope="module")
def scene() -> Iterator[Scene]:
    metrics = f"127.0.0.1:{free_port()}"
    with throw_away(SETTINGS, PREPARED) as cluster:
        proxy = Holding(cluster.url)
        service = Service(proxy.url, metrics_listen=metrics, write_pool_size=1)
        try:
            proxy.listen()
            service.start()
            yield Scene(Stage(cluster, service), proxy, metrics)
        finally:
            service.kill()
            proxy.close()


def _kill_service(scene: Scene) -> None:
    scene.stage.service.kill()


def _kill_backend(scene: Scene) -> None:
    """PostgreSQL ends all others, too, and recovers."""
    (pid,) = sessions(scene.url, IN_TRANSACTION)
    os.kill(pid, signal.SIGKILL)
    eventually(lambda: not _is_there(pid), within=30)


def _end_backend(scene: Scene) -> None:
    (pid,) = sessions(scene.url, IN_TRANSACTION)
    fetch(scene.url, "SELECT pg_terminate_backend(%s, 20000)", pid)


def _is_there(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


CRASHES = {
    "the service is killed, and PostgreSQL never hears of the commit": (_kill_service, False),
    "the service is killed, and PostgreSQL commits": (_kill_service, True),
    "PostgreSQL crashes": (_kill_backend, True),
    "the backend is ended": (_end_backend, True),
}


@pytest.mark.parametrize("ids", [True, False], ids=["with ids", "without"])
@pytest.mark.parametrize(("crash", "passed_on"), CRASHES.values(), ids=CRASHES)
def test_a_group_that_was_about_to_be_committed_is_there_as_a_whole_or_not_at_all(
    scene: Scene, crash: Callable[[Scene], None], passed_on: bool, ids: bool
) -> None:
    fetch(scene.url, "TRUNCATE facilities, spatial_requests")
    first, *others = requests = [_request(ids=ids) for _ in range(1 + MEMBERS)]
    with scene.stage.service.channel() as channel:
        told = _crashed(scene, write_pb2_grpc.FeatureServiceStub(channel), first, others, crash, passed_on)

    if not _is_alive(scene):
        scene.stage.service.start()
    eventually(lambda: _is_readable(scene.url), within=30)
    committed = passed_on and crash is _kill_service
    eventually(lambda: len(_names(scene.url)) >= (1 + MEMBERS if committed else 1), within=30)
    there = _names(scene.url)
    assert there == (Counter(map(_name, requests)) if committed else Counter([_name(first)]))
    assert told[0].feature.properties["name"] == _name(first)
    assert told[1:] == [grpc.StatusCode.UNAVAILABLE] * MEMBERS

    if ids:
        with scene.stage.service.channel() as channel:
            stub = write_pb2_grpc.FeatureServiceStub(channel)
            again = [_insisting(stub, request) for request in requests]
        assert again[0].feature == told[0].feature
        assert _names(scene.url) == Counter(map(_name, requests))
        keys = {name: str(key) for key, name in fetch(scene.url, "SELECT id, name FROM facilities")}
        assert [each.feature.id for each in again] == [keys[_name(request)] for request in requests]


def _crashed(
    scene: Scene,
    stub: Any,
    first: write.CreateFeatureRequest,
    others: Sequence[write.CreateFeatureRequest],
    crash: Callable[[Scene], None],
    passed_on: bool,
) -> list[Any]:
    """What callers were told: the first, by itself, was committed; the others waited for it, and so for one another."""
    before, proxy = scene.started(), scene.proxy
    proxy.hold_next()
    calls = [stub.CreateFeature.future(first, timeout=60, wait_for_ready=True)]
    eventually(lambda: proxy.held)
    calls += [stub.CreateFeature.future(each, timeout=60) for each in others]
    eventually(lambda: scene.started() == before + 1 + MEMBERS)
    proxy.hold_next()
    proxy.let_go(passed_on=True)
    calls[0].result(30)
    eventually(lambda: proxy.held)
    if first.request_id:
        assert all(each.request_id.encode() in (proxy.held or b"") for each in others)
    crash(scene)
    proxy.let_go(passed_on=passed_on)
    return [_told(call) for call in calls]


def _told(call: Any) -> Any:
    """The answer, or the status in its place."""
    try:
        return call.result(60)
    except grpc.RpcError as error:
        return error.code()


def _request(*, ids: bool) -> write.CreateFeatureRequest:
    name = str(uuid4())
    return write.CreateFeatureRequest(layer="facilities", feature=facility(name=name), request_id=name if ids else "")


def _name(request: write.CreateFeatureRequest) -> str:
    return str(request.feature.properties["name"])


def _insisting(stub: Any, request: write.CreateFeatureRequest) -> Any:
    """Sent until it is answered."""
    while True:
        try:
            return stub.CreateFeature(request, timeout=60, wait_for_ready=True)
        except grpc.RpcError as error:
            if error.code() is not grpc.StatusCode.UNAVAILABLE:
                raise


def _names(url: str) -> Counter[str]:
    return Counter(name for (name,) in fetch(url, "SELECT name FROM facilities"))


def _is_readable(url: str) -> bool:
    try:
        fetch(url, "SELECT")
    except psycopg2.OperationalError:
        return False
    return True


def _is_alive(scene: Scene) -> bool:
    try:
        scene.started()
    except OSError:
        return False
    return True
