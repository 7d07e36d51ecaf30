"""The whole examination: what is wrong, and what was seen on the way."""

from collections.abc import Iterator, Sequence

from psycopg2.extensions import cursor as Cursor  # noqa: N812 - a class, whatever its case

from service.catalog import Layer
from service.db.occupancy import Wanted
from service.doctor import database, systems
from service.doctor.findings import Examination, Finding, Severity, Timing, worst_first
from service.doctor.geometries import geometry_findings
from service.doctor.indexes import missing_indexes
from service.doctor.probes import probed
from service.doctor.session import settings_in_effect
from service.doctor.subject import Subject, subject
from service.doctor.tables import table_findings
from service.doctor.tolerance import Tolerance

DEFAULT = Tolerance()


def examine(
    cursor: Cursor, layers: Sequence[Layer], connections: Wanted, tolerance: Tolerance = DEFAULT
) -> Examination:
    """What can be told in a moment. `connections` is how many the service may want."""
    versions = database.versions(cursor)
    findings = list(database.version_findings(cursor, versions))
    revision, behind = database.migration(cursor, layers)
    settings, unfit = settings_in_effect(cursor)
    findings += [*behind, *unfit, *database.read_only_findings(layers)]
    if not any(finding.severity is Severity.ERROR for finding in behind):  # what mends that makes the ledger, too
        findings += database.ledger_findings(cursor, layers)
    findings += database.connection_findings(cursor, connections)
    findings += database.session_findings(cursor, tolerance)
    timings: list[Timing] = []
    if "PostGIS" in versions:
        for seen in _looked_at(cursor, layers, tolerance):
            timings.append(seen) if isinstance(seen, Timing) else findings.append(seen)
    return Examination(worst_first(findings), {**versions, "migration": revision}, settings, timings)


def examine_thoroughly(cursor: Cursor, layers: Sequence[Layer]) -> list[Finding]:
    """What takes reading whole tables; each statement can be cancelled."""
    if "PostGIS" not in database.versions(cursor):
        return []
    subjects = [subject(cursor, layer) for layer in layers]
    return [finding for each in subjects if isinstance(each, Subject) for finding in geometry_findings(cursor, each)]


def _looked_at(cursor: Cursor, layers: Sequence[Layer], tolerance: Tolerance) -> Iterator[Finding | Timing]:
    found = [subject(cursor, layer) for layer in layers]
    yield from (each for each in found if isinstance(each, Finding))
    subjects = [each for each in found if isinstance(each, Subject)]
    # Of several layers of one table the first speaks for it.
    of_tables = list(table_findings(cursor, {each.oid: each.name for each in reversed(subjects)}, tolerance))
    yield from of_tables
    mended_by = {finding.statement for finding in of_tables}
    for each in subjects:
        yield from missing_indexes(cursor, each, mended_by)
        yield from systems.declared(cursor, each)
        yield from probed(cursor, each, tolerance)
