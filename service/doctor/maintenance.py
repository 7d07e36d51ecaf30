"""What AnalyzeLayer does: statistics brought up to date, indexes rebuilt, a statement each."""

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg2
from psycopg2.extensions import cursor as Cursor  # noqa: N812 - a class, whatever its case

from service.catalog import Layer
from service.db.pooler import PoolerCursor
from service.doctor.checks import rows
from service.doctor.findings import Finding
from service.doctor.subject import subject
from service.doctor.tables import BEHIND, INDEXES, LEFT_BEHIND
from service.errors import NotFound, PermissionDenied, Reason, SpatialError

# ANALYZE leaves out, with no more than a warning, what the role may not analyse.
_ANALYZE = f"""{BEHIND}
SELECT b."table", format('ANALYZE %%s', b."table") AS statement,
       CASE WHEN current_setting('server_version_num')::int >= 170000 THEN has_table_privilege(c.oid, 'MAINTAIN')
       ELSE pg_has_role(c.relowner, 'USAGE') OR pg_has_role(d.datdba, 'USAGE') END AS allowed
  FROM behind b JOIN pg_class c USING (oid) JOIN pg_database d ON d.datname = current_database()
 WHERE NOT (b.inherits AND c.relispartition)
 ORDER BY 1
"""
# Those of exclusion constraints cannot be rebuilt concurrently; those left behind should go.
_REINDEX = f"""{BEHIND}, {INDEXES}
SELECT format('REINDEX INDEX CONCURRENTLY %%s', i.index) AS statement
  FROM indexes i
 WHERE NOT i.indisexclusion AND NOT {LEFT_BEHIND}
 ORDER BY 1
"""


def steps(cursor: Cursor, layer: Layer, *, reindex: bool) -> list[str]:
    """The statements that look after the tables that a layer is read from, in order."""
    examined = subject(cursor, layer)
    if isinstance(examined, Finding):
        raise _unfit(examined)
    tables = rows(cursor, _ANALYZE, {"oids": [examined.oid]})
    for table in tables:
        if not table["allowed"]:
            message = f"the service's role may not analyse {table['table']}: it must own the table"
            raise PermissionDenied(Reason.NOT_ALLOWED, message, metadata={"table": table["table"]})
    indexes = rows(cursor, _REINDEX, {"oids": [examined.oid]}) if reindex else []
    return [step["statement"] for step in (*indexes, *tables)]


def perform(cursor: Cursor, step: str) -> None:
    if isinstance(cursor, PoolerCursor):
        _check_patience(cursor)
        cursor.execute_alone(step)
        return
    with _patience(cursor):
        cursor.execute(step)


def _unfit(finding: Finding) -> SpatialError:
    if finding.kind == "unreadable-table":
        return PermissionDenied(Reason.NOT_ALLOWED, finding.message)
    return NotFound(Reason.LAYER_NOT_FOUND, finding.message)


# Of a session that was told nothing.
_IMPATIENT = """
SELECT name, format('ALTER ROLE %I SET %I = 0', current_user, name) AS statement FROM pg_settings
 WHERE name IN ('lock_timeout', 'statement_timeout') AND setting <> '0' ORDER BY name LIMIT 1
"""


def _check_patience(cursor: PoolerCursor) -> None:
    """No transaction may be around REINDEX CONCURRENTLY, so that behind a pooler nothing can be set for it."""
    cursor.execute_alone(_IMPATIENT)
    if found := cursor.fetchone():
        raise PermissionDenied(
            Reason.NOT_ALLOWED,
            f"behind a pooler this runs with the role's own {found[0]}, which must not cut it short: {found[1]}",
        )


@contextmanager
def _patience(cursor: Cursor) -> Iterator[None]:
    """Waits for as long as it takes until older transactions have ended: REINDEX CONCURRENTLY has to, and where it
    gives up leaves an index behind."""
    cursor.execute("SET lock_timeout = 0")
    try:
        yield
    finally:
        try:
            cursor.execute("RESET lock_timeout")
        except psycopg2.Error:
            cursor.connection.close()  # nobody else may get it as it is
