"""Pieces of messages laid out for many rows at once: first how large each is, and then its bytes where they belong.

A step for each value costs more than the value. Here is one for each column, whatever the number of rows; so it suits
many rows with short values.
"""

from collections.abc import Callable, Sequence
from functools import reduce
from operator import add
from typing import NamedTuple

import numpy as np

from service.codec import wire
from service.codec.scan import gathered, windows
from service.db.arrays import Buffer, Mask, Offsets, Values

_LONG = 4096  # bytes, beyond which a value is copied by itself
_DOUBLE_BYTES = 8

Sizes = Offsets | int  # one where all are the same


class Laid(NamedTuple):
    """A piece of each of some rows: its size, and what writes all of them, each at its place."""

    sizes: Sizes
    write: Callable[[Buffer, Offsets], None]


class Span(NamedTuple):
    shortest: int
    longest: int


Piece = Callable[[Values], Laid]  # of a column's values, of which there is at least one


def constant(content: bytes) -> Piece:
    laid = Laid(len(content), lambda out, at: _put(out, at, content))
    return lambda values: laid


def behind(*starts: bytes) -> Piece:
    """Values as they are, in fields within fields; see `wire.Prefixes`."""
    prefixes = _Prefixes(*starts)

    def lay(values: Values) -> Laid:
        span = _span(values.lengths)
        return prefixes.before(Laid(values.lengths, lambda out, at: _copy(out, at, values, span)), span)

    return lay


def number(start: bytes, kind: str) -> Piece:
    """Numbers that were sent as a `kind` that numpy knows: doubles behind a start."""

    def lay(values: Values) -> Laid:
        def write(out: Buffer, at: Offsets) -> None:
            _put(out, at, start)
            windows(out, "<f8")[at + len(start)] = gathered(values.buffer, values.starts, kind)

        return Laid(len(start) + _DOUBLE_BYTES, write)

    return lay


def one_of(contents: Sequence[bytes], chosen: Callable[[Values], Offsets]) -> Piece:
    """Contents of the same length, of which each row has the one with the chosen number."""
    table = np.array(contents, f"V{len(contents[0])}")

    def lay(values: Values) -> Laid:
        def write(out: Buffer, at: Offsets) -> None:
            windows(out, table.dtype.str)[at] = table[chosen(values)]

        return Laid(table.itemsize, write)

    return lay


def made(encode: Callable[[Values], Sequence[bytes]]) -> Piece:
    """What is made of the values one by one."""

    def lay(values: Values) -> Laid:
        contents = encode(values)
        sizes = np.fromiter(map(len, contents), np.int64, len(contents))
        joined = Values(np.frombuffer(b"".join(contents), np.uint8), np.cumsum(sizes) - sizes, sizes)
        return Laid(sizes, lambda out, at: _copy(out, at, joined, _span(sizes)))

    return lay


def either(which: Callable[[Values], Mask], piece: Piece, other: Piece) -> Piece:
    """One where `which` says so, the other elsewhere."""

    def lay(values: Values) -> Laid:
        mask = which(values)
        if mask.all():
            return piece(values)
        if not mask.any():
            return other(values)
        chosen = ((np.flatnonzero(mask), piece), (np.flatnonzero(~mask), other))
        parts = [(rows, lay(values.of(rows))) for rows, lay in chosen]
        sizes = np.empty(len(mask), np.int64)
        for rows, laid in parts:
            sizes[rows] = laid.sizes

        def write(out: Buffer, at: Offsets) -> None:
            for rows, laid in parts:
                laid.write(out, at[rows])

        return Laid(sizes, write)

    return lay


def or_null(piece: Piece, null: bytes) -> Piece:
    return either(lambda values: values.lengths >= 0, piece, constant(null))


def in_a_row(pieces: Sequence[Laid]) -> Laid:
    """One behind the other."""

    def write(out: Buffer, at: Offsets) -> None:
        for piece in pieces:
            piece.write(out, at)
            at = at + piece.sizes

    return Laid(reduce(add, (piece.sizes for piece in pieces)), write)


def within(start: bytes) -> Callable[[Laid], Laid]:
    """A field of variable length around what is laid out."""
    return _Prefixes(start).before


