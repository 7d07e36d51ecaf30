"""The doctor finds what was spoiled, and the statement that it gives mends it: run as it is printed."""

from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest
from psycopg2.extensions import cursor as Cursor  # noqa: N812 - a class, whatever its case

from service.catalog import Layer
from service.doctor.findings import Finding, Severity
from service.doctor.maintenance import steps
from service.doctor.tables import table_findings
from service.doctor.tolerance import Tolerance
from tests import ailing
from tests.ailing import GIST, OTHER, PRIMARY, C, K, Spoil, T, cursor_of, does, examined, layer, make, of_kind, run

KIB = 1024


@dataclass(frozen=True)
class Case:
    """How the table is made and spoiled, and what is to be found then."""

    kind: str
    severity: Severity
    spoil: Spoil
    column: str = "geometry(Point, 4326)"
    rows: str = "POINT(1 2)"
    thorough: bool = False
    nullable: bool = True
    tolerance: Tolerance = field(default_factory=Tolerance)
    count: int | None = None
    left: int = 10  # rows after the statement, those that spoil included

    @property
    def layer(self) -> Layer:
        return layer(geography=self.column.startswith("geography"))


def adds(*shapes: str, srid: int = 4326) -> Spoil:
    values = [f"({number}, 'SRID={srid};{shape}')" for number, shape in enumerate(shapes, 100)]
    return does(f"INSERT INTO {T} VALUES {', '.join(values)}")


def in_another_system(url: str) -> None:
    run(url, f"DROP INDEX {OTHER}", f"INSERT INTO {T} VALUES (100, 'SRID=3857;POINT (111319.49 0)')")


BOW_TIE = "((0 0, 1 1, 1 0, 0 1, 0 0))"
SPARSE = f"INSERT INTO {T} SELECT n, ST_SetSRID(ST_MakePoint(n % 179, n % 89), 4326) FROM generate_series(100, 20000) n"

