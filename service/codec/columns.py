"""Rows to columns: what a COPY sends becomes FeatureColumns, a column at a time.

Lists of strings are made of the rows' own bytes: the four that tell a value's length in a COPY have room for the tag
and the length that stand before it in protobuf.
"""

from collections.abc import Callable, Iterator
from typing import Final

import numpy as np
import numpy.typing as npt

from service.catalog import Layer, PropertyType
from service.codec import wire
from service.codec.frames import FULL_BYTES, Bytes, Frame
from service.codec.scan import Buffer, Offsets, Scanned, Scanner, Values, gathered, windows
from service.db.columns import Column
from service.db.copy import Wire
from service.db.queries import Statement
from service.domain import Batch, Key
from spatial.v1 import feature_pb2

Integers = npt.NDArray[np.int64]
# Parts are joined once, where the message is whole: each time costs as much as to read the rows from PostgreSQL.
Part = Callable[[Buffer, Values], list[Bytes]]

_EPOCHS_APART: Final = 946_684_800_000_000  # microseconds from 1970 to 2000
_LARGEST, _SMALLEST = 2**63 - 1, -(2**63)
_ROOM: Final = 1 << 21  # the length from which on a tag and a length need more than four bytes
_SHORT: Final = 64  # bytes up to which values are gathered faster than they are sliced

_FIELDS = feature_pb2.FeatureColumns.DESCRIPTOR.fields_by_name
_COLUMN = feature_pb2.Column.DESCRIPTOR.fields_by_name
_COUNT = wire.tag(_FIELDS["count"].number, wire.VARINT)
_INT64_IDS = wire.tag(_FIELDS["int64_ids"].number, wire.LENGTH)
_STRING_IDS = wire.tag(_FIELDS["string_ids"].number, wire.LENGTH)
_WKB = wire.tag(_FIELDS["wkb"].number, wire.LENGTH)
_DISTANCES = wire.tag(_FIELDS["distance_meters"].number, wire.LENGTH)
_PROPERTIES = wire.tag(_FIELDS["properties"].number, wire.LENGTH)
_NAME = wire.tag(_COLUMN["name"].number, wire.LENGTH)
_NULL_ROWS = wire.tag(_COLUMN["null_rows"].number, wire.LENGTH)
_VALUES = wire.tag(1, wire.LENGTH)  # of StringValues, Int64Values, DoubleValues and BoolValues


class ColumnsWriter:
    """Batches of features as lists of values."""

    def __init__(self, statement: Statement, layer: Layer, bound_to: bytes | None) -> None:
        self._scanner = Scanner([column.field for column in statement.columns])
        self._parts = [part(column) for column in statement.columns]
        self._key = [column.kind for column in statement.columns].index("key")
        self._integer_key = layer.integer_key
        self._frame = Frame("columns", statement.shape.output.srid or layer.srid, bound_to)

    def batches(self, rows: bytes) -> Iterator[Batch]:
        scanned = self._scanner.scan(rows)
        # As columns they are smaller than as rows, or, where many numbers are null, at most three times as large.
        for some in scanned.slices(FULL_BYTES):
            count = some.stop - some.start
            last = self._last_key(scanned, some)
            content: list[Bytes] = [_COUNT, wire.varint(count)]
            for write, values in zip(self._parts, scanned.fields, strict=True):
                content += write(scanned.buffer, values.of(some))
            yield Batch(self._frame.around_parts(content, last), count)

    def _last_key(self, scanned: Scanned, some: slice) -> Key:
        keys = scanned.fields[self._key].of(slice(some.stop - 1, some.stop))
        if self._integer_key:
            return int(_integers(scanned.buffer, keys)[0])
        return scanned.buffer[keys.starts[0] : keys.ends[0]].tobytes().decode()


def part(column: Column) -> Part:
    """From the values of a column to the field of FeatureColumns that carries them."""
    if column.kind == "property":
        return _property(column)
    if column.kind == "geometry":
        return lambda buffer, values: _strings(_WKB, buffer, values)
    if column.kind == "distance":
        return lambda buffer, values: _delimited(_DISTANCES, _packed_numbers(buffer, values))
    if column.field.wire is Wire.INT64:
        return lambda buffer, values: _delimited(_INT64_IDS, _packed_integers(buffer, values))
    return lambda buffer, values: _strings(_STRING_IDS, buffer, values)


def _property(column: Column) -> Part:
    assert column.property is not None
    name = wire.delimited(_NAME, column.property.name.encode())
    nullable = column.field.nullable
    field, write = _LISTS[column.property.type]
    tag = wire.tag(_COLUMN[field].number, wire.LENGTH)

    def properties(buffer: Buffer, values: Values) -> list[Bytes]:
        nulls = _null_rows(values) if nullable else b""
        return _delimited(_PROPERTIES, name, nulls, *_delimited(tag, *write(buffer, values)))

    return properties


def _null_rows(values: Values) -> bytes:
    rows = np.flatnonzero(values.lengths < 0)
    return wire.delimited(_NULL_ROWS, varints(rows)) if len(rows) else b""


def _delimited(tag: bytes, *content: Bytes) -> list[Bytes]:
    """A field of variable length, in parts."""
    return [tag + wire.varint(sum(map(len, content))), *content]


