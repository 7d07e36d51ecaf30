"""Spans as a collector gets them, and the lines about slow calls: where the time of a call went."""

import json
import logging
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import grpc
import pytest

from service.observability.logs import JsonLines
from service.reflected import ConfigurationError
from service.server import running_server
from service.settings import Settings
from spatial.v1 import query_pb2, write_pb2, write_pb2_grpc
from tests.collector import Collector, Span, collecting
from tests.questions import facility, radius, zone
from tests.servers import Served, serving
from tests.situations import blocked, eventually, locked

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
SAMPLED = (("traceparent", f"00-{TRACE}-{PARENT}-01"),)
SLOW = 0.2
UNSAMPLED = (("traceparent", f"00-{TRACE}-{PARENT}-00"),)


class Traced:
    """What was called on a server that has stopped since, and so has sent all its spans."""

    def __init__(self, collector: Collector) -> None:
        self.collector = collector

    def call(self, method: str) -> Span:
        (found,) = [span for span in self.collector.calls() if span.attributes["rpc.method"] == method]
        return found


@pytest.fixture(scope="module")
def traced(filled: str) -> Iterator[Traced]:
    """Everything that the tests of spans look at, called once."""
    with collecting() as collector:
        with serving(filled, trace_endpoint=collector.endpoint, trace_sample=0, slow_call=0) as served:
            stub = served.stub
            stub.SearchRadius(radius(), metadata=(*SAMPLED, ("x-request-id", "the-call")))
            list(stub.StreamFeatures(query_pb2.StreamFeaturesRequest(query={"layer": "facilities"}), metadata=SAMPLED))
            with pytest.raises(grpc.RpcError):
                stub.GetFeature(query_pb2.GetFeatureRequest(layer="none", id="1"), metadata=SAMPLED)
            writes = _writes(served)
            writes.DeleteFeature(write_pb2.DeleteFeatureRequest(layer="zones", id="3"), metadata=SAMPLED)
            stub.SearchIntersects(zone(2), metadata=UNSAMPLED)
            stub.SearchIntersects(zone(2))
            stub.SearchIntersects(zone(2), metadata=(("traceparent", "00-nonsense"),))
            served.health()
        yield Traced(collector)


def _writes(served: Served) -> Any:
    return write_pb2_grpc.FeatureServiceStub(served.channel)


def test_a_call_s_span_is_a_child_of_the_caller_s(traced: Traced) -> None:
    span = traced.call("SearchRadius")
    assert (span.name, span.service) == ("spatial.v1.SpatialService/SearchRadius", "spatial-service")
    assert (span.trace, span.parent) == (TRACE, PARENT)
    assert span.attributes["rpc.system"] == "grpc"
    assert span.attributes["rpc.grpc.status_code"] == 0
    assert span.attributes["spatial.request_id"] == "the-call"


def test_in_it_are_the_waits_and_the_statement_in_their_order(traced: Traced) -> None:
    call = traced.call("SearchRadius")
    steps = traced.collector.within(call)
    assert list(steps) == ["lane", "checkout", "statement"]
    moments = [moment for span in steps.values() for moment in (span.began, span.ended)]
    assert moments == sorted(moments)
    tolerance = 2_000_000  # nanoseconds between two clocks
    assert call.began - tolerance <= moments[0] <= moments[-1] <= call.ended + tolerance


def test_a_statement_is_told_with_places_where_the_caller_s_values_were(traced: Traced) -> None:
    statement = traced.collector.within(traced.call("SearchRadius"))["statement"]
    about = statement.attributes
    assert (about["db.system.name"], about["db.query.summary"]) == ("postgresql", "radius")
    assert about["db.collection.name"] == "facilities"
    assert "ST_DistanceSpheroid" in about["db.query.text"]
    assert "%(" in about["db.query.text"]
    assert str(int(radius().query.radius_meters)) not in about["db.query.text"]


@pytest.mark.parametrize(("method", "summary"), [("StreamFeatures", "StreamFeatures"), ("DeleteFeature", "delete")])
def test_streams_and_changes_have_their_statements_too(traced: Traced, method: str, summary: str) -> None:
    statement = traced.collector.within(traced.call(method))["statement"]
    assert statement.attributes["db.query.summary"] == summary
    assert statement.trace == TRACE


def test_a_refusal_is_told_by_its_reason_and_is_no_failure_of_the_server(traced: Traced) -> None:
    span = traced.call("GetFeature")
    assert (span.attributes["spatial.reason"], span.failed) == ("LAYER_NOT_FOUND", False)


