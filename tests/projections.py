"""Coordinates in other systems, worked out by pyproj."""

from functools import cache
from typing import Any

import shapely
from pyproj import Transformer
from shapely.geometry.base import BaseGeometry

from spatial.v1 import geometry_pb2 as geometry

MERCATOR = 3857
NEW_YORK_FEET = 2263
UTM_33N = 32633


@cache
def _transformer(source: int, target: int) -> Transformer:
    return Transformer.from_crs(source, target, always_xy=True)


def moved(shape: BaseGeometry, source: int, target: int) -> BaseGeometry:
    """The geometry vertex by vertex in another system, with its SRID."""
    transform: Any = _transformer(source, target).transform
    made: BaseGeometry = shapely.set_srid(shapely.transform(shape, transform, interleaved=False), target)
    return made


def probe(shape: BaseGeometry, srid: int, encoding: str = "wkb") -> geometry.Probe:
    """A geometry in degrees as a probe that is in another system."""
    return geometry.Probe(geometry=message(moved(shape, 4326, srid), encoding))


def message(shape: BaseGeometry, encoding: str = "wkb") -> geometry.Geometry:
    """With its SRID in the field, or in EWKB or EWKT."""
    srid = int(shapely.get_srid(shape)) or None
    given: dict[str, Any] = {
        "wkb": {"wkb": shapely.to_wkb(shape), "srid": srid},
        "wkt": {"wkt": shapely.to_wkt(shape, rounding_precision=-1), "srid": srid},
        "ewkb": {"wkb": shapely.to_wkb(shape, include_srid=True)},
        "ewkt": {"wkt": f"SRID={srid};{shapely.to_wkt(shape, rounding_precision=-1)}"},
    }
    return geometry.Geometry(**given[encoding])
