"""The searches, one a kind: from a layer and the probes to the rows that each probe finds."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sqlalchemy import Float, FromClause, Select, asc, false, func, literal_column, null, select, true, tuple_

from service.catalog import Layer
from service.db.columns import Column, Expression, etag_column, geometry_column, key_column, property_column
from service.db.copy import Field, Wire
from service.db.filters import condition
from service.db.places import place_columns
from service.db.plane import in_window
from service.db.probes import SEEN, WINDOWS, first_and_last, measures_on_earth, nearest_comes_first
from service.domain import DistanceModel, Kind, Predicate, Result, Shape, View

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
_MEASURE = "_ST_DWithin"  # what PostGIS's own ST_DWithin measures with, after it has asked the geography's index
_REACH, _MEASURED = "spatial_reach", "spatial_measured"  # beside a layer's table, which may be called anything
_METERS: Expression = literal_column(f"{_MEASURED}.meters", Float(53))
_SPHEROID = "CAST('SPHEROID[\"WGS 84\",6378137,298.257223563]' AS spheroid)"
_WITH_DISTANCES = (Result.FEATURES, Result.ALL, Result.ALL_BY_KEY)


def _radius(layer: Layer, shape: Shape, probe: FromClause, columns: tuple[Column, ...]) -> Select[Any]:
    found = _select(layer, shape, probe, columns)
    if _measured_once(shape):
        found = found.select_from(layer.table).join(_measurement(layer, probe), true())
    found = found.where(*_reached(layer, shape, probe))
    if shape.resumed and nearest_comes_first(shape):
        found = found.where(
            tuple_(_distance(layer, shape, probe), layer.key) > tuple_(probe.c.after_distance, probe.c.after_key)
        )
    return _nearest_first(layer, shape, probe, found)


def _reached(layer: Layer, shape: Shape, probe: FromClause) -> Sequence[Expression]:
    """That a row is within the radius, and what indexes are asked besides."""
    distance = _reach(shape, probe.c.radius)
    if not shape.boxed:
        return [_within(layer, shape, probe, distance), *_windowed(layer, probe)]
    inside = [layer.geometry.op("&&", is_comparison=True)(probe.c.box)]
    if SEEN in probe.c:
        inside.append(layer.geometry.op("&&", is_comparison=True)(probe.c[SEEN]).is_not(true()))
    if _measured_once(shape):
        return [*inside, distance >= _METERS]
    measure = getattr(func, _MEASURE)
    measured: Expression = measure(layer.geography, probe.c.geometry, distance, *_spheroid(shape))
    return [*inside, measured]


def _measured_once(shape: Shape) -> bool:
    """Whether the distance that is answered is also what tells who is within it: between two points on the spheroid
    PostGIS can measure without making geographies of them."""
    return shape.boxed and shape.variant is DistanceModel.SPHEROID and shape.result in _WITH_DISTANCES


def _rounded(meters: Expression) -> Expression:
    """As ST_Distance rounds it on geographies, so that it is the same however it was measured."""
    steps = literal_column("1e8", Float(53))
    nearest: Expression = func.floor(meters * steps + literal_column("0.5"), type_=Float(53)) / steps
    return nearest


def _measurement(layer: Layer, probe: FromClause) -> FromClause:
    meters = func.ST_DistanceSpheroid(layer.geometry, probe.c.point, literal_column(_SPHEROID), type_=Float(53))
    # OFFSET keeps the planner from writing it wherever it is named.
    measured = select(meters.label("meters")).correlate(layer.table, probe).offset(literal_column("0"))
    return measured.lateral(_MEASURED)


def _reach(shape: Shape, distance: Expression) -> Expression:
    """At least a micrometre on the Earth: in the index, +180 and -180 degrees are that far from each other."""
    return func.greatest(distance, literal_column("1e-6")) if measures_on_earth(shape) else distance


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
    first, last = first_and_last(probe.c.geometry)
    meets = layer.geometry.op("&&")(first) | layer.geometry.op("&&")(last)
    found = _select(layer, shape, probe, columns).where(meets, *_windowed(layer, probe))
    return _in_key_order(layer, shape, probe, found)


def _windowed(layer: Layer, probe: FromClause) -> Sequence[Expression]:
    """What a geography column's own index is asked, where it has anything to say about the plane."""
    return in_window(layer, *(probe.c[name] for name in WINDOWS if name in probe.c))


def _all(layer: Layer, shape: Shape, probe: FromClause, columns: tuple[Column, ...]) -> Select[Any]:
    return _in_key_order(layer, shape, probe, _select(layer, shape, probe, columns).select_from(layer.table))


def _lookup(layer: Layer, shape: Shape, probe: FromClause, columns: tuple[Column, ...]) -> Select[Any]:
    return _select(layer, shape, probe, columns).where(layer.key == func.any(probe.c["keys"]))


SEARCHES: Mapping[Kind, Callable[[Layer, Shape, FromClause, tuple[Column, ...]], Select[Any]]] = {
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
    if not nearest_comes_first(shape):
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
    return layer.geography if measures_on_earth(shape) else layer.geometry


def _distance(layer: Layer, shape: Shape, probe: FromClause) -> Expression:
    if _measured_once(shape):
        return _rounded(_METERS)
    return func.ST_Distance(_target(layer, shape), probe.c.geometry, *_spheroid(shape), type_=Float(53))


def _within(layer: Layer, shape: Shape, probe: FromClause, distance: Expression) -> Expression:
    return func.ST_DWithin(_target(layer, shape), probe.c.geometry, distance, *_spheroid(shape))


def _spheroid(shape: Shape) -> tuple[Expression, ...]:
    """The argument that only the functions on geography have."""
    if shape.variant is DistanceModel.SPHEROID:
        return (true(),)
    return (false(),) if shape.variant is DistanceModel.SPHERE else ()


def columns_of(layer: Layer, shape: Shape, probe: FromClause) -> tuple[Column, ...]:
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
    columns += [property_column(layer.properties[name]) for name in names]
    return (*columns, etag_column(layer)) if shape.output.etags else tuple(columns)