def test_callers_decide_who_is_traced_and_health_never_is(traced: Traced) -> None:
    """The sample of those who do not say is 0 here."""
    methods = sorted(span.attributes["rpc.method"] for span in traced.collector.calls())
    assert methods == ["DeleteFeature", "GetFeature", "SearchRadius", "StreamFeatures"]


def test_a_share_of_those_who_do_not_say_is_traced_and_a_limit_of_ours_is_a_failure(filled: str) -> None:
    with (
        collecting() as collector,
        serving(filled, trace_endpoint=collector.endpoint, trace_sample=1, statement_timeout=0.3) as served,
        locked(filled, "zones"),
    ):
        call = served.stub.SearchIntersects.future(zone(1), timeout=30)
        assert call.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    (span,) = collector.calls()
    assert (span.parent, span.failed) == ("", True)


def test_a_collector_that_is_away_costs_no_call(filled: str) -> None:
    with serving(filled, trace_endpoint="http://127.0.0.1:9", trace_sample=1) as served:
        assert served.stub.SearchIntersects(zone(1)).features


async def test_without_the_packages_a_server_that_should_trace_says_what_is_missing(
    filled: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)
    settings = Settings(listen="127.0.0.1:0", metrics_listen="127.0.0.1:0", trace_endpoint="http://127.0.0.1:9")
    with pytest.raises(ConfigurationError, match=r"spatial-service\[server,tracing\]"):
        async with running_server(settings, filled):
            pass


def test_nothing_of_tracing_is_imported_where_nobody_asked() -> None:
    """The extra is not part of what a server needs, and Alembic not of what it does without `--demo`."""
    unwanted = ("opentelemetry", "alembic")
    code = f"import sys, service.cli.serve; print([each for each in sys.modules if each.startswith({unwanted})])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


# Logs


def lines(caplog: pytest.LogCaptureFixture, message: str) -> list[dict[str, Any]]:
    return [json.loads(JsonLines().format(record)) for record in caplog.records if record.getMessage() == message]


def test_a_slow_call_is_logged_with_what_it_waited_for_and_ran(filled: str, caplog: pytest.LogCaptureFixture) -> None:
    with serving(filled, slow_call=SLOW, slow_call_plans=True) as served:
        served.stub.SearchIntersects(zone(1))
        with locked(filled, "facilities"):
            call = served.stub.SearchNearest.future(facility(1), metadata=(*SAMPLED, ("x-request-id", "slow-1")))
            eventually(blocked(filled))
            time.sleep(SLOW)
        call.result(timeout=30)
        eventually(lambda: lines(caplog, "plan of a slow call") != [])
    (line,) = lines(caplog, "slow call")
    assert line["method"] == "spatial.v1.SpatialService/SearchNearest"
    assert (line["query"], line["layer"], line["code"]) == ("nearest", "facilities", "OK")
    assert line["milliseconds"] >= line["statement_milliseconds"] >= 1000 * SLOW
    (plan,) = lines(caplog, "plan of a slow call")
    assert "facilities" in plan["plan"]
    assert "Scan" in plan["plan"]


def test_quick_calls_and_streams_are_not_logged_as_slow(filled: str, caplog: pytest.LogCaptureFixture) -> None:
    with serving(filled, slow_call=30) as served:
        served.stub.SearchIntersects(zone(1))
        list(served.stub.StreamFeatures(query_pb2.StreamFeaturesRequest(query={"layer": "zones"})))
    assert lines(caplog, "slow call") == []


def test_a_call_s_lines_name_the_caller_s_trace(filled: str, caplog: pytest.LogCaptureFixture) -> None:
    told: list[dict[str, Any]] = []

    class Keeping(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            told.append(json.loads(JsonLines().format(record)))

    logger = logging.getLogger("spatial.call")
    handler = Keeping()
    logger.addHandler(handler)
    try:
        with serving(filled) as served, caplog.at_level(logging.DEBUG, logger="spatial.call"):
            served.stub.SearchIntersects(zone(1), metadata=(*UNSAMPLED, ("x-request-id", "one")))
            served.stub.SearchIntersects(zone(1), metadata=(("x-request-id", "two"),))
            served.stub.SearchIntersects(zone(1), metadata=(("traceparent", f"00-{'0' * 32}-{PARENT}-01"),))
    finally:
        logger.removeHandler(handler)
    assert [(line["request_id"], line.get("trace_id")) for line in told[:2]] == [("one", TRACE), ("two", None)]
    assert "trace_id" not in told[2]
