"""Checks of the geometries themselves. All but the first two read the whole table, a statement each."""

import json
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from psycopg2.extensions import cursor as Cursor  # noqa: N812 - a class, whatever its case

from service.doctor import systems
from service.doctor.checks import examined
from service.doctor.findings import Finding, Severity
from service.doctor.subject import Column, Subject

MOST_EXAMPLES = 20

_NOT_FINITE = "coalesce((ST_IsValidDetail({g})).reason, '') = 'Invalid Coordinate'"
_MULTIPLE = "(GeometryType({g}) LIKE 'MULTI%' OR GeometryType({g}) = 'GEOMETRYCOLLECTION')"
_OFF_EARTH = "(ST_XMin({g}) < -180 OR ST_XMax({g}) > 180)"
_BEYOND_POLES = "(ST_YMin({g}) < -90 OR ST_YMax({g}) > 90)"


class Ailment(NamedTuple):
    """`found` is whether a geometry, named {g}, has it; `shown` what to say of one, as SQL. `mend` gives the geometry
    to be stored instead, or nothing where that is for people to decide."""

    kind: str
    severity: Severity
    message: str
    found: str
    mend: Callable[[Column], str | None]
    shown: str = "NULL AS reason, NULL AS location"


def _valid(column: Column) -> str | None:
    """What ST_MakeValid makes may be of another type than the column allows."""
    made = "ST_MakeValid({g})"
    if column.kind in _DIMENSIONS:
        return f"ST_Multi(ST_CollectionExtract({made}, {_DIMENSIONS[column.kind]}))"
    if column.kind == "GeometryCollection":
        return f"ST_ForceCollection({made})"
    return made if column.kind == "Geometry" else None


_DIMENSIONS = {"MultiPoint": 1, "MultiLineString": 2, "MultiPolygon": 3}


def _without_empty(column: Column) -> str:
    kept = "ST_Collect(ARRAY(SELECT part.geom FROM ST_Dump({g}) part WHERE NOT ST_IsEmpty(part.geom)))"
    return f"ST_ForceCollection({kept})" if column.kind == "GeometryCollection" else f"ST_Multi({kept})"


def _around_the_earth(column: Column) -> str | None:
    """A line or an area that crosses the antimeridian becomes two, for which there must be room."""
    wrapped = "ST_WrapX(ST_WrapX({g}, 180, -360), -180, 360)"
    if column.kind in _DIMENSIONS:
        return f"ST_Multi(ST_CollectionExtract({wrapped}, {_DIMENSIONS[column.kind]}))"
    return wrapped


NOT_FINITE = Ailment(
    "non-finite-coordinates",
    Severity.ERROR,
    "a coordinate is NaN or infinite: what PostGIS answers about such geometries is wrong, and some of its functions "
    "crash",
    f"NOT ST_IsValid({{g}}) AND {_NOT_FINITE}",
    lambda column: "NULL",
)
INVALID = Ailment(
    "invalid-geometry",
    Severity.ERROR,
    "not valid: predicates fail or answer wrongly",
    f"NOT ST_IsValid({{g}}) AND NOT {_NOT_FINITE}",
    _valid,
    "(ST_IsValidDetail({g})).reason, ST_AsText((ST_IsValidDetail({g})).location) AS location",
)
EMPTY = Ailment(
    "empty-geometry",
    Severity.WARNING,
    "empty: no search finds them",
    "ST_IsEmpty({g})",
    lambda column: "NULL",
)
EMPTY_MEMBER = Ailment(
    "empty-member",
    Severity.ERROR,
    "a member of a geometry is empty: searches by distance on the Earth fail where they come upon it, and some "
    "functions of PostGIS crash",
    f"NOT ST_IsEmpty({{g}}) AND {_MULTIPLE} AND ST_AsText({{g}}) LIKE '%EMPTY%'",
    _without_empty,
)
OFF_EARTH = Ailment(
    "longitude-out-of-range",
    Severity.ERROR,
    "a longitude is beyond 180 degrees: distances on the Earth take it for another place",
    f"{_OFF_EARTH} AND NOT {_BEYOND_POLES}",
    _around_the_earth,
)
SWAPPED = Ailment(
    "latitude-out-of-range",
    Severity.ERROR,
    "a latitude is beyond 90 degrees, as where it was swapped with the longitude: the statement swaps them back",
    f"{_BEYOND_POLES} AND ST_XMin({{g}}) >= -90 AND ST_XMax({{g}}) <= 90 AND ST_YMin({{g}}) >= -180 "
    "AND ST_YMax({g}) <= 180",
    lambda column: "ST_FlipCoordinates({g})",
)
BEYOND_POLES = Ailment(
    "latitude-out-of-range",
    Severity.ERROR,
    "a latitude is beyond 90 degrees: distances on the Earth take it for another place",
    f"{_BEYOND_POLES} AND NOT ({SWAPPED.found})",
    lambda column: "NULL",
)
ANYWHERE = (NOT_FINITE, INVALID, EMPTY, EMPTY_MEMBER)
ON_EARTH = (OFF_EARTH, SWAPPED, BEYOND_POLES)


