"""Streams and matches over connections that break: every feature exactly once, whatever is cut and when."""

import random
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from spatial_client import Retry, SpatialClient, Unavailable
from spatial_client._matching import CHUNK
from tests.clients import Blocking
from tests.proxy import Proxy, proxied
from tests.servers import Served, serving
from tests.situations import eventually

FACILITIES = 16_081
NEW_YORK = (-74.006, 40.7128)
PATIENT = Retry(attempts=10, first_pause=0.02, longest_pause=0.1)
# A connection that was cut is made anew at once, and a small window leaves most of a stream beyond the cut.
OPTIONS = [
    ("grpc.initial_reconnect_backoff_ms", 20),
    ("grpc.min_reconnect_backoff_ms", 20),
    ("grpc.max_reconnect_backoff_ms", 100),
    ("grpc.http2.lookahead_bytes", 16384),
    ("grpc.http2.bdp_probe", 0),
]
BOTH = pytest.mark.parametrize("kind", [SpatialClient, Blocking], ids=["threads", "asyncio"])
CUTS = st.lists(st.integers(1, 5), min_size=1, max_size=3, unique=True)
FEW = settings(max_examples=3, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(scope="module")
def served(demo_database: str) -> Iterator[Served]:
    with serving(demo_database) as running:
        yield running


@contextmanager
def cut_off(kind: Any, served: Served) -> Iterator[tuple[Any, Proxy]]:
    """A client behind a proxy."""
    with (
        proxied(f"tcp://a:b@{served.address}") as proxy,
        kind(f"127.0.0.1:{proxy.port}", retry=PATIENT, options=OPTIONS) as client,
    ):
        yield client, proxy


def read(batches: Any, proxy: Proxy, cuts: list[int]) -> list[Any]:
    """All that the batches hold, with the connection cut after some of them."""
    found: list[Any] = []
    for number, batch in enumerate(batches, start=1):
        found += batch
        if number in cuts:
            proxy.cut_all()
    return found


@BOTH
@FEW
@given(cuts=CUTS)
def test_a_resumable_stream_delivers_each_feature_exactly_once(kind: Any, served: Served, cuts: list[int]) -> None:
    with cut_off(kind, served) as (client, proxy):
        stream = client.stream_features("facilities", resumable=True, properties=["name", "attributes"])
        found = read(stream.batches(), proxy, cuts)

        assert proxy.accepted > 1
    assert [int(feature.id) for feature in found] == list(range(1, FACILITIES + 1))


@BOTH
@pytest.mark.parametrize("cuts", [[1], [2, 3]])
def test_so_it_does_in_columns_of_a_radius(kind: Any, served: Served, cuts: list[int]) -> None:
    with cut_off(kind, served) as (client, proxy):
        stream = client.stream_radius("facilities", NEW_YORK, 5e6, resumable=True)
        whole = read((columns.ids for columns in stream.columns()), proxy, [])
        found = read((columns.ids for columns in stream.columns()), proxy, cuts)

        assert proxy.accepted > 1
    assert found == whole
    assert len(set(found)) == len(found) > 3_000


@BOTH
def test_cuts_may_come_at_any_moment(kind: Any, served: Served) -> None:
    """Also in the middle of a message, or while a connection is being made."""
    chance, over = random.Random(3), threading.Event()
    with cut_off(kind, served) as (client, proxy):

        def cut() -> None:
            for _ in range(8):
                if over.wait(chance.uniform(0.02, 0.25)):
                    break
                proxy.cut_all()

        cutter = threading.Thread(target=cut)
        cutter.start()
        try:
            found = [int(feature.id) for feature in client.stream_features("facilities", resumable=True)]
        finally:
            over.set()
            cutter.join()

        assert proxy.accepted > 1
    assert found == list(range(1, FACILITIES + 1))


@BOTH
def test_a_resumable_join_delivers_each_pair_exactly_once(kind: Any, served: Served) -> None:
    with cut_off(kind, served) as (client, proxy):
        stream = client.stream_join("zones", "facilities", resumable=True)
        whole = read(stream.batches(), proxy, [])
        found = read(stream.batches(), proxy, [1, 2])

    assert found == whole
    assert max(Counter((pair.left_id, pair.right_id) for pair in found).values()) == 1


@BOTH
def test_a_stream_that_is_not_resumable_says_that_it_was_cut(kind: Any, served: Served) -> None:
    with cut_off(kind, served) as (client, proxy), pytest.raises(Unavailable):
        read(client.stream_features("facilities").batches(), proxy, [1])


@BOTH
def test_a_service_that_stays_away_ends_a_stream_after_some_attempts(kind: Any, served: Served) -> None:
    with cut_off(kind, served) as (client, proxy):
        batches = client.stream_features("facilities", resumable=True).batches()
        next(batches)
        proxy.mode = "forget"
        proxy.cut_all()

        with pytest.raises(Unavailable):
            list(batches)


@BOTH
def test_a_stream_that_stalled_goes_on_when_its_reader_does(kind: Any, demo_database: str) -> None:
    with serving(demo_database, stall_timeout=0.3) as served, kind(served.address, options=OPTIONS) as client:
        batches = client.stream_features("facilities", resumable=True).batches()
        found = list(next(batches))
        eventually(lambda: served.metric('grpc_server_handled_total{grpc_code="DEADLINE_EXCEEDED",' + METHOD) == 1)
        found += [feature for batch in batches for feature in batch]

        assert served.metric("grpc_server_started_total{" + METHOD) > 1
    assert [int(feature.id) for feature in found] == list(range(1, FACILITIES + 1))


METHOD = 'grpc_method="StreamFeatures",grpc_service="spatial.v1.SpatialService",grpc_type="server_stream"}'


@BOTH
@FEW
@given(cuts=st.lists(st.integers(1, 3 * CHUNK), min_size=1, max_size=4, unique=True))
def test_matches_go_on_after_a_cut_each_probe_answered_once(kind: Any, served: Served, cuts: list[int]) -> None:
    probes = [(key, (key % 360 - 180, key % 120 - 60)) for key in range(4 * CHUNK)]
    with cut_off(kind, served) as (client, proxy):
        keys = []
        for number, match in enumerate(client.match_nearest(probes, "facilities", view="none"), start=1):
            keys.append(match.key)
            if number in cuts:
                proxy.cut_all()

    assert keys == list(range(4 * CHUNK))
