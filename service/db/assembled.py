"""Whole layers at the speed of PostgreSQL, which assembles the columns of many features; Python touches no row.

One COPY, each of whose rows has a few blocks' worth of the table: of every column all the values one after the other,
which are Arrow's own buffers and protobuf's lists, or nearly. It reads by physical place, not by key, which spares the
index and suits keys of any type. The places are blocks; where features are larger than these show, they are measured
first. What it reads is read by `assembled_reading.py`.
"""

from collections.abc import Sequence
from functools import reduce
from operator import add
from typing import Any
from weakref import WeakKeyDictionary

from psycopg2.extensions import cursor as Cursor  # noqa: N812 - a class, whatever its case
from sqlalchemy import Cast, ColumnClause, ColumnElement, Select, cast, column, func, literal_column, select, true
from sqlalchemy import Column as TableColumn
from sqlalchemy.dialects.postgresql import TIMESTAMP
from sqlalchemy.sql import visitors

from service.catalog import Layer, PropertyType
from service.db.arrays import Values, assembly
from service.db.columns import Column, Expression
from service.db.copy import Field, Wire, decoder
from service.db.queries import Statement, compiled
from service.db.snapshot import Part
from service.domain import Encoding, Kind, Result, Shape, View

# Few enough that what PostgreSQL assembles at a time stays in a core's cache; batches are put together of several.
BLOCKS = 16
PORTION_BYTES = 64 * 1024
POINT_BYTES = 21

_INTEGER = Field(Wire.INT64, nullable=False)
_ASSEMBLED = Field(Wire.BYTES)


def can_be_assembled(shape: Shape) -> bool:
    """Whether this is the shape of a whole layer in whatever order is fastest, with geometry as WKB."""
    # Of a filtered one an index may know where its few features are, while this reads every block.
    whole = shape.kind is Kind.ALL and shape.result is Result.ALL and not shape.resumed and shape.filter is None
    return whole and shape.output.encoding is Encoding.WKB


class Assembled:
    """What `statement` answers with, assembled. Over one snapshot, every feature is in exactly one of the parts.

    With `room` there is some before values of variable length, for what stands before them in protobuf.
    """

    def __init__(self, statement: Statement, layer: Layer, *, room: bool = False) -> None:
        self._table = layer.qualified_name
        self._assemblies = [
            assembly(column, _width(column, layer, statement.shape), room=room) for column in statement.columns
        ]
        self._decode = decoder([_INTEGER, *(_ASSEMBLED for each in self._assemblies for _ in each.aggregates)])
        self._copies = {
            measured: f"COPY ({self._sql(statement.columns, layer, measured=measured)}) TO STDOUT (FORMAT binary)"
            for measured in (False, True)
        }
        self.first_block, self.other_blocks = _rows(statement.columns, layer)
        self.begins_in_blocks = False

    def measured(self, cursor: Cursor) -> bool | None:
        """Whether features must be measured, since some are stored outside of the blocks. None if the layer's relation
        has not its rows, and no others, in blocks of its own."""
        cursor.execute(_RELATION, {"table": self._table})
        measured: bool | None = cursor.fetchall()[0][0]
        self.begins_in_blocks = measured is False
        return measured

    def statement(self, cursor: Cursor, part: Part, *, measured: bool, since: int = 0) -> bytes:
        """Of the blocks `since` one. Parts take turns, so that none has much more to do than others."""
        turns = {"first": part.number * BLOCKS, "step": part.parts * BLOCKS}
        return bytes(cursor.mogrify(self._copies[measured], {"table": self._table, "since": since, **turns}))

    def columns(self, rows: Sequence[bytes]) -> list[Values]:
        """The statement's columns, of some rows of the COPY; none where there are no features."""
        # Of views, so that nothing is copied before it lies where it should.
        decoded = [portion for row in rows for portion in self._decode(memoryview(row))]  # type: ignore[arg-type]
        if not decoded:
            return []
        counts, *contents = zip(*decoded, strict=True)
        given = iter(contents)
        return [each.values(sum(counts), *(next(given) for _ in each.aggregates)) for each in self._assemblies]

    def _sql(self, columns: Sequence[Column], layer: Layer, *, measured: bool) -> str:
        aggregates = [
            aggregate.format(value=f"feature.c{index}")
            for index, each in enumerate(self._assemblies, 1)
            for aggregate in each.aggregates
        ]
        pairs = zip(self._assemblies, columns, strict=True)
        apart = any(each.repeats and _is_computed(column.expression) for each, column in pairs)
        places = _MEASURED.format(portions=_portions(columns, layer)) if measured else ""
        return _SQL.format(
            aggregates=", ".join(aggregates),
            count=BLOCKS,
            blocks=_BLOCKS if measured else _PLACES,
            places=places,
            features=_features(columns, layer, apart=apart),
        )


