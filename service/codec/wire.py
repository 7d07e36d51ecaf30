"""Protobuf's wire format, as far as features are written in it by hand.

Making a message object per feature costs more than the search that found it; joining bytes whose tags and names are
known beforehand does not. Tests hold what is written here against what protobuf's own runtime reads.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache, lru_cache, partial
from math import isfinite
from struct import Struct
from typing import Any

_double = Struct("<d").pack
_DOUBLE_BYTES = 8
_SMALL = 1 << 14
_SHORT_JSON = 64
MOST_NESTED = 20  # objects and lists; each is up to four messages, of which readers allow a hundred within each other
EXACT_INTEGERS = range(-(2**53), 2**53 + 1)


def varint(value: int) -> bytes:
    parts = bytearray()
    while value > 0x7F:
        parts.append(value & 0x7F | 0x80)
        value >>= 7
    parts.append(value)
    return bytes(parts)


_VARINTS = [varint(value) for value in range(_SMALL)]


def delimited(tag: bytes, content: bytes) -> bytes:
    """A field of variable length: a string, bytes or a message."""
    size = len(content)
    return tag + (_VARINTS[size] if size < _SMALL else varint(size)) + content


def content(field: bytes) -> bytes:
    """What a field of variable length holds."""
    at = 1
    while field[at] > 0x7F:
        at += 1
    return field[at + 1 :]


def elements(message: bytes) -> Iterator[bytes]:
    """The fields of a message that has none but such of variable length, with tags of one byte."""
    start = 0
    while start < len(message):
        yield message[start : (start := _end(message, start))]


def first_elements(message: bytes, count: int) -> bytes:
    """So many of them from the front."""
    at = 0
    for _ in range(count):
        at = _end(message, at)
    return message[:at]


def _end(message: bytes, start: int) -> int:
    """Where a field of variable length that begins at `start`, with a tag of one byte, ends."""
    size, at = 0, start + 1
    for shift in range(0, 35, 7):
        byte = message[at]
        at += 1
        size |= (byte & 0x7F) << shift
        if byte <= 0x7F:
            break
    return at + size


class Prefixes(dict[int, bytes]):
    """What stands before a content of so many bytes that lies in fields within fields.

    `starts` are the tags of the fields from the outside in, each behind what else stands in the one around it. Kept by
    size: most contents are of few sizes.
    """

    def __init__(self, *starts: bytes) -> None:
        super().__init__()
        *self._outer, self._innermost = starts

    def __missing__(self, size: int) -> bytes:
        prefix = self._innermost + varint(size)
        for start in reversed(self._outer):
            prefix = start + varint(len(prefix) + size) + prefix
        if size < _SMALL:
            self[size] = prefix
        return prefix


class SizedPrefixes(dict[int, tuple[bytes, int]]):
    """The same, each with the size of the prefix and the content together; of size -1 is what is written for null."""

    def __init__(self, prefixes: Prefixes, null: bytes = b"") -> None:
        super().__init__({-1: (null, len(null))})
        self._prefixes = prefixes

    def __missing__(self, size: int) -> tuple[bytes, int]:
        prefix = self._prefixes[size]
        sized = prefix, len(prefix) + size
        if size < _SMALL:
            self[size] = sized
        return sized


def tag(number: int, wire_type: int) -> bytes:
    return varint(number << 3 | wire_type)


LENGTH = 2  # the wire type of delimited()
FIXED64 = 1
VARINT = 0

# google.protobuf.Value
NULL = tag(1, VARINT) + b"\0"
TRUE = tag(4, VARINT) + b"\1"
FALSE = tag(4, VARINT) + b"\0"
_NUMBER = tag(2, FIXED64)
_STRING = tag(3, LENGTH)
_STRUCT = tag(5, LENGTH)
_LIST = tag(6, LENGTH)
# google.protobuf.Struct, its map's entries, and google.protobuf.ListValue
_ENTRY = tag(1, LENGTH)
_KEY = tag(1, LENGTH)
_VALUE = tag(2, LENGTH)
_ITEM = tag(1, LENGTH)


def number(value: float) -> bytes:
    return _NUMBER + _double(value)


def string(text: bytes) -> bytes:
    return delimited(_STRING, text)


def finite(value: float) -> bytes:
    """A number, or a string where JSON has no number for it."""
    return number(value) if isfinite(value) else string(json.dumps(value).encode())


def integer(value: int) -> bytes:
    """A number, or beyond 2^53, where doubles have gaps, a string."""
    return number(value) if value in EXACT_INTEGERS else string(b"%d" % value)


def value(content: Any, depth: int = 0) -> bytes:
    """A google.protobuf.Value of what json.loads gives; what lies deeper than protobuf's readers go is JSON text."""
    if depth == MOST_NESTED and isinstance(content, dict | list):
        return string(json.dumps(content, ensure_ascii=False).encode())
    match content:
        case None:
            return NULL
        case bool():
            return TRUE if content else FALSE
        case int():
            return integer(content)
        case float():
            return finite(content)
        case str():
            return string(content.encode())
        case dict():
            return delimited(_STRUCT, struct(content, depth + 1))
        case _:
            return delimited(_LIST, _items(content, depth + 1))


def struct(content: Mapping[str, Any], depth: int = 0) -> bytes:
    """A google.protobuf.Struct of a JSON object."""
    return b"".join([entry(key(name), value(item, depth)) for name, item in content.items()])


def json_value(text: bytes) -> bytes:
    """A google.protobuf.Value of a JSON text."""
    return _known_json(text) if len(text) <= _SHORT_JSON else _json_value(text)


def _json_value(text: bytes) -> bytes:
    return value(_DECODER.decode(text.decode()))


_known_json = lru_cache(maxsize=4096)(_json_value)  # tags and the like are the same in many rows


def _integer(digits: str) -> int | str:
    """Python refuses to read integers of thousands of digits; beyond 2^53 they are sent as strings anyway."""
    return int(digits) if len(digits) < 20 else digits


_DECODER = json.JSONDecoder(parse_int=_integer)  # json.loads would make one for each text


def entry_starts(name: str) -> tuple[bytes, bytes, bytes]:
    """The tags before the text of a string property called `name`."""
    return _ENTRY, key(name), _STRING


@cache
def entry_prefixes(name: str) -> SizedPrefixes:
    """Before the text of a string property called `name`; for null, the whole entry."""
    return SizedPrefixes(Prefixes(*entry_starts(name)), null=entry(key(name), NULL))


def number_start(name: str) -> bytes:
    """Before the double of a property called `name`."""
    return entry(key(name), number(0))[:-_DOUBLE_BYTES]


def number_entry(name: str) -> Callable[[float], bytes]:
    """From a finite number to the entry of a property called `name`."""
    start = number_start(name)
    return partial(Struct(f"<{len(start)}sd").pack, start)


def _items(content: Sequence[Any], depth: int) -> bytes:
    return b"".join([delimited(_ITEM, value(item, depth)) for item in content])


def key(name: str) -> bytes:
    """The part of a Struct's entry that is the same whatever its value."""
    return delimited(_KEY, name.encode()) + _VALUE


def entry(key: bytes, value: bytes) -> bytes:
    return delimited(_ENTRY, delimited(key, value))
