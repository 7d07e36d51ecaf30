"""A million random points, the same in every run, and sixteen places to ask about."""

import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from math import cos, radians, sin
from typing import NamedTuple

import numpy as np

SEED = 7
ROWS = 1_000_000
WEST, SOUTH, EAST, NORTH = 5.0, 45.0, 15.0, 55.0
KINDS = ("airport", "hospital", "library", "museum", "pharmacy", "school", "station", "theatre")
PROPERTIES = ("name", "kind", "active")
COLUMNS = ("name", "kind", "active", "location", "tags", "attributes")

# Sizes at which the circle, and the box that stands for it where a peer asks by box, hold 22 points on average.
RADIUS_METERS = 2_295.0
BOX_HALF_SIDE_METERS = 2_056.0
# More than any circle holds, and one more than a page of 100: what a paging server asks for.
LIMIT = 101


class Table(NamedTuple):
    """What is loaded into a table: its rows as lines for COPY, in files of a size to handle."""

    name: str
    columns: tuple[str, ...]
    rows: Callable[[], Iterator[io.BytesIO]]


@dataclass(frozen=True)
class Centre:
    """A place to ask about, on WGS 84."""

    longitude: float
    latitude: float

    @cached_property
    def box(self) -> tuple[float, float, float, float]:
        """West, south, east and north of the usual box around it."""
        return self.box_of(BOX_HALF_SIDE_METERS)

    def box_of(self, half_side_meters: float) -> tuple[float, float, float, float]:
        height = half_side_meters / 111_195.0
        width = height / cos(radians(self.latitude))
        return self.longitude - width, self.latitude - height, self.longitude + width, self.latitude + height

    @property
    def statement(self) -> str:
        """The radius search with this centre as a constant, as one would type it into psql."""
        return statement_about(self, RADIUS_METERS)


_PROBE = "geography(ST_SetSRID(ST_MakePoint(%(longitude)s, %(latitude)s), 4326))"
_SELECT = f"""
SELECT id, name, kind, active, ST_AsBinary(location, 'NDR') AS location,
       ST_Distance(geography(location), {_PROBE}) AS distance
  FROM %(table)s
 WHERE ST_DWithin(geography(location), {_PROBE}, %(radius)s)
"""
_ORDER = " ORDER BY distance, id"


def statement_about(
    centre: Centre, radius_meters: float, limit: int | None = LIMIT, table: str = "facilities", *, ordered: bool = True
) -> str:
    values = {"longitude": centre.longitude, "latitude": centre.latitude, "radius": radius_meters, "table": table}
    return f"{_SELECT % values}{_ORDER if ordered else ''}{_limited(limit)}"


def statement_in_box(
    box: tuple[float, float, float, float], limit: int | None, table: str = "facilities", *, ordered: bool = True
) -> str:
    """What lies in a box, by id; without distances, since a box is about no point."""
    sides = ", ".join(map(str, box))
    return (
        f"SELECT id, name, kind, active, ST_AsBinary(location, 'NDR') AS location FROM {table}"
        f" WHERE ST_Intersects(location, ST_MakeEnvelope({sides}, 4326)){' ORDER BY id' if ordered else ''}"
        f"{_limited(limit)}"
    )


def _limited(limit: int | None) -> str:
    return "" if limit is None else f" LIMIT {limit}"


# With its values left open, for a driver to fill in.
STATEMENT = f"{_SELECT.replace('%(table)s', 'facilities')}{_ORDER} LIMIT {LIMIT}"


def centres(margin: float = 0.5) -> list[Centre]:
    """Sixteen fixed centres, so many degrees from the border, which is far enough for the usual circle."""
    random = np.random.default_rng(SEED + 1)
    longitudes = random.uniform(WEST + margin, EAST - margin, 16).round(6)
    latitudes = random.uniform(SOUTH + margin, NORTH - margin, 16).round(6)
    return [Centre(float(x), float(y)) for x, y in zip(longitudes, latitudes, strict=True)]


def copy_text(rows: int = ROWS) -> Iterator[io.BytesIO]:
    """The points as lines for COPY, in files of at most 100,000 rows, evenly spread over the area."""
    random = np.random.default_rng(SEED)
    for first in range(0, rows, 100_000):
        size = min(100_000, rows - first)
        longitudes = random.uniform(WEST, EAST, size)
        latitudes = np.degrees(np.arcsin(random.uniform(sin(radians(SOUTH)), sin(radians(NORTH)), size)))
        kinds = random.integers(0, len(KINDS), size)
        active = random.random(size) < 0.9
        columns = (longitudes.tolist(), latitudes.tolist(), kinds.tolist(), active.tolist())
        lines = (_line(first + index, *row) for index, row in enumerate(zip(*columns, strict=True)))
        yield io.BytesIO("".join(lines).encode())


def _line(number: int, longitude: float, latitude: float, kind: int, active: bool) -> str:
    name = f"{KINDS[kind].capitalize()} {number}"
    point = f"SRID=4326;POINT({longitude:.7f} {latitude:.7f})"
    tags = "{open,public}" if active else "{closed}"
    return f'{name}\t{KINDS[kind]}\t{active:d}\t{point}\t{tags}\t{{"level": {number % 5}}}\n'


POINTS = Table("facilities", COLUMNS, copy_text)
