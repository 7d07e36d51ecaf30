"""Checks of the database as a whole: versions, the extension, the schema, connections, other sessions."""

import re
from collections.abc import Iterator, Mapping, Sequence

from psycopg2.extensions import cursor as Cursor  # noqa: N812 - a class, whatever its case

from service import __version__, revisions
from service.catalog import Layer
from service.db.ledger import LACKING
from service.db.occupancy import Wanted
from service.doctor.checks import Check, Row, examined, rows
from service.doctor.findings import Finding, Severity
from service.doctor.tolerance import Tolerance
from service.models import Base

Version = tuple[int, ...]

OLDEST: Mapping[str, Version] = {"PostgreSQL": (14,), "PostGIS": (3, 2), "GEOS": (3, 9), "PROJ": (6, 1)}

_SERVER = "SELECT current_setting('server_version') AS version"
_EXTENSION = """
SELECT extversion AS version, to_regproc('postgis_lib_version') IS NOT NULL AS visible, nspname AS schema,
       format('ALTER ROLE %I SET search_path = %s, %I', current_user, current_setting('search_path'), nspname) AS cure
  FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace WHERE extname = 'postgis'
"""
_LIBRARIES = """
SELECT postgis_lib_version() AS "PostGIS", postgis_geos_version() AS "GEOS", postgis_proj_version() AS "PROJ"
"""
_REVISION = "SELECT version_num AS revision FROM alembic_version"

# Those of other programs too: whoever holds a lock holds up everybody.
IDLE_IN_TRANSACTION = Check(
    "idle-in-transaction",
    Severity.WARNING,
    "session {pid} ({application}, {role}) has been idle in a transaction for {seconds:.0f} s: it keeps its locks, and "
    "no table is cleaned up meanwhile",
    """
SELECT pid, application_name AS application, usename AS role,
       round(extract(epoch FROM clock_timestamp() - state_change)) AS seconds,
       format('SELECT pg_terminate_backend(%%s)', pid) AS statement
  FROM pg_stat_activity
 WHERE datname = current_database() AND state LIKE 'idle in transaction%%'
   AND clock_timestamp() - state_change > make_interval(secs => %(idle_seconds)s)
 ORDER BY state_change
""",
)
BLOCKED = Check(
    "blocked-session",
    Severity.WARNING,
    "session {pid} ({application}, {role}) has waited {seconds:.0f} s for a lock of {blocked_by}",
    """
SELECT a.pid, a.application_name AS application, a.usename AS role, b.blockers AS blocked_by,
       round(extract(epoch FROM clock_timestamp() - a.query_start)) AS seconds,
       (SELECT 'SELECT ' || string_agg(format('pg_terminate_backend(%%s)', pid), ', ') FROM unnest(b.blockers) pid
         WHERE pid > 0) AS statement
  FROM pg_stat_activity a, LATERAL (SELECT pg_blocking_pids(a.pid) AS blockers) b
 WHERE a.datname = current_database() AND a.wait_event_type = 'Lock' AND b.blockers <> '{}'
   AND clock_timestamp() - a.query_start > make_interval(secs => %(blocked_seconds)s)
 ORDER BY a.query_start
""",
)
UNSEEN_SESSIONS = Check(
    "not-visible",
    Severity.INFO,
    "this role may not see what {sessions} sessions of other roles are at",
    """
SELECT count(*) AS sessions, format('GRANT pg_read_all_stats TO %%I', current_user) AS statement
  FROM pg_stat_activity a
 WHERE a.datname = current_database() AND a.query = '<insufficient privilege>' HAVING count(*) > 0
""",
)
CONNECTIONS = Check(
    "too-few-connections",
    Severity.WARNING,
    "the service may open {wanted} connections ({sum}), but {limited_by} allows {allowed}",
    """
SELECT * FROM (
    SELECT 'max_connections (a change takes a restart)' AS limited_by,
           current_setting('max_connections')::int - reserved AS allowed,
           format('ALTER SYSTEM SET max_connections = %%s', reserved + %(wanted)s) AS statement
      FROM (SELECT current_setting('superuser_reserved_connections')::int
                   + coalesce(current_setting('reserved_connections', true)::int, 0) AS reserved) AS kept
    UNION ALL
    SELECT 'the connection limit of role ' || rolname, rolconnlimit,
           format('ALTER ROLE %%I CONNECTION LIMIT %%s', rolname, %(wanted)s)
      FROM pg_roles WHERE rolname = current_user AND rolconnlimit >= 0
    UNION ALL
    SELECT 'the connection limit of database ' || datname, datconnlimit,
           format('ALTER DATABASE %%I CONNECTION LIMIT %%s', datname, %(wanted)s)
      FROM pg_database WHERE datname = current_database() AND datconnlimit >= 0
) AS limits, (SELECT %(wanted)s AS wanted, %(sum)s AS sum) AS wanted
 WHERE allowed < wanted
""",
)