TABLES = {
    "no index of the geometry": Case("missing-index", Severity.ERROR, does(f"DROP INDEX {GIST}")),
    "no index of the geography": Case("missing-index", Severity.ERROR, does(f"DROP INDEX {OTHER}")),
    "no index of a geography column": Case(
        "missing-index", Severity.ERROR, does(f"DROP INDEX {GIST}"), "geography(Point, 4326)"
    ),
    "no index of the key": Case("missing-index", Severity.ERROR, does(f'ALTER TABLE {T} DROP CONSTRAINT "pk %"')),
    "an index of some rows": Case(
        "missing-index",
        Severity.ERROR,
        does(f"DROP INDEX {GIST}", f"CREATE INDEX ON {T} USING gist ({C}) WHERE {K} > 5"),
    ),
    "two equal indexes": Case(
        "duplicate-index", Severity.WARNING, does(f'CREATE INDEX "100% again" ON {T} USING gist ({C})')
    ),
    "two equal indexes of an expression": Case(
        "duplicate-index", Severity.WARNING, does(f"CREATE INDEX ON {T} USING gist (geography({C}))")
    ),
    "an index beside the key's": Case("duplicate-index", Severity.WARNING, does(f"CREATE INDEX ON {T} ({K})")),
    "an invalid index": Case(
        "unusable-index",
        Severity.ERROR,
        does(f"UPDATE pg_index SET indisvalid = false WHERE indexrelid = '{GIST}'::regclass"),
    ),
    "an index left behind": Case("leftover-index", Severity.WARNING, ailing.leaves_an_index_behind),
    "a bloated index": Case(
        "bloated-index",
        Severity.WARNING,
        does(
            f"DROP INDEX {OTHER}", SPARSE, f"ANALYZE {T}", f"DELETE FROM {T} WHERE {K} > 500", f"VACUUM (ANALYZE) {T}"
        ),
        tolerance=Tolerance(bloat_bytes=500 * KIB),
        left=411,
    ),
    "no statistics": Case(
        "never-analyzed",
        Severity.WARNING,
        does(
            f"DELETE FROM pg_statistic WHERE starelid = '{T}'::regclass",
            f"UPDATE pg_class SET reltuples = -1 WHERE oid = '{T}'::regclass",
        ),
    ),
    "old statistics": Case(
        "stale-statistics",
        Severity.WARNING,
        does(f"UPDATE {T} SET {C} = {C}"),
        tolerance=Tolerance(changed_rows=5),
    ),
}
GEOMETRIES = {
    "an invalid area": Case(
        "invalid-geometry",
        Severity.ERROR,
        adds(f"POLYGON {BOW_TIE}"),
        "geometry(Polygon, 4326)",
        "POLYGON ((0 0, 1 0, 1 1, 0 0))",
        count=1,
        left=11,
    ),
    "invalid areas": Case(
        "invalid-geometry",
        Severity.ERROR,
        adds(*[f"MULTIPOLYGON ({BOW_TIE})"] * 3),
        "geometry(MultiPolygon, 4326)",
        "MULTIPOLYGON (((0 0, 1 0, 1 1, 0 0)))",
        count=3,
        left=13,
    ),
    "invalid shapes of any type": Case(
        "invalid-geometry",
        Severity.ERROR,
        adds(f"POLYGON {BOW_TIE}", "LINESTRING (0 0, 0 0)", f"GEOMETRYCOLLECTION (POLYGON {BOW_TIE})"),
        "geometry",
        count=3,
        left=13,
    ),
    "an invalid area of geography": Case(
        "invalid-geometry",
        Severity.ERROR,
        adds(f"POLYGON {BOW_TIE}"),
        "geography(Polygon, 4326)",
        "POLYGON ((0 0, 1 0, 1 1, 0 0))",
        count=1,
        left=11,
    ),
    "coordinates that are no numbers": Case(
        "non-finite-coordinates", Severity.ERROR, adds("POINT (NaN 1)", "POINT (1 NaN)"), count=2, left=12
    ),
    "a corner that is no number": Case(
        "non-finite-coordinates", Severity.ERROR, adds("LINESTRING (0 0, NaN 1, 2 2)"), "geometry", count=1, left=11
    ),
    "empty geometries": Case("empty-geometry", Severity.WARNING, adds("POINT EMPTY"), count=1, left=11),
    "empty geometries where there must be one": Case(
        "empty-geometry", Severity.WARNING, adds("POINT EMPTY"), nullable=False, count=1
    ),
    "an empty member": Case(
        "empty-member",
        Severity.ERROR,
        adds("MULTIPOINT (EMPTY, (1 0))", "MULTIPOINT ((3 4), EMPTY)"),
        "geometry(MultiPoint, 4326)",
        "MULTIPOINT ((1 2))",
        count=2,
        left=12,
    ),
    "an empty member of geography": Case(
        "empty-member",
        Severity.ERROR,
        adds("MULTIPOINT (EMPTY, (1 0))"),
        "geography(MultiPoint, 4326)",
        "MULTIPOINT ((1 2))",
        count=1,
        left=11,
    ),
    "empty members of shapes of any type": Case(
        "empty-member",
        Severity.ERROR,
        adds(
            "MULTILINESTRING ((0 0, 1 1), EMPTY)",
            "MULTIPOLYGON (EMPTY, ((0 0, 1 0, 1 1, 0 0)))",
            "GEOMETRYCOLLECTION (GEOMETRYCOLLECTION (POINT EMPTY, POINT (1 1)))",
        ),
        "geometry",
        count=3,
        left=13,
    ),
    "a longitude too far": Case(
        "longitude-out-of-range", Severity.ERROR, adds("POINT (190 10)", "POINT (-181 3)"), count=2, left=12
    ),
    "areas across the antimeridian": Case(
        "longitude-out-of-range",
        Severity.ERROR,
        adds("MULTIPOLYGON (((170 0, 190 0, 190 10, 170 10, 170 0)))"),
        "geometry(MultiPolygon, 4326)",
        "MULTIPOLYGON (((0 0, 1 0, 1 1, 0 0)))",
        count=1,
        left=11,
    ),
    "latitude and longitude swapped": Case(
        "latitude-out-of-range", Severity.ERROR, adds("POINT (52.5 113.4)"), count=1, left=11
    ),
    "metres for degrees": Case(
        "latitude-out-of-range", Severity.ERROR, adds("POINT (390000 5820000)"), count=1, left=11
    ),
    "several systems": Case("mixed-srids", Severity.ERROR, in_another_system, "geometry", left=11),
    "geometries without a system": Case(
        "mixed-srids", Severity.ERROR, adds("POINT (5 5)", srid=0), "geometry", left=11
    ),
}
for case in GEOMETRIES.values():
    object.__setattr__(case, "thorough", True)
CASES = TABLES | GEOMETRIES


def found_of(cursor: Cursor, case: Case) -> list[Finding]:
    return of_kind(examined(cursor, case.layer, case.tolerance, thorough=case.thorough), case.kind)


@pytest.fixture(scope="module")
def url(module_database: str) -> str:
    return module_database


