"""Behind PgBouncer everything answers, and nothing leaks from one to another."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import pytest

from spatial.v1 import admin_pb2, admin_pb2_grpc, feature_pb2, query_pb2, query_pb2_grpc, write_pb2_grpc
from tests.calls import CALLS, Caller
from tests.edits import Editor
from tests.neighbours import SETTINGS, TOLD, mend, spoil
from tests.pooler import PgBouncer, pooled
from tests.processes import invoked
from tests.questions import facility
from tests.servers import Served, refusal, serving
from tests.situations import eventually, fetch
from tests.streams import whole


def test_every_method_is_called_below() -> None:
    stubs = (query_pb2_grpc.SpatialServiceStub, write_pb2_grpc.FeatureServiceStub, admin_pb2_grpc.AdminServiceStub)
    with grpc.insecure_channel("127.0.0.1:1") as channel:
        methods = {name for stub in stubs for name in vars(stub(channel))}
    assert methods == set(CALLS)


@pytest.mark.parametrize("method", CALLS)
def test_every_method_answers_as_it_does_without_a_pooler(served: Served, method: str) -> None:
    CALLS[method](Caller(served.channel))


def test_a_whole_layer_is_delivered_while_every_session_is_wanted(served: Served) -> None:
    """Streams do not wait for one another: each reads over one session, whatever `stream_connections` says."""

    def read(number: int) -> int:
        return sum(batch.columns.count for batch in served.stub.StreamFeatures(whole(layout="COLUMNS"), timeout=30))

    with ThreadPoolExecutor(8) as threads:
        assert set(threads.map(read, range(16))) == {100}


def described(feature: Any) -> dict[str, str]:
    return {name: feature.properties[name.lower()] for name in SETTINGS}


WANTED = {
    "statement_timeout": "30s",
    "lock_timeout": "1min",
    "work_mem": "7MB",
    "jit": "off",
    "TimeZone": "UTC",
    "application_name": "spatial-service/read",
}


def test_settings_hold_in_every_statement_whatever_others_left_behind(served: Served, bouncer: PgBouncer) -> None:
    request = query_pb2.GetFeatureRequest(layer="told", id="1")
    assert described(served.stub.GetFeature(request, timeout=10)) == WANTED
    try:
        spoil(bouncer)
        for _ in range(5):
            assert described(served.stub.GetFeature(request, timeout=10)) == WANTED
        (streamed,) = [
            feature
            for batch in served.stub.StreamFeatures(whole("told", layout="ROWS"), timeout=10)
            for feature in batch.rows.features
        ]
        in_bulk = {"statement_timeout": "0", "application_name": "spatial-service/bulk"}
        assert described(streamed) == WANTED | in_bulk
        made = feature_pb2.Feature()
        made.geometry.wkt = "POINT (0 0)"
        created = Editor(served).create("written", made)
        assert described(created.feature) == WANTED | {"application_name": "spatial-service/write"}
    finally:
        mend(bouncer)


def test_a_neighbour_on_the_same_session_sees_none_of_our_settings(url: str, tool: Callable[[str], str]) -> None:
    asked = f"SELECT pg_backend_pid(), {TOLD}"
    with pooled(tool("pgbouncer"), url, pool_size=1) as bouncer, serving(bouncer.url, pooler="transaction") as served:
        before = fetch(bouncer.url, asked)
        caller = Caller(served.channel)
        for call in CALLS.values():
            call(caller)
        assert fetch(bouncer.url, asked) == before
        assert fetch(bouncer.url, "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'") == [(0,)]
        assert fetch(bouncer.url, "SELECT count(*) FROM pg_class WHERE relpersistence = 't'") == [(0,)]
        assert fetch(bouncer.url, "SELECT count(*) FROM pg_prepared_statements") == [(0,)]


def test_sixty_four_callers_are_all_answered_over_four_sessions(url: str, tool: Callable[[str], str]) -> None:
    def ask(number: int) -> list[str]:
        found = behind.stub.SearchNearest(facility(number), timeout=30)
        return [each.id for each in found.features]

    numbers = [number % 100 + 1 for number in range(640)]
    with (
        pooled(tool("pgbouncer"), url, pool_size=4) as bouncer,
        serving(bouncer.url, pooler="transaction", lanes=16, pool_size=16) as behind,
        ThreadPoolExecutor(64) as threads,
    ):
        assert list(threads.map(ask, numbers)) == [[str(number)] for number in numbers]
        eventually(lambda: behind.health() == "SERVING")
        assert len(bouncer.tell("SHOW SERVERS")) <= 4


def test_migrations_refuse_a_pooler(bouncer: PgBouncer) -> None:
    done = invoked("migrate", database_url=bouncer.url)
    assert done.returncode == 1
    assert "migrations need a session of their own, and here is a pooler" in done.stderr


def test_indexes_are_rebuilt_unless_the_roles_own_settings_would_cut_that_short(
    served: Served, bouncer: PgBouncer, url: str
) -> None:
    request = admin_pb2.AnalyzeLayerRequest(layer="zones", reindex=True)
    caller = Caller(served.channel)
    assert len(list(caller.admin.AnalyzeLayer(request, timeout=30))) > 1
    role = f"ALTER ROLE CURRENT_USER IN DATABASE {url.rpartition('/')[2]}"
    fetch(url, f"{role} SET lock_timeout = '1s'")
    try:
        mend(bouncer)
        with pytest.raises(grpc.RpcError) as refused:
            list(caller.admin.AnalyzeLayer(request, timeout=30))
        told = refusal(refused.value)
        assert (told.code, told.reason) == ("PERMISSION_DENIED", "NOT_ALLOWED")
        assert "SET lock_timeout = 0" in told.message
    finally:
        fetch(url, f"{role} RESET lock_timeout")
        mend(bouncer)


def test_the_doctor_finds_nothing_wrong_with_sessions_that_are_the_poolers(served: Served) -> None:
    answer = Caller(served.channel).admin.Diagnose(admin_pb2.DiagnoseRequest(), timeout=30)
    assert {finding.kind for finding in answer.findings} & {"setting", "too-few-connections"} == set()
