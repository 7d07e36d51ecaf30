"""Columns that PostgreSQL assembled: the aggregates that a statement asks for, and where the values lie in what they
give."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from service.catalog import PropertyType
from service.db.columns import Column
from service.db.copy import Wire

Offsets = npt.NDArray[np.int64]
Buffer = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.bool_]
Sizes = Offsets | int  # one where all are the same
Contents = Sequence[bytes | memoryview | None]

SPARE_BYTES = 8  # before and behind what lies in a buffer: a value can be read also where it is null
_ENOUGH_ROOM = 6


class Values(NamedTuple):
    """One column of some features, in memory that may be written to: where its values begin, and how long they are, -1
    for null. Before each there are so many bytes that nobody needs."""

    buffer: Buffer
    starts: Offsets
    lengths: Offsets
    room: int = 0

    @property
    def ends(self) -> Offsets:
        ends: Offsets = self.starts + np.maximum(self.lengths, 0)
        return ends

    def of(self, rows: slice | Offsets) -> "Values":
        return Values(self.buffer, self.starts[rows], self.lengths[rows], self.room)


@dataclass(frozen=True, slots=True)
class Assembly:
    """`aggregates` are SQL over `{value}`; `values` finds so many values in what each of them gave, some at a time."""

    aggregates: tuple[str, ...]
    values: Callable[..., Values]

    @property
    def repeats(self) -> bool:
        """Whether a value is computed more than once, unless it is computed before."""
        return sum(each.count("{value}") for each in self.aggregates) > 1


def assembly(column: Column, width: int | None = None, *, room: bool = False) -> Assembly:
    """How a column is sent; `width` is how many bytes each of its values has, where all have as many. With `room` what
    is of variable length has before it what a tag and a length take in protobuf."""
    wire, nullable = column.field.wire, column.field.nullable
    if wire is Wire.BOOL:
        return Assembly((_joined(_TRUTH),), _booleans)
    if wire is Wire.BYTES:
        return _texts(nullable, room) if _is_text(column) else _bytes(nullable, width, room)
    values = _joined(f"{_sender(column)}({{value}})")
    if nullable:
        return Assembly((values, _joined(_KNOWN)), _sparse_numbers)
    return Assembly((values,), _numbers)


_TRUTH = "CASE WHEN {value} THEN '1' WHEN NOT {value} THEN '0' ELSE ' ' END"
_KNOWN = "CASE WHEN {value} IS NULL THEN '0' ELSE '1' END"


def _joined(value: str, between: str = "NULL") -> str:
    """Nothing between them costs less than an empty string."""
    return f"string_agg({value}, {between})"


def _sender(column: Column) -> str:
    if column.property is not None and column.property.type is PropertyType.TIMESTAMP:
        return "timestamptz_send"
    return "float8send" if column.field.wire is Wire.FLOAT64 else "int8send"


def _is_text(column: Column) -> bool:
    if column.property is None:
        return column.kind == "key"
    return column.property.type is not PropertyType.BYTES


def _numbers(count: int, contents: Contents) -> Values:
    starts = np.arange(SPARE_BYTES, SPARE_BYTES + 8 * count, 8)
    return Values(_buffer(contents, 8 * count), starts, np.full(count, 8))


def _sparse_numbers(count: int, contents: Contents, known: Contents) -> Values:
    """Of nulls, only the places are sent."""
    mask = _mask(count, known)
    before = np.cumsum(mask, dtype=np.int64) - mask.astype(np.int64)
    starts = 8 * before + SPARE_BYTES
    return Values(_buffer(contents, 8 * int(mask.sum())), starts, np.where(mask, 8, -1))


def _booleans(count: int, contents: Contents) -> Values:
    buffer = _buffer(contents, count)
    sent = buffer[SPARE_BYTES:-SPARE_BYTES]
    lengths = np.where(sent == ord(" "), -1, 1)
    sent[:] = sent == ord("1")
    return Values(buffer, SPARE_BYTES + np.arange(count), lengths)


# No text of PostgreSQL's holds a zero: it tells where the next begins. Two are in the place of a tag and of a length.
_SLOT = bytes(2)
_ZERO, _ZEROS = "'\\x00'::bytea", "'\\x0000'::bytea"


def _texts(nullable: bool, room: bool) -> Assembly:
    between = _ZEROS if room else _ZERO
    find = _texts_with_room if room else _texts_alone
    if not nullable:
        return Assembly((_joined("textsend({value})", between),), find)
    content = _joined("coalesce(textsend({value}), '')", between)
    return Assembly((content, _joined(_KNOWN)), lambda *given: _sparse_texts(find, *given))


def _texts_with_room(count: int, contents: Contents) -> Values:
    buffer = _buffer(contents, slot=_SLOT)
    (zeros,) = (buffer[SPARE_BYTES:-SPARE_BYTES] == 0).nonzero()  # those of the last slot stand behind the last value
    _check(count, len(zeros) // len(_SLOT) - 1)
    starts = zeros[1:-1:2] + (SPARE_BYTES + 1)
    return Values(buffer, starts, zeros[2::2] + SPARE_BYTES - starts, len(_SLOT))


def _texts_alone(count: int, contents: Contents) -> Values:
    joined = b"\0".join([content for content in contents if content is not None])
    zeros = np.flatnonzero(np.frombuffer(joined, np.uint8) == 0)
    _check(count, len(zeros) + 1)
    lengths = np.diff(zeros, prepend=-1, append=len(joined)) - 1
    ends = np.cumsum(lengths) + SPARE_BYTES
    return Values(_buffer([joined.translate(None, b"\0")]), ends - lengths, lengths)


def _sparse_texts(find: Callable[[int, Contents], Values], count: int, contents: Contents, known: Contents) -> Values:
    texts = find(count, contents)
    return texts._replace(lengths=np.where(_mask(count, known), texts.lengths, -1))


_LENGTH = "coalesce(octet_length({value}), -1)"
_EXACT = f"""
    CASE WHEN {_LENGTH} < 128 THEN '\\x0000'::bytea WHEN {_LENGTH} < 16384 THEN '\\x000000'::bytea
         WHEN {_LENGTH} < 2097152 THEN '\\x00000000'::bytea WHEN {_LENGTH} < 268435456 THEN '\\x0000000000'::bytea
         ELSE '\\x000000000000'::bytea END
