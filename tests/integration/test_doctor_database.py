"""What the doctor finds of the database as a whole, of sessions, and what it tells a role that may do little."""

from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from threading import Thread

import psycopg2
import pytest
from psycopg2.extensions import connection as Connection  # noqa: N812 - a class, whatever its case
from psycopg2.extensions import cursor as Cursor  # noqa: N812

from service import migrations, revisions
from service.catalog import shipped_layers
from service.db.direct import direct_connection
from service.db.occupancy import Occupancy, Wanted
from service.doctor import database
from service.doctor.examination import examine, examine_thoroughly
from service.doctor.findings import Finding, Severity
from service.doctor.pools import full_pools
from service.doctor.session import settings_in_effect
from service.doctor.tolerance import Tolerance
from service.settings import Settings
from tests import ailing
from tests.ailing import C, S, T, cursor_of, examined, layer, make, of_kind, run
from tests.conftest import NewDatabase
from tests.situations import blocked, eventually, fetch, locked, sessions

READER = "reader %"


@pytest.fixture(scope="module")
def url(module_database: str) -> str:
    return module_database


@pytest.fixture
def reader(url: str) -> Iterator[str]:
    """A role with nothing but SELECT on the table; what it connects with."""
    make(url)
    role = f'"{READER}"'
    run(url, f"CREATE ROLE {role} LOGIN PASSWORD 'reader'", f"GRANT USAGE ON SCHEMA {S} TO {role}")
    run(url, f"GRANT SELECT ON ALL TABLES IN SCHEMA {S} TO {role}")
    address = url.partition("@")[2]
    yield f"postgresql://reader%20%25:reader@{address}"
    run(url, f"DROP OWNED BY {role}", f"DROP ROLE {role}")


def found(url: str, kind: str, tolerance: Tolerance | None = None) -> list[Finding]:
    with cursor_of(url) as cursor:
        return of_kind(examined(cursor, layer(), tolerance), kind)


def test_the_shipped_layers_of_a_migrated_database_are_well(url: str) -> None:
    with closing(direct_connection(Settings(), url, "doctor")) as connection, connection.cursor() as cursor:
        examination = examine(cursor, shipped_layers(), ailing.CONNECTIONS)
        assert [*examination.findings, *examine_thoroughly(cursor, shipped_layers())] == []
    assert set(examination.versions) == {"PostgreSQL", "PostGIS", "GEOS", "PROJ", "spatial-service", "migration"}
    assert all(examination.versions.values())


@pytest.mark.parametrize("name", database.OLDEST)
def test_a_version_that_is_too_old(url: str, name: str) -> None:
    with cursor_of(url) as cursor:
        versions = database.versions(cursor)
        assert list(database.version_findings(cursor, versions)) == []
        (finding,) = database.version_findings(cursor, versions, {name: (99, 1)})
    assert (finding.kind, finding.severity) == ("old-version", Severity.ERROR)
    assert finding.message == f"{name} {versions[name]} is too old: 99.1 or later is needed"


def test_an_extension_that_was_not_upgraded(url: str) -> None:
    run(url, "UPDATE pg_extension SET extversion = '3.2.0' WHERE extname = 'postgis'")
    (finding,) = found(url, "extension-not-upgraded")
    assert (finding.severity, finding.details["extension"]) == (Severity.WARNING, "3.2.0")

    run(url, finding.statement)
    assert found(url, "extension-not-upgraded") == []


def test_a_database_without_postgis(new_database: NewDatabase) -> None:
    with new_database(template="template1") as url:
        with cursor_of(url) as cursor:
            findings = examine(cursor, shipped_layers(), ailing.CONNECTIONS).findings
            assert examine_thoroughly(cursor, shipped_layers()) == []
        assert {finding.kind for finding in of_errors(findings)} == {"missing-extension", "not-migrated"}
        (finding,) = of_kind(list(findings), "missing-extension")
        run(url, finding.statement)
        assert found(url, "missing-extension") == []


def of_errors(findings: Sequence[Finding]) -> list[Finding]:
    return [finding for finding in findings if finding.severity is Severity.ERROR]


def test_an_extension_that_is_not_in_the_search_path(new_database: NewDatabase, reader: str, url: str) -> None:
    with new_database(template="template1") as elsewhere:
        run(elsewhere, 'CREATE SCHEMA "G is"', 'CREATE EXTENSION postgis SCHEMA "G is"')
        run(elsewhere, f'GRANT USAGE ON SCHEMA "G is" TO "{READER}"')
        reading = f"{reader.rpartition('/')[0]}/{elsewhere.rpartition('/')[2]}"
        (finding,) = found(reading, "missing-extension")
        assert finding.severity is Severity.ERROR

        run(elsewhere, finding.statement)
        assert found(reading, "missing-extension") == []
        run(elsewhere, f'DROP OWNED BY "{READER}"')


