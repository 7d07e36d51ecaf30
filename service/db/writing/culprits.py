"""Which columns are at fault where the database refuses a row: asked of it after the refusal, and only then."""

from collections.abc import Mapping

import psycopg2
from psycopg2 import errorcodes
from psycopg2.extensions import cursor as Cursor  # noqa: N812 - a class, whatever its case

from service.catalog import Layer
from service.db.indexes import quoted

# Of a constraint, or of an index that is unique without being one.
_COLUMNS = """
WITH rule AS (
  SELECT conrelid AS relation, conkey AS numbers
    FROM pg_constraint WHERE conname = %(name)s AND conrelid = to_regclass(%(table)s)
  UNION ALL
  SELECT indrelid, indkey::smallint[] FROM pg_index
   WHERE indexrelid = to_regclass(%(index)s) AND indrelid = to_regclass(%(table)s) AND indexprs IS NULL
  LIMIT 1)
SELECT attname FROM rule CROSS JOIN unnest(numbers) WITH ORDINALITY AS of (number, place)
  JOIN pg_attribute ON attrelid = relation AND attnum = number
 ORDER BY place
"""


def columns_of_rule(cursor: Cursor, error: psycopg2.Error) -> tuple[str, ...]:
    """The columns that the violated rule is about, in its order; none where they are not known."""
    diag = error.diag
    if not (diag.constraint_name and diag.schema_name and diag.table_name):
        return ()
    schema = quoted(diag.schema_name)
    names = {
        "name": diag.constraint_name,
        "table": f"{schema}.{quoted(diag.table_name)}",
        "index": f"{schema}.{quoted(diag.constraint_name)}",
    }
    cursor.execute(_COLUMNS, names)
    return tuple(name for (name,) in cursor.fetchall())


def columns_at_fault(
    cursor: Cursor, error: psycopg2.Error, layer: Layer, values: Mapping[str, str | None]
) -> tuple[str, ...]:
    """What `violation` wants to know, on a session in autocommit. `values` are those that were to be written, by
    column, as PostgreSQL reads them."""
    if (error.pgcode or "")[:2] == errorcodes.CLASS_DATA_EXCEPTION:
        return next(((name,) for name, text in values.items() if not _holds(cursor, layer, name, text)), ())
    return columns_of_rule(cursor, error)


def _holds(cursor: Cursor, layer: Layer, column: str, text: str | None) -> bool:
    """Whether a column can hold a value. Planning is enough to read it, and writes nothing."""
    name = quoted(column).replace("%", "%%")
    table = layer.qualified_name.replace("%", "%%")
    try:
        cursor.execute(f"EXPLAIN UPDATE {table} SET {name} = %s WHERE false", (text,))  # noqa: S608 - quoted
    except psycopg2.DataError:
        return False
    except psycopg2.Error:  # whatever else is wrong is not this value
        return True
    return True
