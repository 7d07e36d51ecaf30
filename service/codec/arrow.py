"""Batches in Apache Arrow: each a whole IPC stream of one record batch, for whoever reads Arrow to read as it is."""

import json
from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pyproj import CRS
from pyproj.exceptions import CRSError

from service.catalog import Layer, PropertyType
from service.codec.frames import FULL_BYTES, Frame
from service.codec.scan import Scanner, gathered
from service.db.arrays import Buffer, Values
from service.db.columns import Column
from service.db.copy import Wire
from service.db.queries import Statement
from service.domain import Batch

# The pool that pyarrow takes by default keeps what was freed for each of its threads.
POOL = pa.system_memory_pool()

_PROPERTIES = {
    PropertyType.STRING: pa.utf8(),
    PropertyType.INTEGER: pa.int64(),
    PropertyType.NUMBER: pa.float64(),
    PropertyType.BOOLEAN: pa.bool_(),
    PropertyType.TIMESTAMP: pa.timestamp("us", tz="UTC"),
    PropertyType.BYTES: pa.binary(),
    PropertyType.JSON: pa.utf8(),  # not Arrow's own extension: polars' functions on text refuse it
}
_WIRES = {Wire.INT64: pa.int64(), Wire.FLOAT64: pa.float64(), Wire.BOOL: pa.bool_(), Wire.BYTES: pa.binary()}
_NAMES = {"key": "id", "geometry": "geometry", "distance": "distance_meters"}
_SHORT = 64  # bytes
_UNIX_EPOCH = 946_684_800_000_000  # microseconds before PostgreSQL's


class ArrowWriter:
    """Writes what a statement answers with. `bound_to` is what the tokens of a resumable stream are bound to."""

    def __init__(self, statement: Statement, layer: Layer, bound_to: bytes | None) -> None:
        self._wires = [column.field.wire for column in statement.columns]
        self._scanner = Scanner([column.field for column in statement.columns])
        srid = statement.shape.output.srid or layer.srid
        self._schema = schema(statement.columns, layer, srid)
        self._frame = Frame("arrow_ipc", srid, bound_to)
        self._plain_frame = Frame("arrow_ipc", srid, None)

    def batches(self, rows: bytes) -> Iterator[Batch]:
        """Of some whole rows as COPY sends them."""
        scanned = self._scanner.scan(rows)
        return self.of_columns(scanned.fields) if len(scanned.starts) else iter(())

    def of_columns(self, columns: Sequence[Values]) -> Iterator[Batch]:
        """Of the statement's columns, wherever their values lie."""
        arrays = [
            _typed(_array(wire, values), field.type)
            for wire, values, field in zip(self._wires, columns, self._schema, strict=True)
        ]
        for piece in _pieces(pa.RecordBatch.from_arrays(arrays, schema=self._schema)):
            last = piece.column(0)[-1].as_py()
            yield Batch(self._frame.around(self._stream(piece), last), piece.num_rows)

    def nothing(self) -> bytes:
        """A batch without a feature, for a stream that finds none: its reader learns the schema."""
        return self._plain_frame.around(self._stream(pa.RecordBatch.from_pylist([], self._schema)), last=0)

    def _stream(self, batch: pa.RecordBatch) -> pa.Buffer:
        sink = pa.BufferOutputStream(POOL)
        with pa.ipc.new_stream(sink, self._schema) as stream:
            stream.write_batch(batch)
        return sink.getvalue()


def _array(wire: Wire, values: Values) -> pa.Array:
    known = values.lengths >= 0
    if wire is Wire.BYTES:
        offsets = np.zeros(len(known) + 1, np.int32)
        np.cumsum(np.maximum(values.lengths, 0), out=offsets[1:])
        return _of_buffers(pa.binary(), known, offsets, _joined(values, offsets))
    if wire is Wire.BOOL:
        return _of_buffers(pa.bool_(), known, _bits(values.buffer[values.starts] != 0))
    numbers = gathered(values.buffer, values.starts, ">i8" if wire is Wire.INT64 else ">f8")
    return _of_buffers(_WIRES[wire], known, numbers.astype(numbers.dtype.newbyteorder("=")))


