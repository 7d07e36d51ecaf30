"""What the database knows of a layer and of a statement's plan, without reading its rows."""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from psycopg2.extensions import cursor as Cursor  # noqa: N812 - a class, whatever its case

from service.catalog import Layer
from service.db.queries import Statement
from service.domain import Argument

Extent = tuple[float, float, float, float]

# The extent comes from the statistics of the geometry column: ST_EstimatedExtent itself fails on an empty table.
_DESCRIBE = """
SELECT c.reltuples::bigint,
       (SELECT array_agg(json_build_array(i.relname, pg_get_indexdef(i.oid), x.indisvalid)::text ORDER BY i.relname)
          FROM pg_index x JOIN pg_class i ON i.oid = x.indexrelid WHERE x.indrelid = c.oid),
       EXISTS (SELECT FROM pg_stats s
                WHERE (s.schemaname, s.tablename, s.attname) = (n.nspname, c.relname, %(geometry)s))
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE c.oid = %(table)s::regclass
"""
_EXTENT = """
SELECT ST_XMin(box), ST_YMin(box), ST_XMax(box), ST_YMax(box)
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace,
       ST_EstimatedExtent(n.nspname, c.relname, %(geometry)s) AS box
 WHERE c.oid = %(table)s::regclass
"""


@dataclass(frozen=True, slots=True)
class IndexDescription:
    name: str
    definition: str
    valid: bool


@dataclass(frozen=True, slots=True)
class Description:
    extent: Extent | None
    estimated_rows: int | None
    indexes: tuple[IndexDescription, ...]


def describe(layers: Iterable[Layer]) -> Callable[[Cursor], list[Description]]:
    """An errand that describes each of the layers."""
    wanted = list(layers)
    return lambda cursor: [_describe(cursor, layer) for layer in wanted]


def _describe(cursor: Cursor, layer: Layer) -> Description:
    named = {"table": layer.qualified_name, "geometry": layer.geometry_name}
    cursor.execute(_DESCRIBE, named)
    row = cursor.fetchone()
    assert row is not None
    rows, indexes, has_statistics = row
    extent = None
    if has_statistics and rows > 0:
        cursor.execute(_EXTENT, named)
        extent = cursor.fetchone()
    return Description(
        extent=extent if extent and None not in extent else None,
        estimated_rows=rows if rows >= 0 else None,  # -1: never analysed
        indexes=tuple(IndexDescription(*json.loads(index)) for index in indexes or ()),
    )


def estimate(statement: Statement, arguments: Sequence[Argument]) -> Callable[[Cursor], int]:
    """An errand: how many rows the planner expects a counting statement to count."""

    def errand(cursor: Cursor) -> int:
        cursor.execute(f"EXPLAIN (FORMAT JSON) {statement.sql}", statement.parameters(arguments))
        row = cursor.fetchone()
        assert row is not None
        aggregate = next(node for node in plan_nodes(row[0][0]["Plan"]) if node["Node Type"] == "Aggregate")
        return int(aggregate["Plans"][0]["Plan Rows"])

    return errand


def plan_nodes(plan: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """A plan's nodes, the top one first."""
    yield plan
    for child in plan.get("Plans", ()):
        yield from plan_nodes(child)
