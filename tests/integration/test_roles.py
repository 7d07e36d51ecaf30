"""The database roles that migrations make: what readers and writers may do, and what becomes of the roles."""

import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, cast
from uuid import uuid4

import grpc
import psycopg2
import pytest
from alembic.script import ScriptDirectory
from click.testing import CliRunner
from google.protobuf.field_mask_pb2 import FieldMask
from sqlalchemy import make_url

from service import migrations, revisions
from service.cli import spatial
from service.embedded import EmbeddedPostgres
from spatial.v1 import admin_pb2, admin_pb2_grpc, query_pb2, write_pb2, write_pb2_grpc
from spatial.v1.query_pb2 import JoinQuery, LayerQuery, Query
from tests import searches
from tests.clusters import throw_away
from tests.edits import Editor, facility, made
from tests.imports import facilities, plan, run
from tests.matching import match
from tests.questions import count, fill, nearest, radius, zone
from tests.servers import Served, refusal, serving
from tests.situations import eventually, fetch

PASSWORD = "for-this-test"
LEDGER = ("spatial_requests", "spatial_imports")
NAMES = ["spatial_reader", "spatial_writer"]
ROLES = "SELECT rolname FROM pg_roles WHERE rolname IN ('spatial_reader', 'spatial_writer') ORDER BY 1"
# Whatever in this database names one of the roles: tables, schemas, default privileges.
GRANTS = """
SELECT count(*) FROM pg_shdepend JOIN pg_roles r ON r.oid = refobjid AND refclassid = 'pg_authid'::regclass
 WHERE rolname IN ('spatial_reader', 'spatial_writer')
   AND dbid = (SELECT oid FROM pg_database WHERE datname = current_database())
"""


@contextmanager
def login(url: str, name: str, options: str) -> Iterator[str]:
    """The database as a role of this name sees it."""
    fetch(url, f"CREATE ROLE {name} LOGIN PASSWORD '{PASSWORD}' {options}")
    try:
        yield as_role(url, name)
    finally:
        fetch(url, f"DROP OWNED BY {name}; DROP ROLE {name}")


def as_role(url: str, name: str) -> str:
    return make_url(url).set(username=name, password=PASSWORD).render_as_string(hide_password=False)


def role_names(url: str) -> list[str]:
    return [name for (name,) in fetch(url, ROLES)]


@pytest.fixture(scope="module")
def filled(module_database: str) -> str:
    fill(module_database)
    return module_database


@pytest.fixture(scope="module")
def reader_url(filled: str) -> Iterator[str]:
    with login(filled, "a_reading_pod", "IN ROLE spatial_reader") as url:
        yield url


@pytest.fixture(scope="module")
def reader(reader_url: str) -> Iterator[Served]:
    with serving(reader_url) as served:
        yield served


@pytest.fixture(scope="module")
def writer(filled: str) -> Iterator[Editor]:
    with login(filled, "a_writing_pod", "IN ROLE spatial_writer") as url, serving(url) as served:
        yield Editor(served)


def of_admin(served: Served) -> Any:
    return admin_pb2_grpc.AdminServiceStub(served.channel)


FACILITIES = LayerQuery(layer="facilities")
JOIN = JoinQuery(left_layer="facilities", right_layer="districts", predicate="PREDICATE_INTERSECTS")
WHERE = searches.radius("facilities", searches.point(0, 0), 1000)
READS: dict[str, Any] = {
    "ListLayers": query_pb2.ListLayersRequest(),
    "GetLayer": query_pb2.GetLayerRequest(name="facilities"),
    "GetFeature": query_pb2.GetFeatureRequest(layer="facilities", id="1"),
    "BatchGetFeatures": query_pb2.BatchGetFeaturesRequest(layer="facilities", ids=["1"]),
    "SearchRadius": radius(),
    "SearchNearest": nearest(),
    "SearchIntersects": zone(1),
    "RefreshLayers": query_pb2.RefreshLayersRequest(),
    "CountFeatures": count(),
    "StreamRadius": query_pb2.StreamRadiusRequest(query=WHERE),
    "StreamIntersects": query_pb2.StreamIntersectsRequest(query=zone(1).query),
    "StreamFeatures": query_pb2.StreamFeaturesRequest(query=FACILITIES),
    "StreamJoin": query_pb2.StreamJoinRequest(query=JOIN),
    "AggregateGrid": query_pb2.AggregateGridRequest(
        query=Query(layer=FACILITIES), shape="GRID_SHAPE_SQUARE", cell_size=1.0
    ),
}


