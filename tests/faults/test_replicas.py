"""Replicas and primaries that are lost: callers of reads notice nothing, and writes go on where there is a primary."""

import logging
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Event
from typing import Any
from urllib.parse import urlsplit

import grpc
import pytest

from service import migrations
from service.codec.freshness import LAST_POSITION, freshness_token
from service.embedded import EmbeddedPostgres
from spatial.v1 import admin_pb2, admin_pb2_grpc, query_pb2_grpc
from spatial.v1 import query_pb2 as query
from spatial_client import Retry, SpatialClient
from tests.edits import Editor
from tests.edits import facility as new_facility
from tests.proxy import proxied
from tests.questions import count, facility, fill, zone
from tests.replication import Replication, Standby, kill
from tests.servers import Refusal, Served, refusal, serving
from tests.situations import RUNNING, eventually, fetch

CALLERS = 8
SPATIAL, FEATURES, ADMIN = (f"spatial.v1.{name}Service" for name in ("Spatial", "Feature", "Admin"))
# Where no primary is there.
READING = {"": "SERVING", SPATIAL: "SERVING", FEATURES: "NOT_SERVING", ADMIN: "NOT_SERVING"}
ROWS = 12_000  # of a kilobyte each: more than fits between PostgreSQL and a reader who stopped
MANY = f"""
INSERT INTO facilities (name, kind, location, attributes)
SELECT 'Facility', 'many', ST_SetSRID(ST_MakePoint(n * 0.01, 40), 4326),
       jsonb_build_object('note', repeat(md5(n::text), 32))
  FROM generate_series(1, {ROWS}) n;
ANALYZE facilities;
"""
SMALL_WINDOW = [("grpc.http2.bdp_probe", 0)]  # or gRPC makes room for all of it
PATIENT = Retry(attempts=10, first_pause=0.02, longest_pause=0.2)


@pytest.fixture(scope="module")
def replicated(replication: Replication) -> Replication:
    replicated = replication.new_database("faults")
    migrations.upgrade(replicated.url)
    fill(replicated.url)
    fetch(replicated.url, MANY)
    replicated.catch_up()
    return replicated


@pytest.fixture
def served(replicated: Replication) -> Iterator[Served]:
    with serving(replicated.url, replica_urls=replicated.standbys[0].url, replica_interval=0.1) as served:
        assert up(served)
        yield served


def up(served: Served) -> bool:
    return served.metric('spatial_replica_up{replica="replica-1"}') == 1


def reads(served: Served, node: str) -> float:
    return served.metric(f'spatial_reads_total{{node="{node}"}}')


def stream(served: Served) -> Any:
    return served.stub.StreamFeatures(query.StreamFeaturesRequest(query=query.LayerQuery(layer="zones")), timeout=20)


@dataclass
class Load:
    """Callers that ask without a pause: searches of two kinds, counts, and streams."""

    served: Served
    over: Event = field(default_factory=Event)
    failed: list[grpc.RpcError] = field(default_factory=list)
    answered: list[int] = field(default_factory=lambda: [0] * CALLERS)

    def call_on_and_on(self, caller: int) -> None:
        ask: list[Callable[[], bool]] = [
            lambda: (
                [each.id for each in self.served.stub.SearchNearest(facility(caller + 1), timeout=20).features]
                == [str(caller + 1)]
            ),
            lambda: (
                [each.id for each in self.served.stub.SearchIntersects(zone(caller + 1), timeout=20).features]
                == [str(caller + 1)]
            ),
            lambda: self.served.stub.CountFeatures(count("zones"), timeout=20).count == 10,
            lambda: sum(len(batch.rows.features) for batch in stream(self.served)) == 10,
        ]
        while not self.over.is_set():
            try:
                assert ask[caller % len(ask)]()
                self.answered[caller] += 1
            except grpc.RpcError as error:
                self.failed.append(error)

    def all_answered_again(self) -> Callable[[], bool]:
        before = list(self.answered)
        return lambda: all(now > then for now, then in zip(self.answered, before, strict=True))


