"""Finds where the values of a COPY's rows lie, all rows at once, so that columns are made without a step for each row.

Where a row begins is only known from the one before it. What every row begins with is looked for instead, and what is
found is taken if each row ends where the next begins. That fails only where a value holds the same bytes; then the rows
are walked one by one.
"""

from collections.abc import Iterator, Sequence
from struct import Struct
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from service.db.arrays import SPARE_BYTES, Buffer, Offsets, Values
from service.db.copy import HEADER_BYTES, SIGNATURE, TRAILER, Field
from service.domain import Key

_COUNT = Struct("!h")
_LENGTH = Struct("!i")


class Scanned(NamedTuple):
    """The rows in memory that may be written to, where each begins and ends, and the values of each field: before each
    lie the bytes of its length."""

    buffer: Buffer
    starts: Offsets
    ends: Offsets
    fields: list[Values]


class Scanner:
    """For the rows of a statement with these fields."""

    def __init__(self, fields: Sequence[Field]) -> None:
        self._fields = fields
        self._mark = _COUNT.pack(len(fields)) + (_LENGTH.pack(fields[0].width) if fields[0].fixed else b"\0\0")
        self._even, self._odd = np.frombuffer(self._mark[:2] + self._mark[1:3], np.uint16)

    def scan(self, rows: bytes) -> Scanned:
        begin = HEADER_BYTES if rows.startswith(SIGNATURE) else 0
        buffer = np.empty(len(rows) + SPARE_BYTES, np.uint8)
        buffer[: len(rows)] = np.frombuffer(rows, np.uint8)
        guessed = self._read(buffer, self._marked(buffer, begin))
        if _is_all(guessed, rows, begin):
            return guessed
        return self._read(buffer, self._walked(rows, begin))

    def _marked(self, buffer: Buffer, begin: int) -> Offsets:
        """Where the bytes are that every row begins with. Pairs of bytes are looked for first: there are half as many
        as bytes, and few are such by chance."""
        pairs = buffer[: (len(buffer) - SPARE_BYTES) // 2 * 2].view(np.uint16)
        found = np.flatnonzero((pairs == self._even) | (pairs == self._odd))
        starts: Offsets = 2 * found - (pairs[found] == self._odd)
        starts = starts[starts >= begin]
        for at in (0, len(self._mark) - 4):
            starts = starts[gathered(buffer, starts + at, ">i4") == _LENGTH.unpack_from(self._mark, at)]
        return starts

    def _walked(self, rows: bytes, begin: int) -> Offsets:
        starts = []
        at = begin
        while at < len(rows) and not rows.startswith(TRAILER, at):
            starts.append(at)
            at += _COUNT.size
            for _ in self._fields:
                (length,) = _LENGTH.unpack_from(rows, at)
                at += _LENGTH.size + max(length, 0)
        return np.array(starts, np.int64)

    def _read(self, buffer: Buffer, starts: Offsets) -> Scanned:
        at = starts + _COUNT.size
        fields = []
        for field in self._fields:
            lengths = np.full(len(at), field.width) if field.fixed else gathered(buffer, at, ">i4")
            fields.append(Values(buffer, at + _LENGTH.size, lengths.astype(np.int64), _LENGTH.size))
            at = fields[-1].ends
        return Scanned(buffer, starts, at, fields)


def slices(ends: Offsets, most_bytes: int) -> Iterator[slice]:
    """Rows that follow one another and have so many bytes together, or one row that has more; `ends` says where each
    ends if they lie one behind the other."""
    first = size = 0
    while first < len(ends):
        after = max(first + 1, int(np.searchsorted(ends, size + most_bytes, "right")))
        yield slice(first, after)
        first, size = after, int(ends[after - 1])


def windows(buffer: Buffer, kind: str) -> npt.NDArray[np.generic]:
    """What lies at each byte, as a number or bytes of a kind that numpy knows."""
    return np.ndarray((len(buffer) - np.dtype(kind).itemsize + 1,), kind, buffer.data, strides=(1,))


def gathered(buffer: Buffer, starts: Offsets, kind: str) -> npt.NDArray[np.generic]:
    """What lies at `starts`, wherever that is."""
    found = windows(buffer, kind)
    # A guess that is wrong leads anywhere.
    return found[np.minimum(starts, len(found) - 1)]


def key_at(keys: Values, row: int, *, integer: bool) -> Key:
    key = keys.buffer[keys.starts[row] : keys.starts[row] + keys.lengths[row]].tobytes()
    return int.from_bytes(key, "big", signed=True) if integer else key.decode()


def _is_all(guessed: Scanned, rows: bytes, begin: int) -> bool:
    """Whether the rows follow one another from the first byte to the last."""
    edges = np.append(begin, guessed.ends)
    end = int(edges[-1])
    return np.array_equal(edges[:-1], guessed.starts) and (end == len(rows) or rows[end:] == TRAILER)