def rpcs(module: Any, service: str) -> set[str]:
    return {method.name for method in module.DESCRIPTOR.services_by_name[service].methods}


@pytest.mark.parametrize("rpc", READS)
def test_a_reader_is_answered(reader: Served, rpc: str) -> None:
    answer = getattr(reader.stub, rpc)(READS[rpc], timeout=20)
    if isinstance(answer, grpc.RpcError):  # of a stream, an error comes with what is read of it
        assert list(cast("Any", answer))
    else:
        assert answer.ByteSize() > 0 or rpc == "RefreshLayers"


def test_a_reader_is_answered_probe_by_probe(reader: Served) -> None:
    (found,) = match(reader.stub, WHERE, [searches.point(0, 0)])
    assert [feature.id for feature in found.features] == ["1"]


def test_every_read_there_is_was_tried() -> None:
    assert rpcs(query_pb2, "SpatialService") == {*READS, "MatchFeatures"}


def test_a_reader_is_ready_and_can_be_looked_into(reader: Served) -> None:
    assert reader.health() == "SERVING"
    assert of_admin(reader).Explain(admin_pb2.ExplainRequest(query=Query(layer=FACILITIES), stream=True)).text
    assert of_admin(reader).Diagnose(admin_pb2.DiagnoseRequest()).versions["migration"] == revisions.head_revision()


IMPORT = [write_pb2.ImportFeaturesRequest(plan=write_pb2.ImportPlan(layer="facilities", import_id=str(uuid4())))]
WRITES: dict[str, Any] = {
    "CreateFeature": write_pb2.CreateFeatureRequest(layer="facilities", feature=facility()),
    "UpdateFeature": write_pb2.UpdateFeatureRequest(
        layer="facilities", feature=made(key="1", name="New"), update_mask=FieldMask(paths=["properties.name"])
    ),
    "DeleteFeature": write_pb2.DeleteFeatureRequest(layer="facilities", id="1"),
    "DeleteFeatures": write_pb2.DeleteFeaturesRequest(query=Query(layer=FACILITIES), max_features=1000),
    "ImportFeatures": iter(IMPORT),
    "GetImport": write_pb2.GetImportRequest(import_id=str(uuid4())),
}


@pytest.mark.parametrize("rpc", WRITES)
def test_a_reader_may_not_write_nor_look_into_the_ledger(reader: Served, filled: str, rpc: str) -> None:
    editor = write_pb2_grpc.FeatureServiceStub(reader.channel)
    with pytest.raises(grpc.RpcError) as refused:
        getattr(editor, rpc)(WRITES[rpc], timeout=20)
    told = refusal(refused.value)
    assert (told.code, told.reason) == ("PERMISSION_DENIED", "NOT_ALLOWED")
    assert fetch(filled, "SELECT count(*) FROM facilities WHERE name = 'Facility 0'") == [(1,)]


def test_every_write_there_is_was_tried() -> None:
    assert rpcs(write_pb2, "FeatureService") == set(WRITES)


@pytest.mark.parametrize("table", LEDGER)
@pytest.mark.parametrize("statement", ["SELECT FROM {}", "DELETE FROM {}", "INSERT INTO {} DEFAULT VALUES"])
def test_the_ledger_is_closed_to_readers_of_every_kind(reader_url: str, table: str, statement: str) -> None:
    with pytest.raises(psycopg2.errors.InsufficientPrivilege):
        fetch(reader_url, statement.format(table))


