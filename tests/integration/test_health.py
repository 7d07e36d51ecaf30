"""Readiness says what a caller may expect; liveness only that the process answers."""

import logging
from collections.abc import Iterator

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from service import migrations, revisions
from tests.conftest import NewDatabase
from tests.proxy import proxied
from tests.servers import Served, serving
from tests.situations import eventually, fetch, sessions

SPATIAL = "spatial.v1.SpatialService"
SET_REVISION = "UPDATE alembic_version SET version_num = %s"


@pytest.fixture(scope="module")
def served(module_database: str) -> Iterator[Served]:
    with serving(module_database) as served:
        yield served


@pytest.mark.parametrize("service", ["", SPATIAL, "liveness"])
def test_a_server_over_a_migrated_database_is_ready(served: Served, service: str) -> None:
    assert served.health(service) == "SERVING"
    assert served.server.problem is None


def test_a_service_that_is_not_served_is_unknown(served: Served) -> None:
    with pytest.raises(grpc.RpcError) as refused:
        served.health("spatial.v1.Nothing")
    assert refused.value.code() is grpc.StatusCode.NOT_FOUND


def test_the_list_of_all_services_is_not_served_and_that_is_no_bug_of_ours(served: Served) -> None:
    stub = health_pb2_grpc.HealthStub(served.channel)
    with pytest.raises(grpc.RpcError) as refused:
        stub.List(health_pb2.HealthListRequest(), timeout=5)
    assert refused.value.code() is grpc.StatusCode.UNIMPLEMENTED


def test_health_sees_a_migration_come(new_database: NewDatabase, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "spatial.health")
    with new_database(template="template1") as url, serving(url) as served:
        for service, status in (("", "NOT_SERVING"), (SPATIAL, "NOT_SERVING"), ("liveness", "SERVING")):
            assert served.health(service) == status
        assert "not ready: the database is not migrated: run `spatial migrate`" in caplog.messages
        migrations.upgrade(url)
        eventually(lambda: served.health() == "SERVING", within=10)
        assert served.health(SPATIAL) == "SERVING"
        assert "ready" in caplog.messages


def test_a_database_whose_migration_broke_off_is_not_ready(database: str) -> None:
    fetch(database, "DELETE FROM alembic_version")
    with serving(database) as served:
        assert served.health() == "NOT_SERVING"
        assert "not migrated" in str(served.server.problem)


def test_a_database_that_is_behind_is_not_ready(
    database: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As this version will look to the next."""
    head = revisions.head_revision()
    monkeypatch.setattr(revisions, "known_revisions", lambda: ["next", head])
    with serving(database) as served:
        assert served.health() == "NOT_SERVING"
        assert served.health(SPATIAL) == "NOT_SERVING"
        assert served.health("liveness") == "SERVING"
        assert f"not ready: the database is at migration {head}, and next is needed" in caplog.messages
        fetch(database, SET_REVISION, "next")
        eventually(lambda: served.health() == "SERVING", within=10)


def test_a_database_that_is_ahead_is_ready(database: str) -> None:
    """A newer version is being rolled out, and this one still serves."""
    fetch(database, SET_REVISION, "from_the_future")
    with serving(database) as served:
        assert served.health() == "SERVING"


def test_a_watch_sees_every_change(database: str) -> None:
    with proxied(database) as proxy, serving(proxy.url) as served:
        watch = health_pb2_grpc.HealthStub(served.channel).Watch(health_pb2.HealthCheckRequest(service=SPATIAL))
        statuses = (health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status) for answer in watch)
        assert next(statuses) == "SERVING"
        proxy.mode = "forget"
        assert next(statuses) == "NOT_SERVING"
        assert served.health("liveness") == "SERVING"
        proxy.mode = "relay"
        assert next(statuses) == "SERVING"
        watch.cancel()


def test_a_change_is_logged_once(database: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "spatial.health")
    with proxied(database) as proxy, serving(proxy.url, health_interval=0.02) as served:
        proxy.mode = "forget"
        eventually(lambda: served.health() == "NOT_SERVING")
        looked = proxy.accepted
        eventually(lambda: proxy.accepted > looked + 3)
        proxy.mode = "relay"
        eventually(lambda: served.health() == "SERVING")
    told = [record.message for record in caplog.records if record.name == "spatial.health"]
    assert told == ["ready", "not ready: the database cannot be reached", "ready", "not ready: shutting down"]


def test_a_password_never_comes_into_the_log(database: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    password = database.partition("://")[2].partition(":")[2].partition("@")[0]
    with proxied(database, listening=False) as nobody, serving(nobody.url) as served:
        assert served.health() == "NOT_SERVING"
    assert len(password) > 8
    assert password not in caplog.text


def test_health_has_one_session_and_gives_it_back(database: str) -> None:
    ours = "application_name LIKE '%/control'"
    with serving(database, health_interval=0.02) as served:
        assert served.health() == "SERVING"
        assert len(sessions(database, ours)) <= 1
    eventually(lambda: not sessions(database, ours))
