"""Decodes the rows of `COPY … TO STDOUT (FORMAT binary)`, with a function composed for the row's columns.

psycopg2 hands over one message per row: a field count, then for each field its length (-1 for null) and its bytes.
Fields of fixed width that are never null lie at known distances, so a run of them is one `struct` call; the function
is written out as source once per statement, since a loop over fields would cost more than the fields do.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from struct import Struct
from typing import Any

SIGNATURE = b"PGCOPY\n\xff\r\n\0"
HEADER_BYTES = len(SIGNATURE) + 8  # flags and the length of an extension that nobody uses
TRAILER = b"\xff\xff"

Row = tuple[Any, ...]
Decoder = Callable[[bytes], Row]


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


def rows(messages: list[bytes]) -> Iterator[bytes]:
    """The rows among what one COPY sent: without its header, which comes glued to the first, and its trailer."""
    if not messages or not messages[0].startswith(SIGNATURE):
        raise ValueError("not the output of a binary COPY")
    messages[0] = messages[0][HEADER_BYTES:]
    return (message for message in messages if message and message != TRAILER)


def decoder(fields: Sequence[Field]) -> Decoder:
    """A function from one row's message to the tuple of its values."""
    source = _Source()
    for run in _runs(fields):
        source.read_run(run) if run[0].fixed else source.read_field(run[0])
    return source.compile()


def _runs(fields: Sequence[Field]) -> Iterator[list[Field]]:
    """The fields in order, neighbours of fixed width together."""
    run: list[Field] = []
    for field in fields:
        if run and not (field.fixed and run[-1].fixed):
            yield run
            run = []
        run.append(field)
    if run:
        yield run


class _Source:
    """The text of a decoder while it is written: statements over `message`, an offset, and the structs they use."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.names: list[str] = []
        self.scope: dict[str, object] = {"length_at": Struct("!i").unpack_from}
        self.fixed_offset: int | None = 2  # until the first field of variable width, the offset is known beforehand

    def read_run(self, run: list[Field]) -> None:
        layout = Struct("!" + "".join("4x" + field.wire.value[0] for field in run))
        unpack = f"unpack_{len(self.scope)}"
        self.scope[unpack] = layout.unpack_from
        names = [self._name() for _ in run]
        self.lines.append(f"{', '.join(names)}, = {unpack}(message, {self._offset()})")
        self._advance(layout.size)

    def read_field(self, field: Field) -> None:
        name = self._name()
        self.lines.append(f"length, = length_at(message, {self._offset()})")
        start = self._offset(4)
        if field.wire is Wire.BYTES:
            value = f"message[{start}:{start} + length]"
        else:
            unpack = f"unpack_{len(self.scope)}"
            self.scope[unpack] = Struct("!" + field.wire.value[0]).unpack_from
            value = f"{unpack}(message, {start})[0]"
        self.lines += ["if length < 0:", f"    {name} = None; at = {start}"]
        self.lines += ["else:", f"    {name} = {value}; at = {start} + length"]
        self.fixed_offset = None

    def compile(self) -> Decoder:
        body = "\n    ".join([*self.lines, f"return ({', '.join(self.names)},)"])
        exec(f"def decode(message):\n    {body}", self.scope)  # noqa: S102 - nothing in it comes from outside
        return self.scope["decode"]  # type: ignore[return-value]

    def _name(self) -> str:
        self.names.append(f"value_{len(self.names)}")
        return self.names[-1]

    def _offset(self, ahead: int = 0) -> str:
        if self.fixed_offset is not None:
            return str(self.fixed_offset + ahead)
        return f"at + {ahead}" if ahead else "at"

    def _advance(self, width: int) -> None:
        if self.fixed_offset is not None:
            self.fixed_offset += width
        else:
            self.lines.append(f"at += {width}")
