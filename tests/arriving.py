"""Geometries on their way into layers that are made for the tests."""

from typing import Any

from geoalchemy2 import Geography, Geometry
from sqlalchemy import BigInteger, Column, MetaData, Table, func

from service.catalog import Layer
from service.codec.arriving.geometries import ArrivalReader
from service.codec.systems import KnownSystems
from service.codec.wkb_types import GeometryLimits

LIMITS = GeometryLimits(max_bytes=1_000_000, max_vertices=20_000, max_depth=3)
READER = ArrivalReader(LIMITS, KnownSystems([4326, 3857]))
AS_IT_IS: dict[str, Any] = {"repair": False, "own_srid_only": False}
REPAIRED: dict[str, Any] = {"repair": True, "own_srid_only": False}
SHAPES = {
    "POINT": "POINT{0} (1.1 2.2{1})",
    "LINESTRING": "LINESTRING{0} (0.1 0.2{1}, 3.3 4.4{1})",
    "POLYGON": "POLYGON{0} ((0 0{1}, 9.9 0{1}, 9.9 9{1}, 0 0{1}), (5 1{1}, 6 1{1}, 6 2{1}, 5 1{1}))",
    "MULTIPOINT": "MULTIPOINT{0} ((1.1 2.2{1}), (3.3 4.4{1}))",
    "MULTILINESTRING": "MULTILINESTRING{0} ((1 2{1}, 3 4{1}), (5 6{1}, 7.7 8{1}))",
    "MULTIPOLYGON": "MULTIPOLYGON{0} (((0 0{1}, 1.1 0{1}, 1.1 1{1}, 0 0{1})), ((5 5{1}, 6 5{1}, 6 6.6{1}, 5 5{1})))",
    "GEOMETRYCOLLECTION": "GEOMETRYCOLLECTION{0} (POINT{0} (1.1 2{1}), LINESTRING{0} (5 5{1}, 6 6.6{1}))",
}
CURVES = {
    "CIRCULARSTRING": "CIRCULARSTRING{0} (0 0{1}, 1 1.1{1}, 2 0{1})",
    "COMPOUNDCURVE": "COMPOUNDCURVE{0} (CIRCULARSTRING{0} (0 0{1}, 1 1.1{1}, 2 0{1}), (2 0{1}, 3.3 0{1}))",
    "CURVEPOLYGON": "CURVEPOLYGON{0} (CIRCULARSTRING{0} (0 0{1}, 1 1.1{1}, 2 0{1}, 1 -1{1}, 0 0{1}))",
    "MULTICURVE": "MULTICURVE{0} ((0 0{1}, 5.5 5{1}), CIRCULARSTRING{0} (4 0{1}, 4 4{1}, 8 4{1}))",
    "MULTISURFACE": "MULTISURFACE{0} (CURVEPOLYGON{0} (CIRCULARSTRING{0} (0 0{1}, 1 1{1}, 2 0{1}, 1 -1{1}, 0 0{1})),"
    " ((10 10{1}, 14 12{1}, 11 10{1}, 10 10{1})))",
    "POLYHEDRALSURFACE": "POLYHEDRALSURFACE{0} (((0 0{1}, 0 1{1}, 1 1{1}, 0 0{1})),"
    " ((0 0{1}, 1 1{1}, 1 0{1}, 0 0{1})))",
    "TIN": "TIN{0} (((0 0{1}, 0 1{1}, 1 1.1{1}, 0 0{1})), ((0 0{1}, 1 0{1}, 1 1.1{1}, 0 0{1})))",
    "TRIANGLE": "TRIANGLE{0} ((0 0{1}, 0 1{1}, 1 1.1{1}, 0 0{1}))",
}
DIMENSIONS = {"": ("", ""), "Z": (" Z", " 7.7"), "M": (" M", " 7.7"), "ZM": (" ZM", " 7.7 8.8")}


def layer(geometry_type: str = "GEOMETRY", srid: int = 4326, *, geography: bool = False) -> Layer:
    """A layer that holds what the type says."""
    kind = Geography if geography else Geometry
    table = Table(
        "arriving", MetaData(), Column("id", BigInteger(), primary_key=True), Column("geom", kind(spatial_index=False))
    )
    stored = table.c.geom
    plane: Any = func.geometry(stored, type_=Geometry(spatial_index=False)) if geography else stored
    column = stored if geography else None
    return Layer("arriving", "", table, table.c.id, plane, geometry_type, srid, {}, column, writable=True)


def text(name: str, dimensions: str) -> str:
    """WKT of a shape of each type."""
    return (SHAPES | CURVES)[name].format(*DIMENSIONS[dimensions])