@pytest.fixture(scope="module")
def cursor(url: str) -> Iterator[Cursor]:
    """The doctor's."""
    with cursor_of(url) as cursor:
        yield cursor


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_what_was_spoiled_is_found_and_mended(url: str, cursor: Cursor, case: Case) -> None:
    make(url, case.column, rows=case.rows, nullable=case.nullable)
    case.spoil(url)
    (finding,) = found_of(cursor, case)
    assert (finding.severity, finding.layer) == (case.severity, "thing")
    assert case.count is None or finding.details["count"] == case.count

    run(url, finding.statement)
    assert found_of(cursor, case) == []
    assert ailing.value(url, f"SELECT count(*) FROM {T}") == case.left


@pytest.mark.parametrize(("column", "rows"), sorted({(case.column, case.rows) for case in CASES.values()}))
def test_a_table_that_is_well_has_no_finding(url: str, cursor: Cursor, column: str, rows: str) -> None:
    make(url, column, rows=rows)
    served = layer(geography=column.startswith("geography"))
    assert of_layer(examined(cursor, served, Tolerance(changed_rows=5), thorough=True)) == []


def of_layer(findings: list[Finding]) -> list[Finding]:
    return [finding for finding in findings if finding.layer]


def test_an_index_that_would_serve_if_it_were_valid_is_not_missing(url: str, cursor: Cursor) -> None:
    make(url)
    run(url, f"UPDATE pg_index SET indisvalid = false WHERE indexrelid = '{GIST}'::regclass")
    assert [finding.kind for finding in of_layer(examined(cursor, layer()))] == ["unusable-index"]


def test_invalid_geometries_are_located(url: str, cursor: Cursor) -> None:
    make(url, "geometry", rows="")
    adds(*[f"POLYGON {BOW_TIE}"] * 25)(url)
    (finding,) = of_kind(examined(cursor, layer(), thorough=True), "invalid-geometry")
    assert finding.details["count"] == 25
    examples = finding.details["examples"]
    assert len(examples) == 20, "the list is bounded"
    assert examples[0] == {"id": "100", "reason": "Self-intersection", "location": "POINT(0.5 0.5)"}
    assert "25 geometries" in finding.message
    assert "POINT(0.5 0.5): Self-intersection" in finding.message


def test_a_statement_that_deletes_says_so(url: str, cursor: Cursor) -> None:
    make(url, nullable=False)
    adds("POINT EMPTY")(url)
    (finding,) = of_kind(examined(cursor, layer(), thorough=True), "empty-geometry")
    assert finding.statement.startswith("DELETE FROM ")
    assert "deletes" in finding.message


def test_two_lines_of_no_length_are_for_people(url: str, cursor: Cursor) -> None:
    make(url, "geometry(LineString, 4326)", rows="LINESTRING (0 0, 1 1)")
    adds("LINESTRING (0 0, 0 0)")(url)
    (finding,) = of_kind(examined(cursor, layer(), thorough=True), "invalid-geometry")
    assert finding.statement == ""
    assert "by hand" in finding.message


def test_no_row_is_read_unless_asked_to(url: str, cursor: Cursor) -> None:
    make(url, "geometry", rows="")
    adds(f"POLYGON {BOW_TIE}", "POINT EMPTY", "POINT (190 1)")(url)
    run(url, f"ANALYZE {T}")
    assert of_layer(examined(cursor, layer())) == []


def test_a_table_that_does_not_say_what_its_coordinates_mean(url: str, cursor: Cursor) -> None:
    make(url, "geometry(Point)", rows="")
    (finding,) = of_kind(examined(cursor, layer(srid=0)), "zero-srid")
    assert finding.severity is Severity.INFO

    run(url, finding.statement)
    assert [finding.kind for finding in of_layer(examined(cursor, layer(srid=4326)))] == []


def test_a_layer_that_was_read_before_its_column_changed(url: str, cursor: Cursor) -> None:
    make(url, "geometry(Point, 3857)", rows="")
    (finding,) = of_kind(examined(cursor, layer(srid=4326)), "srid-differs")
    assert (finding.severity, finding.details) == (Severity.ERROR, {"srid": 3857, "layer_srid": 4326})


