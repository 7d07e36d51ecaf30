"""Features counted by the cells of a grid.

To which cell a place belongs is plain arithmetic, which is cheap; a cell's outline is made once for each
cell that has something in it. `OFFSET 0` keeps the planner from writing one expression into another, so that
each is worked out once for a place.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from psycopg2.extensions import cursor as Cursor  # noqa: N812 - a class, whatever its case

from service.db.copy import Decoder, Field, Wire, decoder
from service.db.queries import Statement
from service.domain import Argument, Encoding, Grid, GridShape

_FIELDS = (
    Field(Wire.FLOAT64, nullable=False),  # the cell's column and row in the grid
    Field(Wire.FLOAT64, nullable=False),
    Field(Wire.BYTES),  # its outline; null where column or row are more than PostGIS counts to
    Field(Wire.INT64, nullable=False),  # how many features it has
    Field(Wire.FLOAT64),  # their sum and mean
    Field(Wire.FLOAT64),
)

# Comparisons leave out what has no place: NaN is above all numbers, and null is not true.
_PLACES = """
SELECT x, y, value
  FROM (SELECT ST_X(place) AS x, ST_Y(place) AS y, value
          FROM ({found} OFFSET 0) AS found (place, value) OFFSET 0) AS place
 WHERE abs(x) <= %(extent)s AND abs(y) <= %(extent)s"""

_SQUARES = """
SELECT floor(x / %(size)s) AS i, floor(y / %(size)s) AS j, value FROM ({places}) AS place"""

# The columns of hexagons are one and a half edges apart, and every other one is half a row higher. A place is in the
# column to its left or in the next one: in that whose nearest centre is nearer. With u in edges and v in rows, so far
# as the place is beyond the left column and beside the nearest centre there, that is the left one up to a sum of 1.
_HEXAGONS = """
SELECT i, floor(v - (i - 2 * floor(i / 2)) / 2 + 0.5) AS j, value
  FROM (SELECT CASE WHEN u - 1.5 * before + abs(beside - round(beside)) <= 1 THEN before ELSE before + 1 END AS i,
               v, value
          FROM ({places}) AS place,
               LATERAL (SELECT x / %(size)s AS u, y / (%(size)s * sqrt(3)) AS v) AS scaled,
               LATERAL (SELECT floor(u / 1.5) AS before) AS left_column,
               LATERAL (SELECT v - (before - 2 * floor(before / 2)) / 2 AS beside) AS centre
        OFFSET 0) AS hexagon"""

_CELLS = {GridShape.SQUARE: _SQUARES, GridShape.HEXAGON: _HEXAGONS}
_OUTLINES = {GridShape.SQUARE: "ST_Square", GridShape.HEXAGON: "ST_Hexagon"}
_ENCODINGS = {
    Encoding.WKB: "ST_AsBinary({}, 'NDR')",
    Encoding.WKT: "ST_AsText({})",
    Encoding.GEOJSON: "ST_AsGeoJSON({}, 9, 0)",
}

# PostGIS numbers cells with 32 bits, and goes on below without a complaint where they end; what begins beyond the last
# square has a number, too.
MOST_CELLS = 2**31 - 2
_COUNTED = """
SELECT i, j, CASE WHEN greatest(abs(i), abs(j)) <= {most} THEN {outline} END,
       count(*), sum(value)::float8, avg(value)::float8
  FROM ({cells}) AS cell
 GROUP BY i, j"""


@dataclass(frozen=True, eq=False)
class GridStatement:
    """Counts by the cells of a grid the places that a statement finds, and sums the values that come with them."""

    places: Statement
    grid: Grid

    @cached_property
    def sql(self) -> str:
        shape = self.grid.shape
        made = f"{_OUTLINES[shape]}(%(size)s, i::integer, j::integer)"
        outline = _ENCODINGS[self.grid.encoding].format(made)
        cells = _CELLS[shape].format(places=_PLACES.format(found=self.places.sql))
        return _COUNTED.format(most=MOST_CELLS, outline=outline, cells=cells)

    @cached_property
    def decode(self) -> Decoder:
        return decoder(_FIELDS)

    def parameters(self, arguments: Sequence[Argument]) -> dict[str, Argument]:
        return {**self.places.parameters(arguments), "size": self.grid.size, "extent": self.grid.extent}

    def bound(self, cursor: Cursor, arguments: Sequence[Argument]) -> bytes:
        """What to run: the COPY with its arguments."""
        return cursor.mogrify(f"COPY ({self.sql}) TO STDOUT (FORMAT binary)", self.parameters(arguments))