def test_a_writer_creates_changes_and_deletes_and_is_remembered(writer: Editor, filled: str) -> None:
    request = str(uuid4())
    created = writer.create("facilities", facility(), request_id=request).feature
    assert writer.create("facilities", facility(), request_id=request).feature.id == created.id

    writer.update("facilities", made(key=created.id, name="New"), "properties.name")
    assert writer.get("facilities", created.id).properties["name"] == "New"
    writer.delete("facilities", created.id)

    near = searches.radius("facilities", searches.point(0.99, 0), 10)
    asked = write_pb2.DeleteFeaturesRequest(query=Query(radius=near), max_features=10)
    assert writer.stub.DeleteFeatures(asked, timeout=20).deleted == 1
    assert fetch(filled, "SELECT count(*) FROM spatial_requests WHERE id = %s", request) == [(1,)]


def test_a_writer_imports_and_can_ask_how_far_it_came(writer: Editor) -> None:
    id_ = str(uuid4())
    plan = write_pb2.ImportPlan(layer="facilities", import_id=id_)
    rows = write_pb2.ImportFeaturesRequest(rows={"features": [facility(name=f"Import {n}") for n in range(3)]})

    writer.stub.ImportFeatures(iter([write_pb2.ImportFeaturesRequest(plan=plan), rows]), timeout=20)

    told = writer.stub.GetImport(write_pb2.GetImportRequest(import_id=id_), timeout=5)
    assert (told.complete, told.totals.inserted) == (True, 3)


def test_neither_may_change_the_schema(reader: Served, writer: Editor) -> None:
    for served in (reader, writer.served):
        with pytest.raises(grpc.RpcError) as refused:
            list(of_admin(served).AnalyzeLayer(admin_pb2.AnalyzeLayerRequest(layer="facilities"), timeout=20))
        assert refusal(refused.value).reason == "NOT_ALLOWED"


def test_tables_that_the_migrating_role_makes_later_are_granted_too(database: str) -> None:
    fetch(database, "CREATE TABLE later (id serial, place geometry)")
    with login(database, "a_later_writer", "IN ROLE spatial_writer") as writing:
        fetch(writing, "INSERT INTO later (place) VALUES (NULL)")
    with login(database, "a_later_reader", "IN ROLE spatial_reader") as reading:
        assert fetch(reading, "SELECT id FROM later") == [(1,)]
        with pytest.raises(psycopg2.errors.InsufficientPrivilege):
            fetch(reading, "DELETE FROM later")


def test_going_down_takes_every_grant_back_and_leaves_the_roles_of_other_databases(database: str) -> None:
    assert fetch(database, GRANTS) != [(0,)]

    migrations.downgrade(database, "0002")
    assert fetch(database, GRANTS) == [(0,)]
    assert role_names(database) == NAMES, "the database that all others are copied from has granted them something"

    migrations.upgrade(database)
    migrations.check(database)
    assert fetch(database, GRANTS) != [(0,)]


@pytest.fixture(scope="module")
def cluster() -> Iterator[EmbeddedPostgres]:
    """Roles belong to a whole cluster: what makes and drops them has one of its own."""
    with throw_away() as cluster:
        fetch(cluster.url_of("template1"), "CREATE EXTENSION postgis")
        yield cluster


@pytest.fixture
def databases(cluster: EmbeddedPostgres) -> Iterator[list[str]]:
    """Two empty databases of a cluster without the roles, with PostGIS in each."""
    names = [f"d{number}" for number in range(2)]
    admin = cluster.url_of("postgres")
    for name in names:
        fetch(admin, f"CREATE DATABASE {name}")
    assert role_names(admin) == []
    yield [cluster.url_of(name) for name in names]
    for name in names:
        fetch(admin, f"DROP DATABASE {name} WITH (FORCE)")
    fetch(admin, "DROP ROLE IF EXISTS spatial_reader, spatial_writer")


