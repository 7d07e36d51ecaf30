"""Decodes what `COPY … TO STDOUT (FORMAT binary)` sends, with a function composed for the columns of the statement.

A row is a field count, then for each field its length (-1 for null) and its bytes. Fields of fixed width that are never
null lie at known distances, so a run of them, and the length that follows, is one `struct` call. The function is
written out as source once per statement, since a loop over fields would cost more than the fields do; what is to become
of a row can be part of that source.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from mmap import MADV_DONTNEED, MAP_ANONYMOUS, MAP_PRIVATE, mmap
from struct import Struct
from types import MappingProxyType
from typing import Any

from psycopg2.extensions import cursor as Cursor  # noqa: N812 - a class, whatever its case

SIGNATURE = b"PGCOPY\n\xff\r\n\0"
HEADER_BYTES = len(SIGNATURE) + 8  # flags, and the length of an extension that nobody uses
TRAILER = b"\xff\xff"  # a field count of -1

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
    def width(self) -> int:
        return self.wire.value[1]

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
    """A function from all that a COPY sent, or as much of it as begins and ends with a row, to the rows' values."""
    return row_reader(fields, f"({', '.join(map(value_name, range(len(fields))))},)")


def value_name(index: int) -> str:
    """What the source given to `row_reader` calls a field's value."""
    return f"value_{index}"


def length_name(index: int) -> str:
    """What it calls how many bytes a field of variable width was sent as: -1 for null."""
    return f"length_{index}"


def row_reader(
    fields: Sequence[Field], row: str, lines: Sequence[str] = (), scope: Mapping[str, Any] = MappingProxyType({})
) -> Decoder:
    """A decoder that makes of each row what the expression `row` says, in Python source over the fields' names, the
    names that `lines` assign before, and those in `scope`."""
    names: dict[str, Any] = {"header": HEADER_BYTES, **scope}
    body: list[str] = []
    start = "2x"  # the field count
    for run, variable in _segments(list(enumerate(fields))):
        body += _read_run(run, variable, start, names)
        if variable:
            body += _read_variable(*variable, names)
        start = ""
    source = _TEMPLATE.format(body="\n        ".join([*body, *lines]), row=row)
    exec(source, names)  # noqa: S102 - nothing in it comes from outside
    read: Decoder = names["read"]
    return read


# A row has more than two bytes, and the trailer has no more.
_TEMPLATE = """
def read(data):
    rows = []
    append = rows.append
    at, end = header if data[:1] == b"P" else 0, len(data) - 2
    while at < end:
        {body}
        append({row})
    return rows
"""

_Numbered = tuple[int, Field]


def _segments(fields: Sequence[_Numbered]) -> Iterator[tuple[list[_Numbered], _Numbered | None]]:
    """Runs of fields of fixed width, each with the one of variable width that follows it."""
    run: list[_Numbered] = []
    for numbered in fields:
        if numbered[1].fixed:
            run.append(numbered)
        else:
            yield run, numbered
            run = []
    if run:
        yield run, None


def _read_run(run: Sequence[_Numbered], variable: _Numbered | None, start: str, scope: dict[str, Any]) -> list[str]:
    names = [value_name(index) for index, _ in run]
    layout = "!" + start + "".join("4x" + field.wire.value[0] for _, field in run)
    if variable:
        names.append(length_name(variable[0]))
        layout += "i"
    unpack = f"unpack_{len(scope)}"
    scope[unpack] = Struct(layout).unpack_from
    return [f"{', '.join(names)}, = {unpack}(data, at)", f"at += {Struct(layout).size}"]


def _read_variable(index: int, field: Field, scope: dict[str, Any]) -> list[str]:
    name, length = value_name(index), length_name(index)
    if field.wire is Wire.BYTES:
        read = [f"{name} = data[at:(at := at + {length})]"]
    else:
        unpack = f"unpack_{len(scope)}"
        scope[unpack] = Struct("!" + field.wire.value[0]).unpack_from
        read = [f"{name}, = {unpack}(data, at)", f"at += {length}"]
    if not field.nullable:
        return read
    return [f"{name} = None", f"if {length} >= 0:", *("    " + line for line in read)]
