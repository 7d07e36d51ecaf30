"""Behind PgBouncer in transaction mode, with as few sessions as there can be: everything works, nothing leaks, and what
is cancelled is the right thing."""

import asyncio
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import replace
from functools import partial
from threading import Event
from typing import Any

import grpc
import psycopg2
import pytest
from grpc_health.v1.health import aio
from psycopg2.extensions import connection as Connection  # noqa: N812 - a class, whatever its case

from service.changes import Totals
from service.db.engine import control_engine
from service.errors import Aborted
from service.health import LOOK_SECONDS, Readiness
from service.settings import Settings
from spatial.v1 import admin_pb2, admin_pb2_grpc, feature_pb2, query_pb2, query_pb2_grpc, write_pb2, write_pb2_grpc
from tests.calls import CALLS, Caller
from tests.conftest import NewDatabase
from tests.edits import Editor, attempted, parcel, reason
from tests.imports import LAYERS, facilities, importer, plan
from tests.pooler import PgBouncer, pooled
from tests.processes import invoked
from tests.questions import facility, fill, nearest, radius, zone
from tests.servers import Served, refusal, serving
from tests.situations import blocked, eventually, fetch, locked, quiet
from tests.streams import whole

POOL_SIZE = 2
SETTINGS = ("statement_timeout", "lock_timeout", "work_mem", "jit", "TimeZone", "application_name")
# What a statement sees that is asked through a layer; the table tells of the statements that write.
TOLD = ", ".join(f"current_setting('{name}') AS {name.lower()}" for name in SETTINGS)
DEFAULTS = ", ".join(f"{name.lower()} text DEFAULT current_setting('{name}')" for name in SETTINGS)
SCHEMA = f"""
CREATE VIEW told AS SELECT 1 AS id, 'SRID=4326;POINT (0 0)'::geometry(Point, 4326) AS place, {TOLD};
CREATE TABLE written (id serial PRIMARY KEY, place geometry(Point, 4326), {DEFAULTS});
"""
LAYERS_FILE = """
layers:
  - {table: told, key: id, unindexed: true}
  - {table: written, unindexed: true, writable: true}
"""


@pytest.fixture(scope="module")
def url(new_database: NewDatabase) -> Iterator[str]:
    """PostgreSQL's own address."""
    with new_database() as url:
        fill(url)
        fetch(url, SCHEMA)
        yield url


@pytest.fixture(scope="module")
def bouncer(url: str, tool: Callable[[str], str]) -> Iterator[PgBouncer]:
    with pooled(tool("pgbouncer"), url, pool_size=POOL_SIZE) as bouncer:
        yield bouncer


