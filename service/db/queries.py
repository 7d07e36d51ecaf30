"""Statements: from the shape of a question to SQL, built and compiled once per shape. Nothing is executed here.

A statement answers many probes at once: they come in as arrays, are made geometries once (a MATERIALIZED CTE, or each
would be parsed again for every candidate row), and the search runs LATERAL for each. A shape that asks for a constant
has the same search over one probe that the planner can see.
"""

from collections.abc import Callable, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from geoalchemy2 import Geometry
from sqlalchemy import (
    BigInteger,
    Float,
    FromClause,
    Select,
    Text,
    asc,
    bindparam,
    cast,
    false,
    func,
    literal_column,
    null,
    select,
    true,
    tuple_,
)
from sqlalchemy.dialects import postgresql
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.types import TypeEngine

from service.catalog import Catalog, Layer
from service.db.columns import Column, Expression, geometry_column, key_column, property_column
from service.db.copy import Decoder, Field, Wire, decoder
from service.db.filters import condition, named
from service.db.places import place_columns
from service.db.plane import has_window, in_window, window
from service.domain import Argument, DistanceModel, Filter, Kind, Predicate, Result, Shape, View

_DIALECT = postgresql.dialect(paramstyle="pyformat")  # type: ignore[no-untyped-call]

# The arguments that a probe of each kind brings, in the order of Search.arguments, and those that say after which row
# an answer goes on.
_ARGUMENTS: Mapping[Kind, tuple[str, ...]] = {
    Kind.RADIUS: ("geometry", "radius"),
    Kind.NEAREST: ("geometry", "max_distance"),
    Kind.INTERSECTS: ("geometry",),
    Kind.WINDOW: ("geometry",),
    Kind.ALL: (),
    Kind.LOOKUP: ("keys",),
}
_WITHIN = ("within",)
_IN_PLANE = (Kind.RADIUS, Kind.INTERSECTS, Kind.WINDOW)
# They stand beside layers' tables, which may be called anything.
_PROBE, _REACH = "spatial_probe", "spatial_reach"
_WINDOWS = ("window", "other_window")  # what the index of a geography column is asked for
_AFTER_KEY = ("after_key",)
_AFTER_DISTANCE = ("after_distance", "after_key")
_TYPES: Mapping[str, TypeEngine[Any]] = {
    "geometry": Text(),
    "within": Text(),
    "keys": Text(),
    "radius": Float(53),
    "max_distance": Float(53),
    "after_distance": Float(53),
}
PREDICATES: Mapping[Predicate, str] = {
    Predicate.INTERSECTS: "ST_Intersects",
    Predicate.WITHIN: "ST_Within",
    Predicate.CONTAINS: "ST_Contains",
    Predicate.COVERS: "ST_Covers",
    Predicate.COVERED_BY: "ST_CoveredBy",
    Predicate.TOUCHES: "ST_Touches",
    Predicate.CROSSES: "ST_Crosses",
    Predicate.OVERLAPS: "ST_Overlaps",
    Predicate.EQUALS: "ST_Equals",
}


@dataclass(frozen=True, eq=False)
class Statement:
    """`sql` takes the names in `arguments` (as arrays, unless the shape is constant) and answers with `columns`. The
    `constants` are a filter's values, the same for all probes."""

    shape: Shape
    sql: str
    arguments: tuple[str, ...]
    columns: tuple[Column, ...]
    layer: Layer
    constants: Mapping[str, Argument] = field(default_factory=dict)
    origin: "Statement | None" = None

    @property
    def common(self) -> "Statement":
        """The statement that all those have in common which differ in nothing but a filter's values: what is made of
        its columns serves for each of them."""
        return self.origin or self

    def parameters(self, arguments: Sequence[Argument]) -> dict[str, Argument]:
        """What to bind, one value or array for each of the arguments."""
        return {**self.constants, **dict(zip(self.arguments, arguments, strict=True))}

    def with_values(self, shape: Shape, asked: Filter) -> "Statement":
        """The same statement for a shape that differs in its filter's values."""
        known = copy(self)  # with what is cached
        object.__setattr__(known, "shape", shape)
        object.__setattr__(known, "constants", named(asked))
        object.__setattr__(known, "origin", self)
        return known

    @property
    def srid(self) -> int:
        """EPSG code of the geometries that it answers with."""
        return self.shape.output.srid or self.layer.srid

    @cached_property
    def copy(self) -> str:
        return f"COPY ({self.sql}) TO STDOUT (FORMAT binary)"

    @cached_property
    def decode(self) -> Decoder:
        return decoder([column.field for column in self.columns])


