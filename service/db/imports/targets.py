"""What the database says of a table that rows are written into."""

from collections.abc import Mapping
from dataclasses import dataclass

from psycopg2.extensions import cursor as Cursor  # noqa: N812 - a class, whatever its case

from service.catalog import Layer
from service.db.errors import changed

# Without modifiers: a cast to varchar(3) would cut what an assignment refuses.
_TARGET = """
SELECT c.reltuples, pg_has_role(c.relowner, 'USAGE'),
       (SELECT json_object_agg(attname, format_type(atttypid, -1))
          FROM pg_attribute WHERE attrelid = c.oid AND attnum > 0 AND NOT attisdropped),
       (SELECT json_object_agg(i.relname, (
                 SELECT json_agg(a.attname ORDER BY place)
                   FROM unnest(x.indkey) WITH ORDINALITY AS key (number, place)
                   JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = key.number
                  WHERE place <= x.indnkeyatts))
          FROM pg_index x JOIN pg_class i ON i.oid = x.indexrelid
         WHERE x.indrelid = c.oid AND x.indisunique AND x.indisvalid AND x.indpred IS NULL AND x.indexprs IS NULL
           AND to_jsonb(x) ->> 'indnullsnotdistinct' IS DISTINCT FROM 'true'),
       (SELECT json_object_agg(k.conname, (
                 SELECT json_agg(a.attname ORDER BY place)
                   FROM unnest(k.conkey) WITH ORDINALITY AS key (number, place)
                   JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = key.number))
          FROM pg_constraint k WHERE k.conrelid = c.oid AND k.conkey IS NOT NULL)
  FROM pg_class c
 WHERE c.oid = to_regclass(%s)
"""


@dataclass(frozen=True, slots=True)
class Target:
    """A layer's table: the types of its columns as a cast has them; the columns of what is unique, and those of every
    constraint, by name."""

    table: str
    rows: int  # as estimated when it was analyzed last
    owned: bool  # whether this role may analyze it
    types: Mapping[str, str]
    unique: Mapping[str, tuple[str, ...]]
    constraints: Mapping[str, tuple[str, ...]]


def read_target(cursor: Cursor, layer: Layer) -> Target:
    cursor.execute(_TARGET, (layer.qualified_name,))
    row = cursor.fetchone()
    if row is None:
        raise changed()
    rows, owned, types, unique, constraints = row
    return Target(layer.qualified_name, max(0, int(rows)), owned, types, _named(unique), _named(constraints))


def _named(read: Mapping[str, list[str]] | None) -> dict[str, tuple[str, ...]]:
    return {name: tuple(columns) for name, columns in (read or {}).items()}