def _of_buffers(kind: pa.DataType, known: npt.NDArray[np.bool_], *buffers: bytes | npt.NDArray[Any]) -> pa.Array:
    """Not by `pyarrow.array`, which imports pandas where there is one."""
    return pa.Array.from_buffers(kind, len(known), [pa.py_buffer(each) for each in (_bits(known), *buffers)])


def _bits(values: npt.NDArray[np.bool_]) -> Buffer:
    """As Arrow has truth values."""
    return np.packbits(values, bitorder="little")


def _joined(values: Values, offsets: npt.NDArray[np.int32]) -> bytes | Buffer:
    """All values one after the other, unless they lie so: long ones cut out one by one, short ones byte by byte but all
    at once."""
    starts, ends = values.starts, values.ends
    if (starts[1:] == ends[:-1]).all():
        return values.buffer[starts[0] : ends[-1]]
    if offsets[-1] > _SHORT * len(starts):
        content = values.buffer.data
        return b"".join([content[start:end] for start, end in zip(starts.tolist(), ends.tolist(), strict=True)])
    moved = np.repeat(starts - offsets[:-1], np.diff(offsets))
    moved += np.arange(len(moved))
    return values.buffer.take(moved)


def _pieces(batch: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
    """Halves, and halves of these, until each is of a batch's size or one feature."""
    if batch.num_rows == 1 or batch.nbytes <= FULL_BYTES:
        yield batch
    else:
        middle = batch.num_rows // 2
        yield from _pieces(batch.slice(0, middle))
        yield from _pieces(batch.slice(middle))


def _typed(array: pa.Array, kind: pa.DataType) -> pa.Array:
    """The same buffers under the type of the schema; PostgreSQL's text is valid UTF-8."""
    if pa.types.is_timestamp(kind):
        return _timestamps(array, kind)
    return array if array.type == kind else array.view(kind)


def _timestamps(array: pa.Array, kind: pa.DataType) -> pa.Array:
    """Since 1970 instead of 2000. Null where Arrow has no such time: PostgreSQL's infinities, and its last 30 years."""
    values = np.frombuffer(array.buffers()[1], np.int64)
    known = (values > np.iinfo(np.int64).min) & (values <= np.iinfo(np.int64).max - _UNIX_EPOCH)
    moved = np.where(known, values, 0) + _UNIX_EPOCH
    known &= np.frombuffer(array.is_valid().cast(pa.uint8()).buffers()[1], np.uint8) == 1
    return _of_buffers(kind, known, moved)


def schema(columns: Sequence[Column], layer: Layer, srid: int) -> pa.Schema:
    """Of a batch of these columns, with geometry in `srid`."""
    properties = [column.property.name for column in columns if column.property]
    return pa.schema([_field(column, layer, srid, properties) for column in columns])


def _field(column: Column, layer: Layer, srid: int, properties: Sequence[str]) -> pa.Field:
    nullable = column.field.nullable
    if column.property is None:
        kind = pa.utf8() if column.kind == "key" and not layer.integer_key else _WIRES[column.field.wire]
        metadata = _geoarrow(srid) if column.kind == "geometry" else None
        return pa.field(_NAMES[column.kind], kind, nullable, metadata)
    kind = _PROPERTIES[column.property.type]
    # Infinity has no other place in Arrow than among the nulls.
    nullable = nullable or pa.types.is_timestamp(kind)
    return pa.field(_property_name(column.property.name, properties), kind, nullable)


def _property_name(name: str, properties: Sequence[str]) -> str:
    if name not in _NAMES.values():
        return name
    name += "_property"
    while name in properties:
        name += "_property"
    return name


@cache
def _geoarrow(srid: int) -> dict[str, str]:
    return {
        "ARROW:extension:name": "geoarrow.wkb",
        "ARROW:extension:metadata": json.dumps(_crs(srid), separators=(",", ":")),
    }


def _crs(srid: int) -> dict[str, Any]:
    """Nothing for an SRID that is in nobody's register: a database may have codes of its own."""
    try:
        return {"crs": CRS.from_epsg(srid).to_json_dict(), "crs_type": "projjson"}
    except CRSError:
        return {}