class Statements:
    """The statements over a catalog, each built when it is first asked for."""

    def __init__(self, catalog: Catalog, capacity: int = 4096) -> None:
        self._catalog = catalog
        self._capacity = capacity
        self._known: dict[Shape, Statement] = {}
        # Apart, or the values that callers ask about would drive out what they share.
        self._valued: dict[Shape, Statement] = {}

    def __getitem__(self, shape: Shape) -> Statement:
        known = self._valued if shape.filter is not None and shape.filter.values else self._known
        statement = known.get(shape)
        if statement is None or not self._is_current(statement):
            # Callers choose properties, so there is no end of shapes; the oldest goes, and is built again if needed.
            if len(known) >= self._capacity:
                known.pop(next(iter(known)), None)
            statement = known[shape] = self._made(shape)
        return statement

    def _is_current(self, statement: Statement) -> bool:
        """Whether the layer is still what the statement was made for. One made for a revision is about that alone."""
        shape = statement.shape
        return shape.revision == statement.layer.revision or self._catalog[shape.layer] is statement.layer

    def _made(self, shape: Shape) -> Statement:
        if shape.filter is None or not shape.filter.values:
            return build(self._catalog.at(shape.layer, shape.revision), shape)
        # Filters that differ in their values alone share what takes long to make.
        shared = self[replace(shape, filter=Filter(shape.filter.structure))]
        _ = shared.copy, shared.decode
        return shared.with_values(shape, shape.filter)


def build(layer: Layer, shape: Shape) -> Statement:
    names = _ARGUMENTS[shape.kind] + (_WITHIN if shape.within else ()) + (_resuming(shape) if shape.resumed else ())
    probes = _probes(layer, shape, names)
    columns = _columns(layer, shape, probes)
    search = _SEARCHES[shape.kind](layer, shape, probes, columns).lateral("found")
    ordinal = Column("ordinal", probes.c.ordinal, Field(Wire.INT64, nullable=False))
    if shape.result.streams:  # about one probe, and the order of the search is that of the statement
        statement = select(*search.c).select_from(probes).join(search, true())
        return Statement(shape, compiled(statement), names, columns, layer)
    statement = select(ordinal.expression, *search.c).select_from(probes).join(search, true())
    return Statement(shape, compiled(statement), names, (ordinal, *columns), layer)


def _resuming(shape: Shape) -> tuple[str, ...]:
    """What says after which feature an answer goes on."""
    return _AFTER_DISTANCE if _nearest_comes_first(shape) else _AFTER_KEY


def _nearest_comes_first(shape: Shape) -> bool:
    return shape.kind in (Kind.RADIUS, Kind.NEAREST) and not shape.result.streams


def compiled(statement: Select[Any]) -> str:
    return str(statement.compile(dialect=_DIALECT))


def _probes(layer: Layer, shape: Shape, names: tuple[str, ...]) -> FromClause:
    """One row per probe: its ordinal and arguments, the geometry made."""
    if shape.constant:
        given = {name: cast(bindparam(name), _type(layer, name)) for name in names}
        values = _arguments(layer, shape, given)
        return select(cast(literal_column("1"), BigInteger).label("ordinal"), *values).subquery(_PROBE)
    arrays = [cast(bindparam(name, type_=Text()), ARRAY(_type(layer, name))) for name in names]
    unnested = func.unnest(*arrays).table_valued(*names, with_ordinality="ordinal", name="given").render_derived()
    values = _arguments(layer, shape, {name: unnested.c[name] for name in names})
    return select(unnested.c.ordinal, *values).cte(_PROBE).prefix_with("MATERIALIZED")


def _type(layer: Layer, name: str) -> TypeEngine[Any]:
    return layer.key.type if name == "after_key" else _TYPES[name]


def _arguments(layer: Layer, shape: Shape, given: Mapping[str, Expression]) -> list[Expression]:
    values: list[Expression] = [_argument(layer, shape, name, value).label(name) for name, value in given.items()]
    if shape.kind is Kind.NEAREST:
        values.append(_approach(layer, shape, given["geometry"]).label("approach"))
    if has_window(layer) and shape.kind in _IN_PLANE and not _measures_on_earth(shape):
        made = _made(layer, given["geometry"])
        parts = _first_and_last(made) if shape.kind is Kind.WINDOW else (made,)
        values += [window(part, given.get("radius")).label(name) for part, name in zip(parts, _WINDOWS, strict=False)]
    return values


def _argument(layer: Layer, shape: Shape, name: str, value: Expression) -> Expression:
    if name == "geometry":
        made = _made(layer, value)
        return func.geography(made) if _measures_on_earth(shape) else made
    if name == "within":
        return _made(layer, value)
    if name == "keys":
        return cast(value, ARRAY(layer.key.type))
    return value