@pytest.fixture
def load(served: Served) -> Iterator[Load]:
    load = Load(served)
    with ThreadPoolExecutor(CALLERS) as threads:
        callers = [threads.submit(load.call_on_and_on, caller) for caller in range(CALLERS)]
        try:
            eventually(load.all_answered_again(), within=30)
            yield load
        finally:
            load.over.set()
        for caller in callers:
            caller.result()


def terminate_backends(replicated: Replication) -> None:
    ours = f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {RUNNING} OR application_name LIKE '%/read'"
    fetch(replicated.standbys[0].url, ours)


def stop_gently(replicated: Replication) -> None:
    replicated.standbys[0].cluster.stop("fast")


def kill_everything(replicated: Replication) -> None:
    if replicated.standbys[0].cluster.pid:
        replicated.standbys[0].kill()


@pytest.mark.parametrize("lose", [terminate_backends, stop_gently, kill_everything])
def test_a_replica_that_is_lost_under_load_costs_no_call(
    replicated: Replication, served: Served, load: Load, lose: Callable[[Replication], None]
) -> None:
    on_primary, elsewhere = reads(served, "primary"), reads(served, "replica-1")
    assert elsewhere > 0

    def felt() -> bool:
        """What is lost between two statements is replaced, and no call goes elsewhere for it."""
        lose(replicated)
        return reads(served, "primary") > on_primary

    eventually(felt, within=30)
    eventually(load.all_answered_again(), within=30)
    replicated.standbys[0].cluster.start()  # unless it runs
    eventually(lambda: up(served), within=30)
    before = reads(served, "replica-1")
    eventually(lambda: reads(served, "replica-1") > before + CALLERS, within=30)
    eventually(load.all_answered_again(), within=30)

    assert load.failed == []


def test_a_replica_that_falls_silent_costs_no_call(replicated: Replication) -> None:
    """A network that swallows everything: nobody is told that anything was lost."""
    with (
        proxied(replicated.standbys[0].url) as proxy,
        serving(replicated.url, replica_urls=proxy.url, replica_interval=0.1) as served,
        ThreadPoolExecutor(CALLERS) as threads,
    ):
        assert served.stub.SearchNearest(facility(1), timeout=20).features
        assert reads(served, "replica-1") == 1
        proxy.mode = "swallow"
        calls = [threads.submit(served.stub.SearchNearest, facility(n + 1), timeout=20) for n in range(CALLERS)]
        streams = [threads.submit(list, stream(served)) for _ in range(2)]

        assert [call.result().features[0].id for call in calls] == [str(n + 1) for n in range(CALLERS)]
        assert [len(call.result()) for call in streams] == [1, 1]
        assert not up(served)
        proxy.mode = "relay"
        proxy.cut_all()
        eventually(lambda: up(served), within=30)


def test_a_stream_that_has_begun_ends_and_is_resumed_on_the_primary(replicated: Replication, served: Served) -> None:
    request = query.StreamFeaturesRequest(query=query.LayerQuery(layer="facilities"))
    with (
        grpc.insecure_channel(served.address, SMALL_WINDOW) as channel,
        SpatialClient(served.address, retry=PATIENT, options=SMALL_WINDOW) as client,
    ):
        plain = query_pb2_grpc.SpatialServiceStub(channel).StreamFeatures(request, timeout=60)
        next(plain)
        batches = client.stream_features("facilities", resumable=True, properties=["attributes"]).batches()
        found = [feature.id for feature in next(batches)]
        before = reads(served, "primary")
        replicated.standbys[0].kill()
        for batch in batches:
            found += [feature.id for feature in batch]
        with pytest.raises(grpc.RpcError) as ended:
            list(plain)

    assert sorted(map(int, found)) == list(range(1, ROWS + 101))
    assert reads(served, "primary") > before
    told = refusal(ended.value)
    assert (told.code, told.reason) == ("UNAVAILABLE", "DATABASE_UNAVAILABLE")
    replicated.standbys[0].cluster.start()
    eventually(lambda: up(served), within=30)


