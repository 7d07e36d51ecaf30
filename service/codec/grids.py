"""Grids: from the request to what is counted in which cells, and from a COPY's rows to the batches of the answer."""

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from struct import Struct
from typing import Final

from service.catalog import Layer, PropertyType
from service.codec import fields, wire
from service.codec.exports import everything
from service.codec.fields import at
from service.codec.frames import BATCH_BYTES
from service.codec.geometry import Stored
from service.codec.questions import QuestionReader
from service.db.copy import Row
from service.db.grid import MOST_CELLS, GridStatement
from service.domain import Aggregation, Batch, Encoding, Grid, GridShape, Output, Question, Result, Search, View
from service.errors import InvalidArgument, Reason
from spatial.v1 import geometry_pb2, query_pb2

WEB_MERCATOR: Final = 3857
GIRTH: Final = 40075016.685578488  # of the Earth in the web's maps, which are as high as they are wide
CELLS_PER_TILE: Final = 16
MOST_ZOOM: Final = 24
# Between these a cell can be computed, whatever the units. PostGIS's own limit is how many there are from the origin.
LEAST_CELL, MOST_CELL = 1e-9, 1e15
FARTHEST: Final = 1e100  # beyond it is what is infinite, and no place

_ROUNDING: Final = 1e-6  # metres by which the border of the map is missed
_SUMMED = (PropertyType.INTEGER, PropertyType.NUMBER)


class GridReader:
    """Reads requests for grids."""

    def __init__(self, questions: QuestionReader) -> None:
        self._questions = questions

    def aggregation(self, request: query_pb2.AggregateGridRequest, stored: Stored | None = None) -> Aggregation:
        query = fields.required(request, "query")
        with at("query"):
            question = self._question(query, stored)
        layer = self._questions.layer_of(question)
        grid = _grid(layer, request)
        output = Output(_summed(layer, request.property), View.CENTROID, srid=grid.srid)
        return Aggregation(_places(question, output), grid)

    def _question(self, query: query_pb2.Query, stored: Stored | None) -> Question:
        kind = query.WhichOneof("kind")
        if kind in ("nearest", "join"):
            raise InvalidArgument(
                Reason.UNEXPECTED_FIELD, f"a grid counts what radius, intersects or layer finds, not {kind}", field=kind
            )
        return self._questions.any(query, stored)


def _places(question: Question, output: Output) -> Search:
    search = everything(question, output)
    return search._replace(shape=replace(search.shape, result=Result.PLACES))


def _grid(layer: Layer, request: query_pb2.AggregateGridRequest) -> Grid:
    shape = fields.enumerated(GridShape, request.shape, GridShape.SQUARE, "shape")
    encoding = fields.enumerated(Encoding, request.encoding, Encoding.WKB, "encoding")
    match request.WhichOneof("size"):
        case "cell_size":
            return Grid(shape, _cell_size(request.cell_size), layer.srid, FARTHEST, encoding)
        case "zoom":
            return Grid(shape, _size_at(layer, request.zoom), WEB_MERCATOR, GIRTH / 2 + _ROUNDING, encoding)
    raise InvalidArgument(Reason.REQUIRED, "one of cell_size, zoom must be set", field="size")


def _cell_size(size: float) -> float:
    if not LEAST_CELL <= size <= MOST_CELL:  # NaN neither
        raise InvalidArgument(
            Reason.OUT_OF_RANGE,
            f"cell_size must be from {LEAST_CELL:g} to {MOST_CELL:g}, and is {size:g}",
            field="cell_size",
        )
    return size


def _size_at(layer: Layer, zoom: int) -> float:
    if not 0 <= zoom <= MOST_ZOOM:
        raise InvalidArgument(
            Reason.OUT_OF_RANGE,
            f"zoom must be from 0 to {MOST_ZOOM}, and is {zoom}",
            field="zoom",
            metadata={"limit": str(MOST_ZOOM)},
        )
    if not layer.srid:
        raise InvalidArgument(
            Reason.SRID_MISMATCH,
            f"layer {layer.name!r} has no CRS to transform from",
            field="zoom",
            metadata={"actual": str(WEB_MERCATOR), "expected": "0"},
        )
    return GIRTH / (CELLS_PER_TILE << zoom)


