"""The CRS of a file: by its EPSG code where it has one, which PostGIS transforms from, else as PROJ knows it."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy
import shapely
from pyproj import CRS, Transformer
from pyproj.exceptions import CRSError

from service.loading.errors import LoadError

WGS84 = 4326


@dataclass(frozen=True)
class System:
    """`srid` is None for a CRS that no EPSG code stands for; `definition` is whatever PROJ reads."""

    srid: int | None
    definition: str

    @cached_property
    def crs(self) -> CRS:
        return CRS.from_user_input(self.definition)


def system_of(definition: str) -> System:
    """The CRS that a file says, as a code, WKT or PROJJSON."""
    try:
        crs = CRS.from_user_input(definition)
    except CRSError:
        raise LoadError(
            f"the CRS of the file cannot be understood, so say it with --source-srid: {definition[:200]!r}"
        ) from None
    return System(_code(crs), definition)


def of_code(srid: int) -> System:
    return System(srid, f"EPSG:{srid}")


def _code(crs: CRS) -> int | None:
    """The EPSG code of what is exactly this CRS but for the order of its axes, which is x, y in every file."""
    if crs.to_authority() == ("OGC", "CRS84"):
        return WGS84
    code = crs.to_epsg()
    if code is None or not crs.equals(CRS.from_epsg(code), ignore_axis_order=True):
        return None
    return int(code)


def transformed(wkbs: Sequence[bytes], system: System, srid: int) -> list[bytes]:
    """WKB in another CRS, by PROJ; what cannot be read or transformed stays or becomes what a check will refuse."""
    transformer = Transformer.from_crs(system.crs, srid, always_xy=True)
    shapes: Any = shapely.from_wkb([wkb or None for wkb in wkbs], on_invalid="ignore")
    if shapely.has_m(shapes).any():
        raise LoadError("the CRS of the file has no EPSG code, and geometries with M are transformed from those alone")

    def project(coordinates: numpy.ndarray) -> numpy.ndarray:
        x, y = transformer.transform(coordinates[:, 0], coordinates[:, 1])
        return numpy.column_stack([x, y, *coordinates[:, 2:].T])

    moved = shapely.transform(shapes, project, include_z=None)  # type: ignore[call-overload]
    changed = shapely.to_wkb(moved, flavor="iso", byte_order=1)
    return [new if new is not None else old for new, old in zip(changed, wkbs, strict=True)]