@pytest.fixture(scope="module")
def served(bouncer: PgBouncer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    file = tmp_path_factory.mktemp("layers") / "layers.yaml"
    file.write_text(LAYERS_FILE)
    layers = f"models, {file}"
    with serving(
        bouncer.url,
        pooler="transaction",
        layers=layers,
        lock_timeout=60,
        work_mem="7MB",
        lane_queue=5000,
        connect_timeout=20,  # a pooler that is looked after, on a busy machine, may take its time
    ) as served:
        yield served


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


def spoil(bouncer: PgBouncer) -> None:
    """As a careless neighbour does: leaves settings behind on every session."""
    with closing(psycopg2.connect(bouncer.url)) as first, closing(psycopg2.connect(bouncer.url)) as second:
        for connection in (first, second):
            with connection.cursor() as cursor:
                cursor.execute("SET jit = on; SET \"TimeZone\" = 'Asia/Tokyo'; SET statement_timeout = '300ms'")
        for connection in (first, second):
            connection.commit()


def mend(bouncer: PgBouncer) -> None:
    bouncer.tell("RECONNECT")


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


CANCELLED: dict[str, Callable[[Served], Any]] = {
    "a search": lambda served: served.stub.SearchRadius.future(radius(), timeout=30),
    "a heavy search": lambda served: served.stub.SearchRadius.future(radius(meters=2e6), timeout=30),
    "a stream": lambda served: served.stub.StreamFeatures(whole(), timeout=30),
    "a change": lambda served: write_pb2_grpc.FeatureServiceStub(served.channel).DeleteFeature.future(
        write_pb2.DeleteFeatureRequest(layer="facilities", id="1"), timeout=30
    ),
}


@pytest.mark.parametrize("start", CANCELLED.values(), ids=CANCELLED)
def test_a_statement_ends_soon_after_its_callers_cancellation(
    served: Served, url: str, start: Callable[[Served], Any]
) -> None:
    with locked(url, "facilities"):
        call = start(served)
        eventually(blocked(url), within=20)
        call.cancel()
        eventually(quiet(url))
    assert [each.id for each in served.stub.SearchNearest(facility(7), timeout=10).features] == ["7"]


@contextmanager
def innocents(ask: Callable[[int], None], callers: int) -> Iterator[list[int]]:
    """Callers that never pause; any answer that is wrong, or none, fails the block."""
    over = Event()
    asked = [0] * callers

    def ask_on_and_on(caller: int) -> None:
        while not over.is_set():
            ask(asked[caller] % 10 + 1)
            asked[caller] += 1

    with ThreadPoolExecutor(callers) as threads:
        asking = [threads.submit(ask_on_and_on, caller) for caller in range(callers)]
        try:
            yield asked
        finally:
            over.set()
        for each in asking:
            each.result()
    assert all(asked)


def right(served: Served) -> Callable[[int], None]:
    def ask(number: int) -> None:
        found = served.stub.SearchIntersects(zone(number), timeout=20)
        assert [each.id for each in found.features] == [str(number)]

    return ask


@contextmanager
def neighbours(bouncer: PgBouncer, count: int) -> Iterator[list[int]]:
    """Clients of the pooler that have nothing to do with the service, and short statements."""

    def ask(connection: Connection) -> None:
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_sleep(0.002)")

    connections = [psycopg2.connect(bouncer.url) for _ in range(count)]
    for connection in connections:
        connection.autocommit = True
    waiting = list(connections)

    def ask_with_any(_: int) -> None:
        connection = waiting.pop()
        ask(connection)
        waiting.append(connection)

    try:
        with innocents(ask_with_any, count) as asked:
            yield asked
    finally:
        for connection in connections:
            connection.close()


def test_cancellations_at_any_moment_hit_no_neighbour(served: Served, bouncer: PgBouncer) -> None:
    """On the way, in the queue, in a statement, or late: those beside them share the two sessions."""
    cancelled = 'spatial_statements_cancelled_total{cause="abandoned"}'
    before = served.metric(cancelled)
    with innocents(right(served), callers=3), neighbours(bouncer, 3):
        for number in range(400):
            leaving = served.stub.SearchNearest.future(nearest(longitude=(number % 100) * 0.01), timeout=10)
            heavy = served.stub.SearchRadius.future(radius(meters=2e6), timeout=10) if number % 4 == 0 else None
            time.sleep((number % 8) * 0.001)  # spreads the moments over a call's life; no outcome depends on it
            leaving.cancel()
            if heavy:
                heavy.cancel()
    assert served.metric(cancelled) > before


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
        assert behind.health() == "SERVING"
        assert len(bouncer.tell("SHOW SERVERS")) <= 4


def reached(asked: list[int], enough: list[int]) -> bool:
    return all(each >= goal for each, goal in zip(asked, enough, strict=True))


def reconnect(bouncer: PgBouncer) -> None:
    bouncer.tell("RECONNECT")


def pause(bouncer: PgBouncer) -> None:
    """As for a switch to another server."""
    bouncer.tell("PAUSE")
    bouncer.tell("RESUME")


@pytest.mark.parametrize("look_after", [reconnect, pause])
def test_looking_after_the_pooler_costs_no_call(
    served: Served, bouncer: PgBouncer, look_after: Callable[[PgBouncer], None]
) -> None:
    with innocents(right(served), callers=3) as asked:
        for _ in range(3):
            look_after(bouncer)
            enough = [each + 2 for each in asked]
            eventually(partial(reached, asked, enough), within=30)
    assert served.health() == "SERVING"


def end_the_sessions(bouncer: PgBouncer, url: str) -> None:
    fetch(
        url,
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database()"
        " AND backend_type = 'client backend' AND pid <> pg_backend_pid()",
    )


def restart(bouncer: PgBouncer, url: str) -> None:
    bouncer.restart()


@pytest.mark.parametrize("break_", [end_the_sessions, restart])
def test_what_breaks_is_unavailable_and_comes_back_by_itself(
    served: Served, bouncer: PgBouncer, url: str, break_: Callable[[PgBouncer, str], None]
) -> None:
    reasons: set[tuple[str, str]] = set()

    def ask(number: int) -> None:
        try:
            right(served)(number)
        except grpc.RpcError as error:
            told = refusal(error)
            reasons.add((told.code, told.reason))

    with innocents(ask, callers=3) as asked:
        for _ in range(3):
            break_(bouncer, url)
            enough = [each + 5 for each in asked]
            eventually(partial(reached, asked, enough), within=20)
    assert reasons <= {("UNAVAILABLE", "DATABASE_UNAVAILABLE")}
    eventually(lambda: attempted(right(served), 1) is None, within=20)
    eventually(lambda: served.health() == "SERVING", within=20)


def test_readiness_waits_for_its_turn_as_long_as_others_of_ours_are_answered(
    url: str, tool: Callable[[str], str]
) -> None:
    heard = [0.0]  # seconds ago

    async def watch(bouncer: PgBouncer, hold: Callable[[], None]) -> list[str | None]:
        control = control_engine(Settings(pooler="transaction"), bouncer.url)
        readiness = Readiness(aio.HealthServicer(), [], control, 0.1, silence=lambda: heard[0])
        await readiness.start()
        problems = []
        hold()
        for heard[0] in (0.0, LOOK_SECONDS):
            await asyncio.sleep(LOOK_SECONDS + 0.5)  # longer than a look is given
            problems.append(readiness.problem)
        await readiness.close()
        return problems

    with (
        pooled(tool("pgbouncer"), url, pool_size=1) as bouncer,
        closing(psycopg2.connect(bouncer.url)) as holder,
        holder.cursor() as cursor,
    ):
        problems = asyncio.run(watch(bouncer, lambda: cursor.execute("SELECT")))
    assert problems == [None, "the database does not answer"]


def test_readiness_is_lost_where_nobody_is_answered_and_comes_back(url: str, tool: Callable[[str], str]) -> None:
    with (
        pooled(tool("pgbouncer"), url, pool_size=1) as bouncer,
        serving(bouncer.url, pooler="transaction") as served,
        closing(psycopg2.connect(bouncer.url)) as holder,
        holder.cursor() as cursor,
    ):
        cursor.execute("SELECT")  # in a transaction that nobody ends: there is no other session
        eventually(lambda: served.health() == "NOT_SERVING", within=20)
        assert served.server.problem == "the database does not answer"
        holder.rollback()
        eventually(lambda: served.health() == "SERVING", within=20)


def test_of_changes_that_would_lie_on_each_other_one_is_made(served: Served) -> None:
    """Serializable transactions keep their session to themselves."""
    editor = Editor(served)
    given = [parcel(f"overlapping {number}") for number in range(6)]
    for each in given:
        each.geometry.wkt = "POLYGON ((40 40, 41 40, 41 41, 40 41, 40 40))"
    with ThreadPoolExecutor(6) as threads:
        outcomes = list(threads.map(lambda each: attempted(editor.create, "parcels", each), given))
    assert sorted(map(reason, outcomes)) == ["OVERLAP"] * 5 + ["done"]
    (made,) = [outcome for outcome in outcomes if reason(outcome) == "done"]
    editor.delete("parcels", made.feature.id)


# Imports.


@pytest.mark.parametrize("mode", ["INSERT", "UPSERT"])
def test_rows_are_in_once_though_sessions_and_the_pooler_break(
    new_database: NewDatabase, tool: Callable[[str], str], mode: str
) -> None:
    asked = plan(mode=mode)
    with (
        new_database() as url,
        pooled(tool("pgbouncer"), url, pool_size=2) as bouncer,
        importer(bouncer.url, pooler="transaction", pool_timeout=5.0) as made,
        made.begin(asked, LAYERS["facilities"]) as progress,
    ):
        for first in range(0, 4000, 500):
            keys = [str(first + row + 1) for row in range(500)]
            made.write(progress, replace(facilities(500, first), keys=keys))
            if first % 1000 == 0:
                end_the_sessions(bouncer, url)
            if first == 1500:
                bouncer.restart()
        totals = made.finish(progress).totals
        assert totals == Totals(4000, 4000, 0, 0, totals.chunks, totals.retries)
        assert totals.retries
        assert fetch(url, "SELECT count(*), count(DISTINCT name) FROM facilities") == [(4000, 4000)]


def test_of_two_calls_at_one_import_one_gives_up_and_no_row_is_in_twice(
    new_database: NewDatabase, tool: Callable[[str], str]
) -> None:
    asked = plan()
    with (
        new_database() as url,
        pooled(tool("pgbouncer"), url, pool_size=2) as bouncer,
        importer(bouncer.url, pooler="transaction") as made,
        made.begin(asked, LAYERS["facilities"]) as first,
        made.begin(asked, LAYERS["facilities"]) as second,
    ):
        for progress in (first, second):
            made.write(progress, facilities(900))  # waits to be a chunk
        made.finish(first)
        with pytest.raises(Aborted) as conflict:
            made.finish(second)
        assert conflict.value.reason == "CONFLICT"
        assert fetch(url, "SELECT count(*), count(DISTINCT name) FROM facilities") == [(900, 900)]


# What needs a session.


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