def versions(cursor: Cursor) -> dict[str, str]:
    """Of what is there; PostGIS and its libraries are missing where the extension is."""
    (server,) = rows(cursor, _SERVER)
    found = {"PostgreSQL": str(server["version"])}
    if any(extension["visible"] for extension in rows(cursor, _EXTENSION)):
        found.update(rows(cursor, _LIBRARIES)[0])
    return {**found, "spatial-service": __version__}


def version_findings(
    cursor: Cursor, found: Mapping[str, str], oldest: Mapping[str, Version] = OLDEST
) -> Iterator[Finding]:
    yield from _extension_findings(rows(cursor, _EXTENSION), found.get("PostGIS", ""))
    for name, version in found.items():
        if name in oldest and numbers(version) < oldest[name]:
            needed = ".".join(map(str, oldest[name]))
            message = f"{name} {version} is too old: {needed} or later is needed"
            yield Finding(Severity.ERROR, "old-version", message, details={"name": name, "version": version})


def _extension_findings(extensions: Sequence[Row], library: str) -> Iterator[Finding]:
    if not extensions:
        message = "PostGIS is not installed in this database"
        yield Finding(Severity.ERROR, "missing-extension", message, statement="CREATE EXTENSION postgis")
        return
    (extension,) = extensions
    details = {"extension": extension["version"], "library": library, "schema": extension["schema"]}
    if not extension["visible"]:
        message = f"PostGIS is in schema {extension['schema']}, which is not in the search path of this role"
        yield Finding(Severity.ERROR, "missing-extension", message, "", extension["cure"], details)
    elif numbers(extension["version"]) != numbers(library):
        message = f"PostGIS's functions are those of {extension['version']}, its library is {library}"
        cure = "SELECT PostGIS_Extensions_Upgrade()"
        yield Finding(Severity.WARNING, "extension-not-upgraded", message, "", cure, details)


def numbers(version: str) -> Version:
    """`3.11.1-CAPI-1.17.1` as (3, 11, 1)."""
    leading = re.match(r"[\d.]*\d", version)
    return tuple(map(int, leading[0].split("."))) if leading else ()


def migration(cursor: Cursor, layers: Sequence[Layer]) -> tuple[str, list[Finding]]:
    """The revision that the database is at, empty if it was never migrated; and what is wrong with that. Nothing is,
    where no layer is of a mapped model."""
    needed = any(layer.table.metadata is Base.metadata for layer in layers)
    (there,) = rows(cursor, "SELECT to_regclass('alembic_version') IS NOT NULL AS migrated")
    if not there["migrated"]:
        severity = Severity.ERROR if needed else Severity.INFO
        return "", [Finding(severity, "not-migrated", "the database was never migrated: `spatial migrate` does it")]
    (found, *_) = [*examined(cursor, "migration", "", _REVISION, None), {"revision": None}]
    if isinstance(found, Finding):
        return "", [found]
    return str(found["revision"] or ""), list(_behind(found["revision"], needed=needed))


def _behind(revision: str | None, *, needed: bool) -> Iterator[Finding]:
    known = revisions.known_revisions()
    details = {"revision": revision or "", "head": known[0]}
    if revision is not None and revision not in known:
        message = f"the database is at migration {revision}, which is newer than this version of the service"
        yield Finding(Severity.INFO, "migrated-further", message, details=details)
    elif revision != known[0]:
        severity = Severity.ERROR if needed else Severity.INFO
        at = f"migration {revision}" if revision else "no migration"
        message = f"the database is at {at}, and {known[0]} is needed: `spatial migrate` does it"
        yield Finding(severity, "migration-behind", message, details=details)


def ledger_findings(cursor: Cursor, layers: Sequence[Layer]) -> Iterator[Finding]:
    """Where layers are written to, whether there are the tables in which writes are remembered."""
    written = [layer.name for layer in layers if layer.writable]
    lacking = [row["name"] for row in rows(cursor, LACKING)] if written else []
    if lacking:
        message = (
            f"there is no table {' or '.join(lacking)} to remember writes in: imports and requests with a `request_id`"
            " are refused; `spatial migrate --ledger` makes them"
        )
        details = {"tables": lacking, "layers": written}
        yield Finding(Severity.WARNING, "missing-ledger", message, details=details)


def read_only_findings(layers: Sequence[Layer]) -> Iterator[Finding]:
    for layer in layers:
        if layer.read_only:
            message = f"it is to be writable, and is not: {layer.read_only}"
            yield Finding(Severity.WARNING, "read-only", message, layer.name)


def session_findings(cursor: Cursor, tolerance: Tolerance) -> Iterator[Finding]:
    given = {"idle_seconds": tolerance.idle_seconds, "blocked_seconds": tolerance.blocked_seconds}
    for check in (IDLE_IN_TRANSACTION, BLOCKED, UNSEEN_SESSIONS):
        yield from check.findings(cursor, given=given)


def connection_findings(cursor: Cursor, wanted: Wanted) -> Iterator[Finding]:
    """Whether as many connections as the service may want can be had."""
    yield from CONNECTIONS.findings(cursor, given={"wanted": wanted.total, "sum": str(wanted)})
