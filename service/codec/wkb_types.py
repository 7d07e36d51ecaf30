"""What WKB can hold, how large it may be, and what may be wrong with it."""

from dataclasses import dataclass
from typing import Final

from service.errors import Reason

POINT, LINESTRING, POLYGON, MULTIPOINT, MULTILINESTRING, MULTIPOLYGON, COLLECTION = range(1, 8)
NAMES: Final = {
    POINT: "POINT",
    LINESTRING: "LINESTRING",
    POLYGON: "POLYGON",
    MULTIPOINT: "MULTIPOINT",
    MULTILINESTRING: "MULTILINESTRING",
    MULTIPOLYGON: "MULTIPOLYGON",
    COLLECTION: "GEOMETRYCOLLECTION",
}
CIRCULARSTRING, COMPOUNDCURVE, CURVEPOLYGON, MULTICURVE, MULTISURFACE = range(8, 13)
POLYHEDRALSURFACE, TIN, TRIANGLE = range(15, 18)
# Which nothing can be asked about; they can only be stored.
UNSUPPORTED: Final = {
    CIRCULARSTRING: "CIRCULARSTRING",
    COMPOUNDCURVE: "COMPOUNDCURVE",
    CURVEPOLYGON: "CURVEPOLYGON",
    MULTICURVE: "MULTICURVE",
    MULTISURFACE: "MULTISURFACE",
    POLYHEDRALSURFACE: "POLYHEDRALSURFACE",
    TIN: "TIN",
    TRIANGLE: "TRIANGLE",
}
SRID_FLAG: Final = 0x20000000
Z_FLAG, M_FLAG = 0x80000000, 0x40000000


@dataclass(frozen=True, slots=True)
class GeometryLimits:
    """How large a geometry in a request may be; `max_depth` counts collections inside collections."""

    max_bytes: int
    max_vertices: int
    max_depth: int


class WkbError(Exception):
    """What is wrong with the bytes, in words, and at which byte."""

    def __init__(self, reason: Reason, problem: str, offset: int, **metadata: str) -> None:
        super().__init__(f"{problem} at byte {offset}")
        self.reason = reason
        self.problem = problem
        self.offset = offset
        self.metadata = metadata


@dataclass(frozen=True, slots=True)
class Scan:
    """What the bytes hold. `plain` says that they are little-endian, two-dimensional and without inner SRIDs; `curved`
    that there is something in them which shapely does not read."""

    code: int
    srid: int | None
    vertices: int
    west: float
    south: float
    east: float
    north: float
    plain: bool
    body: int
    curved: bool = False

    @property
    def extent(self) -> float:
        """The longer side of the bounding box."""
        return max(self.east - self.west, self.north - self.south)

    @property
    def kind(self) -> str:
        return NAMES[self.code]
