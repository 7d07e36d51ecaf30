"""Rows to try the schema with."""

from typing import Any

from geoalchemy2 import WKBElement
from geoalchemy2.shape import from_shape
from shapely import MultiPolygon, Polygon, from_wkt
from sqlalchemy import ColumnElement, func

from service.models import District, Facility, Parcel, Zone

SQUARE = "POLYGON((10 10, 10 11, 11 11, 11 10, 10 10))"


def element(wkt: str) -> WKBElement:
    return from_shape(from_wkt(wkt), srid=4326, extended=True)


def point_at(x: float | str, y: float | str) -> ColumnElement[Any]:
    """Made by the server: WKT has no way to write some of these."""
    return func.ST_SetSRID(func.ST_MakePoint(x, y), 4326)


def multi(wkt: str) -> WKBElement:
    shape = from_wkt(wkt)
    return from_shape(MultiPolygon([shape]) if isinstance(shape, Polygon) else shape, srid=4326, extended=True)


def facility(**values: Any) -> Facility:
    return Facility(
        **{"name": "Times Square", "kind": "square", "location": element("POINT(-73.9855 40.758)"), **values}
    )


def zone(wkt: str = SQUARE) -> Zone:
    return Zone(code="ZZZ", name="Nowhere", category="made up", boundary=multi(wkt))


def district(wkt: str = SQUARE, name: str = "Old Town") -> District:
    return District(name=name, boundary=multi(wkt))


def parcel(wkt: str = SQUARE, number: str = "1", within: District | None = None) -> Parcel:
    town = within or district()
    return Parcel(number=number, name="Corner", land_use="park", boundary=element(wkt), district=town)