def _made(layer: Layer, value: Expression) -> Expression:
    """The geometry that a caller sent, in the layer's CRS."""
    made: Expression = func.geometry(value, type_=Geometry(spatial_index=False))
    return func.ST_Transform(made, literal_column(str(layer.srid)), type_=made.type) if layer.srid else made


def _approach(layer: Layer, shape: Shape, geometry: Expression) -> Expression:
    """Where the index starts from when it says how far to look: on the Earth a few metres off the probe.

    Where a feature all but coincides with it, the index's own distances contradict one another by rounding, and
    PostgreSQL ends the statement with "index returned tuples in wrong order".
    """
    made = _made(layer, geometry)
    if not _measures_on_earth(shape):
        return made
    off: list[Expression] = [literal_column(number) for number in ("0.999999", "0", "0", "0.999998", "1e-4", "1e-4")]
    return func.geography(func.ST_Affine(made, *off, type_=Geometry(spatial_index=False)))


def _measures_on_earth(shape: Shape) -> bool:
    return shape.variant in (DistanceModel.SPHEROID, DistanceModel.SPHERE)


# The searches, one a kind.


def _radius(layer: Layer, shape: Shape, probe: FromClause, columns: tuple[Column, ...]) -> Select[Any]:
    reached = _within(layer, shape, probe, _reach(shape, probe.c.radius))
    found = _select(layer, shape, probe, columns).where(reached, *_windowed(layer, probe))
    if shape.resumed and _nearest_comes_first(shape):
        found = found.where(
            tuple_(_distance(layer, shape, probe), layer.key) > tuple_(probe.c.after_distance, probe.c.after_key)
        )
    return _nearest_first(layer, shape, probe, found)


def _reach(shape: Shape, distance: Expression) -> Expression:
    """At least a micrometre on the Earth: in the index, +180 and -180 degrees are that far from each other."""
    return func.greatest(distance, literal_column("1e-6")) if _measures_on_earth(shape) else distance


def _nearest(layer: Layer, shape: Shape, probe: FromClause, columns: tuple[Column, ...]) -> Select[Any]:
    """By true distance. The index orders by another one (a sphere's, for geography), so it only says how far to look:
    whatever is among the nearest lies within the largest true distance of the index's own nearest."""
    if shape.result is Result.COUNT:
        within = _within(layer, shape, probe, probe.c.max_distance)
        rankable = layer.geometry.is_not(null()) & (probe.c.max_distance.is_(null()) | within)
        return _select(layer, shape, probe, columns).where(rankable).correlate(probe)
    target = _target(layer, shape)
    candidates = (
        select(_distance(layer, shape, probe).label("distance"))
        .where(*_conditions(layer, shape, probe))
        .order_by(target.op("<->")(probe.c.approach))
        .limit(literal_column(str(shape.limit)))
        .correlate(probe)
        .subquery("candidate")
    )
    # The margin covers the rounding of ST_DWithin and of the index at the border.
    farthest = func.max(candidates.c.distance) * literal_column("(1 + 1e-9)") + literal_column("1e-6")
    limit = func.least(farthest, probe.c.max_distance)
    reach = select(limit.label("distance")).correlate(probe).lateral(_REACH)
    found = _select(layer, shape, probe, columns).select_from(reach).join(layer.table, true())
    return _nearest_first(layer, shape, probe, found.where(_within(layer, shape, probe, reach.c.distance)))


def _intersects(layer: Layer, shape: Shape, probe: FromClause, columns: tuple[Column, ...]) -> Select[Any]:
    assert isinstance(shape.variant, Predicate)
    predicate = getattr(func, PREDICATES[shape.variant])
    meets = predicate(layer.geometry, probe.c.geometry)
    found = _select(layer, shape, probe, columns).where(meets, *_windowed(layer, probe))
    return _in_key_order(layer, shape, probe, found)


def _window(layer: Layer, shape: Shape, probe: FromClause, columns: tuple[Column, ...]) -> Select[Any]:
    # Of two boxes, which is what a box across the antimeridian becomes, each counts and not the box around both.
    first, last = _first_and_last(probe.c.geometry)
    meets = layer.geometry.op("&&")(first) | layer.geometry.op("&&")(last)
    found = _select(layer, shape, probe, columns).where(meets, *_windowed(layer, probe))
    return _in_key_order(layer, shape, probe, found)


def _first_and_last(geometry: Expression) -> tuple[Expression, Expression]:
    first = func.ST_GeometryN(geometry, literal_column("1"))
    return first, func.ST_GeometryN(geometry, func.ST_NumGeometries(geometry))


