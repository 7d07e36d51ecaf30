"""What Prometheus scrapes: the names that dashboards rely on, and that they move as they say."""

import subprocess
from collections.abc import Callable, Iterator
from urllib.error import HTTPError
from urllib.request import urlopen

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from service import __version__
from spatial.v1 import query_pb2
from tests.conftest import NewDatabase
from tests.questions import count, facility, radius, zone
from tests.servers import Served, serving
from tests.situations import blocked, eventually, locked

SPATIAL = "spatial.v1.SpatialService"
CALL = {"grpc_type", "grpc_service", "grpc_method"}
# Every name, its type, and the labels of its series.
NAMES = {
    "grpc_server_started": ("counter", CALL),
    "grpc_server_handled": ("counter", {*CALL, "grpc_code"}),
    "grpc_server_handling_seconds": ("histogram", CALL),
    "grpc_server_msg_sent": ("counter", CALL),
    "grpc_server_msg_received": ("counter", CALL),
    "spatial_pool_connections": ("gauge", {"pool", "state"}),
    "spatial_pool_size": ("gauge", {"pool"}),
    "spatial_pool_checkout_seconds": ("histogram", {"pool"}),
    "spatial_pool_timeouts": ("counter", {"pool"}),
    "spatial_pool_connects": ("counter", {"pool"}),
    "spatial_pool_invalidations": ("counter", {"pool"}),
    "spatial_query_seconds": ("histogram", {"query", "layer"}),
    "spatial_lane_batch_size": ("histogram", set()),
    "spatial_lane_wait_seconds": ("histogram", set()),
    "spatial_lane_depth": ("gauge", set()),
    "spatial_write_retries": ("counter", {"change"}),
    "spatial_statements_cancelled": ("counter", {"cause"}),
    "spatial_requests_rejected": ("counter", {"reason"}),
    "spatial_build_info": ("gauge", {"version", "python", "grpcio", "psycopg2"}),
    "process_cpu_seconds": ("counter", set()),
    "process_resident_memory_bytes": ("gauge", set()),
}


@pytest.fixture
def served(filled: str) -> Iterator[Served]:
    with serving(filled, lock_timeout=60, lane_queue=3) as served:
        yield served


@pytest.fixture(scope="module")
def uncalled(filled: str) -> Iterator[Served]:
    """A server that nobody calls."""
    with serving(filled) as served:
        yield served


def families(served: Served) -> dict[str, Metric]:
    return {family.name: family for family in text_string_to_metric_families(served.scrape())}


def called(name: str, method: str, **more: str) -> str:
    labels = {**more, "grpc_method": method, "grpc_service": SPATIAL, "grpc_type": "unary"}
    listed = ",".join(f'{key}="{labels[key]}"' for key in sorted(labels))
    return f"{name}{{{listed}}}"


@pytest.mark.parametrize("name", NAMES)
def test_a_name_is_there_before_the_first_call_with_its_type_and_labels(uncalled: Served, name: str) -> None:
    kind, labels = NAMES[name]
    family = families(uncalled)[name]
    assert family.type == kind
    assert len(family.documentation) > 5
    # A rate over a series that is not there yet misses its first step; shapes are known only when they are asked for.
    assert family.samples or name == "spatial_query_seconds"
    for sample in family.samples:
        assert set(sample.labels) - {"le"} == labels


def test_what_is_scraped_is_well_formed(served: Served, tool: Callable[[str], str]) -> None:
    served.stub.SearchRadius(radius(), timeout=20)
    text = served.scrape()
    checked = subprocess.run(
        [tool("promtool"), "check", "metrics"], input=text, capture_output=True, text=True, timeout=60, check=False
    )
    assert checked.returncode == 0, checked.stderr
    assert set(NAMES) <= {family.name for family in text_string_to_metric_families(text)}


def test_the_series_of_every_method_are_there_before_it_is_called(uncalled: Served) -> None:
    started = families(uncalled)["grpc_server_started"].samples
    methods = {(sample.labels["grpc_service"], sample.labels["grpc_method"]) for sample in started}
    rpcs = query_pb2.DESCRIPTOR.services_by_name["SpatialService"].methods
    assert {(SPATIAL, rpc.name) for rpc in rpcs} <= methods
    assert {("grpc.health.v1.Health", "Check"), ("grpc.health.v1.Health", "Watch")} <= methods
    assert {sample.value for sample in started if sample.name.endswith("_total")} == {0.0}
    codes = {sample.labels["grpc_code"] for sample in families(uncalled)["grpc_server_handled"].samples}
    assert codes == {code.name for code in grpc.StatusCode}


def test_a_call_is_counted_by_method_and_code(served: Served) -> None:
    served.stub.SearchRadius(radius(), timeout=20)
    with pytest.raises(grpc.RpcError):
        served.stub.SearchRadius(radius(meters=-1), timeout=20)
    with pytest.raises(grpc.RpcError):
        served.stub.SearchRadius(radius(layer="rivers"), timeout=20)
    assert served.metric(called("grpc_server_started_total", "SearchRadius")) == 3
    for code in ("OK", "INVALID_ARGUMENT", "NOT_FOUND"):
        assert served.metric(called("grpc_server_handled_total", "SearchRadius", grpc_code=code)) == 1
    assert served.metric(called("grpc_server_msg_received_total", "SearchRadius")) == 3
    assert served.metric(called("grpc_server_msg_sent_total", "SearchRadius")) == 1
    assert served.metric(called("grpc_server_handling_seconds_count", "SearchRadius")) == 3
    assert 0 < served.metric(called("grpc_server_handling_seconds_sum", "SearchRadius")) < 5


