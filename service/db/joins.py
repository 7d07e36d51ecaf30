"""Statements that pair the features of two layers.

For each feature of one layer the index of the other is looked into. It must be the larger layer's: the other way round
costs several times as much, since PostGIS prepares a shape only if it is compared many times in a row, and the planner,
which does not know, often takes that way. So the larger layer is in a LATERAL subquery with OFFSET 0, which the planner
leaves where it is. Nothing is sorted or hashed: the first pairs come at once.

In an ordered join, only keys and distances are sorted; what is asked for besides is looked up for each pair as it
leaves, or shapes as large as countries would be sorted once for each of their pairs.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from psycopg2.extensions import cursor as Cursor  # noqa: N812 - a class, whatever its case
from sqlalchemy import (
    Float,
    FromClause,
    Select,
    and_,
    bindparam,
    cast,
    false,
    func,
    literal_column,
    select,
    true,
    tuple_,
)
from sqlalchemy.sql.util import ClauseAdapter

from service.catalog import Catalog, Layer
from service.db.columns import Column, Expression, geometry_column, key_column, property_column
from service.db.copy import Decoder, Field, Wire, decoder
from service.db.filters import condition, named
from service.db.plane import has_window, in_window, window
from service.db.plans import Plan
from service.db.queries import compiled
from service.db.searches import PREDICATES
from service.domain import Argument, DistanceModel, Filter, JoinShape, Output, Predicate, Side, View

_FLOAT = Float(53)


@dataclass(frozen=True)
class Part:
    """One side of a join: its layer, seen through an alias since both may be of one table, and the columns asked for
    besides the key."""

    side: Side
    layer: Layer
    table: FromClause
    output: Output | None
    filter: Filter | None = None

    @cached_property
    def columns(self) -> tuple[Column, ...]:
        if self.output is None:
            return ()
        names = self.layer.stored if self.output.properties is None else self.output.properties
        properties = tuple(property_column(self.layer.properties[name]) for name in names)
        if self.output.view is View.NONE:
            return properties
        return (geometry_column(self.layer, self.output), *properties)

    @property
    def values(self) -> list[Expression]:
        return [column.expression.label(f"value_{number}") for number, column in enumerate(self.columns, 1)]

    @property
    def alias(self) -> str:
        """What the layer's table is called."""
        return f"{self.side.value}_feature"

    @property
    def conditions(self) -> list[Expression]:
        """What its features must meet by themselves."""
        identified = [] if self.layer.identified is None else [self.layer.identified]
        return identified if self.filter is None else [*identified, condition(self.layer, self.filter, self._prefix)]

    @property
    def constants(self) -> Mapping[str, Argument]:
        """The values of its filter."""
        return {} if self.filter is None else named(self.filter, self._prefix)

    @property
    def _prefix(self) -> str:
        return f"{self.side.value}_filter"

    @property
    def after(self) -> str:
        """The argument that says after which key a resumed join goes on."""
        return f"after_{self.side.value}"

    @property
    def last(self) -> Expression:
        return cast(bindparam(self.after), self.layer.key.type)


@dataclass(frozen=True, eq=False)
class JoinStatement:
    """Takes the names in `arguments` and answers with `columns`: both keys, the distance where one is measured, and
    then what is asked for of the left feature and of the right one."""

    shape: JoinShape
    left: Part
    right: Part

    @property
    def measured(self) -> bool:
        return isinstance(self.shape.condition, DistanceModel)

    @cached_property
    def arguments(self) -> tuple[str, ...]:
        distance = ("distance",) if self.measured else ()
        return (*distance, self.left.after, self.right.after) if self.shape.resumed else distance

    @cached_property
    def columns(self) -> tuple[Column, ...]:
        pair = [key_column(self.left.layer), key_column(self.right.layer)]
        if self.measured:
            pair.append(Column("distance", _distance(self), Field(Wire.FLOAT64, nullable=False)))
        return (*pair, *self.left.columns, *self.right.columns)

    @cached_property
    def decode(self) -> Decoder:
        return decoder([column.field for column in self.columns])

    def sql(self, through: Side) -> str:
        """The statement that looks into the index of the layer on this side."""
        outer, inner = (self.left, self.right) if through is Side.RIGHT else (self.right, self.left)
        return compiled(_in_order(self, outer, inner) if self.shape.ordered else _at_once(self, outer, inner))

    def counting(self, through: Side) -> str:
        """The statement that counts the pairs."""
        outer, inner = (self.left, self.right) if through is Side.RIGHT else (self.right, self.left)
        return compiled(select(func.count()).select_from(_at_once(self, outer, inner).subquery("pair")))

    def copy(self, through: Side) -> str:
        return f"COPY ({self.sql(through)}) TO STDOUT (FORMAT binary)"

    def bound(self, cursor: Cursor, arguments: Sequence[Argument]) -> bytes:
        """What to run: the COPY through the larger layer's index, with its arguments."""
        return cursor.mogrify(self.copy(larger(cursor, self)), self.parameters(arguments))

    def parameters(self, arguments: Sequence[Argument]) -> dict[str, Argument]:
        """What to bind."""
        return {**self.left.constants, **self.right.constants, **dict(zip(self.arguments, arguments, strict=True))}