def _windowed(layer: Layer, probe: FromClause) -> Sequence[Expression]:
    """What a geography column's own index is asked, where it has anything to say about the plane."""
    return in_window(layer, *(probe.c[name] for name in _WINDOWS if name in probe.c))


def _all(layer: Layer, shape: Shape, probe: FromClause, columns: tuple[Column, ...]) -> Select[Any]:
    return _in_key_order(layer, shape, probe, _select(layer, shape, probe, columns).select_from(layer.table))


def _lookup(layer: Layer, shape: Shape, probe: FromClause, columns: tuple[Column, ...]) -> Select[Any]:
    return _select(layer, shape, probe, columns).where(layer.key == func.any(probe.c["keys"]))


_SEARCHES: Mapping[Kind, Callable[[Layer, Shape, FromClause, tuple[Column, ...]], Select[Any]]] = {
    Kind.RADIUS: _radius,
    Kind.NEAREST: _nearest,
    Kind.INTERSECTS: _intersects,
    Kind.WINDOW: _window,
    Kind.ALL: _all,
    Kind.LOOKUP: _lookup,
}


def _select(layer: Layer, shape: Shape, probe: FromClause, columns: tuple[Column, ...]) -> Select[Any]:
    named = select(*(column.expression.label(f"c{index}") for index, column in enumerate(columns, 1)))
    return named.where(*_conditions(layer, shape, probe))


def _conditions(layer: Layer, shape: Shape, probe: FromClause) -> list[Expression]:
    """What rows must meet whatever the search."""
    conditions = [] if shape.filter is None else [condition(layer, shape.filter)]
    if layer.identified is not None:
        conditions.append(layer.identified)
    return [*conditions, func.ST_Intersects(layer.geometry, probe.c.within)] if shape.within else conditions


def _nearest_first(layer: Layer, shape: Shape, probe: FromClause, found: Select[Any]) -> Select[Any]:
    if not _nearest_comes_first(shape):
        return _in_key_order(layer, shape, probe, found)
    return _ordered(shape, probe, found, _distance(layer, shape, probe), layer.key)


def _in_key_order(layer: Layer, shape: Shape, probe: FromClause, found: Select[Any]) -> Select[Any]:
    if shape.resumed:
        # In a shared statement the planner, which cannot see the key, would read the rest of the key's index for each
        # page beside the spatial one. No index answers whether a comparison is true.
        beyond = layer.key > probe.c.after_key
        found = found.where(beyond if shape.constant else beyond.is_(true()))
    return _ordered(shape, probe, found, layer.key)


def _ordered(shape: Shape, probe: FromClause, found: Select[Any], *order: Expression) -> Select[Any]:
    if shape.result in (Result.COUNT, Result.ALL, Result.PLACES):
        return found.correlate(probe)
    found = found.order_by(*(asc(expression) for expression in order)).correlate(probe)
    return found if shape.limit is None else found.limit(literal_column(str(shape.limit)))


def _target(layer: Layer, shape: Shape) -> Expression:
    return layer.geography if _measures_on_earth(shape) else layer.geometry


def _distance(layer: Layer, shape: Shape, probe: FromClause) -> Expression:
    return func.ST_Distance(_target(layer, shape), probe.c.geometry, *_spheroid(shape), type_=Float(53))


def _within(layer: Layer, shape: Shape, probe: FromClause, distance: Expression) -> Expression:
    return func.ST_DWithin(_target(layer, shape), probe.c.geometry, distance, *_spheroid(shape))


def _spheroid(shape: Shape) -> tuple[Expression, ...]:
    """The argument that only the functions on geography have."""
    if shape.variant is DistanceModel.SPHEROID:
        return (true(),)
    return (false(),) if shape.variant is DistanceModel.SPHERE else ()


def _columns(layer: Layer, shape: Shape, probe: FromClause) -> tuple[Column, ...]:
    if shape.result is Result.COUNT:
        return (Column("count", func.count(), Field(Wire.INT64, nullable=False)),)
    if shape.result is Result.PLACES:
        return place_columns(layer, shape.output)
    columns = [key_column(layer)]
    if shape.kind in (Kind.RADIUS, Kind.NEAREST):
        distance = _distance(layer, shape, probe)
        columns.append(Column("distance", distance, Field(Wire.FLOAT64, nullable=False)))
    if shape.output.view is not View.NONE:
        columns.append(geometry_column(layer, shape.output))
    names = layer.stored if shape.output.properties is None else shape.output.properties
    return (*columns, *(property_column(layer.properties[name]) for name in names))
