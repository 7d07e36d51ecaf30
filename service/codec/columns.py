"""Rows to columns: what a COPY sends becomes FeatureColumns, a column at a time.

Lists of strings are made of the bytes that were sent: the four that tell a value's length in a COPY have room for the
tag and the length that stand before it in protobuf. What PostgreSQL assembled has just that room, and goes on whole.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Final

import numpy as np

from service.catalog import Layer, PropertyType
from service.codec import wire
from service.codec.few import FEW_BYTES, LARGEST, LISTS, FewColumns, Integers, since_1970
from service.codec.frames import FULL_BYTES, Bytes, Frame
from service.codec.scan import Scanner, gathered, key_at, slices
from service.db.arrays import Buffer, Offsets, Sizes, Values, prefix_sizes
from service.db.columns import Column
from service.db.copy import Wire
from service.db.queries import Statement
from service.domain import Batch
from spatial.v1 import feature_pb2

# Parts are joined once, where the message is whole: each time costs as much as to read the rows from PostgreSQL.
Part = Callable[[Values], list[Bytes]]

_WIDTH: Final = 8  # bytes of a number; what is shorter counts as if it were one
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
        self._few = FewColumns(statement)
        self._scanner = Scanner([column.field for column in statement.columns])
        self._parts = [part(column) for column in statement.columns]
        self._key = [column.kind for column in statement.columns].index("key")
        self._integer_key = layer.integer_key
        self._frame = Frame("columns", statement.shape.output.srid or layer.srid, bound_to)

    def batches(self, rows: bytes) -> Iterator[Batch]:
        """Of some whole rows as COPY sends them."""
        if len(rows) <= FEW_BYTES:
            few = self._few.read(rows)
            return iter(() if few is None else (Batch(self._frame.around(few.content, few.last), few.features),))
        scanned = self._scanner.scan(rows)
        # As columns they are smaller than as rows, or, where many numbers are null, at most three times as large.
        return self._batches(scanned.fields, scanned.ends)

    def of_columns(self, columns: Sequence[Values]) -> Iterator[Batch]:
        """Of the statement's columns as PostgreSQL assembled them."""
        count = len(columns[0].starts)
        most = sum(len(values.buffer) for values in columns) + _WIDTH * len(columns) * count
        if most <= FULL_BYTES:
            return iter([self._batch(columns, count)])
        sizes = sum(np.maximum(values.lengths, _WIDTH) + values.room for values in columns)
        return self._batches(columns, np.cumsum(sizes))

    def _batches(self, columns: Sequence[Values], ends: Offsets) -> Iterator[Batch]:
        for some in slices(ends, FULL_BYTES):
            yield self._batch([values.of(some) for values in columns], some.stop - some.start)

    def _batch(self, columns: Sequence[Values], count: int) -> Batch:
        content: list[Bytes] = [_COUNT, wire.varint(count)]
        for write, values in zip(self._parts, columns, strict=True):
            content += write(values)
        last = key_at(columns[self._key], count - 1, integer=self._integer_key)
        return Batch(self._frame.around_parts(content, last), count)


def part(column: Column) -> Part:
    """From the values of a column to the field of FeatureColumns that carries them."""
    if column.kind == "property":
        return _property(column)
    if column.kind == "geometry":
        return lambda values: _strings(_WKB, values)
    if column.kind == "distance":
        return lambda values: _delimited(_DISTANCES, _packed_numbers(values))
    if column.field.wire is Wire.INT64:
        return lambda values: _delimited(_INT64_IDS, _packed_integers(values))
    return lambda values: _strings(_STRING_IDS, values)


def _property(column: Column) -> Part:
    assert column.property is not None
    name = wire.delimited(_NAME, column.property.name.encode())
    nullable = column.field.nullable
    write = _VALUES_OF[column.property.type]
    tag = wire.tag(_COLUMN[LISTS[column.property.type]].number, wire.LENGTH)

    def properties(values: Values) -> list[Bytes]:
        nulls = _null_rows(values) if nullable else b""
        return _delimited(_PROPERTIES, name, nulls, *_delimited(tag, *write(values)))

    return properties


def _null_rows(values: Values) -> bytes:
    rows = np.flatnonzero(values.lengths < 0)
    return wire.delimited(_NULL_ROWS, varints(rows)) if len(rows) else b""


def _delimited(tag: bytes, *content: Bytes) -> list[Bytes]:
    """A field of variable length, in parts."""
    return [tag + wire.varint(sum(map(len, content))), *content]


def _string_values(values: Values) -> list[Bytes]:
    return _strings(_VALUES, values)


