"""Grids worked out without PostGIS: every cell drawn by shapely from what the contract says, and what lies in it."""

from collections.abc import Iterable
from io import BytesIO
from math import sqrt
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import shapely
from psycopg2.extensions import cursor as Cursor  # noqa: N812 - a class, whatever its case
from shapely.geometry.base import BaseGeometry

from service.catalog import Catalog, Layer
from service.codec.geometry import GeometryLimits, ProbeReader
from service.codec.grids import GridReader, GridWriter
from service.codec.questions import QuestionReader
from service.db.grid import GridStatement
from service.db.queries import Statements
from spatial.v1 import query_pb2 as query

Floats = npt.NDArray[np.floating[Any]]
Cell = tuple[int, int]

SHAPES = ("SQUARE", "HEXAGON")
GIRTH = 40075016.685578488
NEAR = 1e-9  # of a cell's size: what is so near to a border may be on either side of it
_CORNERS = [(1, 0), (0.5, sqrt(3) / 2), (-0.5, sqrt(3) / 2), (-1, 0), (-0.5, -sqrt(3) / 2), (0.5, -sqrt(3) / 2)]


def drawn(shape: str, size: float, i: int, j: int) -> BaseGeometry:
    """A square with its lower left corner, or a hexagon with its centre, at the origin where i and j are 0."""
    if shape == "SQUARE":
        return shapely.box(i * size, j * size, (i + 1) * size, (j + 1) * size)
    x, y = 1.5 * size * i, sqrt(3) * size * (j + 0.5 * (i % 2))
    return shapely.Polygon([(x + size * across, y + size * up) for across, up in _CORNERS])


class Expected(NamedTuple):
    """Of each cell: the points that are in it and nowhere else, and those that may be in it, on its border."""

    certain: dict[Cell, list[int]]
    possible: dict[Cell, list[int]]


def expected(shape: str, size: float, xs: Floats, ys: Floats) -> Expected:
    cells = _around(shape, size, xs, ys)
    tree = shapely.STRtree([drawn(shape, size, *cell) for cell in cells])
    found = tree.query(shapely.points(xs, ys), predicate="dwithin", distance=size * NEAR)
    candidates: dict[int, list[Cell]] = {}
    for point, cell in found.T.tolist():
        candidates.setdefault(point, []).append(cells[cell])
    assert len(candidates) == len(xs), "the cells leave no gaps"
    certain: dict[Cell, list[int]] = {}
    possible: dict[Cell, list[int]] = {}
    for point, its in candidates.items():
        for cell in its:
            possible.setdefault(cell, []).append(point)
        if len(its) == 1:
            certain.setdefault(its[0], []).append(point)
    return Expected(certain, possible)


def _around(shape: str, size: float, xs: Floats, ys: Floats) -> list[Cell]:
    """Every cell that may hold one of the points."""
    across, up = (size, size) if shape == "SQUARE" else (1.5 * size, sqrt(3) * size)
    columns, rows = np.floor(xs / across).astype(int), np.floor(ys / up).astype(int)
    near = {(i, j) for i, j in zip(columns.tolist(), rows.tolist(), strict=True)}
    return sorted({(i + di, j + dj) for i, j in near for di in (-1, 0, 1) for dj in (-1, 0, 1)})


def check(cells: dict[Cell, Any], shape: str, size: float, xs: Floats, ys: Floats) -> None:
    """Every point is counted once, and where it lies."""
    certain, possible = expected(shape, size, xs, ys)
    assert {*certain} <= {*cells} <= {*possible}
    for key, cell in cells.items():
        assert max(1, len(certain.get(key, ()))) <= cell.count <= len(possible[key]), key
    assert sum(cell.count for cell in cells.values()) == len(xs)


def by_position(batches: Iterable[query.GridBatch]) -> dict[Cell, query.GridCell]:
    cells = [cell for batch in batches for cell in batch.cells]
    found = {(cell.i, cell.j): cell for cell in cells}
    assert len(found) == len(cells), "each cell comes once"
    return found


def of_layer(name: str, shape: str = "SQUARE", **fields: Any) -> query.AggregateGridRequest:
    """The request for a grid over a whole layer."""
    return of(query.Query(layer=query.LayerQuery(layer=name)), shape, **fields)


def of(asked: query.Query, shape: str = "SQUARE", **fields: Any) -> query.AggregateGridRequest:
    return query.AggregateGridRequest(query=asked, shape=f"GRID_SHAPE_{shape}", **fields)


def aggregated(cursor: Cursor, layer: Layer, request: query.AggregateGridRequest) -> list[query.GridBatch]:
    """What a stream would deliver of a layer of the test's own."""
    catalog = Catalog([layer])
    probes = ProbeReader(GeometryLimits(max_bytes=1_000_000, max_vertices=100_000, max_depth=8))
    asked = GridReader(QuestionReader(catalog, probes, 1e9)).aggregation(request)
    statement = GridStatement(Statements(catalog)[asked.search.shape], asked.grid)
    sent = BytesIO()
    cursor.copy_expert(statement.bound(cursor, asked.search.arguments), sent)
    return [query.GridBatch.FromString(batch.message) for batch in GridWriter(statement).batches(sent.getvalue())]