class Assemblies:
    """What statements answer with, assembled; each kept as long as its statement is."""

    def __init__(self) -> None:
        self._known: WeakKeyDictionary[Statement, dict[bool, Assembled]] = WeakKeyDictionary()

    def of(self, statement: Statement, *, room: bool) -> Assembled:
        kept = self._known.setdefault(statement, {})
        if room not in kept:
            kept[room] = Assembled(statement, statement.layer, room=room)
        return kept[room]


# Before version 14 PostgreSQL would read all of a table to find the rows of some blocks; and whoever may read only some
# columns may not see where rows are.
_RELATION = """
SELECT CASE WHEN relkind IN ('r', 'm') AND NOT relhassubclass AND has_table_privilege(oid, 'SELECT')
             AND current_setting('server_version_num')::int >= 140000
            THEN coalesce(pg_relation_size(nullif(reltoastrelid, 0)), 0) > 0 END
  FROM pg_class WHERE oid = %(table)s::regclass
"""

# They stand beside layers' tables, which may be called anything.
_PLACES, _BLOCKS = "spatial_places", "spatial_blocks"
_SECOND_BLOCK = "'(1,0)'::tid"

# A relation's size is looked up after the snapshot was taken: there is no block that it sees beyond the last. Turns are
# a SELECT's, and not FROM's, which would count them all before the first.
_SQL = """
SELECT assembled.*
  FROM (
         SELECT generate_series(
                  %(first)s::bigint,
                  pg_relation_size(%(table)s::regclass) / current_setting('block_size')::bigint - 1,
                  %(step)s::bigint
                ) AS first
       ) AS turn
 CROSS JOIN LATERAL (
   SELECT format('(%%s,0)', greatest(turn.first, %(since)s))::tid AS first,
          format('(%%s,65535)', turn.first + {count} - 1)::tid AS last
 ) AS {blocks}
 {places}
 CROSS JOIN LATERAL (
   SELECT count(*), {aggregates}
     FROM ({features}) AS feature
   HAVING count(*) > 0
 ) AS assembled
"""
_MEASURED = """
 CROSS JOIN LATERAL (
   SELECT min(portion.place) AS first, max(portion.place) AS last
     FROM ({portions}) AS portion
    GROUP BY portion.number
 ) AS spatial_places
"""


def _rows(columns: Sequence[Column], layer: Layer) -> tuple[str, str]:
    """COPY the rows of the first block, and those of the others, one by one."""
    named = select(*(column.expression.label(f"c{index}") for index, column in enumerate(columns, 1)))
    rows = named.where(*(() if layer.identified is None else (layer.identified,)))
    in_first = _place(layer) < literal_column(_SECOND_BLOCK)
    first, others = (compiled(rows.where(which)) for which in (in_first, in_first.is_not(true())))
    return f"COPY ({first}) TO STDOUT (FORMAT binary)", f"COPY ({others}) TO STDOUT (FORMAT binary)"


def _features(columns: Sequence[Column], layer: Layer, *, apart: bool) -> str:
    """The rows of some places. `apart` they are made before they are assembled: OFFSET keeps what a column computes
    from being computed for each of its aggregates, and otherwise is for nothing."""
    values = [_value(column).label(f"c{index}") for index, column in enumerate(columns, 1)]
    features = _at(layer, _PLACES, select(*values))
    return compiled(features.offset(literal_column("0")) if apart else features)


def _is_computed(expression: Expression) -> bool:
    """Whether it is more than a column of the table, as some other type perhaps."""
    inner = expression.clause if isinstance(expression, Cast) else expression
    return not isinstance(inner, TableColumn)


def _portions(columns: Sequence[Column], layer: Layer) -> str:
    """The rows of some blocks, numbered by the portion that they are in. Their sizes as they are stored are known
    without reading what lies outside of the blocks."""
    read = {layer.key, *(part for each in columns for part in visitors.iterate(each.expression))}
    sizes = [func.coalesce(func.pg_column_size(each), literal_column("0")) for each in layer.table.c if each in read]
    size = func.sum(reduce(add, sizes)).over(rows=(None, 0))
    number = size.op("/")(literal_column(str(PORTION_BYTES)))
    return compiled(_at(layer, _BLOCKS, select(_place(layer).label("place"), number.label("number"))))


def _at(layer: Layer, places: str, values: Select[Any]) -> Select[Any]:
    between = _place(layer).between(literal_column(f"{places}.first"), literal_column(f"{places}.last"))
    return values.select_from(layer.table).where(between, *(() if layer.identified is None else (layer.identified,)))


def _place(layer: Layer) -> ColumnElement[object]:
    place: ColumnClause[object] = column("ctid")
    place.table = layer.table
    return place


def _value(column: Column) -> Expression:
    if column.property is not None and column.property.type is PropertyType.TIMESTAMP:
        return cast(column.expression, TIMESTAMP(timezone=True))
    return column.expression


def _width(column: Column, layer: Layer, shape: Shape) -> int | None:
    """Points are of one size, empty ones included."""
    is_point = column.kind == "geometry" and layer.geometry_type == "POINT" and shape.output.view is View.FULL
    return POINT_BYTES if is_point else None
