"""The ledger in a database whose other tables are all its own: made alone, missed where layers are written to."""

import logging
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.exc import ProgrammingError

from service import migrations, revisions
from service.db import ledger
from spatial.v1 import admin_pb2, admin_pb2_grpc
from tests.clusters import POSTGIS
from tests.integration.test_migrations import Catalogue, catalogue, connect
from tests.servers import Served, serving
from tests.situations import eventually, fetch

NewDatabase = Callable[..., AbstractContextManager[str]]
FEATURES, SPATIAL = "spatial.v1.FeatureService", "spatial.v1.SpatialService"
THEIRS = """
CREATE TABLE spots (id int PRIMARY KEY, geom geometry(Point, 4326) NOT NULL);
CREATE INDEX ON spots USING gist (geom);
CREATE INDEX ON spots USING gist (geography(geom));
INSERT INTO spots VALUES (1, 'SRID=4326;POINT(1 1)');
"""


@pytest.fixture
def theirs(new_database: NewDatabase) -> Iterator[str]:
    """A database with a table that this service did not make."""
    with new_database(template=POSTGIS) as url:
        fetch(url, THEIRS)
        yield url


@pytest.fixture
def layers(tmp_path: Path) -> Callable[[str], str]:
    def written(writable: str) -> str:
        path = tmp_path / "layers.yaml"
        path.write_text(f"layers: [{{table: public.spots, writable: {writable}}}]")
        return str(path)

    return written


def of_ledger(url: str) -> Catalogue:
    return {entry for entry in catalogue(url) if any(table in "".join(entry) for table in ledger.TABLES)}


def test_it_is_made_to_the_letter_as_migrations_make_it_and_nothing_else_is(theirs: str, database: str) -> None:
    before = catalogue(theirs)
    migrations.upgrade_ledger(theirs)

    assert catalogue(theirs) - before == of_ledger(theirs) == of_ledger(database)
    assert {name for kind, _, name, _ in of_ledger(theirs) if kind == "relation"} > set(ledger.TABLES)


def test_making_it_again_changes_nothing_and_forgets_nothing(theirs: str) -> None:
    migrations.upgrade_ledger(theirs)
    before = catalogue(theirs)
    fetch(theirs, "INSERT INTO spatial_requests (id, digest, answer) VALUES ('kept', '', '')")
    migrations.upgrade_ledger(theirs)

    assert catalogue(theirs) == before
    assert fetch(theirs, "SELECT id FROM spatial_requests") == [("kept",)]


def test_the_revision_stays_none_and_migrating_afterwards_works(theirs: str, database: str) -> None:
    migrations.upgrade_ledger(theirs)
    with connect(theirs) as connection:
        assert revisions.current_revision(connection) is None

    migrations.upgrade(theirs)

    assert of_ledger(theirs) == of_ledger(database)


def test_what_cannot_be_made_leaves_nothing_half_made(theirs: str) -> None:
    fetch(theirs, "CREATE VIEW spatial_imports AS SELECT 1 AS id")
    before = catalogue(theirs)

    with pytest.raises(ProgrammingError):
        migrations.upgrade_ledger(theirs)

    assert catalogue(theirs) == before


def test_writes_are_not_ready_without_it_and_reads_are(
    theirs: str, layers: Callable[[str], str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "spatial.health")
    with serving(theirs, layers=layers("true")) as served:
        assert [served.health(each) for each in ("", SPATIAL, FEATURES)] == ["SERVING", "SERVING", "NOT_SERVING"]
        told = [message for message in caplog.messages if "spatial migrate --ledger" in message]
        assert len(told) == 1
        migrations.upgrade_ledger(theirs)
        eventually(lambda: served.health(FEATURES) == "SERVING", within=10)


def test_where_nothing_is_writable_nothing_is_missing(theirs: str, layers: Callable[[str], str]) -> None:
    with serving(theirs, layers=layers("false")) as served:
        assert served.health(FEATURES) == "SERVING"
        assert findings(served, "missing-ledger") == []


def findings(served: Served, kind: str) -> list[Any]:
    stub = admin_pb2_grpc.AdminServiceStub(served.channel)
    answer = stub.Diagnose(admin_pb2.DiagnoseRequest(), timeout=20)
    return [finding for finding in answer.findings if finding.kind == kind]


def test_the_doctor_misses_it(theirs: str, layers: Callable[[str], str]) -> None:
    with serving(theirs, layers=layers("true")) as served:
        (finding,) = findings(served, "missing-ledger")
        assert admin_pb2.Severity.Name(finding.severity) == "SEVERITY_WARNING"
        assert "`spatial migrate --ledger`" in finding.message
        assert list(finding.details["tables"]) == list(ledger.TABLES)
        assert list(finding.details["layers"]) == ["spots"]
        migrations.upgrade_ledger(theirs)
        assert findings(served, "missing-ledger") == []