def geometry_findings(cursor: Cursor, subject: Subject) -> Iterator[Finding]:
    """Those of every geometry there is."""
    yield from systems.mixed(cursor, subject)
    # Geography has no longitude or latitude out of range: PostGIS wraps them when they are stored.
    degrees = subject.layer.srid == systems.WGS84 and not subject.column.geography
    for ailment in (*ANYWHERE, *(ON_EARTH if degrees else ())):
        yield from _suffering(cursor, subject, ailment)


def _suffering(cursor: Cursor, subject: Subject, ailment: Ailment) -> Iterator[Finding]:
    """One finding for all rows that have the ailment: how many, and the first of them."""
    found = f"SELECT {subject.key} AS key, g FROM ({_geometries(subject)}) AS read WHERE {ailment.found.format(g='g')}"
    query = (
        f"SELECT count(*) OVER () AS count, key::text AS id, {ailment.shown.format(g='g')} "
        f"FROM ({found}) AS found LIMIT {MOST_EXAMPLES}"
    )
    rows = list(examined(cursor, ailment.kind, subject.name, query, None))
    if rows and isinstance(rows[0], Finding):
        yield rows[0]
    elif rows:
        yield _finding(subject, ailment, [dict(row) for row in rows if not isinstance(row, Finding)])


def _geometries(subject: Subject) -> str:
    # OFFSET 0: as a plain subselect it would be evaluated anew wherever it is named.
    return f"SELECT {subject.key}, {subject.column.geometry} AS g FROM {subject.table} OFFSET 0"


def _finding(subject: Subject, ailment: Ailment, rows: list[dict[str, Any]]) -> Finding:
    examples = [_example(*row.values()) for row in rows]
    count = rows[0]["count"]
    first = ", ".join(example["id"] for example in examples[:5]) + (", …" if count > 5 else "")
    where = f", at {examples[0]['location']}: {examples[0]['reason']}" if "reason" in examples[0] else ""
    message = f"{count} {_geometries_word(count)} of {subject.table} ({subject.key} {first}){where}; {ailment.message}"
    details = {"count": count, "examples": examples}
    statement, aside = _mending(subject, ailment)
    return Finding(ailment.severity, ailment.kind, f"{message}{aside}", subject.name, statement, details)


def _geometries_word(count: int) -> str:
    return "geometry" if count == 1 else "geometries"


def _example(_: int, key: str, reason: str | None, location: str | None) -> dict[str, str]:
    return {"id": key} | ({"reason": reason, "location": location or ""} if reason else {})


def _mending(subject: Subject, ailment: Ailment) -> tuple[str, str]:
    """The statement, and what is to be said of it besides."""
    column = subject.column
    found = ailment.found.format(g=column.geometry)
    if subject.kind not in ("r", "p"):
        return "", f"; {subject.table} is not a table: mend what it is made of"
    if column.generated:
        return "", f"; {column.name} is computed: mend what it is computed from"
    mended = ailment.mend(column)
    if mended == "NULL" and not column.nullable:
        return f"DELETE FROM {subject.table} WHERE {found}", "; the statement deletes these rows"
    if mended is None:
        return _retyped(subject, found)
    typed = "::geography" if column.geography and mended != "NULL" else ""
    value = mended.format(g=column.geometry) + typed
    return f"UPDATE {subject.table} SET {column.name} = {value} WHERE {found}", ""


def _retyped(subject: Subject, found: str) -> tuple[str, str]:
    """An area may fall into several when it is made valid: a column of single ones has no room for them."""
    column = subject.column
    if column.kind != "Polygon":
        return "", "; mend each by hand, what is valid may be of another type than the column"
    kind = json.dumps(column.type)[1:-1].replace("Polygon", "MultiPolygon")
    family = "geography" if column.geography else "geometry"
    made = f"ST_Multi(ST_CollectionExtract(ST_MakeValid({column.geometry}), 3))::{family}"
    statement = (
        f"ALTER TABLE {subject.table} ALTER COLUMN {column.name} TYPE {family}({kind}, {column.srid}) USING {made}"
    )
    return statement, "; one may become several, so the statement makes the column one of MultiPolygon"