Admit = Callable[[Cursor, JoinStatement, Sequence[Argument]], None]


def join_statement(catalog: Catalog, shape: JoinShape) -> JoinStatement:
    left = _part(Side.LEFT, catalog.at(shape.left, shape.left_revision), shape.left_output, shape.left_filter)
    right = _part(Side.RIGHT, catalog.at(shape.right, shape.right_revision), shape.right_output, shape.right_filter)
    return JoinStatement(shape, left, right)


def count_pairs(statement: JoinStatement, arguments: Sequence[Argument], admit: Admit) -> Callable[[Cursor], int]:
    """An errand: how many pairs there are, unless `admit` raises."""

    def errand(cursor: Cursor) -> int:
        admit(cursor, statement, arguments)
        cursor.execute(statement.counting(larger(cursor, statement)), statement.parameters(arguments))
        ((count,),) = cursor.fetchall()
        return int(count)

    return errand


def estimate_pairs(statement: JoinStatement, arguments: Sequence[Argument]) -> Callable[[Cursor], int]:
    """An errand: how many pairs the planner expects."""

    def errand(cursor: Cursor) -> int:
        counting = statement.counting(larger(cursor, statement))
        cursor.execute(f"EXPLAIN (FORMAT JSON) {counting}", statement.parameters(arguments))
        ((plan,),) = cursor.fetchall()
        return Plan.of(plan).counted

    return errand


def larger(cursor: Cursor, statement: JoinStatement) -> Side:
    """The side with more rows, as the planner believes; of equals the right one, since an ordered join then walks along
    the left keys."""
    left, right = (_rows(cursor, part.layer) for part in (statement.left, statement.right))
    return Side.LEFT if left > right else Side.RIGHT


def _rows(cursor: Cursor, layer: Layer) -> int:
    # Unlike pg_class, a plan knows something of partitioned tables, and of those that were never analysed.
    cursor.execute(f"EXPLAIN (FORMAT JSON) SELECT FROM {layer.qualified_name}")
    row = cursor.fetchone()
    assert row is not None
    return int(row[0][0]["Plan"]["Plan Rows"])


def _part(side: Side, layer: Layer, output: Output | None, asked: Filter | None) -> Part:
    table = layer.table.alias(f"{side.value}_feature")
    seen: Callable[[Any], Any] = ClauseAdapter(table).traverse
    properties = {name: replace(prop, expression=seen(prop.expression)) for name, prop in layer.properties.items()}
    aliased = replace(
        layer,
        key=seen(layer.key),
        geometry=seen(layer.geometry),
        geography_column=None if layer.geography_column is None else seen(layer.geography_column),
        properties=properties,
    )
    return Part(side, aliased, table, output, asked)


def _at_once(statement: JoinStatement, outer: Part, inner: Part) -> Select[Any]:
    found = _found(statement, outer, inner, [key_column(inner.layer).expression.label("key"), *inner.values])
    values: Mapping[Side, list[Expression]] = {
        outer.side: [key_column(outer.layer).expression, *outer.values],
        inner.side: [found.c.key, *(found.c[value.key] for value in inner.values)],
    }
    (left_key, *left), (right_key, *right) = values[Side.LEFT], values[Side.RIGHT]
    distance = [found.c.distance] if statement.measured else []
    pairs = select(left_key, right_key, *distance, *left, *right).select_from(outer.table).join(found, true())
    return pairs.where(*outer.conditions)


