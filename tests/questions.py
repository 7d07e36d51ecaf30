"""Requests that tests of the whole server ask, and the few rows that answer them."""

from google.type.latlng_pb2 import LatLng

from spatial.v1 import geometry_pb2, query_pb2
from tests.situations import fetch

ROWS = """
INSERT INTO facilities (name, kind, location)
SELECT 'Facility ' || n, 'test', ST_SetSRID(ST_MakePoint(n * 0.01, 0), 4326) FROM generate_series(0, 99) n;
INSERT INTO zones (code, name, category, boundary)
SELECT 'Z' || n, 'Zone ' || n, 'test',
  ST_Multi(ST_MakeEnvelope(n, 10, n + 0.9, 10.9, 4326)) FROM generate_series(0, 9) n;
INSERT INTO districts (name, boundary) VALUES ('Old Town', ST_Multi(ST_MakeEnvelope(0, 0, 1, 1, 4326)));
INSERT INTO parcels (number, name, land_use, district_id, boundary)
SELECT n, 'Parcel ' || n, 'park', 1, ST_MakeEnvelope(n * 0.1, 0, n * 0.1 + 0.1, 0.1, 4326) FROM generate_series(0, 9) n;
ANALYZE;
"""


def fill(url: str) -> None:
    """Facilities 1 to 100 along the equator, 0.01 degrees apart; zones 1 to 10 along the tenth parallel."""
    fetch(url, ROWS)


def point(longitude: float = 0.0, latitude: float = 0.0) -> geometry_pb2.Probe:
    return geometry_pb2.Probe(point=LatLng(latitude=latitude, longitude=longitude))


def wkt(text: str, srid: int | None = None) -> geometry_pb2.Probe:
    return geometry_pb2.Probe(geometry=geometry_pb2.Geometry(wkt=text, srid=srid))


def radius(
    layer: str = "facilities", longitude: float = 0.0, meters: float = 1000.0, page_size: int = 0
) -> query_pb2.SearchRadiusRequest:
    query = query_pb2.RadiusQuery(layer=layer, center=point(longitude), radius_meters=meters)
    return query_pb2.SearchRadiusRequest(query=query, output=ID_ONLY, page_size=page_size)


def nearest(layer: str = "facilities", longitude: float = 0.0, limit: int = 1) -> query_pb2.SearchNearestRequest:
    query = query_pb2.NearestQuery(layer=layer, center=point(longitude))
    return query_pb2.SearchNearestRequest(query=query, output=ID_ONLY, limit=limit)


def intersects(text: str, layer: str = "zones") -> query_pb2.SearchIntersectsRequest:
    query = query_pb2.IntersectsQuery(layer=layer, probe=wkt(text))
    return query_pb2.SearchIntersectsRequest(query=query, output=ID_ONLY)


def zone(number: int) -> query_pb2.SearchIntersectsRequest:
    """What finds the zone of this id and no other."""
    return intersects(f"POINT ({number - 0.5} 10.5)")


def facility(number: int) -> query_pb2.SearchNearestRequest:
    """What finds the facility of this id and no other."""
    return nearest(longitude=(number - 1) * 0.01)


def count(layer: str = "facilities") -> query_pb2.CountFeaturesRequest:
    return query_pb2.CountFeaturesRequest(query=query_pb2.Query(layer=query_pb2.LayerQuery(layer=layer)))


ID_ONLY = query_pb2.Output(properties=["name"], view=geometry_pb2.GEOMETRY_VIEW_NONE)