def _summed(layer: Layer, name: str) -> tuple[str, ...]:
    if not name:
        return ()
    known = layer.properties.get(name)
    if known is None:
        raise InvalidArgument(
            Reason.UNKNOWN_PROPERTY,
            f"layer {layer.name!r} has no property {name[:80]!r}",
            field="property",
            metadata={"layer": layer.name},
        )
    if known.type not in _SUMMED:
        raise InvalidArgument(
            Reason.UNSUPPORTED_PROPERTY_TYPE,
            f"property {name!r} is of type {known.type.name}: only numbers can be summed",
            field="property",
            metadata={"layer": layer.name},
        )
    return (name,)


_BATCH = query_pb2.GridBatch.DESCRIPTOR.fields_by_name
_CELL = query_pb2.GridCell.DESCRIPTOR.fields_by_name
_GEOMETRY = geometry_pb2.Geometry.DESCRIPTOR.fields_by_name
_FRAMES = wire.Prefixes(wire.tag(_BATCH["cells"].number, wire.LENGTH))
_COLUMN, _ROW, _COUNT = (wire.tag(_CELL[name].number, wire.VARINT) for name in ("i", "j", "count"))
_SUM, _AVERAGE = (wire.tag(_CELL[name].number, wire.FIXED64) for name in ("sum", "average"))
_OUTLINE = wire.tag(_CELL["geometry"].number, wire.LENGTH)
_double = Struct("<d").pack


class GridWriter:
    """Makes batches of what the COPY of a grid sends."""

    def __init__(self, statement: GridStatement) -> None:
        grid = statement.grid
        self._decode = statement.decode
        self._outline = _outline_encoder(grid.encoding, grid.srid)
        self._srid = wire.tag(_BATCH["srid"].number, wire.VARINT) + wire.varint(grid.srid)

    def batches(self, rows: bytes) -> Iterator[Batch]:
        """The batches of some whole rows, perhaps none; the COPY's header before the first row and its trailer after
        the last are passed over."""
        batch: list[bytes] = []
        size = 0
        for row in self._decode(rows):
            cell = self._cell(row)
            if batch and size + len(cell) > BATCH_BYTES:
                yield self._batch(batch)
                batch, size = [], 0
            batch.append(cell)
            size += len(cell)
        if batch:
            yield self._batch(batch)

    def _batch(self, cells: list[bytes]) -> Batch:
        return Batch(b"".join([*cells, self._srid]), len(cells))

    def _cell(self, row: Row) -> bytes:
        i, j, outline, count, total, average = row
        if outline is None:
            raise InvalidArgument(
                Reason.OUT_OF_RANGE,
                f"a feature lies {max(abs(i), abs(j)):g} cells from the origin: PostGIS counts to {MOST_CELLS}",
                field="cell_size",
            )
        parts = [_COLUMN, _signed(i), _ROW, _signed(j), self._outline(outline), _COUNT, wire.varint(count)]
        if total is not None:
            parts += [_SUM, _double(total), _AVERAGE, _double(average)]
        cell = b"".join(parts)
        return _FRAMES[len(cell)] + cell


def _signed(value: float) -> bytes:
    return wire.varint(int(value) % 2**64)


def _outline_encoder(encoding: Encoding, srid: int) -> Callable[[bytes], bytes]:
    """From WKB, or the text of WKT or GeoJSON, to a cell's geometry field."""
    field = _GEOMETRY[encoding.name.lower()].number
    start = wire.tag(_GEOMETRY["srid"].number, wire.VARINT) + wire.varint(srid) + wire.tag(field, wire.LENGTH)
    prefixes = wire.Prefixes(_OUTLINE, start)
    if encoding is not Encoding.GEOJSON:
        return lambda content: prefixes[len(content)] + content

    def encode(text: bytes) -> bytes:
        content = wire.struct(json.loads(text))
        return prefixes[len(content)] + content

    return encode