def test_a_replica_of_another_cluster_is_not_read(
    database: str, replicated: Replication, caplog: pytest.LogCaptureFixture
) -> None:
    with serving(database, replica_urls=replicated.standbys[0].url) as served:
        assert served.stub.CountFeatures(count(), timeout=20).count == 0
        assert (reads(served, "primary"), up(served)) == (1, False)
    assert "replica-1 is not read: it belongs to another cluster" in caplog.messages


def test_a_service_begins_to_answer_where_only_a_replica_is_there(replicated: Replication) -> None:
    """Tables that exist already are found there, too."""
    replicated.primary.stop("fast")
    try:
        with serving(
            replicated.url, replica_urls=replicated.replica_urls, layers="public.zones", replica_interval=0.1
        ) as served:
            assert [layer.name for layer in served.server.catalog][:1] == ["zones"]
            assert served.stub.SearchIntersects(zone(3), timeout=20).features[0].id == "3"
            eventually(lambda: health(served) == READING, within=30)
    finally:
        replicated.primary.start()


@dataclass
class Writes:
    """One caller who creates facilities without a pause, and what was acknowledged."""

    editor: Editor
    over: Event = field(default_factory=Event)
    acknowledged: list[str] = field(default_factory=list)
    refused: list[Refusal] = field(default_factory=list)

    def write_on_and_on(self) -> None:
        for number in range(10**9):
            if self.over.is_set():
                return
            name = f"Written {number}"
            try:
                self.editor.create("facilities", new_facility(name=name))
                self.acknowledged.append(name)
            except grpc.RpcError as error:
                self.refused.append(refusal(error))
                self.over.wait(0.05)


def several(*urls: str) -> str:
    """The address under which a primary is found among servers, whichever it is."""
    parts = urlsplit(urls[0])
    servers = ",".join(f"127.0.0.1:{urlsplit(url).port}" for url in urls)
    return f"postgresql://{parts.username}:{parts.password}@{servers}{parts.path}?target_session_attrs=read-write"


def detach(standby: Standby) -> None:
    """It follows nobody any more, and stands behind all others."""
    _follow(standby, "")


def attach(standby: Standby, primary: EmbeddedPostgres) -> None:
    parts = urlsplit(primary.url)
    _follow(standby, f"host=127.0.0.1 port={parts.port} user={parts.username} password={parts.password}")


def _follow(standby: Standby, primary: str) -> None:
    fetch(standby.url, f"ALTER SYSTEM SET primary_conninfo = '{primary}'")
    fetch(standby.url, "SELECT pg_reload_conf()")
    receiving = "SELECT count(*) FROM pg_stat_wal_receiver"
    eventually(lambda: fetch(standby.url, receiving) == [(1 if primary else 0,)], within=30)


def acknowledge_with(standby: Standby, primary: EmbeddedPostgres) -> None:
    """What is acknowledged is on this standby, too."""
    ((name,),) = fetch(standby.url, "SHOW cluster_name")
    fetch(primary.url, f"ALTER SYSTEM SET synchronous_standby_names = '\"{name}\"'")
    fetch(primary.url, "SELECT pg_reload_conf()")
    eventually(lambda: ("sync",) in fetch(primary.url, "SELECT sync_state FROM pg_stat_replication"), within=30)


@contextmanager
def calling(load: Load, writes: Writes) -> Iterator[None]:
    with ThreadPoolExecutor(CALLERS + 1) as threads:
        calls = [threads.submit(load.call_on_and_on, caller) for caller in range(CALLERS)]
        calls.append(threads.submit(writes.write_on_and_on))
        try:
            eventually(load.all_answered_again(), within=30)
            yield
        finally:
            load.over.set()
            writes.over.set()
        for call in calls:
            call.result()


