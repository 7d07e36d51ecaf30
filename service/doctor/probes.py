"""A small search in a layer, as a caller would ask it: how long it takes, and which index serves it."""

from collections.abc import Iterator
from statistics import median
from typing import Any

import psycopg2
from psycopg2.extensions import cursor as Cursor  # noqa: N812 - a class, whatever its case

from service.db.boxes import has_box
from service.db.plans import Plan
from service.db.queries import Statement, build
from service.doctor.checks import rows, unexamined
from service.doctor.findings import Finding, Severity, Timing
from service.doctor.subject import Subject
from service.doctor.tolerance import Tolerance
from service.domain import DistanceModel, Kind, Output, Shape, View

TIMES = 3
FEATURES = 10


def probed(cursor: Cursor, subject: Subject, tolerance: Tolerance) -> Iterator[Timing | Finding]:
    """The timing, if there is a feature to search around; a finding, if no index serves the search or it fails."""
    try:
        sample = _sample(cursor, subject)
        if sample is not None:
            yield from _searched(cursor, subject, sample, tolerance)
    except psycopg2.Error as error:
        yield unexamined(error, "unindexed-search", subject.name)


def _sample(cursor: Cursor, subject: Subject) -> str | None:
    """A point at one of the features: the corner of its box, which costs next to nothing even for a large shape."""
    corner = "ST_SetSRID(ST_MakePoint(ST_XMin(g), ST_YMin(g)), ST_SRID(g))"
    read = f"SELECT {subject.column.geometry} AS g FROM {subject.table} WHERE {subject.column.name} IS NOT NULL"
    finite = "NOT IN ('NaN', 'Infinity', '-Infinity')"
    usable = f"NOT ST_IsEmpty(g) AND ST_XMin(g) {finite} AND ST_YMin(g) {finite}"
    found = rows(cursor, f"SELECT {corner}::text AS point FROM ({read} LIMIT 100) AS read WHERE {usable} LIMIT 1")
    return str(found[0]["point"]) if found else None


def _searched(cursor: Cursor, subject: Subject, sample: str, tolerance: Tolerance) -> Iterator[Timing | Finding]:
    layer = subject.layer
    model = DistanceModel.SPHEROID if layer.geodetic else DistanceModel.PLANAR
    boxed = has_box(layer, Kind.RADIUS, model, (sample.lower(), 1.0))
    shape = Shape(Kind.RADIUS, layer.name, Output((), View.NONE), model, FEATURES, boxed=boxed, revision=layer.revision)
    statement = build(layer, shape)
    arguments = statement.parameters([f"{{{sample}}}", "{1}" if layer.geodetic else "{0}"])
    plan = Plan.of(_explained(cursor, "EXPLAIN (VERBOSE, FORMAT JSON)", statement, arguments))
    if plan.whole_reads and _estimated(cursor, subject) > tolerance.scanned_rows:
        message = f"a search by distance reads all of {', '.join(plan.sequential_scans)}: no index serves it"
        yield Finding(Severity.WARNING, "unindexed-search", message, layer.name)
        return
    measured = [
        _explained(cursor, "EXPLAIN (ANALYZE, TIMING OFF, FORMAT JSON)", statement, arguments)[0]["Execution Time"]
        for _ in range(TIMES)
    ]
    yield Timing(layer.name, median(measured), next(iter(plan.indexes), ""))


def _explained(cursor: Cursor, how: str, statement: Statement, arguments: Any) -> Any:
    cursor.execute(f"{how} {statement.sql}", arguments)
    return cursor.fetchall()[0][0]


def _estimated(cursor: Cursor, subject: Subject) -> float:
    """How many rows the planner thinks there are, of a view as well."""
    cursor.execute(f"EXPLAIN (FORMAT JSON) SELECT FROM {subject.table}")
    return float(Plan.of(cursor.fetchall()[0][0]).rows)
