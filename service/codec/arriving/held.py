"""What a layer's column holds, and the form in which PostGIS takes it."""

from functools import lru_cache
from struct import Struct
from typing import Final, NamedTuple

from service.catalog import Layer
from service.codec.wkb_types import (
    CIRCULARSTRING,
    COMPOUNDCURVE,
    CURVEPOLYGON,
    LINESTRING,
    M_FLAG,
    MULTICURVE,
    MULTILINESTRING,
    MULTIPOINT,
    MULTIPOLYGON,
    MULTISURFACE,
    NAMES,
    POINT,
    POLYGON,
    SRID_FLAG,
    TIN,
    TRIANGLE,
    UNSUPPORTED,
    Z_FLAG,
)
from service.errors import InvalidArgument, Reason

_NAMES: Final = NAMES | UNSUPPORTED
_CODES: Final = {name: code for code, name in _NAMES.items()}
SINGLES: Final = {
    MULTIPOINT: (POINT,),
    MULTILINESTRING: (LINESTRING,),
    MULTIPOLYGON: (POLYGON,),
    MULTICURVE: (LINESTRING, CIRCULARSTRING, COMPOUNDCURVE),
    MULTISURFACE: (POLYGON, CURVEPOLYGON),
    TIN: (TRIANGLE,),
}
_TYPE: Final = (Struct(">I"), Struct("<I"))
_TYPE_AND_SRID: Final = (Struct(">Ii"), Struct("<Ii"))
_COLLECTION: Final = Struct("<BIiI")
_FLAGS: Final = SRID_FLAG | Z_FLAG | M_FLAG


class Header(NamedTuple):
    """How WKB begins: its order of bytes, its type as it is written and as it is meant, and where its body begins."""

    order: int
    raw: int
    code: int
    z: bool
    m: bool
    body: int

    @property
    def name(self) -> str:
        """As layers have it."""
        return _NAMES[self.code] + "Z" * self.z + "M" * self.m

    def ewkb(self, srid: int, collection: int | None) -> bytes:
        """How EWKB begins that has the same body, as the only member of a collection if it is to be one."""
        if collection is None:
            return bytes([self.order]) + _TYPE_AND_SRID[self.order].pack(self.raw | SRID_FLAG, srid)
        raw = collection | SRID_FLAG | Z_FLAG * self.z | M_FLAG * self.m
        member = bytes([self.order]) + _TYPE[self.order].pack(self.raw & ~SRID_FLAG)
        return _COLLECTION.pack(1, raw, srid, 1) + member


def header_of(data: bytes) -> Header:
    """Of WKB that has been scanned."""
    (raw,) = _TYPE[data[0]].unpack_from(data, 1)
    return header(data[0], raw)


def header(order: int, raw: int) -> Header:
    thousands, code = divmod(raw & ~_FLAGS, 1000)
    z, m = bool(raw & Z_FLAG) or thousands in (1, 3), bool(raw & M_FLAG) or thousands in (2, 3)
    return Header(order, raw, code, z, m, 9 if raw & SRID_FLAG else 5)


class Held(NamedTuple):
    """A geometry type of columns: None for what it leaves open."""

    code: int | None
    dimensions: tuple[bool, bool] | None

    @property
    def several(self) -> bool:
        return self.code in SINGLES


@lru_cache
def held(geometry_type: str) -> Held:
    name = geometry_type.rstrip("ZM")
    dimensions = geometry_type[len(name) :]
    if name == "GEOMETRY":
        # Without a modifier such a column takes any dimensions; with one, PostGIS tells.
        return Held(None, ("Z" in dimensions, "M" in dimensions) if dimensions else None)
    return Held(_CODES[name], ("Z" in dimensions, "M" in dimensions))


def collection_for(layer: Layer, header: Header) -> int | None:
    """What a geometry must be made the only member of, so that it fits the layer's column; None if nothing. Refused if
    it cannot fit."""
    if layer.is_geography and header.code in UNSUPPORTED:
        problem = f"{header.name} cannot be had on the Earth"
        raise InvalidArgument(Reason.UNSUPPORTED_GEOMETRY_TYPE, problem, metadata={"actual": header.name})
    wanted = held(layer.geometry_type)
    if wanted.dimensions in (None, (header.z, header.m)):
        if wanted.code in (None, header.code):
            return None
        if header.code in SINGLES.get(wanted.code or 0, ()):
            return wanted.code
    raise InvalidArgument(
        Reason.GEOMETRY_TYPE_MISMATCH,
        f"layer {layer.name!r} holds {layer.geometry_type}, not {header.name}",
        metadata={"actual": header.name, "expected": layer.geometry_type},
    )
