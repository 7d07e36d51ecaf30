"""Reads over real streaming replicas: which server answers, with data how fresh, and that answers are the same."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import grpc
import pyarrow
import pytest

from service import demo, migrations
from service.codec.freshness import LAST_POSITION, freshness_token
from spatial.v1 import admin_pb2, admin_pb2_grpc
from spatial.v1 import query_pb2 as query
from tests.edits import Editor, facility, made
from tests.integration.test_freshness import REQUESTS, ask, bytes_of
from tests.proxy import proxied
from tests.replication import Replication
from tests.servers import Served, refusal, serving
from tests.situations import SESSIONS, eventually, fetch, sessions

FEW_BYTES = 64 * 1024
SOME_LOG = "SELECT pg_logical_emit_message(false, 'test', repeat('x', 200000))"
MORE_REQUESTS: dict[str, Any] = {
    "ListLayers": query.ListLayersRequest(),
    "GetLayer": query.GetLayerRequest(name="facilities"),
}
WHOLE_LAYER = query.StreamFeaturesRequest(query=query.LayerQuery(layer="facilities"), layout="BATCH_LAYOUT_ARROW")


@pytest.fixture(scope="module")
def replicated(replication: Replication) -> Replication:
    replicated = replication.new_database("replicated")
    migrations.upgrade(replicated.url)
    demo.load(replicated.url)
    replicated.catch_up()
    return replicated


@pytest.fixture(scope="module")
def served(replicated: Replication) -> Iterator[Served]:
    with serving(replicated.url, replica_urls=replicated.replica_urls, replica_interval=0.1) as served:
        yield served


@pytest.fixture(scope="module")
def alone(replicated: Replication) -> Iterator[Served]:
    """The same without replicas."""
    with serving(replicated.url) as served:
        yield served


@contextmanager
def paused(replicated: Replication) -> Iterator[Callable[[], None]]:
    """Nothing is replayed, until the block ends or what it gives is called."""

    def resume() -> None:
        for standby in replicated.standbys:
            standby.resume()

    replicated.catch_up()
    for standby in replicated.standbys:
        standby.pause()
    try:
        yield resume
    finally:
        resume()
        replicated.catch_up()


def reads(served: Served, node: str) -> float:
    return served.metric(f'spatial_reads_total{{node="{node}"}}')


def on_replicas(served: Served) -> float:
    return reads(served, "replica-1") + reads(served, "replica-2")


def up(served: Served, number: int) -> bool:
    return served.metric(f'spatial_replica_up{{replica="replica-{number}"}}') == 1


def get(served: Served, key: str, token: str = "") -> Any:
    request = query.GetFeatureRequest(layer="facilities", id=key, freshness_token=token)
    return served.stub.GetFeature(request, timeout=20)


def written(served: Served) -> tuple[str, str]:
    """The key of a feature that was just made, and the token that came with it."""
    answer = Editor(served).create("facilities", facility())
    return answer.feature.id, answer.freshness_token


def asked(served: Served, name: str) -> list[bytes]:
    """What a call answers, whatever the order."""
    if name in REQUESTS:
        return sorted(map(bytes_of, ask(served, name, "")))
    answer = getattr(served.stub, name.partition(" ")[0])(MORE_REQUESTS[name], timeout=20)
    answers = [answer] if name in ("ListLayers", "GetLayer") else list(answer)
    return sorted(map(bytes_of, answers))


@pytest.mark.parametrize("name", [*REQUESTS, *MORE_REQUESTS])
def test_each_read_is_answered_by_a_replica_as_by_the_primary(served: Served, alone: Served, name: str) -> None:
    on_primary, elsewhere = reads(served, "primary"), on_replicas(served)
    answer = asked(served, name)

    assert reads(served, "primary") == on_primary
    assert on_replicas(served) > elsewhere
    assert any(answer)
    assert answer == asked(alone, name)


def test_a_whole_layer_is_read_from_one_replica_by_several_connections(served: Served, replicated: Replication) -> None:
    on_primary = reads(served, "primary")
    batches = list(served.stub.StreamFeatures(WHOLE_LAYER, timeout=30))
    ((rows,),) = fetch(replicated.url, "SELECT count(*) FROM facilities")

    assert sum(pyarrow.ipc.open_stream(batch.arrow_ipc).read_all().num_rows for batch in batches) == rows
    assert reads(served, "primary") == on_primary


def test_replicas_take_turns(served: Served) -> None:
    before = [reads(served, "replica-1"), reads(served, "replica-2")]
    for _ in range(10):
        get(served, "1")

    assert [reads(served, "replica-1") - before[0], reads(served, "replica-2") - before[1]] == [5, 5]


def test_a_replicas_pools_carry_its_name(served: Served) -> None:
    get(served, "1")
    get(served, "1")
    connected = [served.metric(f'spatial_pool_connects_total{{pool="read@replica-{number}"}}') for number in (1, 2)]
    diagnosed = admin_pb2_grpc.AdminServiceStub(served.channel).Diagnose(admin_pb2.DiagnoseRequest(), timeout=20)

    assert all(connected)
    assert {"read", "read@replica-1", "bulk@replica-2"} <= {pool.name for pool in diagnosed.pools}


def test_what_a_version_was_read_of_a_replica_is_one_to_the_primary(served: Served, replicated: Replication) -> None:
    key, _ = written(served)
    request = query.GetFeatureRequest(layer="facilities", id=key, output=query.Output(etags=True))
    replicated.catch_up()
    on_primary = reads(served, "primary")
    found = served.stub.GetFeature(request, timeout=20)

    assert reads(served, "primary") == on_primary
    Editor(served).update("facilities", made(key=key, etag=found.etag, name="Changed"), "properties.name")
    with pytest.raises(grpc.RpcError) as stale:
        Editor(served).update("facilities", made(key=key, etag=found.etag, name="Again"), "properties.name")
    assert stale.value.code() is grpc.StatusCode.ABORTED


def test_a_replica_that_is_too_far_behind_is_not_read_until_it_has_caught_up(replicated: Replication) -> None:
    with (
        serving(
            replicated.url,
            replica_urls=replicated.replica_urls,
            replica_interval=0.05,
            replica_max_lag_bytes=FEW_BYTES,
        ) as served,
        paused(replicated) as resume,
    ):
        assert up(served, 1)
        fetch(replicated.url, SOME_LOG)
        eventually(lambda: not up(served, 1) and not up(served, 2), within=30)
        before = on_replicas(served)
        get(served, "1")

        assert on_replicas(served) == before
        assert served.metric('spatial_replica_lag_bytes{replica="replica-1"}') > FEW_BYTES
        resume()
        eventually(lambda: up(served, 1) and up(served, 2), within=30)
        get(served, "1")
        assert on_replicas(served) == before + 1


def test_without_a_token_a_read_may_be_behind_and_with_one_the_primary_is_asked(
    served: Served, replicated: Replication
) -> None:
    with paused(replicated):
        key, token = written(served)
        with pytest.raises(grpc.RpcError) as missing:
            get(served, key)
        assert missing.value.code() is grpc.StatusCode.NOT_FOUND
        on_primary = reads(served, "primary")
        for _ in range(3):
            assert get(served, key, token).id == key
        assert reads(served, "primary") == on_primary + 3


def test_a_read_with_a_token_waits_for_what_is_replayed_in_time(replicated: Replication) -> None:
    with (
        serving(replicated.url, replica_urls=replicated.replica_urls, replica_interval=0.05, replica_wait=30) as served,
        paused(replicated) as resume,
        ThreadPoolExecutor() as threads,
    ):
        key, token = written(served)
        call = threads.submit(get, served, key, token)
        looked = sessions_of_looks(replicated)
        eventually(lambda: sessions_of_looks(replicated) != looked, within=30)  # somebody looks again and again
        assert not call.done()
        resume()

        assert call.result().id == key
        assert reads(served, "primary") == 0


def sessions_of_looks(replicated: Replication) -> list[Any]:
    looks = "SELECT state_change FROM pg_stat_activity WHERE application_name LIKE '%/control' ORDER BY pid"
    return [fetch(standby.url, looks) for standby in replicated.standbys]


def test_a_token_of_what_nobody_has_yet_is_answered_by_the_primary(served: Served) -> None:
    """As one of a log that was lost in a failover."""
    on_primary = reads(served, "primary")

    assert get(served, "1", freshness_token(LAST_POSITION)).id == "1"
    assert get(served, "1", freshness_token(2**60)).id == "1"
    assert reads(served, "primary") == on_primary + 2


def test_whoever_brings_a_token_reads_what_was_written_every_time(served: Served) -> None:
    def write_and_read(caller: int) -> None:
        for _ in range(60):
            key, token = written(served)
            assert get(served, key, token).id == key
            changed = Editor(served).update("facilities", made(key=key, name=f"Caller {caller}"), "properties.name")
            found = get(served, key, changed.freshness_token)
            assert found.properties["name"] == f"Caller {caller}"

    before = on_replicas(served)
    with ThreadPoolExecutor(4) as threads:
        for done in [threads.submit(write_and_read, caller) for caller in range(4)]:
            done.result()
    assert on_replicas(served) > before


def test_a_read_that_replay_gets_into_the_way_of_is_answered_elsewhere(served: Served, replicated: Replication) -> None:
    pairs = query.JoinQuery(left_layer="facilities", right_layer="facilities", distance_meters=3000)
    request = query.CountFeaturesRequest(query=query.Query(join=pairs))
    before = on_replicas(served) + reads(served, "primary")
    call = served.stub.CountFeatures.future(request, timeout=60)
    busy = f"{SESSIONS} AND state = 'active' AND query LIKE '%facilities%'"
    eventually(lambda: any(sessions(standby.url, busy) for standby in replicated.standbys), within=30)
    fetch(replicated.url, "BEGIN; LOCK TABLE facilities IN ACCESS EXCLUSIVE MODE; COMMIT")

    assert call.result().count > 0
    # Replay may come to the second replica just as the read does.
    assert before + 2 <= on_replicas(served) + reads(served, "primary") <= before + 3
    assert up(served, 1)
    assert up(served, 2)


def test_a_table_that_is_not_replayed_yet_is_read_on_the_primary(replicated: Replication) -> None:
    with serving(replicated.url, replica_urls=replicated.replica_urls, layers="public.late") as served:
        with paused(replicated):
            fetch(
                replicated.url,
                "CREATE TABLE late (id int PRIMARY KEY, place geometry(Point, 4326));"
                "CREATE INDEX ON late USING gist (place);"
                "INSERT INTO late VALUES (7, 'SRID=4326;POINT(1 2)'); ANALYZE late",
            )
            (layer,) = served.stub.RefreshLayers(query.RefreshLayersRequest(), timeout=20).layers
            found = served.stub.GetFeature(query.GetFeatureRequest(layer="late", id="7"), timeout=20)

            assert (layer.name, layer.estimated_rows) == ("late", 1)
            assert found.id == "7"
            assert on_replicas(served) >= 1
        fetch(replicated.url, "DROP TABLE late")


def test_a_server_that_is_no_standby_is_not_read(replicated: Replication, caplog: pytest.LogCaptureFixture) -> None:
    with serving(replicated.url, replica_urls=replicated.url) as served:
        get(served, "1")
        assert not up(served, 1)
        assert reads(served, "primary") == 1
    assert "replica-1 is not read: it is no standby" in caplog.messages


def test_another_server_behind_a_replicas_address_is_not_read_before_it_was_looked_at(
    replicated: Replication,
) -> None:
    first, second = replicated.standbys
    with proxied(first.url) as proxy, serving(replicated.url, replica_urls=proxy.url, replica_interval=0.1) as served:
        with paused(replicated):
            first.resume()
            key, token = written(served)
            eventually(lambda: first.replayed() >= replicated.position(), within=30)
            eventually(lambda: reads(served, "primary") == 0 and bool(get(served, key, token).id), within=30)
            proxy.lead_to(second.url)
            with ThreadPoolExecutor(8) as threads:  # more than there are connections already
                calls = [threads.submit(get, served, key, token) for _ in range(64)]
                assert {call.result().id for call in calls} == {key}
        proxy.cut_all()
        before = on_replicas(served)
        eventually(lambda: get(served, "1").id == "1" and on_replicas(served) > before, within=30)


def test_what_was_connected_to_a_standby_is_let_go_of_when_the_primary_is_found_in_its_place(
    replicated: Replication,
) -> None:
    """As behind a name that was slow to learn of a failover."""
    with proxied(replicated.standbys[0].url) as proxy, serving(proxy.url) as served:
        assert get(served, "1").id == "1"
        with pytest.raises(grpc.RpcError) as refused:
            Editor(served).create("facilities", facility())
        told = refusal(refused.value)
        assert (told.code, told.reason, told.retry_seconds) == ("UNAVAILABLE", "DATABASE_UNAVAILABLE", 1.0)
        assert (served.health(), served.health("spatial.v1.FeatureService")) == ("SERVING", "NOT_SERVING")
        proxy.lead_to(replicated.url)
        eventually(lambda: served.health("spatial.v1.FeatureService") == "SERVING", within=30)
        key, token = written(served)

        assert get(served, key, token).id == key