def _in_order(statement: JoinStatement, outer: Part, inner: Part) -> Select[Any]:
    found = _found(statement, outer, inner, [inner.layer.key.label("key")])
    keys = {outer.side: outer.layer.key, inner.side: found.c.key}
    left, right = keys[Side.LEFT].label("left_key"), keys[Side.RIGHT].label("right_key")
    distance = [found.c.distance] if statement.measured else []
    pairs = select(left, right, *distance).select_from(outer.table).join(found, true()).order_by(left, right)
    pairs = pairs.where(*outer.conditions)
    if statement.shape.resumed and outer.side is Side.LEFT:
        pairs = pairs.where(outer.layer.key >= outer.last)
    return _looked_up(statement, pairs.subquery("pair"))


def _looked_up(statement: JoinStatement, pair: FromClause) -> Select[Any]:
    """The pairs in their order, with what is asked for of each feature."""
    values: list[Expression] = [
        _sent(statement.left.layer, pair.c.left_key),
        _sent(statement.right.layer, pair.c.right_key),
        *([pair.c.distance] if statement.measured else []),
    ]
    source = pair
    for part, key in ((statement.left, pair.c.left_key), (statement.right, pair.c.right_key)):
        if part.columns:
            feature = select(*part.values).select_from(part.table).where(part.layer.key == key).correlate(pair)
            found = feature.offset(literal_column("0")).lateral(f"{part.side.value}_found")
            source = source.join(found, true())
            values += found.c
    return select(*values).select_from(source).order_by(pair.c.left_key, pair.c.right_key)


def _sent(layer: Layer, key: Expression) -> Expression:
    return key_column(replace(layer, key=key)).expression


def _found(statement: JoinStatement, outer: Part, inner: Part, values: list[Expression]) -> Any:
    """What the inner layer has for a feature of the outer one."""
    if statement.measured:
        values = [*values, _distance(statement).label("distance")]
    found = select(*values).select_from(inner.table).where(_condition(statement, outer, inner), *inner.conditions)
    if statement.shape.resumed:
        left, right = statement.left, statement.right
        beyond = tuple_(left.layer.key, right.layer.key) > tuple_(left.last, right.last)
        # IS TRUE, or the rest of the key's index might be read for each feature beside the spatial one.
        found = found.where(beyond.is_(true()))
    return found.correlate(outer.table).offset(literal_column("0")).lateral("found")


def _condition(statement: JoinStatement, outer: Part, inner: Part) -> Expression:
    """Whether the features make a pair."""
    condition = statement.shape.condition
    if isinstance(condition, Predicate):
        # Equality goes both ways, but in PostGIS an index serves its first argument alone.
        pair = (inner, outer) if condition is Predicate.EQUALS else (statement.left, statement.right)
        matches: Expression = getattr(func, PREDICATES[condition])(*(part.layer.geometry for part in pair))
        windows = [window(outer.layer.geometry)] if has_window(inner.layer) else []
        return and_(matches, *in_window(inner.layer, *windows))
    distance: Expression = cast(bindparam("distance"), _FLOAT)
    if condition is not DistanceModel.PLANAR:
        # In the index on the Earth, +180 and -180 degrees are a micrometre from each other.
        distance = func.greatest(distance, literal_column("1e-6"))
    return func.ST_DWithin(*_ends(statement), distance, *_spheroid(condition))


def _distance(statement: JoinStatement) -> Expression:
    assert isinstance(statement.shape.condition, DistanceModel)
    return func.ST_Distance(*_ends(statement), *_spheroid(statement.shape.condition), type_=_FLOAT)


def _ends(statement: JoinStatement) -> list[Expression]:
    layers = (statement.left.layer, statement.right.layer)
    if statement.shape.condition is DistanceModel.PLANAR:
        return [layer.geometry for layer in layers]
    return [layer.geography for layer in layers]


def _spheroid(model: DistanceModel) -> tuple[Expression, ...]:
    """The argument that only the functions on geography have."""
    if model is DistanceModel.PLANAR:
        return ()
    return (true(),) if model is DistanceModel.SPHEROID else (false(),)