@contextmanager
def replaced_afterwards(replication: Replication) -> Iterator[None]:
    """The standbys of a primary that is going to be lost; the second is behind, the first acknowledges what is written.
    Other modules find a new standby in place of the one that was promoted."""
    first, second = replication.standbys
    detach(second)
    acknowledge_with(first, replication.primary)
    try:
        yield
    finally:
        if fetch(first.url, "SELECT pg_is_in_recovery()") == [(False,)]:
            replication.replace_primary(first)
        else:
            replication.primary.start()  # unless it runs
            fetch(replication.primary.url, "ALTER SYSTEM RESET synchronous_standby_names")
            fetch(replication.primary.url, "SELECT pg_reload_conf()")
            attach(second, replication.primary)


def health(served: Served) -> dict[str, str]:
    return {name: served.health(name) for name in ("", SPATIAL, FEATURES, ADMIN)}


def test_a_primary_is_lost_and_a_replica_promoted(
    replication: Replication, replicated: Replication, caplog: pytest.LogCaptureFixture
) -> None:
    """The last one here: its replicas are others afterwards."""
    caplog.set_level(logging.INFO, "spatial")
    replicated.catch_up()
    first, second = replicated.standbys
    url = several(replicated.url, first.url)
    with (
        replaced_afterwards(replication),
        serving(url, replica_urls=f"{first.url}, {second.url}", replica_interval=0.1) as served,
    ):
        load, writes = Load(served), Writes(Editor(served))
        with calling(load, writes):
            eventually(lambda: len(writes.acknowledged) > 10, within=60)
            assert writes.refused == []
            eventually(lambda: set(health(served).values()) == {"SERVING"}, within=30)

            kill(replicated.primary)
            eventually(lambda: len(writes.refused) > 5, within=60)
            eventually(lambda: health(served) == READING, within=30)
            assert refused_of_primary(served) == {("UNAVAILABLE", "DATABASE_UNAVAILABLE", 1.0)}
            eventually(load.all_answered_again(), within=30)

            first.promote()
            before = len(writes.acknowledged)
            eventually(lambda: len(writes.acknowledged) > before + 10, within=60)
            eventually(lambda: set(health(served).values()) == {"SERVING"}, within=30)
            eventually(
                lambda: "replica-2 is not read: it has not followed the primary to its timeline yet" in caplog.messages,
                within=20,
            )
            attach(second, first.cluster)
            used = reads(served, "replica-2")
            eventually(lambda: reads(served, "replica-2") > used, within=30)
            eventually(load.all_answered_again(), within=30)
        assert load.failed == []
        assert {told.code for told in writes.refused} == {"UNAVAILABLE"}
        assert all(told.retry_seconds for told in writes.refused)
        names = {name for (name,) in fetch(first.url, "SELECT name FROM facilities")}
        assert set(writes.acknowledged) <= names
    assert "the primary is away: how far replicas are behind is not known, and they go on answering" in caplog.messages
    assert "replica-1 is not read: it is no standby" in caplog.messages


def refused_of_primary(served: Served) -> set[tuple[str, str, float | None]]:
    """What is said where nothing but the primary will do: of a write, a diagnosis, and a read that no replica is fresh
    enough for."""
    asking: list[Callable[[], Any]] = [
        lambda: Editor(served).create("facilities", new_facility()),
        lambda: admin_pb2_grpc.AdminServiceStub(served.channel).Diagnose(admin_pb2.DiagnoseRequest(), timeout=20),
        lambda: served.stub.GetFeature(
            query.GetFeatureRequest(layer="facilities", id="1", freshness_token=freshness_token(LAST_POSITION)),
            timeout=20,
        ),
    ]
    return {_refused(ask) for ask in asking}


def _refused(ask: Callable[[], Any]) -> tuple[str, str, float | None]:
    with pytest.raises(grpc.RpcError) as error:
        ask()
    told = refusal(error.value)
    return told.code, told.reason, told.retry_seconds
