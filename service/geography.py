"""Lengths and areas on WGS 84: the one expression that its indexes serve, and the same measure for an instance."""

from typing import Any

from geoalchemy2 import Geography
from shapely.geometry import Polygon
from shapely.geometry.base import BaseGeometry, BaseMultipartGeometry
from sqlalchemy import ColumnElement, func

SRID = 4326


def geography(expression: Any) -> ColumnElement[Any]:
    """`geography(expression)`, for indexes, queries and migrations alike.

    A cast would carry a type modifier, and PostgreSQL would no longer recognise the indexed expression.
    """
    return func.geography(expression, type_=Geography(srid=SRID, spatial_index=False))


def geodesic_area(shape: BaseGeometry) -> float:
    """Square metres on WGS 84, whatever the orientation of the rings; 0 for points and lines."""
    if isinstance(shape, BaseMultipartGeometry):
        return sum(geodesic_area(part) for part in shape.geoms)
    if not isinstance(shape, Polygon) or shape.is_empty:
        return 0.0
    return _ring_area(shape.exterior) - sum(_ring_area(hole) for hole in shape.interiors)


def _ring_area(ring: BaseGeometry) -> float:
    # Imported late: PROJ costs a serving process time and memory, and serving never measures an instance.
    from pyproj import Geod

    area, _ = Geod(ellps="WGS84").geometry_area_perimeter(ring)
    return abs(area)
