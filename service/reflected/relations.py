"""Tables and views with geometry as PostgreSQL's catalog has them: two statements, however many there are."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from psycopg2.extensions import cursor as Cursor  # noqa: N812 - a class, whatever its case

from service.db.indexes import IndexDescription

VIEW = "v"
TABLES = ("r", "p")
KINDS = {"v": "a view", "m": "a materialized view", "f": "a foreign table"}
SPATIAL = ("geometry", "geography")
# What typmods of PostGIS count through.
GEOMETRY_TYPES = (
    "GEOMETRY",
    "POINT",
    "LINESTRING",
    "POLYGON",
    "MULTIPOINT",
    "MULTILINESTRING",
    "MULTIPOLYGON",
    "GEOMETRYCOLLECTION",
    "CIRCULARSTRING",
    "COMPOUNDCURVE",
    "CURVEPOLYGON",
    "MULTICURVE",
    "MULTISURFACE",
    "POLYHEDRALSURFACE",
    "TRIANGLE",
    "TIN",
)
GEOGRAPHY_SRID = 4326  # where nothing else is said


@dataclass(frozen=True, slots=True)
class ColumnFacts:
    """`type` is what domains come down to in the end, `element` what arrays hold; `kind` and `category` are
    PostgreSQL's letters for types. `modifier` is -1 for none. A column takes no values where the database always
    makes them."""

    name: str
    not_null: bool
    modifier: int
    readable: bool
    type: str
    kind: str
    category: str
    element: str | None
    takes_values: bool = True

    @property
    def spatial(self) -> bool:
        return self.type in SPATIAL

    @property
    def geography(self) -> bool:
        return self.type == "geography"

    @property
    def srid(self) -> int:
        """As declared; 0 where it is not."""
        declared = 0 if self.modifier < 0 else (self.modifier & 0x0FFFFF00) >> 8
        return declared or (GEOGRAPHY_SRID if self.geography else 0)

    @property
    def geometry_type(self) -> str:
        """As declared, with Z and M; GEOMETRY is any."""
        if self.modifier < 0:
            return GEOMETRY_TYPES[0]
        dimensions = ("Z" if self.modifier & 2 else "") + ("M" if self.modifier & 1 else "")
        return GEOMETRY_TYPES[(self.modifier & 0xFC) >> 2] + dimensions


@dataclass(frozen=True, slots=True)
class Relation:
    """A table or view. `keys` are the columns of its primary key, else a single column that is unique and not null;
    `unique` are all such columns, `checks` the conditions that all of its rows meet."""

    schema: str
    name: str
    kind: str
    visible: bool
    readable: bool
    comment: str | None
    keys: tuple[str, ...]
    columns: tuple[ColumnFacts, ...]
    indexes: tuple[IndexDescription, ...]
    unique: tuple[str, ...] = ()
    checks: tuple[str, ...] = ()

    @property
    def full_name(self) -> str:
        return f"{self.schema}.{self.name}"

    @property
    def geometries(self) -> tuple[ColumnFacts, ...]:
        return tuple(column for column in self.columns if column.spatial)

    def column(self, name: str) -> ColumnFacts | None:
        return next((column for column in self.columns if column.name == name), None)


# Apart from what follows: joined to it, PostgreSQL would go through all types for each table.
_EVERY_TYPE = "SELECT oid, typname, typtype, typcategory, typelem, typbasetype, typtypmod FROM pg_type"

# Extensions have tables of their own, which are nobody's data; partitions are read through what they are parts of.
# Everything is gathered once and joined, for the same reason.
_RELATIONS = """
WITH relation AS MATERIALIZED (
  SELECT c.oid, n.nspname, c.relname, c.relkind
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
   WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND NOT c.relispartition
     AND n.nspname <> 'information_schema' AND n.nspname !~ '^pg_'
     AND n.nspname NOT IN ('topology', 'tiger', 'tiger_data')
     AND has_schema_privilege(n.oid, 'USAGE')
     AND c.oid IN (SELECT attrelid FROM pg_attribute
                    WHERE atttypid = ANY(%(spatial)s::oid[]) AND attnum > 0 AND NOT attisdropped)
     AND NOT EXISTS (SELECT FROM pg_depend d
                      WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')
),
attribute AS MATERIALIZED (
  SELECT r.oid, json_agg(
           json_build_object(
             'name', a.attname, 'not_null', a.attnotnull, 'type', a.atttypid::bigint, 'modifier', a.atttypmod,
             'readable', has_column_privilege(a.attrelid, a.attnum, 'SELECT'),
             'takes_values', a.attgenerated = '' AND a.attidentity <> 'a'
           ) ORDER BY a.attnum) AS columns
    FROM relation r JOIN pg_attribute a ON a.attrelid = r.oid
   WHERE a.attnum > 0 AND NOT a.attisdropped
   GROUP BY r.oid
),
indexed AS MATERIALIZED (
  SELECT r.oid,
         json_agg(
           json_build_object(
             'name', i.relname, 'definition', '', 'valid', x.indisvalid, 'method', am.amname,
             'keys', (SELECT array_agg(pg_get_indexdef(i.oid, number, false) ORDER BY number)
                        FROM generate_series(1, x.indnkeyatts) number),
             'partial', x.indpred IS NOT NULL
           ) ORDER BY i.relname) AS indexes,
         json_agg(
           (SELECT json_agg(a.attname ORDER BY place)
              FROM unnest(x.indkey) WITH ORDINALITY AS key (number, place)
              JOIN pg_attribute a ON a.attrelid = r.oid AND a.attnum = key.number
             WHERE place <= x.indnkeyatts)
         ) FILTER (WHERE x.indisprimary) -> 0 AS primary,
         json_agg(a.attname ORDER BY a.attnum) FILTER (
           WHERE x.indisunique AND x.indisvalid AND x.indpred IS NULL AND x.indnkeyatts = 1 AND a.attnotnull
         ) AS unique
    FROM relation r
    JOIN pg_index x ON x.indrelid = r.oid
    JOIN pg_class i ON i.oid = x.indexrelid
    JOIN pg_am am ON am.oid = i.relam
    LEFT JOIN pg_attribute a ON a.attrelid = r.oid AND a.attnum = x.indkey[0]
   GROUP BY r.oid
),
checked AS MATERIALIZED (
  SELECT r.oid, json_agg(pg_get_expr(k.conbin, k.conrelid) ORDER BY k.conname) AS checks
    FROM relation r JOIN pg_constraint k ON k.conrelid = r.oid
   WHERE k.contype = 'c' AND k.convalidated AND NOT k.connoinherit AND r.relkind IN ('r', 'p')
   GROUP BY r.oid
)
SELECT json_build_object(
         'schema', r.nspname, 'name', r.relname, 'kind', r.relkind,
         'visible', pg_table_is_visible(r.oid), 'readable', has_any_column_privilege(r.oid, 'SELECT'),
         'comment', obj_description(r.oid, 'pg_class'),
         'columns', a.columns, 'indexes', x.indexes, 'primary', x.primary, 'unique', x.unique,
         'checks', k.checks
       )::text
  FROM relation r JOIN attribute a USING (oid) LEFT JOIN indexed x USING (oid) LEFT JOIN checked k USING (oid)
 ORDER BY r.nspname, r.relname
"""


class _Type(NamedTuple):
    oid: int
    name: str
    kind: str
    category: str
    element: int
    base: int  # of a domain
    modifier: int


class _Types:
    def __init__(self, cursor: Cursor) -> None:
        cursor.execute(_EVERY_TYPE)
        self._known = {row[0]: _Type(*row) for row in cursor.fetchall()}

    @property
    def spatial(self) -> list[int]:
        """Geometry and geography, and the domains over them."""
        return [oid for oid in self._known if self._base(oid, -1)[0].name in SPATIAL]

    def column(self, facts: Mapping[str, Any]) -> ColumnFacts:
        known, modifier = self._base(facts["type"], facts["modifier"])
        item = self._base(known.element, -1)[0].name if known.category == "A" else None
        return ColumnFacts(
            facts["name"],
            facts["not_null"],
            modifier,
            facts["readable"],
            known.name,
            known.kind,
            known.category,
            item,
            facts["takes_values"],
        )

    def _base(self, oid: int, modifier: int) -> tuple[_Type, int]:
        """What a type comes down to, and the first modifier on the way."""
        known = self._known[oid]
        while known.kind == "d":
            modifier = known.modifier if modifier < 0 else modifier
            known = self._known[known.base]
        return known, modifier


def read_relations(cursor: Cursor) -> list[Relation]:
    """Everything with a geometry or geography column that the role may at least see."""
    types = _Types(cursor)
    cursor.execute(_RELATIONS, {"spatial": types.spatial})
    return [_relation(json.loads(row[0]), types) for row in cursor.fetchall()]


def _relation(read: Mapping[str, Any], types: _Types) -> Relation:
    unique: list[str] = read["unique"] or []
    return Relation(
        schema=read["schema"],
        name=read["name"],
        kind=read["kind"],
        visible=read["visible"],
        readable=read["readable"],
        comment=read["comment"],
        keys=tuple(read["primary"] or unique[:1]),
        columns=tuple(map(types.column, read["columns"])),
        indexes=tuple(IndexDescription(**index | {"keys": tuple(index["keys"])}) for index in read["indexes"] or ()),
        unique=tuple(unique),
        checks=tuple(read["checks"] or ()),
    )
