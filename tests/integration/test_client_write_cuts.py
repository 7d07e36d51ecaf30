"""Changes and imports of the clients over connections that break: none is lost, and none is made twice."""

from collections.abc import Iterator
from typing import Any

import pytest

from spatial_client import Retry, SpatialClient, _aio_imports, _packing
from tests.client_writes import BOTH, facility, features
from tests.proxy import proxied
from tests.servers import Served, serving


@pytest.fixture(scope="module")
def served(filled: str) -> Iterator[Served]:
    with serving(filled) as running:
        yield running


PATIENT = Retry(attempts=30, first_pause=0.02, longest_pause=0.1)
OPTIONS = [("grpc.initial_reconnect_backoff_ms", 20), ("grpc.min_reconnect_backoff_ms", 20)]


@BOTH
@pytest.mark.parametrize("once", [True, False], ids=["read once", "read again"])
def test_an_import_over_a_connection_that_breaks_loses_and_doubles_nothing(
    kind: Any, served: Served, kind_of: str, once: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_packing, "BATCH_BYTES", 4000)
    monkeypatch.setattr(_aio_imports, "CAREFUL_SECONDS", 0.02)
    given = features(kind_of, 4000)
    with (
        proxied(f"tcp://a:b@{served.address}") as proxy,
        kind(f"127.0.0.1:{proxy.port}", retry=PATIENT, options=OPTIONS) as client,
    ):
        cuts = {1000, 2000, 3900}

        def cut(sent: int) -> None:
            for passed in [each for each in cuts if sent >= each]:
                cuts.remove(passed)
                proxy.cut_all()

        done = client.import_features(iter(given) if once else given, "facilities", on_progress=cut)
        assert proxy.accepted > 1
    assert (done.rows, done.inserted, done.rejected) == (4000, 4000, 0)
    with SpatialClient(served.address) as other:
        stored = other.stream_features("facilities", filter=f"kind = '{kind_of}'", resumable=True, properties=["name"])
        assert [each.properties["name"] for each in stored] == [f"Row {row}" for row in range(4000)]


@BOTH
def test_a_change_over_a_connection_that_breaks_is_made_once(kind: Any, served: Served, kind_of: str) -> None:
    with (
        proxied(f"tcp://a:b@{served.address}") as proxy,
        kind(f"127.0.0.1:{proxy.port}", retry=PATIENT, options=OPTIONS) as client,
    ):
        for number in range(20):
            client.create_feature("facilities", (1, 2), facility(kind_of, name=str(number)))
            if number % 4 == 0:
                proxy.cut_all()
        names = [each.properties["name"] for each in client.stream_features("facilities", filter=f"kind = '{kind_of}'")]
    assert sorted(names, key=int) == [str(number) for number in range(20)]