MIGRATIONS = {
    "DELETE FROM alembic_version": ("", "migration-behind", Severity.ERROR),
    "UPDATE alembic_version SET version_num = '9999'": ("9999", "migrated-further", Severity.INFO),
}


@pytest.mark.parametrize("moved", MIGRATIONS)
def test_a_database_at_another_migration(url: str, moved: str) -> None:
    with closing(psycopg2.connect(url)) as connection, connection.cursor() as cursor:
        assert database.migration(cursor, shipped_layers()) == (revisions.head_revision(), [])
        cursor.execute(moved)
        at, (finding,) = database.migration(cursor, shipped_layers())
        assert (at, finding.kind, finding.severity) == MIGRATIONS[moved]
        _, others = database.migration(cursor, [layer()])
        assert {finding.severity for finding in others} == {Severity.INFO}, "no layer of these tables is served"


def test_a_database_that_was_never_migrated(new_database: NewDatabase) -> None:
    with new_database(template="template1") as url:
        with cursor_of(url) as cursor:
            _, (finding,) = database.migration(cursor, shipped_layers())
            _, (note,) = database.migration(cursor, [layer()])
        assert (finding.kind, finding.severity, note.severity) == ("not-migrated", Severity.ERROR, Severity.INFO)
        assert "`spatial migrate`" in finding.message
        migrations.upgrade(url)
        with cursor_of(url) as cursor:
            assert database.migration(cursor, shipped_layers()) == (revisions.head_revision(), [])


SETTINGS = {
    "random_page_cost": "4",
    "jit": "on",
    "work_mem": "1MB",
    "statement_timeout": "0",
    "lock_timeout": "0",
    "idle_in_transaction_session_timeout": "0",
}


def unfit(cursor: Cursor) -> dict[str, Finding]:
    _, findings = settings_in_effect(cursor)
    return {finding.details["name"]: finding for finding in findings}


def test_settings_that_are_not_what_they_should_be(reader: str, url: str) -> None:
    run(url, *(f"ALTER ROLE \"{READER}\" SET {name} = '{value}'" for name, value in SETTINGS.items()))
    with cursor_of(reader) as cursor:
        findings = unfit(cursor)
    assert set(findings) == set(SETTINGS)
    assert {finding.severity for finding in findings.values()} == {Severity.WARNING}

    run(url, *(finding.statement for finding in findings.values()))
    with cursor_of(reader) as cursor:
        assert unfit(cursor) == {}


def test_a_setting_of_the_services_own_is_changed_in_the_service(url: str) -> None:
    chosen = Settings(jit=True)
    with closing(direct_connection(chosen, url, "doctor")) as connection, connection.cursor() as cursor:
        (finding,) = unfit(cursor).values()
        shown, _ = settings_in_effect(cursor)
    assert (finding.statement, "set SPATIAL_JIT to off" in finding.message) == ("", True)
    assert ("jit", "on", "off") in shown


def test_fewer_connections_than_the_pools_want(reader: str, url: str) -> None:
    name = url.rpartition("/")[2]
    assert found(reader, "too-few-connections") == []
    run(url, f'ALTER ROLE "{READER}" CONNECTION LIMIT 3', f"ALTER DATABASE {name} CONNECTION LIMIT 4")
    findings = found(reader, "too-few-connections")
    assert [(finding.severity, finding.details["allowed"]) for finding in findings] == [
        (Severity.WARNING, 3),
        (Severity.WARNING, 4),
    ]
    run(url, *(finding.statement for finding in findings))
    assert found(reader, "too-few-connections") == []


def test_max_connections_is_told_too(url: str) -> None:
    with cursor_of(url) as cursor:
        first, *_ = database.connection_findings(cursor, Wanted(5, 2, 50))
    assert first.statement == "ALTER SYSTEM SET max_connections = 503"
    assert "restart" in first.message
    assert "5 replicas x 2 workers x 50 connections = 500" in first.message


IMPATIENT = Tolerance(idle_seconds=0.1, blocked_seconds=0.1)


def test_a_session_that_idles_in_a_transaction(url: str) -> None:
    with closing(psycopg2.connect(url, application_name="forgotten {0}")) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT 1")
        eventually(lambda: found(url, "idle-in-transaction", IMPATIENT))
        (finding,) = found(url, "idle-in-transaction", IMPATIENT)
        assert (finding.severity, finding.details["pid"]) == (Severity.WARNING, connection.info.backend_pid)
        assert "forgotten {0}" in finding.message
        assert found(url, "idle-in-transaction") == [], "not so soon, unless told to be impatient"

        run(url, finding.statement)
        eventually(lambda: not found(url, "idle-in-transaction", IMPATIENT))


def waits_for_the_lock(url: str) -> None:
    fetch(url, "SELECT count(*) FROM parcels")


