"""Checks of coordinate reference systems."""

from collections.abc import Iterator
from contextlib import suppress

from psycopg2.extensions import cursor as Cursor  # noqa: N812 - a class, whatever its case

from service.doctor.checks import examined
from service.doctor.findings import Finding, Severity
from service.doctor.subject import Subject

WGS84 = 4326

_KNOWN = "SELECT count(*) AS count FROM spatial_ref_sys WHERE srid = %(srid)s"


def declared(cursor: Cursor, subject: Subject) -> Iterator[Finding]:
    """What can be told without reading the table."""
    srid = subject.layer.srid
    if srid == 0:
        yield _without(subject)
    else:
        yield from _unknown(cursor, subject)
    if subject.column.srid not in (0, srid):
        message = f"{subject.column.name} is in EPSG:{subject.column.srid}, but the layer is served as EPSG:{srid}"
        details = {"srid": subject.column.srid, "layer_srid": srid}
        yield Finding(Severity.ERROR, "srid-differs", message, subject.name, details=details)


def _without(subject: Subject) -> Finding:
    message = (
        f"{subject.table} does not say what its coordinates mean (SRID 0): distances are in its own units, and nothing "
        "is transformed; if they are longitudes and latitudes, the statement says so"
    )
    column = subject.column
    family = f"{'geography' if column.geography else 'geometry'}({column.type}, {WGS84})"
    statement = (
        f"ALTER TABLE {subject.table} ALTER COLUMN {column.name} TYPE {family} USING ST_SetSRID({column.name}, {WGS84})"
    )
    return Finding(Severity.INFO, "zero-srid", message, subject.name, statement if subject.kind == "r" else "")


def _unknown(cursor: Cursor, subject: Subject) -> Iterator[Finding]:
    srid = subject.layer.srid
    (known,) = examined(cursor, "unknown-srid", subject.name, _KNOWN, {"srid": srid})
    if isinstance(known, Finding):
        yield known
    elif not known["count"]:
        yield _not_known(cursor, subject, srid)


def _not_known(cursor: Cursor, subject: Subject, srid: int) -> Finding:
    message = f"spatial_ref_sys has no SRID {srid}, which {subject.table} is in: nothing can be transformed"
    statement = _definition(cursor, srid)
    return Finding(Severity.ERROR, "unknown-srid", message, subject.name, statement, {"srid": srid})


def _definition(cursor: Cursor, srid: int) -> str:
    """As EPSG has it; nothing for a number of somebody's own."""
    # Imported late: PROJ costs a serving process time and memory.
    from pyproj import CRS
    from pyproj.exceptions import CRSError

    with suppress(CRSError):
        columns = "(srid, auth_name, auth_srid, srtext)"
        text = CRS.from_epsg(srid).to_wkt("WKT1_GDAL")
        values = cursor.mogrify("(%s, 'EPSG', %s, %s)", (srid, srid, text)).decode()
        return f"INSERT INTO spatial_ref_sys {columns} VALUES {values}"
    return ""


def mixed(cursor: Cursor, subject: Subject) -> Iterator[Finding]:
    """Reads the whole table, unless the column allows one SRID only."""
    if subject.column.srid:
        return
    column = subject.column
    query = (
        f"SELECT ST_SRID({column.geometry}) AS srid, count(*) AS count FROM {subject.table} "
        f"WHERE {column.name} IS NOT NULL GROUP BY 1 ORDER BY 2 DESC, 1"
    )
    found = list(examined(cursor, "mixed-srids", subject.name, query, None))
    counts = {row["srid"]: row["count"] for row in found if not isinstance(row, Finding)}
    yield from (finding for finding in found if isinstance(finding, Finding))
    if counts and set(counts) != {subject.layer.srid}:
        yield _mixed(subject, counts)


def _mixed(subject: Subject, counts: dict[int, int]) -> Finding:
    wanted, column = subject.layer.srid, subject.column
    share = ", ".join(f"{count} in {f'EPSG:{srid}' if srid else 'none'}" for srid, count in counts.items())
    message = f"the geometries of {subject.table} are in several systems ({share}): searches fail where they meet"
    made = f"CASE ST_SRID({column.name}) WHEN 0 THEN ST_SetSRID({column.name}, {wanted}) "
    made += f"ELSE ST_Transform({column.name}, {wanted}) END"
    statement = f"UPDATE {subject.table} SET {column.name} = {made} WHERE ST_SRID({column.name}) <> {wanted}"
    details = {"srids": {str(srid): count for srid, count in counts.items()}}
    usable = wanted and subject.kind in ("r", "p") and not column.generated
    return Finding(Severity.ERROR, "mixed-srids", message, subject.name, statement if usable else "", details)
