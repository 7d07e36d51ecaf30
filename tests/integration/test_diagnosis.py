"""AdminService.Diagnose and AdminService.AnalyzeLayer, as their callers see them."""

import asyncio
import re
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import grpc
import psycopg2
import pytest
from google.protobuf.json_format import MessageToDict
from prometheus_client import CollectorRegistry

from service.db.canceller import Canceller
from service.db.engine import bulk_pool, control_engine
from service.db.errands import Errands
from service.observability.metrics import Metrics
from service.settings import Settings
from spatial.v1 import admin_pb2, admin_pb2_grpc, query_pb2
from tests.ailing import run, value
from tests.servers import Served, refusal, serving
from tests.situations import blocked, eventually, fetch, locked, quiet, sessions

ERROR, WARNING = admin_pb2.SEVERITY_ERROR, admin_pb2.SEVERITY_WARNING
FACILITIES = "INSERT INTO facilities (name, kind, location) VALUES ('a', 'b', 'SRID=4326;POINT (1 2)')"
INDEXES = (
    "SELECT 'REINDEX INDEX CONCURRENTLY public.' || relname FROM pg_class JOIN pg_index ON indexrelid = pg_class.oid"
    " WHERE indrelid = 'facilities'::regclass ORDER BY relname"
)


@pytest.fixture(scope="module")
def url(module_database: str) -> str:
    run(module_database, FACILITIES)
    run(module_database, "ANALYZE")
    return module_database


@pytest.fixture(scope="module")
def served(url: str) -> Iterator[Served]:
    with serving(url, lock_timeout=60) as server:
        yield server


def stub(served: Served) -> Any:
    return admin_pb2_grpc.AdminServiceStub(served.channel)


def diagnose(served: Served, *layers: str, thorough: bool = False) -> admin_pb2.DiagnoseResponse:
    request = admin_pb2.DiagnoseRequest(layers=layers, thorough=thorough)
    answer: admin_pb2.DiagnoseResponse = stub(served).Diagnose(request, timeout=30)
    return answer


def test_a_database_that_is_well_has_no_findings(served: Served) -> None:
    answer = diagnose(served, thorough=True)
    assert list(answer.findings) == []
    assert {"PostgreSQL", "PostGIS", "GEOS", "PROJ", "spatial-service", "migration"} == set(answer.versions)
    assert {pool.name: pool.size for pool in answer.pools} == {"read": 6, "bulk": 8, "write": 8, "control": 1}
    settings = {setting.name: (setting.value, setting.recommended) for setting in answer.settings}
    assert settings["statement_timeout"] == ("30s", ""), "as the sessions have it that searches run in"
    # Empty layers have nothing to search around.
    (timing,) = answer.timings
    assert timing.layer == "facilities"
    assert 0 < timing.milliseconds < 1000


def test_findings_come_with_the_worst_first_and_name_their_layer(served: Served, url: str) -> None:
    run(
        url,
        "CREATE INDEX again ON facilities USING gist (location)",
        "DROP INDEX ix_parcels_boundary_gist",
        "UPDATE facilities SET location = 'SRID=4326;POINT (3 4)'",
    )
    findings = diagnose(served).findings
    assert [(finding.severity, finding.kind, finding.layer) for finding in findings] == [
        (ERROR, "missing-index", "parcels"),
        (WARNING, "duplicate-index", "facilities"),
    ]
    assert MessageToDict(findings[1].details)["index"] == "public.again"
    assert [finding.layer for finding in diagnose(served, "facilities", "facilities").findings] == ["facilities"]

    run(url, *(finding.statement for finding in findings))
    assert list(diagnose(served).findings) == []


def test_geometries_are_read_only_when_asked_to(served: Served, url: str) -> None:
    run(url, "ALTER TABLE facilities DROP CONSTRAINT ck_facilities_location_on_earth")
    run(url, FACILITIES.replace("POINT (1 2)", "POINT (200 2)"))
    assert list(diagnose(served, "facilities").findings) == []
    (finding,) = diagnose(served, "facilities", thorough=True).findings
    assert (finding.kind, finding.details["count"]) == ("longitude-out-of-range", 1)

    run(url, finding.statement)
    assert list(diagnose(served, "facilities", thorough=True).findings) == []