"""


def _bytes(nullable: bool, width: int | None, room: bool) -> Assembly:
    if width is not None and not nullable:
        content = _joined("{value}", _ZEROS) if room else _joined("{value}")
        return Assembly((content,), lambda count, contents: _equally_long(count, contents, width, room))
    value = "coalesce({value}, '')" if nullable else "{value}"
    content = _joined(value, _EXACT) if room else _joined(value)
    lengths = _joined(f"int4send({_LENGTH})")
    return Assembly((content, lengths), _with_exact_room if room else _of_lengths)


def _equally_long(count: int, contents: Contents, width: int, room: bool) -> Values:
    slot = _SLOT if room else b""
    step = len(slot) + width
    starts = SPARE_BYTES + len(slot) + step * np.arange(count)
    return Values(_buffer(contents, step * count, slot), starts, np.full(count, width), len(slot))


def _of_lengths(count: int, contents: Contents, lengths: Contents) -> Values:
    sizes = _sizes(count, lengths)
    known = np.maximum(sizes, 0)
    ends = np.cumsum(known)
    return Values(_buffer(contents, int(ends[-1])), SPARE_BYTES + ends - known, sizes)


def _with_exact_room(count: int, contents: Contents, lengths: Contents) -> Values:
    """Before a value lies as much as its own tag and length take."""
    sizes = _sizes(count, lengths)
    known = np.maximum(sizes, 0)
    prefixes = prefix_sizes(known)
    ends = np.cumsum(prefixes + known)
    first = 0
    pieces: list[bytes | memoryview | None] = []
    for content, some in zip(contents, lengths, strict=True):
        pieces += [bytes(prefixes if isinstance(prefixes, int) else int(prefixes[first])), content]
        first += len(some or b"") // 4
    return Values(_buffer(pieces, int(ends[-1])), SPARE_BYTES + ends - known, sizes, _ENOUGH_ROOM)


def prefix_sizes(lengths: Offsets) -> Sizes:
    """How many bytes a tag below 16 and a length take in protobuf."""
    longest = int(np.maximum.reduce(lengths))
    if (size := _prefix_size(longest)) == _prefix_size(int(np.minimum.reduce(lengths))):
        return size
    sizes = np.full(len(lengths), 2)
    for bits in (7, 14, 21, 28):
        if longest >> bits:
            sizes += lengths >= 1 << bits
    return sizes


def _prefix_size(length: int) -> int:
    return 1 + max(1, -(-length.bit_length() // 7))


def _sizes(count: int, lengths: Contents) -> Offsets:
    sizes = np.frombuffer(b"".join(filter(None, lengths)), ">i4").astype(np.int64)
    _check(count, len(sizes))
    return sizes


def _mask(count: int, known: Contents) -> Mask:
    mask: Mask = np.frombuffer(b"".join(filter(None, known)), np.uint8) == ord("1")
    _check(count, len(mask))
    return mask


def _buffer(contents: Contents, expected: int | None = None, slot: bytes = b"") -> Buffer:
    """All of the contents between spare bytes, and before each, and behind the last, the slot that else is only between
    values."""
    spare = bytes(SPARE_BYTES)
    joined = bytearray(slot).join([spare, *(content for content in contents if content is not None), spare])
    if expected is not None:
        _check(expected + 2 * SPARE_BYTES + len(slot), len(joined))
    return np.frombuffer(joined, np.uint8)


def _check(expected: int, given: int) -> None:
    """A column that is said to have no nulls and has some would shift its values to other features."""
    if expected != given:
        raise ValueError(f"{given} values or bytes where there must be {expected}")
