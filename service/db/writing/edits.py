"""Statements that change a feature, built and compiled once per shape. Nothing is executed here.

A statement changes the row and, in the same breath, answers with what it changed: the columns of a search, the row's
version, and, where no feature may lie on another, the key of one that this one would lie on.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from operator import itemgetter
from typing import Any, NamedTuple

from geoalchemy2 import Geometry
from psycopg2.extensions import cursor as Cursor  # noqa: N812 - a class, whatever its case
from sqlalchemy import CTE, SelectBase, Text, bindparam, cast, delete, func, insert, literal_column, select, update
from sqlalchemy import Column as TableColumn
from sqlalchemy.sql import visitors
from sqlalchemy.sql.util import ClauseAdapter
from sqlalchemy.types import UserDefinedType

from service.catalog import Catalog, Layer
from service.changes import Act, Edit
from service.db.columns import Column, Expression, key_column, version
from service.db.copy import Field, Wire
from service.db.queries import Statement, compiled
from service.db.searches import columns_of
from service.db.writing.overlaps import overlaid
from service.domain import Argument, Kind, Output, Shape

_CHANGED = "spatial_changed"  # beside a layer's table, which may be called anything
_KEY, _GEOMETRY, _ETAG = "key", "geometry", "etag"
_ETAG_NAME = "spatial_etag"  # beside the table's columns
# What a row that this transaction writes is told from other versions by; partitions do not say it of a new row.
_WRITTEN = cast(literal_column("pg_current_xact_id()::xid"), Text()).label(_ETAG_NAME)
_MOST_STATEMENTS = 4096
_PARAMETER = re.compile(r"%\((\w+)\)s")


class EditShape(NamedTuple):
    """What edits must have in common to share a statement. `columns` get values, `defaults` their default again."""

    act: Act
    layer: str
    revision: int
    columns: tuple[str, ...]
    defaults: tuple[str, ...]
    placed: bool  # whether there is a geometry
    transformed: bool  # whether it is in another CRS
    keyed: bool
    versioned: bool  # whether the row must still be what it was
    output: Output


def shape_of(edit: Edit, layer: Layer) -> EditShape:
    placed = edit.geometry
    return EditShape(
        edit.act,
        edit.layer,
        edit.revision,
        tuple([name for name, _ in edit.values]),
        edit.defaults,
        placed is not None,
        placed is not None and placed.srid != layer.srid,
        edit.key is not None,
        bool(edit.etag),
        edit.output,
    )


def may_overlap(edit: Edit, layer: Layer) -> bool:
    """Whether this edit can make a feature lie on another one where none may."""
    return layer.no_overlap and edit.geometry is not None


def arguments_of(edit: Edit) -> dict[str, Argument]:
    """What the statement of an edit's shape takes."""
    arguments: dict[str, Argument] = {_value(place): text for place, (_, text) in enumerate(edit.values)}
    if edit.geometry is not None:
        arguments[_GEOMETRY] = edit.geometry.hexewkb
    arguments[_KEY], arguments[_ETAG] = edit.key, edit.etag
    return arguments


@cache
def _value(place: int) -> str:
    return f"value_{place}"


@dataclass(frozen=True, slots=True)
class ManyRows:
    """The statement of a shape for many rows at once: between `head` and `tail` a `row` for each, by which PostgreSQL
    reads a value exactly as it would in a statement of its own. Rows are answered with in their order, since nothing
    between the list and the answer changes it."""

    head: bytes
    row: str
    taken: Callable[[Edit], Iterable[Argument]]  # what a row takes of an edit
    tail: bytes

    def written(self, cursor: Cursor, edits: Sequence[Edit]) -> bytes:
        rows = ", ".join([self.row] * len(edits))
        return self.head + cursor.mogrify(rows, [text for edit in edits for text in self.taken(edit)]) + self.tail


@dataclass(eq=False, slots=True)
class EditStatement:
    """The statement of a shape, and what is made of it where many are to be made at once."""

    shape: EditShape
    statement: Statement
    shared: Any = None

    def many_rows(self) -> ManyRows | None:
        return many_rows(self.statement.layer, self.shape, self.statement)