def _string_values(buffer: Buffer, values: Values) -> list[Bytes]:
    return _strings(_VALUES, buffer, values)


def _integer_values(buffer: Buffer, values: Values) -> list[Bytes]:
    return _delimited(_VALUES, _packed_integers(buffer, values))


def _number_values(buffer: Buffer, values: Values) -> list[Bytes]:
    return _delimited(_VALUES, _packed_numbers(buffer, values))


def _boolean_values(buffer: Buffer, values: Values) -> list[Bytes]:
    return _delimited(_VALUES, np.where(values.lengths < 0, 0, buffer[values.starts]).astype(np.uint8).tobytes())


def _timestamp_values(buffer: Buffer, values: Values) -> list[Bytes]:
    return _delimited(_VALUES, varints(since_1970(_integers(buffer, values))))


_LISTS: Final[dict[PropertyType, tuple[str, Part]]] = {
    PropertyType.STRING: ("strings", _string_values),
    PropertyType.INTEGER: ("integers", _integer_values),
    PropertyType.NUMBER: ("numbers", _number_values),
    PropertyType.BOOLEAN: ("booleans", _boolean_values),
    PropertyType.TIMESTAMP: ("timestamps", _timestamp_values),
    PropertyType.JSON: ("json", _string_values),
    PropertyType.BYTES: ("bytes", _string_values),
}


def _integers(buffer: Buffer, values: Values) -> Integers:
    return np.where(values.lengths < 0, 0, gathered(buffer, values.starts, ">i8")).astype(np.int64)


def _packed_integers(buffer: Buffer, values: Values) -> bytes:
    return varints(_integers(buffer, values))


def _packed_numbers(buffer: Buffer, values: Values) -> bytes:
    return np.where(values.lengths < 0, 0, gathered(buffer, values.starts, ">f8")).astype("<f8").tobytes()


def since_1970(microseconds: Integers) -> Integers:
    """From PostgreSQL's epoch. Infinities stay; what only just exists in PostgreSQL becomes the last before them."""
    finite = np.minimum(microseconds, _LARGEST - 1 - _EPOCHS_APART) + _EPOCHS_APART
    return np.where((microseconds == _LARGEST) | (microseconds == _SMALLEST), microseconds, finite)


def varints(values: Integers) -> bytes:
    """Integers as protobuf packs them: seven bits a byte, the least first, negative ones as of 64 bits without sign."""
    left = values.astype(np.uint64)
    width = max(1, -(-int(left.max(initial=0)).bit_length() // 7))
    parts = np.empty((len(left), width), np.uint8)
    if left.min(initial=_LARGEST) >> np.uint64(7 * (width - 1)):  # keys that count up, mostly: all of this width
        for place in range(width):
            parts[:, place] = left >> np.uint64(7 * place)
        parts[:, :-1] |= 0x80
        return parts.tobytes()
    needed = np.ones((len(left), width), np.bool_)
    for place in range(width):
        parts[:, place] = left & 0x7F
        needed[:, place] = left > 0 if place else True
        parts[:, place] |= (left > 0x7F).view(np.uint8) << 7
        left >>= np.uint64(7)
    return parts[needed].tobytes()


def _strings(tag: bytes, buffer: Buffer, values: Values) -> list[Bytes]:
    """Each value behind the tag and its length; nothing for null."""
    longest = int(values.lengths.max(initial=0))
    if longest >= _ROOM:
        pairs = zip(values.starts.tolist(), values.ends.tolist(), strict=True)
        return [wire.delimited(tag, buffer[start:end].tobytes()) for start, end in pairs]
    starts = _prefix(tag, buffer, values, longest)
    return _joined(buffer, starts, values.ends)


def _prefix(tag: bytes, buffer: Buffer, values: Values, longest: int) -> Offsets:
    """Writes the tags and lengths before the values, over the four bytes there, and says where they begin."""
    lengths = np.maximum(values.lengths, 0)
    words, starts = tag[0] << 8 | lengths, values.starts - 2
    if longest > 0x7F:
        longer = lengths > 0x7F
        words = np.where(longer, tag[0] << 16 | (lengths & 0x7F | 0x80) << 8 | lengths >> 7, words)
        starts -= longer
    if longest > 0x3FFF:
        longer = lengths > 0x3FFF
        most = tag[0] << 24 | (lengths & 0x7F | 0x80) << 16 | (lengths >> 7 & 0x7F | 0x80) << 8 | lengths >> 14
        words = np.where(longer, most, words)
        starts -= longer
    windows(buffer, ">u4")[values.starts - 4] = words
    return starts


def _joined(buffer: Buffer, starts: Offsets, ends: Offsets) -> list[Bytes]:
    """The bytes from each start to its end, one after the other."""
    sizes = ends - starts
    if (sizes == sizes[0]).all():
        return [gathered(buffer, starts, f"V{sizes[0]}").view(np.uint8).data]
    total = int(sizes.sum())
    if total > _SHORT * len(starts):
        content = buffer.data
        return [content[start:end] for start, end in zip(starts.tolist(), ends.tolist(), strict=True)]
    before = np.cumsum(sizes) - sizes
    places = np.repeat((starts - before).astype(np.int32), sizes)
    places += np.arange(total, dtype=np.int32)
    return [buffer.take(places).data]