def written(laid: Laid, count: int) -> tuple[Buffer, Offsets]:
    """So many rows one after the other, and where each of them ends."""
    sizes = np.broadcast_to(laid.sizes, count)
    ends: Offsets = np.cumsum(sizes)
    out = np.empty(int(ends[-1]), np.uint8)
    laid.write(out, ends - sizes)
    return out, ends


class _Prefixes:
    """What stands before contents in fields within fields; all whose lengths take as many bytes at once."""

    def __init__(self, *starts: bytes) -> None:
        self._starts = starts
        self._known = wire.Prefixes(*starts)

    def before(self, content: Laid, span: Span | None = None) -> Laid:
        lengths, (shortest, longest) = content.sizes, span or _span(content.sizes)
        sizes: Sizes = len(self._known[shortest])
        if sizes != len(self._known[longest]):
            sizes = self._sizes(np.asarray(lengths))

        def write(out: Buffer, at: Offsets) -> None:
            if isinstance(sizes, int):
                self._write(out, at, lengths, Span(shortest, longest))
            else:
                self._write_each(out, at, np.asarray(lengths), sizes)
            content.write(out, at + sizes)

        return Laid(lengths + sizes, write)

    def _sizes(self, lengths: Offsets) -> Offsets:
        inside = lengths
        for start in reversed(self._starts):
            inside = inside + (len(start) + _widths(inside))
        return inside - lengths

    def _write_each(self, out: Buffer, at: Offsets, lengths: Offsets, sizes: Offsets) -> None:
        for size in np.unique(sizes):
            rows = np.flatnonzero(sizes == size)
            self._write(out, at[rows], lengths[rows], _span(lengths[rows]))

    def _write(self, out: Buffer, at: Offsets, lengths: Sizes, span: Span) -> None:
        """Of the same size. They differ in the lengths alone that they say."""
        shortest, longest = span
        prefix = self._known[shortest]
        _put(out, at, prefix)
        if shortest == longest:
            return
        end, inside = len(prefix), shortest
        for start in reversed(self._starts):
            width = len(wire.varint(inside))
            _write_varints(out, at + (end - width), lengths + (inside - shortest), width)
            end -= width + len(start)
            inside += width + len(start)


def _write_varints(out: Buffer, at: Offsets, numbers: Sizes, width: int) -> None:
    for place in range(width):
        bits = numbers >> 7 * place
        out[at + place] = bits if place == width - 1 else bits & 0x7F | 0x80


def _widths(lengths: Offsets) -> Offsets:
    """How many bytes each takes."""
    widths = np.ones(len(lengths), np.int64)
    longest = int(lengths.max())
    for bits in (7, 14, 21, 28):
        if longest >> bits:
            widths += lengths >= 1 << bits
    return widths


def _put(out: Buffer, at: Offsets, content: bytes) -> None:
    if content:
        kind = f"V{len(content)}"
        windows(out, kind)[at] = np.frombuffer(content, kind)


def _copy(out: Buffer, at: Offsets, values: Values, span: Span) -> None:
    """As many values at once as the shortest of them, from either end, covers."""
    shortest, longest = span
    if longest > _LONG:
        _copy_one_by_one(out, at, values)
        return
    while 2 * shortest < longest:
        covered = values.lengths <= 2 * shortest
        rows, others = np.flatnonzero(covered), np.flatnonzero(~covered)
        _copy_alike(out, at[rows], values.of(rows), Span(shortest, 2 * shortest))
        at, values = at[others], values.of(others)
        shortest = int(values.lengths.min())
    _copy_alike(out, at, values, Span(shortest, longest))


def _copy_alike(out: Buffer, at: Offsets, values: Values, span: Span) -> None:
    """Of lengths up to twice the shortest."""
    shortest, longest = span
    if not shortest:
        return
    kind = f"V{shortest}"
    found, room = windows(values.buffer, kind), windows(out, kind)
    room[at] = found[values.starts]
    if shortest < longest:
        rest = values.lengths - shortest
        room[at + rest] = found[values.starts + rest]


def _copy_one_by_one(out: Buffer, at: Offsets, values: Values) -> None:
    content, room = values.buffer.data, out.data
    for to, start, length in zip(at.tolist(), values.starts.tolist(), values.lengths.tolist(), strict=True):
        room[to : to + length] = content[start : start + length]


def _span(sizes: Sizes) -> Span:
    return Span(sizes, sizes) if isinstance(sizes, int) else Span(int(sizes.min()), int(sizes.max()))
