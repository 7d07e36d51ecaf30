"""Features as elements of a message, those of many rows at once; byte for byte as `features.py` writes each."""

from collections.abc import Sequence

import numpy as np

from service.catalog import PropertyType
from service.codec import wire
from service.codec.features import DISTANCE_TAG, ELEMENT, FIELDS
from service.codec.laying import (
    Piece,
    behind,
    either,
    in_a_row,
    made,
    number,
    one_of,
    or_null,
    within,
    written,
)
from service.codec.scan import gathered
from service.codec.values import Encoder, geometry_encoder, geometry_starts, property_encoder
from service.db.arrays import Buffer, Mask, Offsets, Values
from service.db.columns import Column
from service.db.copy import Wire
from service.db.queries import Statement
from service.domain import Encoding

_TAGS = {name: wire.tag(field.number, wire.LENGTH) for name, field in FIELDS.items()}
_properties, _element = within(_TAGS["properties"]), within(ELEMENT)
_POWERS = 10 ** np.arange(1, 20, dtype=np.uint64)
_ZERO, _MINUS = ord("0"), ord("-")


class FeaturesAtOnce:
    """For a statement about a layer with this SRID."""

    def __init__(self, statement: Statement, srid: int) -> None:
        output = statement.shape.output
        self._pieces = [_piece(column, output.encoding, output.srid or srid) for column in statement.columns]
        self._is_property = [column.kind == "property" for column in statement.columns]

    def write(self, columns: Sequence[Values]) -> tuple[Buffer, Offsets]:
        """The features, at least one, and where each of them ends."""
        laid = [piece(values) for piece, values in zip(self._pieces, columns, strict=True)]
        fields = [each for each, inside in zip(laid, self._is_property, strict=True) if not inside]
        entries = [each for each, inside in zip(laid, self._is_property, strict=True) if inside]
        if entries:
            fields.append(_properties(in_a_row(entries)))
        return written(_element(in_a_row(fields)), len(columns[0].starts))


def _piece(column: Column, encoding: Encoding, srid: int) -> Piece:
    match column.kind:
        case "property":
            return _property(column)
        case "key":
            ids = behind(_TAGS["id"])
            return ids if column.field.wire is Wire.BYTES else lambda values: ids(_digits(values))
        case "distance":
            return number(bytes([DISTANCE_TAG]), ">f8")
        case "etag":
            return behind(_TAGS["etag"])
    geometry = behind(*geometry_starts(encoding, srid))
    if encoding is Encoding.GEOJSON:
        geometry = _one_by_one(geometry_encoder(encoding, srid), column.field.wire)
    return or_null(geometry, b"") if column.field.nullable else geometry


def _property(column: Column) -> Piece:
    assert column.property is not None
    name = column.property.name
    key = wire.key(name)
    null = wire.entry(key, wire.NULL)
    one_by_one = _one_by_one(property_encoder(column), column.field.wire)
    match column.property.type:
        case PropertyType.BOOLEAN:
            return one_of([*(wire.entry(key, value) for value in (wire.FALSE, wire.TRUE)), null], _truth)
        case PropertyType.STRING:
            piece = behind(*wire.entry_starts(name))
        case PropertyType.NUMBER:
            piece = either(_are_finite, number(wire.number_start(name), ">f8"), one_by_one)
        case PropertyType.INTEGER:
            piece = either(_are_exact, number(wire.number_start(name), ">i8"), one_by_one)
        case _:
            piece = one_by_one
    return or_null(piece, null) if column.field.nullable else piece


def _truth(values: Values) -> Offsets:
    return np.where(values.lengths < 0, 2, values.buffer[values.starts])


def _are_finite(values: Values) -> Mask:
    finite: Mask = np.isfinite(gathered(values.buffer, values.starts, ">f8").astype("<f8"))
    return finite


def _are_exact(values: Values) -> Mask:
    integers = _integers(values)
    return (integers >= wire.EXACT_INTEGERS.start) & (integers < wire.EXACT_INTEGERS.stop)


def _integers(values: Values) -> Offsets:
    return gathered(values.buffer, values.starts, ">i8").astype(np.int64)


def _one_by_one(encode: Encoder, wire: Wire) -> Piece:
    def encoded(values: Values) -> list[bytes]:
        if wire is Wire.BYTES:
            content = values.buffer.data
            spans = zip(values.starts.tolist(), values.ends.tolist(), strict=True)
            return [encode(bytes(content[start:end])) for start, end in spans]
        kind = ">f8" if wire is Wire.FLOAT64 else ">i8"
        return list(map(encode, gathered(values.buffer, values.starts, kind).tolist()))

    return made(encoded)


def _digits(values: Values) -> Values:
    """Integers as text."""
    integers = _integers(values)
    sizes = np.abs(integers).view(np.uint64)  # right also of the smallest, whose sign numpy cannot take away
    largest = int(sizes.max())
    if largest < 1 << 32:
        sizes = sizes.astype(np.uint32)
    width = len(str(largest)) + 1
    text = np.empty((len(sizes), width), np.uint8)
    left = sizes
    for place in range(width - 1, 0, -1):
        tenth = left // 10
        text[:, place] = left - tenth * 10 + _ZERO
        left = tenth
    negative = integers < 0
    lengths = 1 + np.searchsorted(_POWERS[: width - 2], sizes, "right") + negative
    starts = width * np.arange(1, len(sizes) + 1) - lengths
    buffer = text.reshape(-1)
    buffer[starts[negative]] = _MINUS
    return Values(buffer, starts, lengths)
