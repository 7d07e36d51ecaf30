"""Decodes what `COPY … TO STDOUT (FORMAT binary)` sends, with a function composed for the columns of the statement.

A row is a field count, then for each field its length (-1 for null) and its bytes. Fields of fixed width that are never
null lie at known distances, so a run of them, and the length that follows, is one `struct` call. The function is
written out as source once per statement, since a loop over fields would cost more than the fields do.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from mmap import MADV_DONTNEED, MAP_ANONYMOUS, MAP_PRIVATE, mmap
from struct import Struct
from typing import Any

from psycopg2.extensions import cursor as Cursor  # noqa: N812 - a class, whatever its case

SIGNATURE = b"PGCOPY\n\xff\r\n\0"
HEADER_BYTES = len(SIGNATURE) + 8  # flags, and the length of an extension that nobody uses

Row = tuple[Any, ...]
Decoder = Callable[[bytes], list[Row]]


class Wire(Enum):
    """How a column is sent: (struct code, width), or as bytes of any length (text too: UTF-8 goes on as it is)."""

    INT64 = ("q", 8)
    FLOAT64 = ("d", 8)
    BOOL = ("?", 1)
    BYTES = ("", 0)


@dataclass(frozen=True, slots=True)
class Field:
    wire: Wire
    nullable: bool = True

    @property
    def fixed(self) -> bool:
        return self.wire is not Wire.BYTES and not self.nullable


@dataclass(frozen=True, slots=True)
class Copied:
    """What a COPY sent, not yet decoded. `cut` says that it was ended where the rows no longer fitted."""

    data: bytes
    cut: bool = False


class CopyBuffer:
    """Where a lane's COPYs are written to, one after the other.

    psycopg2 writes once a row. A memory map takes that in C, and refuses what goes beyond its end, which ends the COPY;
    a method in Python that counts would cost as much as the rest of the copying.
    """

    KEPT_BYTES = 1 << 20

    def __init__(self, size: int) -> None:
        self._map = mmap(-1, size, flags=MAP_PRIVATE | MAP_ANONYMOUS)

    def copy(self, cursor: Cursor, statement: bytes) -> Copied:
        buffer = self._map
        buffer.seek(0)
        try:
            cursor.copy_expert(statement, buffer)
        except ValueError:  # beyond the end
            return self._taken(cut=True) if buffer.tell() else Copied(_first_row(cursor, statement), cut=True)
        return self._taken(cut=False)

    def _taken(self, *, cut: bool) -> Copied:
        size = self._map.tell()
        copied = Copied(self._map[:size], cut)
        if size > self.KEPT_BYTES:
            self._map.madvise(MADV_DONTNEED)
        return copied


class _FirstRow(Exception):
    """Ends a COPY after its first row."""

    def write(self, message: bytes) -> None:
        raise _FirstRow(message)


def _first_row(cursor: Cursor, statement: bytes) -> bytes:
    """One row however large: an answer that is empty for its size would never get on."""
    try:
        cursor.copy_expert(statement, _FirstRow())
    except _FirstRow as first:
        return bytes(first.args[0])
    return b""


def decoder(fields: Sequence[Field]) -> Decoder:
    """A function from all that a COPY sent, or as much of it as ends with a row, to the rows' values."""
    names = [f"value_{index}" for index in range(len(fields))]
    scope: dict[str, Any] = {"begin": HEADER_BYTES}
    body: list[str] = []
    start = "2x"  # the field count
    for run, variable in _segments(list(zip(names, fields, strict=True))):
        body += _read_run(run, variable, start, scope)
        if variable:
            body += _read_variable(*variable, scope)
        start = ""
    source = _TEMPLATE.format(body="\n        ".join(body), row=", ".join(names))
    exec(source, scope)  # noqa: S102 - nothing in it comes from outside
    decode: Decoder = scope["decode"]
    return decode


# A row that begins with 255 is none: the end is marked by a field count of -1.
_TEMPLATE = """
def decode(data):
    rows = []
    at, end = begin, len(data)
    while at < end and data[at] != 255:
        {body}
        rows.append(({row},))
    return rows
"""

_Named = tuple[str, Field]


def _segments(fields: Sequence[_Named]) -> Iterator[tuple[list[_Named], _Named | None]]:
    """Runs of fields of fixed width, each with the one of variable width that follows it."""
    run: list[_Named] = []
    for named in fields:
        if named[1].fixed:
            run.append(named)
        else:
            yield run, named
            run = []
    if run:
        yield run, None


def _read_run(run: Sequence[_Named], variable: _Named | None, start: str, scope: dict[str, Any]) -> list[str]:
    names = [name for name, _ in run]
    layout = "!" + start + "".join("4x" + field.wire.value[0] for _, field in run)
    if variable:
        names.append("length")
        layout += "i"
    unpack = f"unpack_{len(scope)}"
    scope[unpack] = Struct(layout).unpack_from
    return [f"{', '.join(names)}, = {unpack}(data, at)", f"at += {Struct(layout).size}"]


def _read_variable(name: str, field: Field, scope: dict[str, Any]) -> list[str]:
    value = "data[at:at + length]"
    if field.wire is not Wire.BYTES:
        unpack = f"unpack_{len(scope)}"
        scope[unpack] = Struct("!" + field.wire.value[0]).unpack_from
        value = f"{unpack}(data, at)[0]"
    read = [f"{name} = {value}", "at += length"]
    if not field.nullable:
        return read
    return [f"{name} = None", "if length >= 0:", *("    " + line for line in read)]
