"""Searches made short, and their answers as plain values."""

from collections.abc import Iterator
from typing import Any

import shapely
from google.type import latlng_pb2

from spatial.v1 import geometry_pb2 as geometry
from spatial.v1 import query_pb2 as query

MODELS = ("SPHEROID", "SPHERE", "PLANAR")
ONLY_IDS = query.Output(view="GEOMETRY_VIEW_NONE", properties=["created_at"])
Found = list[tuple[int, float]]


def point(longitude: float, latitude: float) -> geometry.Probe:
    return geometry.Probe(point=latlng_pb2.LatLng(longitude=longitude, latitude=latitude))


def shape(wkt: str | shapely.Geometry) -> geometry.Probe:
    """WKT or a geometry as a probe."""
    if isinstance(wkt, str):
        return geometry.Probe(geometry=geometry.Geometry(wkt=wkt))
    return geometry.Probe(geometry=geometry.Geometry(wkb=shapely.to_wkb(wkt)))


def box(west: float, south: float, east: float, north: float) -> geometry.Probe:
    return geometry.Probe(bbox=geometry.BoundingBox(west=west, south=south, east=east, north=north))


def radius(layer: str, center: geometry.Probe, meters: float, model: str = "UNSPECIFIED") -> query.RadiusQuery:
    return query.RadiusQuery(layer=layer, center=center, radius_meters=meters, distance_model=f"DISTANCE_MODEL_{model}")


def nearest(
    layer: str, center: geometry.Probe, model: str = "UNSPECIFIED", farthest: float | None = None
) -> query.NearestQuery:
    return query.NearestQuery(
        layer=layer, center=center, max_distance_meters=farthest, distance_model=f"DISTANCE_MODEL_{model}"
    )


def intersects(layer: str, probe: geometry.Probe, predicate: str = "UNSPECIFIED") -> query.IntersectsQuery:
    return query.IntersectsQuery(layer=layer, probe=probe, predicate=f"PREDICATE_{predicate}")


def request(asked: query.RadiusQuery | query.IntersectsQuery, **fields: Any) -> Any:
    make: Any = query.SearchRadiusRequest if isinstance(asked, query.RadiusQuery) else query.SearchIntersectsRequest
    return make(query=asked, **{"output": ONLY_IDS, **fields})


def search(stub: Any, asked: Any) -> Any:
    call = stub.SearchRadius if isinstance(asked, query.SearchRadiusRequest) else stub.SearchIntersects
    return call(asked, timeout=30)


def pages(
    stub: Any, asked: query.RadiusQuery | query.IntersectsQuery, page_size: int = 1000, **fields: Any
) -> Iterator[Any]:
    """The pages of a search from the first to the last."""
    token = ""
    while True:
        page = search(stub, request(asked, page_size=page_size, page_token=token, **fields))
        yield page
        token = page.next_page_token
        if not token:
            return


def within(stub: Any, asked: query.RadiusQuery, page_size: int = 1000) -> Found:
    """Ids and distances of all that a radius search finds."""
    return [pair for page in pages(stub, asked, page_size) for pair in pairs(page)]


def ids(stub: Any, asked: query.IntersectsQuery, page_size: int = 1000) -> list[int]:
    """Ids of all that an intersects search finds."""
    return [int(feature.id) for page in pages(stub, asked, page_size) for feature in page.features]


def ranked(stub: Any, asked: query.NearestQuery, limit: int = 10) -> Found:
    """Ids and distances of the nearest."""
    return pairs(stub.SearchNearest(query.SearchNearestRequest(query=asked, output=ONLY_IDS, limit=limit), timeout=30))


def pairs(answer: Any) -> Found:
    return [(int(feature.id), feature.distance_meters) for feature in answer.features]


def count(stub: Any, mode: str = "EXACT", **kind: Any) -> int:
    asked = query.CountFeaturesRequest(query=query.Query(**kind), mode=f"MODE_{mode}")
    return int(stub.CountFeatures(asked, timeout=30).count)