def test_a_layer_that_there_is_not(served: Served) -> None:
    for call, field in (
        (lambda: diagnose(served, "zones", "rivers"), "layers[1]"),
        (lambda: analyzed(served, "rivers"), "layer"),
    ):
        with pytest.raises(grpc.RpcError) as raised:
            call()
        refused = refusal(raised.value)
        assert (refused.code, refused.reason, refused.fields) == ("NOT_FOUND", "LAYER_NOT_FOUND", (field,))


def test_the_layer_to_analyze_must_be_named(served: Served) -> None:
    with pytest.raises(grpc.RpcError) as raised:
        analyzed(served, "")
    refused = refusal(raised.value)
    assert (refused.code, refused.reason, refused.fields) == ("INVALID_ARGUMENT", "REQUIRED", ("layer",))


@pytest.mark.parametrize("thorough", [False, True])
def test_a_diagnosis_that_nobody_waits_for_ends(served: Served, url: str, thorough: bool) -> None:
    with locked(url, "parcels"):
        request = admin_pb2.DiagnoseRequest(thorough=thorough)
        call = stub(served).Diagnose.future(request, timeout=30)
        eventually(blocked(url))
        call.cancel()
        eventually(quiet(url))


def test_a_diagnosis_ends_at_its_deadline(served: Served, url: str) -> None:
    with locked(url, "parcels"), pytest.raises(grpc.RpcError) as raised:
        stub(served).Diagnose(admin_pb2.DiagnoseRequest(), timeout=0.5)
    assert raised.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    eventually(quiet(url))


def analyzed(served: Served, layer: str, *, reindex: bool = False) -> list[admin_pb2.AnalyzeLayerResponse]:
    request = admin_pb2.AnalyzeLayerRequest(layer=layer, reindex=reindex)
    return list(stub(served).AnalyzeLayer(request, timeout=60))


def test_a_layer_is_analyzed(served: Served, url: str) -> None:
    statistics = "SELECT reltuples::int FROM pg_class WHERE relname = 'facilities'"
    run(url, "UPDATE pg_class SET reltuples = -1 WHERE relname = 'facilities'")
    (step,) = analyzed(served, "facilities")
    assert (step.step, step.done, step.total) == ("ANALYZE public.facilities", 1, 1)
    assert step.seconds > 0
    assert value(url, statistics) == value(url, "SELECT count(*)::int FROM facilities")


def test_its_indexes_are_rebuilt_one_after_another(served: Served, url: str) -> None:
    files = "SELECT array_agg(relfilenode) FROM pg_class JOIN pg_index ON indexrelid = pg_class.oid"
    files += " WHERE indrelid = 'facilities'::regclass"
    before = set(value(url, files))
    indexes = [statement for (statement,) in fetch(url, INDEXES)]
    steps = analyzed(served, "facilities", reindex=True)

    assert [step.step for step in steps] == [*indexes, "ANALYZE public.facilities"]
    assert [step.done for step in steps] == list(range(1, len(steps) + 1))
    assert {step.total for step in steps} == {len(steps)}
    assert not before & set(value(url, files))


