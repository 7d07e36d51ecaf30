"""Questions in the plane about geography columns of points, through the geography's own index.

What an index of geography holds are boxes in space. That of a point is the point, wherever the plane has its seams: so
a ball on the Earth around all of a shape finds every point that could meet it, at the poles and the antimeridian too.
Of lines and polygons nothing of the kind is true, since their edges run elsewhere on the Earth than in the plane.
"""

from collections.abc import Sequence

from sqlalchemy import Float, func, literal_column, or_

from service.catalog import Layer
from service.db.columns import Expression

# Metres a degree, and a little more for the rounding of the boxes. On the Earth no two places are farther from each
# other than their degrees say.
_METERS: Expression = literal_column("111700.0")
_EXPAND = "_ST_Expand"  # what PostGIS's own ST_DWithin asks its index with


def has_window(layer: Layer) -> bool:
    """Whether a window helps to find what meets a shape in the plane."""
    return layer.is_geography and layer.of_points


def window(geometry: Expression, margin: Expression | None = None) -> Expression:
    """A ball around a geometry and so many degrees more, as the geography that the index compares with."""
    reach: Expression = func.ST_Length(func.ST_BoundingDiagonal(geometry), type_=Float(53)) / literal_column("2")
    if margin is not None:
        reach = reach + margin
    center = func.geography(func.ST_Centroid(func.ST_Envelope(geometry)))
    ball: Expression = getattr(func, _EXPAND)(center, reach * _METERS + literal_column("1"))
    return ball


def in_window(layer: Layer, *windows: Expression) -> Sequence[Expression]:
    """What holds for whatever could lie in one of the windows."""
    near = [layer.column.op("&&", is_comparison=True)(each) for each in windows]
    return [or_(*near)] if near else []
