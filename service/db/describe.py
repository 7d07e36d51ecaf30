"""What the database knows of a layer and of a statement's plan, without reading its rows."""

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from psycopg2.extensions import cursor as Cursor  # noqa: N812 - a class, whatever its case

from service.catalog import Layer
from service.db.indexes import IndexDescription
from service.db.plans import Plan
from service.db.queries import Statement
from service.domain import Argument

Extent = tuple[float, float, float, float]

# The extent comes from the statistics of the geometry column: ST_EstimatedExtent itself fails on an empty table.
_DESCRIBE = """
SELECT c.relkind, quote_ident(n.nspname) || '.' || quote_ident(c.relname), c.reltuples::bigint,
       (SELECT array_agg(
                 json_build_array(
                   i.relname, pg_get_indexdef(i.oid), x.indisvalid, am.amname,
                   (SELECT array_agg(pg_get_indexdef(i.oid, key, false) ORDER BY key)
                      FROM generate_series(1, x.indnkeyatts) key),
                   x.indpred IS NOT NULL
                 )::text ORDER BY i.relname)
          FROM pg_index x JOIN pg_class i ON i.oid = x.indexrelid JOIN pg_am am ON am.oid = i.relam
         WHERE x.indrelid = c.oid),
       -- ST_EstimatedExtent cannot read a name with a quote in it.
       c.relname NOT LIKE '%%"%%' AND n.nspname NOT LIKE '%%"%%' AND EXISTS (
         SELECT FROM pg_stats s
                WHERE (s.schemaname, s.tablename, s.attname) = (n.nspname, c.relname, %(geometry)s))
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE c.oid = to_regclass(%(table)s)
"""
_EXTENT = """
SELECT ST_XMin(box), ST_YMin(box), ST_XMax(box), ST_YMax(box)
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace,
       ST_EstimatedExtent(n.nspname, c.relname, %(geometry)s) AS box
 WHERE c.oid = to_regclass(%(table)s)
"""
_STORED = ("r", "m")
_INDEXED = ("r", "p", "m")  # the kinds of relations that have indexes, and are counted by ANALYZE


@dataclass(frozen=True, slots=True)
class Description:
    """`kind` is PostgreSQL's letter for tables, views and the like, empty for what is no longer there; `source` is the
    name with its schema, as SQL."""

    extent: Extent | None
    estimated_rows: int | None
    indexes: tuple[IndexDescription, ...]
    kind: str = ""
    source: str = ""

    @property
    def has_indexes(self) -> bool:
        """Whether it could have any."""
        return self.kind in _INDEXED


def describe(layers: Iterable[Layer]) -> Callable[[Cursor], list[Description]]:
    """An errand that describes each of the layers."""
    wanted = list(layers)
    return lambda cursor: [_describe(cursor, layer) for layer in wanted]


def _describe(cursor: Cursor, layer: Layer) -> Description:
    named = {"table": layer.qualified_name, "geometry": layer.geometry_name}
    cursor.execute(_DESCRIBE, named)
    row = cursor.fetchone()
    if row is None:
        return Description(None, None, ())
    kind, source, rows, indexes, has_statistics = row
    extent = None
    # Of geography, the statistics are about places in the Earth; of a partitioned table, ST_EstimatedExtent looks for
    # an index that has no file.
    if has_statistics and rows > 0 and kind in _STORED and not layer.is_geography:
        cursor.execute(_EXTENT, named)
        extent = cursor.fetchone()
    return Description(
        extent=extent if extent and None not in extent else None,
        estimated_rows=_estimated(cursor, source, kind, rows),
        indexes=tuple(IndexDescription(*_read(index)) for index in indexes or ()),
        kind=kind,
        source=source,
    )


def _estimated(cursor: Cursor, source: str, kind: str, rows: int) -> int | None:
    if kind in _INDEXED:
        return rows if rows >= 0 else None  # -1: never analysed
    cursor.execute(f"EXPLAIN (FORMAT JSON) SELECT FROM {source}")
    plan = cursor.fetchone()
    assert plan is not None
    return int(plan[0][0]["Plan"]["Plan Rows"])


def _read(index: str) -> tuple[str, str, bool, str, tuple[str, ...], bool]:
    name, definition, valid, method, keys, partial = json.loads(index)
    return name, definition, valid, method, tuple(keys), partial


def has_system(srid: int) -> Callable[[Cursor], bool]:
    """An errand: whether the database can transform to and from this CRS."""

    def errand(cursor: Cursor) -> bool:
        cursor.execute("SELECT FROM spatial_ref_sys WHERE srid = %s", (srid,))
        return cursor.fetchone() is not None

    return errand


def estimate(statement: Statement, arguments: Sequence[Argument]) -> Callable[[Cursor], int]:
    """An errand: how many rows the planner expects a counting statement to count."""

    def errand(cursor: Cursor) -> int:
        cursor.execute(f"EXPLAIN (FORMAT JSON) {statement.sql}", statement.parameters(arguments))
        row = cursor.fetchone()
        assert row is not None
        return Plan.of(row[0]).counted

    return errand