def test_a_system_that_spatial_ref_sys_lacks(url: str, cursor: Cursor) -> None:
    make(url, "geometry(Point, 32633)", rows="")
    utm = layer(srid=32633)
    assert of_kind(examined(cursor, utm), "unknown-srid") == []
    transformed = "SELECT ST_AsText(ST_Transform('SRID=32633;POINT (500000 0)'::geometry, 4326), 6)"
    before = ailing.value(url, transformed)

    run(url, "DELETE FROM spatial_ref_sys WHERE srid = 32633")
    (finding,) = of_kind(examined(cursor, utm), "unknown-srid")
    assert finding.severity is Severity.ERROR

    run(url, finding.statement)
    assert of_kind(examined(cursor, utm), "unknown-srid") == []
    assert ailing.value(url, transformed) == before == "POINT(15 0)"


def test_a_system_of_somebodys_own_is_for_them_to_define(url: str, cursor: Cursor) -> None:
    make(url, "geometry(Point, 900914)", rows="")
    (finding,) = of_kind(examined(cursor, layer(srid=900914)), "unknown-srid")
    assert finding.statement == ""


def test_a_table_that_is_gone(url: str, cursor: Cursor) -> None:
    run(url, f"DROP TABLE IF EXISTS {T}")
    (finding,) = of_layer(examined(cursor, layer(), thorough=True))
    assert (finding.kind, finding.severity) == ("missing-table", Severity.ERROR)


def test_a_view_whose_table_has_no_index(url: str, cursor: Cursor) -> None:
    make(url, rows="")
    run(
        url,
        f"ALTER TABLE {T} RENAME TO base",
        SPARSE.replace(T, f"{ailing.S}.base"),
        f"CREATE VIEW {T} AS SELECT * FROM {ailing.S}.base",
        f"DROP INDEX {OTHER}",
    )
    unserved = of_layer(examined(cursor, layer()))
    assert {finding.kind for finding in unserved} == {"unindexed-search", "stale-statistics"}
    (finding,) = of_kind(unserved, "unindexed-search")
    assert finding.severity is Severity.WARNING
    assert "base" in finding.message

    run(url, f"CREATE INDEX ON {ailing.S}.base USING gist (geography({C}))", f"ANALYZE {ailing.S}.base")
    assert of_layer(examined(cursor, layer())) == []


def test_what_is_behind_two_layers_is_told_of_each(url: str, cursor: Cursor) -> None:
    make(url)
    run(url, f"CREATE VIEW {ailing.S}.seen AS SELECT * FROM {T}", f'CREATE INDEX "ix again" ON {T} USING gist ({C})')
    oids = [ailing.value(url, f"SELECT '{name}'::regclass::oid") for name in (T, f"{ailing.S}.seen")]
    found = [*table_findings(cursor, dict(zip(oids, ("thing", "seen"), strict=True)), Tolerance())]

    assert {(finding.kind, finding.layer) for finding in found} == {
        ("duplicate-index", "thing"),
        ("duplicate-index", "seen"),
    }
    assert {finding.statement for finding in found} == {f'DROP INDEX CONCURRENTLY {ailing.S}."ix again"'}


def test_what_looks_after_a_layer_looks_after_what_is_behind_it(url: str, cursor: Cursor) -> None:
    """A view's tables, a table's partitions; never what a concurrent rebuild cannot do, or has left behind."""
    make(url, rows="")
    base, parted = f"{ailing.S}.base", f"{ailing.S}.parted"
    run(
        url,
        f"ALTER TABLE {T} RENAME TO base",
        f"ALTER TABLE {base} ADD COLUMN during int4range, ADD EXCLUDE USING gist (during WITH &&)",
        f'CREATE INDEX "ix gist %_ccnew" ON {base} USING gist ({C})',
        f"UPDATE pg_index SET indisvalid = false WHERE indexrelid = '{ailing.S}.\"ix gist %_ccnew\"'::regclass",
        f"CREATE TABLE {parted} (LIKE {base}) PARTITION BY RANGE ({K})",
        f"CREATE TABLE {ailing.S}.low PARTITION OF {parted} FOR VALUES FROM (0) TO (10)",
        f"CREATE INDEX ON {parted} ({K})",
        f"CREATE VIEW {T} AS SELECT {K}, {C} FROM {base} UNION ALL SELECT {K}, {C} FROM {parted}",
    )
    planned = steps(cursor, layer(), reindex=True)
    indexes = [PRIMARY, GIST, OTHER, f'{ailing.S}."low_Nr. {{0}}_idx"']
    assert sorted(planned) == sorted(
        [*(f"REINDEX INDEX CONCURRENTLY {index}" for index in indexes), f"ANALYZE {base}", f"ANALYZE {parted}"]
    )
    for step in planned:
        run(url, step)
    assert steps(cursor, layer(), reindex=False) == [f"ANALYZE {base}", f"ANALYZE {parted}"]
