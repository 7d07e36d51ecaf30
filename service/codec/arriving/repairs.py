"""Makes invalid geometries valid, as ST_MakeValid does, and keeps what a column can hold of them."""

from collections.abc import Callable
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import shapely
from shapely.geometry.base import BaseGeometry

from service.codec.arriving.held import Held
from service.codec.wkb_types import COLLECTION, LINESTRING, MULTILINESTRING, MULTIPOINT, MULTIPOLYGON, POINT, POLYGON
from service.errors import InvalidArgument, Reason

# Half a second or so: the work grows with the third power of how often the lines cross one another.
MAX_CROSSINGS: Final = 2000
MAX_PAIRS: Final = 2_000_000  # of segments whose boxes meet, which are what has to be looked at
_PAIRS_AT_A_TIME: Final = 400_000
_DIMENSIONS: Final = {
    **dict.fromkeys((POINT, MULTIPOINT), 0),
    **dict.fromkeys((LINESTRING, MULTILINESTRING), 1),
    **dict.fromkeys((POLYGON, MULTIPOLYGON), 2),
}
_MULTIPLE: Final[tuple[Callable[[Any], BaseGeometry], ...]] = (
    shapely.MultiPoint,
    shapely.MultiLineString,
    shapely.MultiPolygon,
)


def repaired(geometry: BaseGeometry, wanted: Held, fault: InvalidArgument) -> BaseGeometry:
    """The valid geometry that `geometry` becomes; refused with its fault, and what came of the repair, if that is
    nothing for the column."""
    _check_crossings(geometry, fault)
    valid = shapely.make_valid(geometry)
    if geometry.has_m or geometry.has_z != valid.has_z or not np.isfinite(_ordinates(valid)).all():
        raise _useless(fault, "Z or M would be lost")
    found = _kept(valid, wanted)
    if shapely.is_empty(found):
        raise _useless(fault, f"it becomes {_named(valid)}")
    if wanted.code in (POINT, LINESTRING, POLYGON) and shapely.get_num_geometries(found) > 1:
        raise _useless(fault, f"it becomes {_named(found)} of {shapely.get_num_geometries(found)} parts")
    return _parts(found)[0] if wanted.code in (POINT, LINESTRING, POLYGON) else found


def _kept(geometry: BaseGeometry, wanted: Held) -> BaseGeometry:
    """A collection of the parts that have the column's dimension; everything where it has none."""
    if wanted.code == COLLECTION and geometry.geom_type != "GeometryCollection":
        return shapely.GeometryCollection([geometry])
    dimension = _DIMENSIONS.get(wanted.code or 0)
    if dimension is None:
        return geometry
    parts = [part for part in _parts(geometry) if shapely.get_dimensions(part) == dimension]
    return _MULTIPLE[dimension](parts)


def _parts(geometry: BaseGeometry) -> list[BaseGeometry]:
    if not hasattr(geometry, "geoms"):
        return [geometry]
    return [inner for part in shapely.get_parts(geometry) for inner in _parts(part)]


def _check_crossings(geometry: BaseGeometry, fault: InvalidArgument) -> None:
    """Counts pairs of segments that meet, but for neighbours."""
    segments = _segments(geometry)
    tree, step = shapely.STRtree(segments), max(1, _PAIRS_AT_A_TIME // max(1, len(segments)))
    pairs = crossings = 0
    for first in range(0, len(segments), step):
        some = segments[first : first + step]
        one, other = tree.query(some)
        crossings += int(np.count_nonzero(shapely.intersects(some[one], segments[other]))) - 3 * len(some)
        pairs += len(one)
        if crossings > 2 * MAX_CROSSINGS or pairs > MAX_PAIRS:
            problem = f"{fault.message}; it cannot be repaired, since its lines cross too often"
            raise InvalidArgument(Reason.GEOMETRY_TOO_LARGE, problem, metadata={"limit": str(MAX_CROSSINGS)})


def _segments(geometry: BaseGeometry) -> npt.NDArray[np.object_]:
    lines = [part for part in _parts(geometry) if part.geom_type != "Point"]
    rings = [ring for part in lines for ring in (shapely.get_rings(part) if part.geom_type == "Polygon" else [part])]
    positions, ring = shapely.get_coordinates(rings, return_index=True)
    within = ring[:-1] == ring[1:]
    return np.array(shapely.linestrings(np.stack((positions[:-1][within], positions[1:][within]), axis=1)), np.object_)


def _useless(fault: InvalidArgument, outcome: str) -> InvalidArgument:
    return InvalidArgument(fault.reason, f"{fault.message}; repaired, {outcome}", metadata=fault.metadata)


def _named(geometry: BaseGeometry) -> str:
    return f"an empty {geometry.geom_type}" if shapely.is_empty(geometry) else f"a {geometry.geom_type}"


def _ordinates(geometry: BaseGeometry) -> npt.NDArray[np.float64]:
    return shapely.get_coordinates(geometry, include_z=geometry.has_z)
