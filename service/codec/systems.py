"""Coordinate reference systems, by their codes."""

from collections.abc import Iterable
from functools import lru_cache

from pyproj import CRS
from pyproj.exceptions import CRSError

from service.errors import InvalidArgument, Reason

WGS84 = 4326


class KnownSystems:
    """The codes that the database has definitions for, as far as it has been asked. `check` refuses any other; whoever
    reads a request asks the database then, and reads it again if there is one."""

    def __init__(self, codes: Iterable[int] = (WGS84,)) -> None:
        self._codes = set(codes)

    def add(self, srid: int) -> None:
        self._codes.add(srid)

    def check(self, srid: int, field: str | None = None) -> None:
        if srid not in self._codes:
            raise InvalidArgument(
                Reason.UNKNOWN_SRID,
                f"the database knows no SRID {srid}",
                field=field,
                metadata={"srid": str(srid)},
            )


@lru_cache(maxsize=1024)
def in_degrees(srid: int) -> bool:
    """Whether coordinates are longitudes and latitudes; not known of a code that is the database's own."""
    try:
        return srid == WGS84 or CRS.from_epsg(srid).is_geographic
    except CRSError:
        return False
