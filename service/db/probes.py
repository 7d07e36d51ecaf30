"""What a search is asked about: the probes of a statement, made once, before the search runs for each of them."""

from collections.abc import Mapping
from typing import Any

from geoalchemy2 import Geometry
from sqlalchemy import (
    BigInteger,
    CompoundSelect,
    Float,
    FromClause,
    Select,
    Text,
    bindparam,
    cast,
    func,
    literal_column,
    null,
    select,
)
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.types import TypeEngine

from service.catalog import Layer
from service.db.boxes import box, measured_on_earth
from service.db.columns import Expression
from service.db.plane import has_window, window
from service.domain import Kind, Result, Shape

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
_NAME = "spatial_probe"  # beside a layer's table, which may be called anything
SEEN = "seen"  # a box whose rows were found before
_MIDDLE = 1 / 8  # of a circle, by its radius: few of its rows, which are looked at twice
WINDOWS = ("window", "other_window")  # what the index of a geography column is asked for
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


def arguments(shape: Shape) -> tuple[str, ...]:
    """The names of what a probe brings, in the order of Search.arguments."""
    return _ARGUMENTS[shape.kind] + (_WITHIN if shape.within else ()) + (_resuming(shape) if shape.resumed else ())


def _resuming(shape: Shape) -> tuple[str, ...]:
    """What says after which feature an answer goes on."""
    return _AFTER_DISTANCE if nearest_comes_first(shape) else _AFTER_KEY


def nearest_comes_first(shape: Shape) -> bool:
    return shape.kind in (Kind.RADIUS, Kind.NEAREST) and not shape.result.streams


def probes(layer: Layer, shape: Shape) -> FromClause:
    """One row per probe: its ordinal and arguments, the geometry made."""
    names = arguments(shape)
    if shape.constant:
        given = {name: cast(bindparam(name), _type(layer, name)) for name in names}
        values = _arguments(layer, shape, given)
        probe = select(cast(literal_column("1"), BigInteger).label("ordinal"), *values)
        return (_near_first(probe, given) if _first_at_once(shape) else probe).subquery(_NAME)
    arrays = [cast(bindparam(name, type_=Text()), ARRAY(_type(layer, name))) for name in names]
    unnested = func.unnest(*arrays).table_valued(*names, with_ordinality="ordinal", name="given").render_derived()
    values = _arguments(layer, shape, {name: unnested.c[name] for name in names})
    return select(unnested.c.ordinal, *values).cte(_NAME).prefix_with("MATERIALIZED")


def _first_at_once(shape: Shape) -> bool:
    return shape.boxed and shape.result is Result.ALL


def _near_first(probe: Select[*tuple[Any, ...]], given: Mapping[str, Expression]) -> CompoundSelect[Any]:
    """The probe twice: with a box in the middle of its circle, and with the whole box, of which that much is `seen`.
    An index may begin in a corner, where nothing is in the circle, and the first of a stream would come late."""
    point = _geometry(given["geometry"])
    middle = box(point, given["radius"] * literal_column(repr(_MIDDLE)))
    near, all_of_it = (
        probe.add_columns(around.label("box"), seen.label(SEEN))
        for around, seen in ((middle, cast(null(), middle.type)), (box(point, given["radius"]), middle))
    )
    # OFFSET hides the boxes from the planner: it would gather the places of many rows before it reads one.
    return near.union_all(all_of_it).offset(literal_column("0"))


def _type(layer: Layer, name: str) -> TypeEngine[Any]:
    return layer.key.type if name == "after_key" else _TYPES[name]


def _arguments(layer: Layer, shape: Shape, given: Mapping[str, Expression]) -> list[Expression]:
    values: list[Expression] = [_argument(layer, shape, name, value).label(name) for name, value in given.items()]
    if shape.kind is Kind.NEAREST:
        values.append(_approach(layer, shape, given["geometry"]).label("approach"))
    if has_window(layer) and shape.kind in _IN_PLANE and not measures_on_earth(shape):
        made = _made(layer, given["geometry"])
        parts = first_and_last(made) if shape.kind is Kind.WINDOW else (made,)
        values += [window(part, given.get("radius")).label(name) for part, name in zip(parts, WINDOWS, strict=False)]
    if shape.boxed:
        point = _geometry(given["geometry"])
        values.append(point.label("point"))
        if not _first_at_once(shape):
            values.append(box(point, given["radius"]).label("box"))
    return values


def _argument(layer: Layer, shape: Shape, name: str, value: Expression) -> Expression:
    if name == "geometry":
        made = _geometry(value) if shape.boxed else _made(layer, value)
        return func.geography(made) if measures_on_earth(shape) else made
    if name == "within":
        return _made(layer, value)
    if name == "keys":
        return cast(value, ARRAY(layer.key.type))
    return value


def _made(layer: Layer, value: Expression) -> Expression:
    """The geometry that a caller sent, in the layer's CRS."""
    made = _geometry(value)
    return func.ST_Transform(made, literal_column(str(layer.srid)), type_=made.type) if layer.srid else made


def _geometry(value: Expression) -> Expression:
    """The geometry that a caller sent; one with a box is in the layer's CRS already."""
    return func.geometry(value, type_=Geometry(spatial_index=False))


def _approach(layer: Layer, shape: Shape, geometry: Expression) -> Expression:
    """Where the index starts from when it says how far to look: on the Earth a few metres off the probe.

    Where a feature all but coincides with it, the index's own distances contradict one another by rounding, and
    PostgreSQL ends the statement with "index returned tuples in wrong order".
    """
    made = _made(layer, geometry)
    if not measures_on_earth(shape):
        return made
    off: list[Expression] = [literal_column(number) for number in ("0.999999", "0", "0", "0.999998", "1e-4", "1e-4")]
    return func.geography(func.ST_Affine(made, *off, type_=Geometry(spatial_index=False)))


def measures_on_earth(shape: Shape) -> bool:
    return measured_on_earth(shape.variant)


def first_and_last(geometry: Expression) -> tuple[Expression, Expression]:
    first = func.ST_GeometryN(geometry, literal_column("1"))
    return first, func.ST_GeometryN(geometry, func.ST_NumGeometries(geometry))
