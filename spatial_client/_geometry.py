"""Geometry as callers have it, and as the contract wants it."""

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from google.type import latlng_pb2

from spatial.v1 import geometry_pb2
from spatial_client._optional import need

if TYPE_CHECKING:
    import shapely


class Box(NamedTuple):
    """A bounding box in the layer's coordinates; west > east means that it crosses the antimeridian."""

    west: float
    south: float
    east: float
    north: float


# What a question can be asked about: (longitude, latitude); (west, south, east, north); WKB or EWKB; WKT or EWKT; or a
# shapely geometry, whose SRID counts if it has one.
Probe: TypeAlias = "tuple[float, float] | tuple[float, float, float, float] | bytes | str | shapely.Geometry"

ACCEPTED = "(longitude, latitude), (west, south, east, north), WKB, WKT or a shapely geometry"


def probe_message(probe: Probe) -> geometry_pb2.Probe:
    match probe:
        case bytes():
            return geometry_pb2.Probe(geometry=geometry_pb2.Geometry(wkb=probe))
        case str():
            return geometry_pb2.Probe(geometry=geometry_pb2.Geometry(wkt=probe))
        case [longitude, latitude]:
            return geometry_pb2.Probe(point=latlng_pb2.LatLng(longitude=longitude, latitude=latitude))
        case [_, _, _, _]:
            return geometry_pb2.Probe(bbox=box_message(probe))
    # Whoever has a shapely geometry has imported shapely.
    library: Any = sys.modules.get("shapely")
    if library is None or not isinstance(probe, library.Geometry):
        raise TypeError(f"a probe is {ACCEPTED}, not {probe!r:.100}")
    srid = int(library.get_srid(probe)) or None
    return geometry_pb2.Probe(geometry=geometry_pb2.Geometry(wkb=library.to_wkb(probe), srid=srid))


def box_message(box: Sequence[float]) -> geometry_pb2.BoundingBox:
    west, south, east, north = box
    return geometry_pb2.BoundingBox(west=west, south=south, east=east, north=north)


def shapely_of(wkb: bytes, srid: int) -> "shapely.Geometry":
    """With its SRID, so that it can be asked with again."""
    library = need("shapely", "a geometry object")
    return library.set_srid(library.from_wkb(wkb), srid)  # type: ignore[no-any-return]