class EditStatements:
    """The statements over a catalog, each built when it is first asked for."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self._known: dict[EditShape, EditStatement] = {}

    def __getitem__(self, edit: Edit) -> EditStatement:
        layer = self._catalog.at(edit.layer, edit.revision)
        shape = shape_of(edit, layer)
        known = self._known.get(shape)
        if known is None or known.statement.layer is not layer:
            if len(self._known) >= _MOST_STATEMENTS:
                self._known.pop(next(iter(self._known)), None)
            known = self._known[shape] = EditStatement(shape, build(layer, shape))
        return known


def build(layer: Layer, shape: EditShape) -> Statement:
    """Of a removal, the key. Else what a search answers with; where none may be overlaid, behind the key of one."""
    asked = Shape(Kind.LOOKUP, layer.name, shape.output, revision=layer.revision)
    if shape.act is Act.DELETE:
        columns: tuple[Column, ...] = (key_column(layer),)
    else:
        columns = columns_of(layer, asked, layer.table)
        if layer.no_overlap and shape.placed:
            other = overlaid(layer, layer.key, layer.geometry)
            columns = (Column("overlaid", other, Field(Wire.BYTES)), *columns)
    if shape.act is Act.CREATE and not any(map(_looks_elsewhere, columns)):
        returned = [_created_as(column).label(f"c{place}") for place, column in enumerate(columns, 1)]
        return Statement(asked, compiled(_inserted(layer, shape).returning(*returned)), (), columns, layer)
    changed = _CHANGES[shape.act](layer, shape, _used(layer, columns)).cte(_CHANGED)
    selected = [_answered(column, changed).label(f"c{place}") for place, column in enumerate(columns, 1)]
    return Statement(asked, compiled(select(*selected).select_from(changed)), (), columns, layer)


def _looks_elsewhere(column: Column) -> bool:
    """Whether it is more than an expression over the row itself, which can be answered with as the row is written: that
    spares PostgreSQL a sixth of the statement."""
    return any(isinstance(found, SelectBase) for found in visitors.iterate(column.expression))


def _created_as(column: Column) -> Expression:
    return _WRITTEN.element if column.kind == "etag" else column.expression


def many_rows(layer: Layer, shape: EditShape, statement: Statement) -> ManyRows | None:
    """Of a shape that creates; None for rows without any value."""
    assigned = _assignments(layer, shape)
    if not assigned:
        return None
    values = [assigned[column] for column in layer.table.c if column in assigned]
    row = f"({', '.join([compiled(value) for value in values])})"
    head, tail = statement.copy.split(row)
    names = _PARAMETER.findall(row)
    return ManyRows(_unquoted(head), _PARAMETER.sub("%s", row), _taken(shape, names), _unquoted(tail))


def _taken(shape: EditShape, names: Sequence[str]) -> Callable[[Edit], Iterable[Argument]]:
    """The arguments with these names, in this order."""
    places = {_value(place): place for place in range(len(shape.columns))}
    places |= {_GEOMETRY: len(places), _KEY: len(places) + 1}
    found = [places[name] for name in names]
    pick = itemgetter(*found) if len(found) > 1 else itemgetter(slice(found[0], found[0] + 1))

    def taken(edit: Edit) -> Iterable[Argument]:
        texts = [text for _, text in edit.values]
        arguments: Iterable[Argument] = pick([*texts, edit.geometry and edit.geometry.hexewkb, edit.key])
        return arguments

    return taken


def _unquoted(text: str) -> bytes:
    """As it is sent where no parameters are looked for."""
    return text.replace("%%", "%").encode()


def _answered(column: Column, changed: CTE) -> Expression:
    """What a column is of the changed row instead of the table."""
    if column.kind == "etag":
        return changed.c[_ETAG_NAME]
    adapted = ClauseAdapter(changed).traverse(column.expression)
    answered: Expression = visitors.cloned_traverse(adapted, {}, {"select": lambda found: _correlated(found, changed)})
    return answered


def _correlated(found: Any, changed: CTE) -> None:
    """A subquery that spoke of the table's row speaks of the changed one; the adapter leaves that to us."""
    found._correlate = (*found._correlate, changed)  # noqa: SLF001 - `correlate` would make another one


def _used(layer: Layer, columns: tuple[Column, ...]) -> list[TableColumn[Any]]:
    """The table's columns that the answer is made of: this role may not be allowed to read others."""
    names = {
        found.name
        for column in columns
        for found in visitors.iterate(column.expression)
        if isinstance(found, TableColumn) and found.table is layer.table
    }
    return [column for column in layer.table.c if column.name in names | {layer.key.key}]


class _AsWritten(UserDefinedType[Any]):
    """A literal without a type: PostgreSQL reads it as what the column holds."""

    cache_ok = True

    def get_col_spec(self, **_: object) -> str:
        return "unknown"


def _given(name: str) -> Expression:
    return bindparam(name, type_=_AsWritten())


def _assignments(layer: Layer, shape: EditShape) -> dict[TableColumn[Any], Expression]:
    columns = layer.table.c
    assigned = {columns[name]: _given(_value(place)) for place, name in enumerate(shape.columns)}
    if shape.placed:
        assigned[columns[layer.geometry_name]] = _placed(layer, shape.transformed)
    if shape.act is Act.UPDATE:
        assigned |= {columns[name]: literal_column("DEFAULT") for name in shape.defaults}
    elif shape.keyed:
        assigned[columns[str(layer.key.key)]] = _given(_KEY)
    return assigned


def _placed(layer: Layer, transformed: bool) -> Expression:
    """The geometry as it came, unless it came in another CRS."""
    if not transformed:
        return _given(_GEOMETRY)
    made = func.geometry(_given(_GEOMETRY), type_=Geometry(spatial_index=False))
    placed: Expression = func.ST_Transform(made, literal_column(str(layer.srid)), type_=_AsWritten())
    return func.geography(placed, type_=_AsWritten()) if layer.is_geography else placed


def _inserted(layer: Layer, shape: EditShape) -> Any:
    return insert(layer.table).values(_assignments(layer, shape))


def _created(layer: Layer, shape: EditShape, returned: list[TableColumn[Any]]) -> Any:
    return _inserted(layer, shape).returning(*returned, _WRITTEN)


def _updated(layer: Layer, shape: EditShape, returned: list[TableColumn[Any]]) -> Any:
    changed = update(layer.table).values(_assignments(layer, shape)).where(*_same(layer, shape))
    return changed.returning(*returned, _WRITTEN)


def _deleted(layer: Layer, shape: EditShape, returned: list[TableColumn[Any]]) -> Any:
    return delete(layer.table).where(*_same(layer, shape)).returning(*returned)


def _same(layer: Layer, shape: EditShape) -> list[Expression]:
    """Which row, and which version of it. A version that another transaction makes meanwhile is looked at again."""
    key = layer.key == _given(_KEY)
    return [key, version(layer) == _given(_ETAG)] if shape.versioned else [key]


_CHANGES: dict[Act, Callable[[Layer, EditShape, list[TableColumn[Any]]], Any]] = {
    Act.CREATE: _created,
    Act.UPDATE: _updated,
    Act.DELETE: _deleted,
}


def exists(layer: Layer) -> str:
    """Whether there is a row with a `key`."""
    return compiled(select(literal_column("1")).select_from(layer.table).where(layer.key == _given(_KEY)))