def test_steps_are_told_of_as_they_are_done_and_a_call_that_is_cancelled_ends(served: Served, url: str) -> None:
    """What a rebuild that was cut short leaves behind, the doctor finds."""
    first, *_ = [statement for (statement,) in fetch(url, INDEXES)]
    with closing(psycopg2.connect(url)) as older, older.cursor() as cursor:
        call = stub(served).AnalyzeLayer(admin_pb2.AnalyzeLayerRequest(layer="facilities", reindex=True), timeout=60)
        assert next(call).step == first
        cursor.execute(FACILITIES)
        # The rebuild under way, or the next one, waits for this transaction, longer than lock_timeout.
        rebuilding = "application_name = 'spatial-service/bulk' AND query LIKE 'REINDEX%' AND wait_event_type = 'Lock'"
        eventually(lambda: sessions(url, rebuilding))
        call.cancel()
        eventually(quiet(url))
    leftovers = [finding for finding in diagnose(served, "facilities").findings if finding.kind == "leftover-index"]
    assert len(leftovers) == 1
    assert re.search("_cc(new|old)$", leftovers[0].statement)  # after how far the rebuild had come

    run(url, leftovers[0].statement)
    assert list(diagnose(served, "facilities").findings) == []
    assert {step.step for step in analyzed(served, "facilities")} == {"ANALYZE public.facilities"}


def test_a_role_that_does_not_own_the_table_is_refused(url: str) -> None:
    """PostgreSQL itself would leave the table out, and say no more than a warning."""
    run(url, "CREATE ROLE visitor LOGIN PASSWORD 'visitor'", "GRANT SELECT ON ALL TABLES IN SCHEMA public TO visitor")
    run(url, "UPDATE pg_class SET reltuples = -1 WHERE relname = 'facilities'")
    with serving(f"postgresql://visitor:visitor@{url.partition('@')[2]}") as served:
        for reindex in (False, True):
            with pytest.raises(grpc.RpcError) as raised:
                analyzed(served, "facilities", reindex=reindex)
            refused = refusal(raised.value)
            assert (refused.code, refused.reason) == ("PERMISSION_DENIED", "NOT_ALLOWED")
            assert refused.metadata == {"table": "public.facilities"}
            assert "must own" in refused.message
        assert value(url, "SELECT reltuples::int FROM pg_class WHERE relname = 'facilities'") == -1

        run(url, "GRANT spatial TO visitor")
        assert len(analyzed(served, "facilities")) == 1
        run(url, "REVOKE spatial FROM visitor")


def test_what_the_role_may_not_read_is_not_an_internal_error(url: str) -> None:
    run(url, "CREATE ROLE stranger LOGIN PASSWORD 'stranger'")
    with serving(f"postgresql://stranger:stranger@{url.partition('@')[2]}") as served:
        (finding,) = [found for found in diagnose(served, "zones").findings if found.kind == "unreadable-table"]
        assert finding.severity == ERROR
        for call in (
            lambda: analyzed(served, "zones"),
            lambda: served.stub.GetFeature(query_pb2.GetFeatureRequest(layer="zones", id="1")),
        ):
            with pytest.raises(grpc.RpcError) as raised:
                call()
            assert (refusal(raised.value).code, refusal(raised.value).reason) == ("PERMISSION_DENIED", "NOT_ALLOWED")


async def test_an_errand_is_ended_when_nobody_waits_and_its_connection_is_used_again(url: str) -> None:
    metrics = Metrics(CollectorRegistry())
    pool, control = bulk_pool(Settings(), url, metrics), control_engine(Settings(), url)
    canceller = Canceller(control, metrics)
    errands = Errands(pool, canceller, metrics)
    sleeping = asyncio.create_task(errands.run(lambda cursor: cursor.execute("SELECT pg_sleep(60)")))
    await asyncio.to_thread(eventually, lambda: sessions(url, "wait_event = 'PgSleep'"))
    sleeping.cancel()
    with pytest.raises(asyncio.CancelledError):
        await sleeping
    await asyncio.to_thread(eventually, lambda: not sessions(url, "wait_event = 'PgSleep'"))

    def answered(cursor: Any) -> int:
        cursor.execute("SELECT 6 * 7")
        return int(cursor.fetchone()[0])

    assert await errands.run(answered) == 42
    with pytest.raises(ZeroDivisionError):
        await errands.run(lambda cursor: 1 // 0)
    await errands.close()
    canceller.close()
    pool.engine.dispose()
    control.dispose()
