"""What only GEOS can tell about a geometry whose WKB has been scanned: validity, and how its members lie."""

import re
from collections.abc import Iterator
from typing import Final

import numpy as np
import numpy.typing as npt
import shapely
from shapely.geometry.base import BaseGeometry

from service.errors import InvalidArgument, Reason

# Members of a collection that may lie on one another are united, which costs up to the square of their vertices.
MAX_UNITED_VERTICES: Final = 1000
MAX_PLANAR_MEMBERS: Final = 1000
# Half a second or so for the check of validity.
MAX_SEGMENT_PAIRS: Final = 20_000_000
_CERTAINLY_CHEAP: Final = 5000
_SAMPLED_SEGMENTS: Final = 32
# 6 mm: between points that are antipodal but for this, any direction is the shortest way.
_ANTIPODAL: Final = 1e-9
_REASON: Final = re.compile(r"(.*?)\s*\[(\S+) (\S+)[^\]]*\]", re.DOTALL)


def check_valid(geometry: BaseGeometry) -> None:
    """Refuses what ST_IsValid would call invalid, with what it would say of it."""
    if shapely.get_num_coordinates(geometry) > _CERTAINLY_CHEAP:
        _check_cost(geometry)
    if shapely.is_valid(geometry):
        return
    reason = shapely.is_valid_reason(geometry)
    if not (place := _REASON.fullmatch(reason)):
        raise InvalidArgument(Reason.INVALID_GEOMETRY, f"invalid: {reason}", metadata={"detail": reason})
    detail, location = place[1], f"POINT({place[2]} {place[3]})"
    metadata = {"detail": detail, "location": location}
    raise InvalidArgument(Reason.INVALID_GEOMETRY, f"invalid: {detail} at {location}", metadata=metadata)


def _check_cost(geometry: BaseGeometry) -> None:
    """Validity costs as much as pairs of segments have overlapping boxes; a comb of long slanted teeth has n² / 2."""
    rings = shapely.get_rings([part for member in _members(geometry) for part in shapely.get_parts(member)])
    positions, ring = shapely.get_coordinates(rings, return_index=True)
    within = ring[:-1] == ring[1:]
    starts, ends = positions[:-1][within].T, positions[1:][within].T
    left, bottom = np.minimum(starts, ends, order="C")
    right, top = np.maximum(starts, ends, order="C")
    if not len(left):
        return
    sample = np.linspace(0, len(left) - 1, _SAMPLED_SEGMENTS, dtype=np.intp)
    met = 0
    for one in sample:
        beside = (left <= right[one]) & (right >= left[one])
        met += int(np.count_nonzero(beside & (bottom <= top[one]) & (top >= bottom[one])))
    if (pairs := met * len(left) / len(sample) / 2) > MAX_SEGMENT_PAIRS:
        problem = f"about {pairs:.0f} pairs of segments lie across one another: too many to check the geometry"
        raise _too_large(problem, MAX_SEGMENT_PAIRS)


def check_edges(geometry: BaseGeometry) -> None:
    """Refuses an edge between antipodal points: no geodesic is the shortest, and PostGIS raises an error."""
    if _antipodal(shapely.get_coordinates(geometry)) is None:
        return
    for line in _lines(geometry):
        if place := _antipodal(shapely.get_coordinates(line)):
            detail, location = "An edge joins antipodal points", f"POINT({place[0]} {place[1]})"
            problem = f"{detail} at {location}: add a vertex that tells which way it goes"
            metadata = {"detail": detail, "location": location}
            raise InvalidArgument(Reason.INVALID_GEOMETRY, problem, metadata=metadata)


def disentangle(geometry: BaseGeometry) -> BaseGeometry:
    """A collection as the same set of points with no member on another.

    Relating a collection whose members overlap, PostGIS answers wrongly or fails with a TopologyException.
    """
    members = _members(geometry)
    if len(members) > MAX_PLANAR_MEMBERS:
        raise _too_large(f"a collection has more than {MAX_PLANAR_MEMBERS} members", MAX_PLANAR_MEMBERS)
    if len(members) > 1 and not _meet(members):
        return geometry
    if len(members) > 1 and shapely.get_num_coordinates(geometry) > MAX_UNITED_VERTICES:
        problem = f"members of a collection lie on one another and have more than {MAX_UNITED_VERTICES} vertices"
        raise _too_large(f"{problem}: unite them first", MAX_UNITED_VERTICES)
    return shapely.unary_union(geometry) if len(members) > 1 else members[0]


def _too_large(problem: str, limit: int) -> InvalidArgument:
    return InvalidArgument(Reason.GEOMETRY_TOO_LARGE, problem, metadata={"limit": str(limit)})


def _members(geometry: BaseGeometry) -> list[BaseGeometry]:
    """The members of a collection and of the collections in it."""
    if geometry.geom_type != "GeometryCollection":
        return [geometry]
    return [inner for member in shapely.get_parts(geometry) for inner in _members(member)]


def _meet(members: list[BaseGeometry]) -> bool:
    pairs = shapely.STRtree(members).query(members)
    return bool(pairs.shape[1] > len(members))


def _lines(geometry: BaseGeometry) -> Iterator[BaseGeometry]:
    for member in _members(geometry):
        for part in shapely.get_parts(member):
            yield from shapely.get_rings(part) if part.geom_type == "Polygon" else [part]


def _antipodal(positions: npt.NDArray[np.float64]) -> tuple[float, float] | None:
    """The first position whose successor is its antipode."""
    longitude, latitude = np.radians(positions).T
    across = np.cos(latitude)
    vectors = np.stack((across * np.cos(longitude), across * np.sin(longitude), np.sin(latitude)))
    found = np.flatnonzero((np.abs(vectors[:, :-1] + vectors[:, 1:]) < _ANTIPODAL).all(axis=0))
    return (float(positions[found[0], 0]), float(positions[found[0], 1])) if found.size else None