def test_the_request_of_a_stream_is_counted(served: Served) -> None:
    watch = health_pb2_grpc.HealthStub(served.channel).Watch(health_pb2.HealthCheckRequest())
    next(watch)
    watch.cancel()
    labels = '{grpc_method="Watch",grpc_service="grpc.health.v1.Health",grpc_type="server_stream"}'
    eventually(lambda: served.metric(f"grpc_server_msg_received_total{labels}") == 1)


def test_a_call_is_started_before_it_is_handled(served: Served, filled: str) -> None:
    handled = called("grpc_server_handled_total", "SearchRadius", grpc_code="OK")
    with locked(filled, "facilities"):
        call = served.stub.SearchRadius.future(radius(), timeout=30)
        eventually(blocked(filled))
        assert served.metric(called("grpc_server_started_total", "SearchRadius")) == 1
        assert served.metric(handled) == 0
    call.result()
    eventually(lambda: served.metric(handled) == 1)


@pytest.mark.parametrize(("edge", "inside"), [("0.0005", 0), ("30.0", 1)])
def test_buckets_reach_from_half_a_millisecond_to_half_a_minute(served: Served, edge: str, inside: int) -> None:
    served.stub.CountFeatures(count(), timeout=20)
    labels = f'{{grpc_method="CountFeatures",grpc_service="{SPATIAL}",grpc_type="unary",le="{edge}"}}'
    assert served.metric(f"grpc_server_handling_seconds_bucket{labels}") == inside


def test_the_pool_is_seen_at_work(served: Served, filled: str) -> None:
    in_use, idle = (f'spatial_pool_connections{{pool="read",state="{state}"}}' for state in ("in_use", "idle"))
    assert served.metric('spatial_pool_size{pool="read"}') == 6
    assert (served.metric(in_use), served.metric(idle)) == (0, 0)
    with locked(filled, "facilities", "zones"):
        calls = [served.stub.SearchRadius.future(radius(), timeout=30)]
        calls.append(served.stub.SearchIntersects.future(zone(1), timeout=30))
        eventually(blocked(filled, 2))
        assert (served.metric(in_use), served.metric(idle)) == (2, 0)
    for call in calls:
        call.result()
    eventually(lambda: (served.metric(in_use), served.metric(idle)) == (0, 2))
    assert served.metric('spatial_pool_connects_total{pool="read"}') == 2
    assert served.metric('spatial_pool_checkout_seconds_count{pool="read"}') == 2


@pytest.mark.parametrize(
    ("query", "layer", "method"),
    [("radius", "facilities", "SearchRadius"), ("nearest", "facilities", "SearchNearest")],
)
def test_statements_are_timed_by_query_and_layer(served: Served, query: str, layer: str, method: str) -> None:
    request = {"SearchRadius": radius(), "SearchNearest": facility(1)}[method]
    getattr(served.stub, method)(request, timeout=20)
    assert served.metric(f'spatial_query_seconds_count{{layer="{layer}",query="{query}"}}') == 1


def test_counting_is_timed_apart_from_finding(served: Served) -> None:
    served.stub.CountFeatures(count("zones"), timeout=20)
    assert served.metric('spatial_query_seconds_count{layer="zones",query="count_all"}') == 1


def test_the_lanes_are_seen_at_work(served: Served, filled: str) -> None:
    with locked(filled, "facilities"):
        calls = [served.stub.SearchRadius.future(radius(), timeout=30) for _ in range(3)]
        eventually(lambda: served.metric("spatial_lane_depth") == 3)
        with pytest.raises(grpc.RpcError):
            served.stub.SearchRadius(radius(), timeout=20)
        assert served.metric('spatial_requests_rejected_total{reason="overloaded"}') == 1
    for call in calls:
        call.result()
    eventually(lambda: served.metric("spatial_lane_depth") == 0)
    assert served.metric("spatial_lane_batch_size_sum") == 3
    assert served.metric("spatial_lane_wait_seconds_count") == 3


def test_a_cancelled_statement_is_counted(served: Served, filled: str) -> None:
    with locked(filled, "facilities"):
        call = served.stub.SearchRadius.future(radius(), timeout=30)
        eventually(blocked(filled))
        call.cancel()
        eventually(lambda: served.metric('spatial_statements_cancelled_total{cause="abandoned"}') == 1)


def test_the_build_is_named(served: Served) -> None:
    (sample,) = families(served)["spatial_build_info"].samples
    assert sample.labels["version"] == __version__
    assert sample.labels["grpcio"] == grpc.__version__
    assert sample.value == 1


def test_two_servers_in_one_process_do_not_share_counts(served: Served, filled: str) -> None:
    with serving(filled) as other:
        other.stub.SearchRadius(radius(), timeout=20)
        assert other.metric(called("grpc_server_started_total", "SearchRadius")) == 1
    assert served.metric(called("grpc_server_started_total", "SearchRadius")) == 0


def test_a_page_for_people(served: Served) -> None:
    with urlopen(f"http://127.0.0.1:{served.server.metrics_port}/", timeout=20) as response:
        page = response.read().decode()
    assert response.headers["Content-Type"] == "text/html; charset=utf-8"
    for part in (__version__, "facilities", "zone_centroids", "<th>ready<td>yes", 'href="/metrics"'):
        assert part in page


def test_the_page_says_why_it_is_not_ready(new_database: NewDatabase) -> None:
    with new_database(template="template1") as url, serving(url) as served:
        response = urlopen(f"http://127.0.0.1:{served.server.metrics_port}/", timeout=20)
        with response:
            assert "the database is not migrated" in response.read().decode()


def test_there_is_no_other_page(served: Served) -> None:
    with pytest.raises(HTTPError) as refused:
        urlopen(f"http://127.0.0.1:{served.server.metrics_port}/admin", timeout=20)
    assert refused.value.code == 404
    refused.value.close()
