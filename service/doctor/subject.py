"""A layer as the database knows it: what the checks of it need."""

from dataclasses import dataclass

from psycopg2.extensions import cursor as Cursor  # noqa: N812 - a class, whatever its case

from service.catalog import Layer
from service.doctor.checks import rows
from service.doctor.findings import Finding, Severity

# All names come back quoted by PostgreSQL itself, where they must be.
_TABLE = """
SELECT c.oid, format('%%I.%%I', n.nspname, c.relname) AS name, c.relkind AS kind,
       has_schema_privilege(n.oid, 'USAGE') AS may_enter, has_table_privilege(c.oid, 'SELECT') AS may_read,
       format('GRANT USAGE ON SCHEMA %%I TO %%I', n.nspname, current_user) AS enter,
       format('GRANT SELECT ON %%I.%%I TO %%I', n.nspname, c.relname, current_user) AS read
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE c.relname = %(table)s AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
   AND CASE WHEN %(schema)s IS NULL THEN pg_table_is_visible(c.oid) ELSE n.nspname = %(schema)s END
"""
_COLUMN = """
SELECT quote_ident(a.attname) AS name, NOT a.attnotnull AS nullable,
       a.attgenerated <> '' AS generated, t.typname = 'geography' AS geography,
       postgis_typmod_type(a.atttypmod) AS type, postgis_typmod_srid(a.atttypmod) AS srid,
       postgis_typmod_dims(a.atttypmod) AS dimensions
  FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid
 WHERE a.attrelid = %(oid)s AND a.attname = %(column)s AND NOT a.attisdropped
"""
_KEY = """
SELECT quote_ident(attname) AS name
  FROM pg_attribute WHERE attrelid = %(oid)s AND attname = %(column)s AND NOT attisdropped
"""


@dataclass(frozen=True)
class Column:
    """A geometry or geography column; `srid` 0 and `type` Geometry where the column itself does not say."""

    name: str
    nullable: bool
    generated: bool
    geography: bool
    type: str
    srid: int
    dimensions: int

    @property
    def geometry(self) -> str:
        """As an expression of type geometry."""
        return f"{self.name}::geometry" if self.geography else self.name

    @property
    def kind(self) -> str:
        """The type without Z and M: `MultiPolygon`."""
        return self.type.rstrip("ZM")


@dataclass(frozen=True)
class Subject:
    layer: Layer
    oid: int
    table: str
    kind: str  # as pg_class has it: r(elation), p(artitioned), v(iew), m(aterialized), f(oreign)
    key: str
    column: Column

    @property
    def name(self) -> str:
        return self.layer.name


def subject(cursor: Cursor, layer: Layer) -> Subject | Finding:
    """What is to be examined; or why it cannot be, nor served."""
    tables = rows(cursor, _TABLE, {"schema": layer.table.schema, "table": layer.table.name})
    if not tables:
        return _missing(layer, f"there is no table {layer.qualified_name}")
    (table,) = tables
    for allowed, statement in (("may_enter", "enter"), ("may_read", "read")):
        if not table[allowed]:
            message = f"this role may not read {table['name']}: every search fails"
            return Finding(Severity.ERROR, "unreadable-table", message, layer.name, table[statement])
    columns = rows(cursor, _COLUMN, {"oid": table["oid"], "column": layer.geometry_name})
    if not columns:
        return _missing(layer, f"{table['name']} has no column {layer.geometry_name}")
    keys = rows(cursor, _KEY, {"oid": table["oid"], "column": layer.key.key})
    if not keys:
        return _missing(layer, f"{table['name']} has no column {layer.key.key}")
    return Subject(layer, table["oid"], table["name"], table["kind"], keys[0]["name"], Column(**columns[0]))


def _missing(layer: Layer, message: str) -> Finding:
    return Finding(Severity.ERROR, "missing-table", f"{message}: every search fails", layer.name)
