"""Layers in which no feature's interior may meet another's: what tells whether one does.

Looking and writing must be one SERIALIZABLE transaction: then of two that would lie on each other one fails.
"""

from typing import Any

from sqlalchemy import ScalarSelect, Select, Text, bindparam, cast, func, literal_column, select
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.sql.util import ClauseAdapter

from service.catalog import Layer
from service.db.columns import Expression
from service.db.plane import has_window, in_window, window
from service.errors import FailedPrecondition, Reason, SpatialError

_OTHER = "spatial_other"  # beside a layer's table, which may be called anything
_INTERIORS_MEET: Expression = literal_column("'T********'")


def overlaid(layer: Layer, key: Expression, geometry: Expression) -> ScalarSelect[Any]:
    """The key, as text, of a feature that another one lies on, which has this key and, in the plane, this geometry;
    null where there is none."""
    other = layer.table.alias(_OTHER)
    as_other = ClauseAdapter(other).traverse
    found: Select[Any] = (
        select(cast(as_other(layer.key), Text()))
        .where(as_other(layer.key) != key, *_meets(layer, as_other, geometry))
        .limit(literal_column("1"))
    )
    return found.correlate_except(other).scalar_subquery()


def overlapping(layer: Layer) -> Select[Any]:
    """Of the features with the `keys` that are bound (an array literal), those that lie on another one, each with the
    key of the other; both as text. For what has been written already."""
    keys = cast(bindparam("keys", type_=Text()), ARRAY(layer.key.type))
    other = overlaid(layer, layer.key, layer.geometry)
    written = select(cast(layer.key, Text()).label("key"), other.label("other")).where(layer.key == func.any(keys))
    looked_at = written.offset(literal_column("0")).subquery("spatial_written")
    return select(looked_at.c.key, looked_at.c.other).where(looked_at.c.other.is_not(None))


def _meets(layer: Layer, as_other: Any, geometry: Expression) -> list[Expression]:
    theirs = as_other(layer.geometry)
    windows = in_window(layer, window(geometry)) if has_window(layer) else ()
    boxes = theirs.op("&&", is_comparison=True)(geometry)
    return [*map(as_other, windows), boxes, func.ST_Relate(theirs, geometry, _INTERIORS_MEET)]


def overlap(layer: Layer, other: str) -> SpatialError:
    """What is answered where a feature would lie on this other one."""
    return FailedPrecondition(
        Reason.OVERLAP,
        f"this would lie on feature {other!r}, and in layer {layer.name!r} none may lie on another",
        field="geometry",
        metadata={"layer": layer.name, "id": other},
    )
