"""PostgreSQL is killed, cut off, slow, or has no room left, under load of every kind.

What callers are told is asserted, and that nothing acknowledged is lost, and that the service comes back by itself.
"""

import os
import signal
import time
from collections.abc import Callable, Iterator

import grpc
import pytest

from service.embedded import EmbeddedPostgres
from tests.clusters import PREPARED, throw_away
from tests.crashes import SETTINGS
from tests.edits import Editor, attempted
from tests.edits import facility as facility_made
from tests.outages import PARCELS, READERS, WRITERS, assert_nothing_is_lost, loaded
from tests.proxy import Proxy, proxied
from tests.questions import facility, fill
from tests.servers import Refusal, Served, serving
from tests.situations import eventually, fetch
from tests.small_disk import NoDisk, SmallDisk, small_disk

AWAY = ("UNAVAILABLE", "DATABASE_UNAVAILABLE")
UNKNOWN = ("UNAVAILABLE", "OUTCOME_UNKNOWN")
NO_CONNECTION = ("RESOURCE_EXHAUSTED", "POOL_EXHAUSTED")
NO_ROOM = ("RESOURCE_EXHAUSTED", "OVERLOADED")
TOO_LATE = ("DEADLINE_EXCEEDED", "")
# An import whose caller has gone may be at its last chunk yet.
STILL_AT_IT = (("ABORTED", "CONFLICT"), ("RESOURCE_EXHAUSTED", "TOO_MANY_STREAMS"))
BACK_SECONDS = 30.0


@pytest.fixture(scope="module")
def cluster() -> Iterator[EmbeddedPostgres]:
    """A cluster that these tests may end as they like."""
    with throw_away(SETTINGS, PREPARED) as cluster:
        fill(cluster.url)
        fetch(cluster.url, PARCELS)
        yield cluster


def kill_the_first_process(cluster: EmbeddedPostgres) -> None:
    pid = cluster.pid
    assert pid
    os.kill(pid, signal.SIGKILL)
    eventually(lambda: cluster.pid is None)
    cluster.stop()  # lets go of the directory
    cluster.start()


def kill_a_backend(cluster: EmbeddedPostgres) -> None:
    """PostgreSQL ends all others, and recovers from its log."""
    ours = "SELECT pid FROM pg_stat_activity WHERE application_name LIKE 'spatial-service/%' AND state <> 'idle'"
    while not (found := fetch(cluster.url, ours)):
        pass
    os.kill(found[0][0], signal.SIGKILL)


@pytest.mark.parametrize("kill", [kill_the_first_process, kill_a_backend])
def test_postgresql_that_is_killed(cluster: EmbeddedPostgres, kill: Callable[[EmbeddedPostgres], None]) -> None:
    with serving(cluster.url) as served, loaded(served.channel, 20) as load:
        eventually(load.all_served_again(), within=BACK_SECONDS)
        kill(cluster)
        eventually(lambda: load.told)
        eventually(load.all_served_again(), within=BACK_SECONDS)
        eventually(lambda: served.health() == "SERVING", within=BACK_SECONDS)
    assert load.told <= {AWAY, UNKNOWN, NO_CONNECTION}
    assert load.told & {AWAY, UNKNOWN}
    assert_nothing_is_lost(cluster.url, load)


def hold(proxy: Proxy) -> None:
    """TCP sends again what did not arrive: connections outlive it."""
    proxy.mode = "hold"
    time.sleep(3)  # that long is the outage


def swallow(proxy: Proxy) -> None:
    """The peers learn from resets that nothing will come any more."""
    proxy.mode = "swallow"
    time.sleep(3)
    proxy.mode = "relay"
    proxy.cut_all()


@pytest.mark.parametrize("cut", [hold, swallow])
def test_a_network_that_is_cut_between_service_and_database(
    cluster: EmbeddedPostgres, cut: Callable[[Proxy], None]
) -> None:
    """Both ways, for longer than callers wait: none of them waits for longer than it said."""
    deadline = 2.0
    with proxied(cluster.url) as proxy, serving(proxy.url, connect_timeout=2) as served:
        with loaded(served.channel, deadline) as load:
            eventually(load.all_served_again(), within=BACK_SECONDS)
            cut(proxy)
            eventually(lambda: load.told)
            proxy.mode = "relay"
            eventually(load.all_served_again(), within=BACK_SECONDS)
            eventually(lambda: served.health() == "SERVING", within=BACK_SECONDS)
        assert load.told <= {TOO_LATE, AWAY, UNKNOWN, NO_CONNECTION, *STILL_AT_IT}
        assert TOO_LATE in load.told
        # Reads are two calls, a stream has three times as long.
        assert max(account.slowest for account in load.accounts.values()) < 3 * deadline + 3
        eventually(lambda: served.metric('spatial_pool_connections{pool="write",state="in_use"}') == 0, within=20)
    assert_nothing_is_lost(cluster.url, load)