def _integer_values(values: Values) -> list[Bytes]:
    return _delimited(_VALUES, _packed_integers(values))


def _number_values(values: Values) -> list[Bytes]:
    return _delimited(_VALUES, _packed_numbers(values))


def _boolean_values(values: Values) -> list[Bytes]:
    return _delimited(_VALUES, np.where(values.lengths < 0, 0, values.buffer[values.starts]).astype(np.uint8).tobytes())


def _timestamp_values(values: Values) -> list[Bytes]:
    return _delimited(_VALUES, varints(since_1970(_integers(values))))


_VALUES_OF: Final[dict[PropertyType, Part]] = {
    PropertyType.STRING: _string_values,
    PropertyType.INTEGER: _integer_values,
    PropertyType.NUMBER: _number_values,
    PropertyType.BOOLEAN: _boolean_values,
    PropertyType.TIMESTAMP: _timestamp_values,
    PropertyType.JSON: _string_values,
    PropertyType.BYTES: _string_values,
}


def _integers(values: Values) -> Integers:
    return np.where(values.lengths < 0, 0, gathered(values.buffer, values.starts, ">i8")).astype(np.int64)


def _packed_integers(values: Values) -> bytes:
    return varints(_integers(values))


def _packed_numbers(values: Values) -> bytes:
    return np.where(values.lengths < 0, 0, gathered(values.buffer, values.starts, ">f8")).astype("<f8").tobytes()


def varints(values: Integers) -> bytes:
    """Integers as protobuf packs them: seven bits a byte, the least first, negative ones as of 64 bits without sign."""
    left = values.astype(np.uint64)
    width = max(1, -(-int(left.max(initial=0)).bit_length() // 7))
    parts = np.empty((len(left), width), np.uint8)
    if left.min(initial=LARGEST) >> np.uint64(7 * (width - 1)):  # keys that count up, mostly: all of this width
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


def _strings(tag: bytes, values: Values) -> list[Bytes]:
    """Each value behind the tag and its length; nothing for null."""
    lengths = np.maximum(values.lengths, 0)
    prefixes = prefix_sizes(lengths)
    begins, sizes = values.starts - prefixes, prefixes + lengths
    total = int(np.add.reduce(sizes))
    in_place = values.room >= (prefixes if isinstance(prefixes, int) else int(prefixes.max()))
    if in_place:
        _write_prefixes(tag, values.buffer, begins, lengths, prefixes)
        first, end = int(begins[0]), int(values.starts[-1] + lengths[-1])
        if end - first == total:  # nothing lies between them
            return [values.buffer[first:end].data]
    if total > _SHORT * len(sizes):
        return _sliced(tag, values, begins if in_place else None)
    if in_place and (sizes == sizes[0]).all():
        return [gathered(values.buffer, begins, f"V{sizes[0]}").view(np.uint8).data]
    before = np.cumsum(sizes) - sizes
    places = np.repeat((begins - before).astype(np.int32), sizes)
    places += np.arange(total, dtype=np.int32)
    joined = values.buffer.take(places)
    if not in_place:
        _write_prefixes(tag, joined, before, lengths, prefixes)
    return [joined.data]


def _write_prefixes(tag: bytes, buffer: Buffer, begins: Offsets, lengths: Offsets, sizes: Sizes) -> None:
    """The tags and the lengths, seven bits a byte, where so many bytes are free for them."""
    buffer[begins] = tag[0]
    if isinstance(sizes, int):
        for place in range(1, sizes):
            bits = lengths >> 7 * (place - 1) if place > 1 else lengths
            buffer[begins + place] = bits if place + 1 == sizes else bits & 0x7F | 0x80
        return
    longest = int(sizes.max())
    for place in range(1, longest):
        bits = lengths >> 7 * (place - 1)
        if place + 1 < longest:
            bits = bits & 0x7F | (sizes > place + 1).view(np.uint8) << 7
        there = slice(None) if place == 1 else sizes > place
        buffer[begins[there] + place] = bits[there]


def _sliced(tag: bytes, values: Values, begins: Offsets | None) -> list[Bytes]:
    """Long values cut out one by one; behind prefixes of their own unless these have been written before them."""
    content = values.buffer.data
    ends = values.ends.tolist()
    if begins is not None:
        return [content[begin:end] for begin, end in zip(begins.tolist(), ends, strict=True)]
    pairs = zip(values.starts.tolist(), ends, strict=True)
    return [part for start, end in pairs for part in (tag + wire.varint(end - start), content[start:end])]
