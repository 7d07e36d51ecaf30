"""Chunks: so many rows of an import as one transaction writes, as lines for COPY."""

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from service.changes import Incoming, Rejection
from service.db.imports.lines import Lines, lines_of, with_prefix

FIRST_ROWS, FEWEST_ROWS, MOST_ROWS = 1000, 50, 20_000
MOST_BYTES = 4 * 1024 * 1024
SECONDS = 0.5  # that a chunk should take: long enough to be worth its commit, short enough to be lost
# Of a table that goes again if the import fails, nothing is saved by committing often.
STRAIGHT_ROWS, STRAIGHT_BYTES, STRAIGHT_SECONDS = 50_000, 16 * 1024 * 1024, 2.0


class Brought(NamedTuple):
    """Which columns rows bring: properties by name, a key, a geometry."""

    values: tuple[str, ...]
    keys: bool
    geometry: bool

    @classmethod
    def by(cls, incoming: Incoming) -> "Brought":
        return cls(tuple(incoming.values), incoming.keys is not None, incoming.geometries is not None)


@dataclass(slots=True, eq=False)
class Chunk:
    """Rows `first` to `end` of an import, without `end`: those that are to be written, a line for COPY each, and those
    that were refused before. Lines that are `bare` are as the layer's own table takes them."""

    first: int
    end: int
    numbers: list[int] = field(default_factory=list)
    brought: list[Brought] = field(default_factory=list)  # by each row; the same object where it is the same
    names: list[str] = field(default_factory=list)  # what each row calls itself in a rejection
    lines: list[str] = field(default_factory=list)
    rejections: list[Rejection] = field(default_factory=list)
    bare: bool = False

    def joined(self, other: "Chunk") -> "Chunk":
        """With the rows that follow it."""
        self.end = other.end
        self.numbers += other.numbers
        self.brought += other.brought
        self.names += other.names
        self.lines += other.lines
        self.rejections += other.rejections
        return self

    def kinds(self) -> list[Brought]:
        """What rows bring; few rows bring something else than those before."""
        return list({id(brought): brought for brought in self.brought}.values())

    def copy(self, kind: int, brought: Brought) -> Lines:
        """The lines of the rows that bring this, each with its place and the number of its kind before it."""
        return Lines(
            f"{place}\t{kind}\t{self._staged(line, brought)}"
            for place, (line, own) in enumerate(zip(self.lines, self.brought, strict=True))
            if own is brought
        )

    def _staged(self, line: str, brought: Brought) -> str:
        return with_prefix(line, keyed=brought.keys) if self.bare and brought.geometry else line

    def straight(self) -> Lines:
        """Bare lines, as the layer's own table takes them."""
        return Lines(self.lines)

    def halves(self) -> "tuple[Chunk, Chunk]":
        middle = len(self.numbers) // 2
        return self.part(self.first, self.numbers[middle]), self.part(self.numbers[middle], self.end)

    def part(self, first: int, end: int) -> "Chunk":
        """The rows from `first` to `end` alone."""
        inside = slice(_before(self.numbers, first), _before(self.numbers, end))
        return Chunk(
            first,
            end,
            self.numbers[inside],
            self.brought[inside],
            self.names[inside],
            self.lines[inside],
            [each for each in self.rejections if first <= each.row < end],
            self.bare,
        )


def _before(numbers: Sequence[int], number: int) -> int:
    """How many of the numbers, which ascend, are below one."""
    return bisect_left(numbers, number)


class ChunkSize:
    """How many rows the next chunk should have, after how long the last ones took."""

    def __init__(self, *, straight: bool = False) -> None:
        self.rows = FIRST_ROWS
        self.most_rows = STRAIGHT_ROWS if straight else MOST_ROWS
        self.most_bytes = STRAIGHT_BYTES if straight else MOST_BYTES
        self._seconds = STRAIGHT_SECONDS if straight else SECONDS

    def took(self, rows: int, seconds: float) -> None:
        """A chunk that the caller's pace made small says little of what a larger one would take."""
        wanted = rows * self._seconds / max(seconds, 1e-3)
        if wanted < self.rows or rows >= self.rows // 2:
            self.rows = int(min(max(wanted, self.rows / 2, FEWEST_ROWS), self.rows * 2, self.most_rows))


class Gathering:
    """Rows that wait to be a whole chunk."""

    def __init__(self, size: ChunkSize, match: str | None, *, straight: bool = False) -> None:
        self._size = size
        self._match = match
        self._straight = straight
        self._kinds: dict[Brought, Brought] = {}
        self._chunk: Chunk | None = None
        self._bytes = 0

    def add(self, incoming: Incoming, first: int) -> Iterator[Chunk]:
        """The chunks that have become full; rows below `first` are left out."""
        brought = Brought.by(incoming := _bringing(incoming))
        rows = _whole(incoming, self._kinds.setdefault(brought, brought), self._match, first, bare=self._straight)
        if rows.end <= first:
            return
        line_bytes = sum(map(len, rows.lines)) // max(1, len(rows.lines)) + 1
        while rows.first < rows.end:
            rows = self._take(rows, line_bytes)
            if rows.first < rows.end or self._full(line_bytes):
                yield from self.rest()

    def rest(self) -> Iterator[Chunk]:
        """What waits, if anything does."""
        if self._chunk is not None:
            chunk, self._chunk, self._bytes = self._chunk, None, 0
            yield chunk

    def _take(self, rows: Chunk, line_bytes: int) -> Chunk:
        """Adds as many rows as there is room for, and gives the others."""
        room = self._room(line_bytes)
        end = rows.numbers[room] if room < len(rows.numbers) else rows.end
        taken = rows if end == rows.end else rows.part(rows.first, end)
        self._bytes += line_bytes * len(taken.numbers)
        self._chunk = taken if self._chunk is None else self._chunk.joined(taken)
        return rows.part(end, rows.end)

    def _full(self, line_bytes: int) -> bool:
        waiting = self._chunk
        return waiting is not None and (
            len(waiting.numbers) >= self._size.rows
            or self._bytes + line_bytes > self._size.most_bytes
            or len(waiting.rejections) >= self._size.most_rows
        )

    def _room(self, line_bytes: int) -> int:
        waiting = 0 if self._chunk is None else len(self._chunk.numbers)
        room = min(self._size.rows - waiting, (self._size.most_bytes - self._bytes) // line_bytes)
        return max(1, room) if not waiting else max(0, room)


def _bringing(incoming: Incoming) -> Incoming:
    """For COPY a line has a column at least: rows that bring nothing at all bring no geometry."""
    if incoming.keys is not None or incoming.geometries is not None or incoming.values:
        return incoming
    return replace(incoming, geometries=[None] * len(incoming.numbers))


def _whole(incoming: Incoming, brought: Brought, match: str | None, first: int, *, bare: bool) -> Chunk:
    """All rows from `first` on, as if they were one chunk."""
    names = incoming.values.get(match) if match else incoming.keys
    ends = [*incoming.numbers[-1:], *(each.row for each in incoming.rejections)]
    begins = [*incoming.numbers[:1], *(each.row for each in incoming.rejections)]
    whole = Chunk(
        min(begins, default=0),
        max(ends, default=-1) + 1,
        list(incoming.numbers),
        [brought] * len(incoming.numbers),
        [name or "" for name in names or ()] or [""] * len(incoming.numbers),
        lines_of(incoming, bare=bare),
        sorted(incoming.rejections),
        bare,
    )
    return whole if whole.first >= first else whole.part(first, whole.end)
