"""Geometry as callers have it, and as the contract wants it."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias, Union

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


@dataclass(frozen=True, slots=True)
class FeatureRef:
    """A feature that is already in a layer, perhaps another one than is asked about: its geometry is the probe."""

    layer: str
    id: str | int


# WKB or EWKB; WKT or EWKT; or a shapely geometry, whose SRID counts if it has one.
Shape: TypeAlias = Union[bytes, str, "shapely.Geometry"]
# What a question can be asked about: (longitude, latitude); (west, south, east, north); a shape in any CRS; a feature.
Probe: TypeAlias = tuple[float, float] | tuple[float, float, float, float] | Shape | FeatureRef

ACCEPTED = "(longitude, latitude), (west, south, east, north), WKB, WKT, a shapely geometry or a FeatureRef"


def probe_message(probe: Probe) -> geometry_pb2.Probe:
    match probe:
        case bytes() | str():
            return geometry_pb2.Probe(geometry=shape_message(probe))
        case [longitude, latitude]:
            return geometry_pb2.Probe(point=latlng_pb2.LatLng(longitude=longitude, latitude=latitude))
        case [_, _, _, _]:
            return geometry_pb2.Probe(bbox=box_message(probe))
        case FeatureRef():
            return geometry_pb2.Probe(feature=geometry_pb2.FeatureRef(layer=probe.layer, id=str(probe.id)))
    return geometry_pb2.Probe(geometry=shape_message(probe, ACCEPTED))


def shape_message(shape: Shape, accepted: str = "WKB, WKT or a shapely geometry") -> geometry_pb2.Geometry:
    match shape:
        case bytes():
            return geometry_pb2.Geometry(wkb=shape)
        case str():
            return geometry_pb2.Geometry(wkt=shape)
    # Whoever has a shapely geometry has imported shapely.
    library: Any = sys.modules.get("shapely")
    if library is None or not isinstance(shape, library.Geometry):
        raise TypeError(f"what is asked about is {accepted}, not {shape!r:.100}")
    return geometry_pb2.Geometry(wkb=library.to_wkb(shape), srid=int(library.get_srid(shape)) or None)


def box_message(box: Sequence[float]) -> geometry_pb2.BoundingBox:
    west, south, east, north = box
    return geometry_pb2.BoundingBox(west=west, south=south, east=east, north=north)


def shapely_of(wkb: bytes, srid: int) -> "shapely.Geometry":
    """With its SRID, so that it can be asked with again."""
    library = need("shapely", "a geometry object")
    return library.set_srid(library.from_wkb(wkb), srid)  # type: ignore[no-any-return]