def test_a_session_that_waits_for_another(url: str) -> None:
    with locked(url, "parcels") as unlock:
        waiting = Thread(target=waits_for_the_lock, args=(url,), daemon=True)
        waiting.start()
        eventually(lambda: found(url, "blocked-session", IMPATIENT))
        (finding,) = found(url, "blocked-session", IMPATIENT)
        assert finding.severity is Severity.WARNING
        assert finding.details["blocked_by"] == sessions(url, "state = 'idle in transaction'")

        run(url, finding.statement)
        waiting.join(5)
        assert not waiting.is_alive()
        assert found(url, "blocked-session", IMPATIENT) == []
        with pytest.raises(psycopg2.OperationalError):
            unlock()


def test_a_pool_that_is_full() -> None:
    pools = [Occupancy("read", 6, 6, 0), Occupancy("bulk", 8, 7, 1), Occupancy("control", 1, 1, 0)]
    (finding,) = full_pools(pools)
    assert (finding.kind, finding.severity, finding.details) == (
        "full-pool",
        Severity.WARNING,
        {"pool": "read", "size": 6},
    )


def test_a_role_that_may_only_select_is_told_what_it_can_be(reader: str, url: str) -> None:
    run(url, f"CREATE INDEX ON {T} USING gist ({C})", f"INSERT INTO {T} VALUES (100, 'SRID=4326;POINT (190 0)')")
    with somebody_elses_session(url), cursor_of(reader) as cursor:
        kinds = {finding.kind: finding for finding in examined(cursor, layer(), thorough=True)}
    assert {"duplicate-index", "longitude-out-of-range", "not-visible"} <= set(kinds)
    assert not {"not-examined", "unreadable-table"} & set(kinds)


@contextmanager
def somebody_elses_session(url: str) -> Iterator[None]:
    with cursor_of(url) as cursor:
        cursor.execute("SELECT 1")
        yield


def test_what_a_role_may_not_see_is_a_note_and_no_error(reader: str, url: str) -> None:
    with somebody_elses_session(url):
        notes = found(reader, "not-visible")
        assert {finding.severity for finding in notes} == {Severity.INFO}
        (sessions_of_others,) = [finding for finding in notes if finding.statement]
        (schema,) = [finding for finding in notes if not finding.statement]
        assert "alembic_version" in schema.message

        run(url, sessions_of_others.statement, f'GRANT SELECT ON alembic_version TO "{READER}"')
        assert found(reader, "not-visible") == []


@pytest.mark.parametrize("revoked", [f"SELECT ON {T}", f"USAGE ON SCHEMA {S}"])
def test_a_table_that_the_role_may_not_read(reader: str, url: str, revoked: str) -> None:
    run(url, f'REVOKE {revoked} FROM "{READER}"')
    (finding,) = found(reader, "unreadable-table")
    assert finding.severity is Severity.ERROR

    run(url, finding.statement)
    assert found(reader, "unreadable-table") == []


def test_a_table_that_is_locked_holds_up_no_check_for_long(url: str) -> None:
    make(url)
    impatient = Settings(lock_timeout=0.05)
    with (
        locked(url, T),
        closing(direct_connection(impatient, url, "doctor")) as connection,
        connection.cursor() as cursor,
    ):
        findings = examined(cursor, layer(), thorough=True)
    unseen = of_kind(findings, "not-examined")
    assert {finding.severity for finding in unseen} == {Severity.WARNING}
    assert "invalid-geometry" in {finding.details["check"] for finding in unseen}


def test_a_table_that_is_locked_hides_nothing_of_the_others(url: str) -> None:
    make(url)
    run(url, "CREATE INDEX again ON facilities USING gist (location)")
    impatient = Settings(lock_timeout=0.05)
    with (
        locked(url, T),
        closing(direct_connection(impatient, url, "doctor")) as connection,
        connection.cursor() as cursor,
    ):
        findings = [*examine(cursor, [layer(), *shipped_layers()], ailing.CONNECTIONS).findings]
    run(url, "DROP INDEX again")
    unseen = of_kind(findings, "not-examined")
    assert {finding.layer for finding in unseen} == {"thing"}
    assert "duplicate-index" in {finding.details["check"] for finding in unseen}
    (duplicate,) = of_kind(findings, "duplicate-index")
    assert (duplicate.layer, duplicate.details["index"]) == ("facilities", "public.again")


def cancels_what_is_blocked(url: str, connection: Connection) -> None:
    eventually(blocked(url))
    connection.cancel()


def test_a_cancelled_check_is_not_taken_for_one_that_failed(url: str) -> None:
    make(url)
    patient = Settings(lock_timeout=60)
    with closing(direct_connection(patient, url, "doctor")) as connection, connection.cursor() as cursor:
        served = layer()
        with locked(url, T):
            Thread(target=cancels_what_is_blocked, args=(url, connection), daemon=True).start()
            with pytest.raises(psycopg2.errors.QueryCanceled):
                examine_thoroughly(cursor, [served])