def test_two_databases_of_a_cluster_may_make_a_role_at_the_same_moment(databases: list[str]) -> None:
    revision = ScriptDirectory.from_config(migrations._config()).get_revision("0003")
    assert revision is not None
    make = revision.module.MAKE.format(role=NAMES[0])
    one, other = databases
    with ThreadPoolExecutor(1) as elsewhere, closing(psycopg2.connect(one)) as connection:
        connection.cursor().execute(make)  # not committed: the other has to wait for it
        made = elsewhere.submit(fetch, other, make)
        eventually(lambda: fetch(one, "SELECT pid FROM pg_locks WHERE NOT granted"), within=20)
        connection.commit()
        made.result(timeout=20)
    assert role_names(one) == NAMES[:1]


def test_the_last_database_that_goes_down_drops_the_roles_but_not_from_under_members(databases: list[str]) -> None:
    for url in databases:
        migrations.upgrade(url)
    first, last = databases
    migrations.downgrade(first, "base")
    assert (fetch(first, GRANTS), role_names(first)) == ([(0,)], NAMES)
    with login(last, "a_member", "IN ROLE spatial_reader"):
        migrations.downgrade(last, "base")
        assert role_names(last) == NAMES[:1], "a role that somebody is a member of stays"
    migrations.upgrade(last)
    migrations.downgrade(last, "base")
    assert (fetch(last, GRANTS), role_names(last)) == ([(0,)], [])


def test_a_role_that_may_make_none_migrates_and_grants_once_somebody_has_made_them(
    databases: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    url = databases[0]
    with login(url, "the_owner", "") as owner:
        fetch(url, "GRANT CREATE, USAGE ON SCHEMA public TO the_owner")
        migrations.upgrade(owner)
        assert [each.message.split()[1] for each in caplog.records if each.levelname == "WARNING"] == NAMES
        assert (fetch(url, GRANTS), role_names(url)) == ([(0,)], [])
        assert revisions.head_revision() == fetch(url, "SELECT version_num FROM alembic_version")[0][0]

        fetch(url, "CREATE ROLE spatial_reader NOLOGIN; CREATE ROLE spatial_writer NOLOGIN")
        shown = CliRunner().invoke(spatial, ["migrate", "--roles"], env={"SPATIAL_DATABASE_URL": owner})
        assert (shown.exit_code, shown.output) == (0, "The roles have what they need.\n")

        with login(url, "a_pod", "IN ROLE spatial_writer") as pod:
            fetch(pod, "INSERT INTO facilities (name, kind, location) VALUES ('new', 'x', 'SRID=4326;POINT(0 0)')")
        migrations.downgrade(owner, "base")
        assert (fetch(url, GRANTS), role_names(url)) == ([(0,)], NAMES)


def test_the_documented_roles_are_enough_to_migrate_and_to_write(databases: list[str]) -> None:
    url = databases[0]
    page = (Path(__file__).parents[2] / "docs" / "deployment.md").read_text()
    (script,) = re.findall(r"```sql\n(.*?)```", page, re.DOTALL)
    name = make_url(url).database
    fetch(url, script.replace("DATABASE spatial", f"DATABASE {name}").replace("\u2026", PASSWORD))
    try:
        owner, pod = (as_role(url, role) for role in ("spatial_owner", "spatial_pod"))
        migrations.upgrade(owner)
        run(pod, plan(), facilities(3))
        assert fetch(pod, "SELECT count(*) FROM facilities") == [(3,)]
        with pytest.raises(psycopg2.errors.InsufficientPrivilege):
            fetch(pod, "DROP TABLE facilities")
    finally:
        fetch(url, "DROP OWNED BY spatial_pod, spatial_owner; DROP ROLE spatial_pod, spatial_owner")
