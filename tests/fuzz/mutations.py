"""Requests that are right, or wrong in one known way, after changes to their fields and to their bytes."""

from collections.abc import Sequence
from struct import pack
from typing import NamedTuple

from hypothesis import strategies as st

from service.codec import wire
from tests.fuzz.edges import DOUBLES, INTEGERS

FIXED32 = 5
MOST_BYTES = 1 << 16
_CONTENTS = (
    b"",
    b"\0",
    b"x" * 200,
    b"\xff",
    b"facilities",
    b"zones",
    b"parcels",
    b"public.facilities",
    b"anything",
    b"1",
    b"-1",
    b"POINT (0 0)",
    b"POINT (2.5 10.5)",
    b"name = 'a'",
    b"name",
    b"*",
    b"geometry",
    b"\xef\xbf\xbf",
)
Change = tuple[str, int, int]
KINDS = ("drop", "repeat", "swap", "value", "value", "value", "number", "into", "flip", "cut")
changes: st.SearchStrategy[list[Change]] = st.lists(
    st.tuples(st.sampled_from(KINDS), st.integers(0, 2**16 - 1), st.integers(0, 255)), min_size=1, max_size=3
)


class Field(NamedTuple):
    """A field as it stands in bytes."""

    number: int
    type: int
    content: bytes

    def written(self) -> bytes:
        frame = wire.varint(len(self.content)) if self.type == wire.LENGTH else b""
        return wire.varint(self.number << 3 | self.type) + frame + self.content


def fields(data: bytes) -> list[Field] | None:
    """Those of a message; None where the bytes are none."""
    found, at = [], 0
    try:
        while at < len(data):
            tag, at = _varint(data, at)
            start, at = _content(data, at, tag & 7)
            if tag >> 3 == 0 or at > len(data):
                return None
            found.append(Field(tag >> 3, tag & 7, data[start:at]))
    except (IndexError, ValueError):
        return None
    return found


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        value |= (data[at + shift // 7] & 127) << shift
        if data[at + shift // 7] < 128:
            return value, at + shift // 7 + 1
    raise ValueError


def _content(data: bytes, at: int, kind: int) -> tuple[int, int]:
    """Where a field's content begins and ends."""
    if kind == wire.VARINT:
        return at, _varint(data, at)[1]
    if kind == wire.LENGTH:
        size, start = _varint(data, at)
        return start, start + size
    return at, at + {wire.FIXED64: 8, FIXED32: 4}[kind] if kind in (wire.FIXED64, FIXED32) else at + len(data) + 1


def mutated(data: bytes, wanted: Sequence[Change]) -> bytes:
    for kind, where, what in wanted:
        data = _bytes(data, kind, where, what) if kind in ("flip", "cut") else _changed(data, kind, where, what, 0)
    return data[:MOST_BYTES]


def _bytes(data: bytes, kind: str, where: int, what: int) -> bytes:
    at = where % (len(data) or 1)
    return data[:at] if kind == "cut" else data[:at] + bytes([what]) + data[at + 1 :]


def _changed(data: bytes, kind: str, where: int, what: int, depth: int) -> bytes:
    """`where` says which field, and which of that one's fields, and so on."""
    found = fields(data)
    if not found:
        return data
    where, at = divmod(where, len(found))
    chosen = found[at]
    deeper = chosen.type == wire.LENGTH and depth < 6 and fields(chosen.content)
    if deeper and where % 8:
        found[at] = chosen._replace(content=_changed(chosen.content, kind, where // 2, what, depth + 1))
    else:
        found[at : at + 1] = _replaced(chosen, kind, what)
        if kind == "swap":
            found.reverse()
    return b"".join(field.written() for field in found)


def _replaced(field: Field, kind: str, what: int) -> list[Field]:
    """What stands in the place of a field."""
    if kind == "drop":
        return []
    if kind == "repeat":
        return [field] * (2 + what % 4 * 20)
    if kind == "number":
        return [field._replace(number=1 + what % 12)]
    if kind == "into":
        return [field._replace(type=wire.LENGTH, content=field.written() * (1 + what % 3))]
    return [field._replace(content=_other(field, what))] if kind == "value" else [field]


def _other(field: Field, what: int) -> bytes:
    if field.type == wire.VARINT:
        return wire.varint(INTEGERS[what % len(INTEGERS)] % 2**64)
    if field.type == wire.FIXED64:
        return pack("<d", DOUBLES[what % len(DOUBLES)])
    if field.type == FIXED32:
        return bytes([what]) * 4
    if what < 128:
        return _CONTENTS[what % len(_CONTENTS)]
    at = what % (len(field.content) or 1)
    return field.content[:at] + bytes([what]) + field.content[at + what % 2 :]


def mutants(known: Sequence[tuple[bytes, ...]], streaming: bool) -> st.SearchStrategy[tuple[bytes, ...]]:
    """Of calls that are known, each the messages that it sends."""
    one = st.builds(lambda call, wanted: tuple(mutated(each, wanted) for each in call), st.sampled_from(known), changes)
    if not streaming:
        return one
    message = st.sampled_from([message for call in known for message in call] or [b""])
    return one | st.lists(message | st.builds(mutated, message, changes), max_size=6).map(tuple)