ROUND_TRIP = 0.2


@pytest.fixture(scope="module")
def far(cluster: EmbeddedPostgres) -> Iterator[Served]:
    with proxied(cluster.url) as proxy, serving(proxy.url) as served:
        proxy.delay = ROUND_TRIP / 2
        yield served


def test_a_database_far_away_refuses_nobody_and_loses_nothing(far: Served, cluster: EmbeddedPostgres) -> None:
    with loaded(far.channel, 20) as load:
        eventually(load.all_served_again(times=1), within=60)
    assert load.told == set()
    eventually(lambda: far.health() == "SERVING", within=BACK_SECONDS)
    assert_nothing_is_lost(cluster.url, load)


def test_a_database_far_away_is_asked_as_much_at_a_time_as_there_are_lanes(far: Served) -> None:
    seconds = 3.0
    with loaded(far.channel, 20, "read", "write") as load:
        eventually(load.all_served_again(times=1), within=60)
        before = {kind: account.done for kind, account in load.accounts.items()}
        started = time.monotonic()
        time.sleep(seconds)
        took = time.monotonic() - started
        done = {kind: account.done - before[kind] for kind, account in load.accounts.items()}
    # Two searches are a read, each at least a round trip; a change is two round trips. Each caller waits for its own
    # only: a connection that has rested is asked first whether it is there, which is one more.
    assert READERS * took / (2 * ROUND_TRIP) * 1.1 >= done["read"] >= READERS * took / (4 * ROUND_TRIP) / 2
    assert WRITERS * took / (2 * ROUND_TRIP) * 1.1 >= done["write"] >= WRITERS * took / (3 * ROUND_TRIP) / 2
    assert load.told == set()


def test_deadlines_hold_though_the_database_is_far_away(far: Served) -> None:
    started = time.monotonic()
    with pytest.raises(grpc.RpcError) as late:
        far.stub.SearchNearest(facility(1), timeout=ROUND_TRIP / 2)
    assert late.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert time.monotonic() - started < 2
    found = far.stub.SearchNearest(facility(2), timeout=20)
    assert [each.id for each in found.features] == ["2"]


@pytest.fixture
def disk() -> Iterator[SmallDisk]:
    try:
        with small_disk() as disk:
            yield disk
    except NoDisk as reason:
        message = f"a full disk was not tried: nobody may mount one here ({reason})"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)


def test_a_full_disk_refuses_changes_alone_until_there_is_room_again(disk: SmallDisk) -> None:
    fill(disk.url)
    fetch(disk.url, PARCELS)
    fetch(disk.url, "ALTER TABLE facilities SET TABLESPACE small")
    with serving(disk.url, import_patience=1.0) as served:
        with loaded(served.channel, 20) as load:
            eventually(load.all_served_again(), within=BACK_SECONDS)
            writes, imports = load.accounts["write"], load.accounts["import"]
            reads = [load.accounts[kind] for kind in ("read", "stream")]
            with disk.full():
                eventually(lambda: writes.told and imports.told, within=BACK_SECONDS)
                goals = [account.done + 3 for account in reads]
                eventually(lambda: all(a.done >= goal for a, goal in zip(reads, goals, strict=True)), BACK_SECONDS)
                eventually(lambda: served.health() == "SERVING", within=BACK_SECONDS)
                told = refused(Editor(served))
            eventually(load.all_served_again(), within=BACK_SECONDS)
        assert set(writes.told) == set(imports.told) == {NO_ROOM}
        assert not any(account.told for account in reads)
    assert told.message == "the database has no room left on its disk"
    assert_nothing_is_lost(disk.url, load)


def refused(editor: Editor) -> Refusal:
    """What is said where there is no room; a page may have some yet."""
    while not isinstance(told := attempted(editor.create, "facilities", facility_made()), Refusal):
        pass
    return told
