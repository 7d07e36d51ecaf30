"""Features written by PostgreSQL: SQL that makes of a search's columns an element of a message.

What `codec/features.py` does with rows in Python is said here in SQL, for columns that are easily written. Their bytes
are the same, and of the same size; only a feature of 16 KiB or more is none of these.
"""

from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence

from service.catalog import PropertyType
from service.codec import wire
from service.codec.features import DISTANCE_TAG, ELEMENT, FIELDS
from service.codec.values import geometry_starts
from service.db.columns import Column
from service.db.copy import Row, Wire
from service.db.packed import Packing
from service.db.queries import Statement
from service.domain import Encoding
from spatial.v1 import feature_pb2

MOST_BYTES = 1 << 14  # below it a length is one byte or two
_ONE_BYTE = 1 << 7

# What each step calls a column's bytes, and their length.
_Written = Callable[[str, Column, Statement], str]


def packing(statement: Statement, element: bytes = ELEMENT) -> Packing | None:
    """For statements that answer with features, each behind the tag of an `element`; None where a column is not easily
    written."""
    if not all(_is_plain(column, statement.shape.output.encoding) for column in statement.columns):
        return None
    columns = [(f"c{index}", column) for index, column in enumerate(statement.columns[1:], 1)]
    values = {name: _SENT.get(_kind(column), "{}").format(name) for name, column in columns}
    fields = {name: _WRITERS[_kind(column)](name, column, statement) for name, column in columns}
    entries = [fields.pop(name) for name, column in columns if column.kind == "property"]
    if entries:
        fields["entries"] = _joined(entries)
    pieces = [_behind("entries", _PROPERTIES) if name == "entries" else name for name in fields]
    return Packing(
        (values, fields, {"feature": _joined(pieces)}),
        _behind("feature", (element,)),
        f"octet_length(feature) < {MOST_BYTES}",
        _splitter(statement),
    )


def _tag(name: str) -> bytes:
    return wire.tag(FIELDS[name].number, wire.LENGTH)


_PROPERTIES = (_tag("properties"),)


def _kind(column: Column) -> str:
    """What decides how a column is written."""
    if column.property is not None:
        return column.property.type.name
    return "text key" if column.kind == "key" and column.field.wire is Wire.BYTES else column.kind


def _is_plain(column: Column, encoding: Encoding) -> bool:
    if column.kind == "geometry":
        return encoding is not Encoding.GEOJSON
    return column.kind == "ordinal" or _kind(column) in _WRITERS


def _double(number: str) -> str:
    """As protobuf has it: WKB is the one form in which PostgreSQL writes the low byte first."""
    return f"substring(ST_AsBinary(ST_MakePoint({number}, 0), 'NDR') from 6 for 8)"


# RFC 3339, or a word for what is none.
_TIME = """CASE WHEN NOT isfinite({0}) THEN CAST({0} AS TEXT)
WHEN {0} < '0001-01-01' OR {0} >= '10000-01-01' THEN 'out of range'
ELSE replace(to_char({0}, 'YYYY-MM-DD"T"HH24:MI:SS.US'), '.000000', '') || 'Z' END"""

# The bytes of a value, made once, where it is of variable length.
_SENT: Mapping[str, str] = {
    "key": "textsend(CAST({} AS TEXT))",
    "text key": "textsend({})",
    "etag": "textsend({})",
    PropertyType.STRING.name: "textsend({})",
    PropertyType.TIMESTAMP.name: f"textsend({_TIME})",
    PropertyType.BYTES.name: "textsend(translate(encode({}, 'base64'), chr(10), ''))",
}


def _key(name: str, column: Column, statement: Statement) -> str:
    return _behind(name, (_tag("id"),))


def _etag(name: str, column: Column, statement: Statement) -> str:
    return _behind(name, (_tag("etag"),))


def _distance(name: str, column: Column, statement: Statement) -> str:
    return f"{_constant(bytes([DISTANCE_TAG]))} || {_double(name)}"


def _geometry(name: str, column: Column, statement: Statement) -> str:
    output = statement.shape.output
    starts = geometry_starts(output.encoding, output.srid or statement.layer.srid)
    content = name if output.encoding is Encoding.WKB else f"textsend({name})"
    return _or_null(name, column, _behind(content, starts), b"")


def _string(name: str, column: Column, statement: Statement) -> str:
    return _or_null(name, column, _behind(name, wire.entry_starts(_property(column))), _null(column))


def _boolean(name: str, column: Column, statement: Statement) -> str:
    key = wire.key(_property(column))
    yes, no = (_constant(wire.entry(key, value)) for value in (wire.TRUE, wire.FALSE))
    return _or_null(name, column, f"CASE WHEN {name} THEN {yes} ELSE {no} END", _null(column))


def _integer(name: str, column: Column, statement: Statement) -> str:
    exact = wire.EXACT_INTEGERS
    text = f"textsend(CAST({name} AS TEXT))"
    written = (
        f"CASE WHEN {name} BETWEEN {exact.start} AND {exact.stop - 1} THEN {_number(name, column)}"
        f" ELSE {_behind(text, wire.entry_starts(_property(column)))} END"
    )
    return _or_null(name, column, written, _null(column))


def _finite(name: str, column: Column, statement: Statement) -> str:
    key = wire.key(_property(column))
    others = " ".join(
        f"WHEN '{text}' THEN {_constant(wire.entry(key, wire.finite(float(text))))}"
        for text in ("NaN", "Infinity", "-Infinity")
    )
    return _or_null(name, column, f"CASE {name} {others} ELSE {_number(name, column)} END", _null(column))


def _number(name: str, column: Column) -> str:
    return f"{_constant(wire.number_start(_property(column)))} || {_double(name)}"


_WRITERS: Mapping[str, _Written] = {
    "key": _key,
    "text key": _key,
    "distance": _distance,
    "geometry": _geometry,
    "etag": _etag,
    PropertyType.STRING.name: _string,
    PropertyType.TIMESTAMP.name: _string,
    PropertyType.BYTES.name: _string,
    PropertyType.BOOLEAN.name: _boolean,
    PropertyType.INTEGER.name: _integer,
    PropertyType.NUMBER.name: _finite,
}


def _property(column: Column) -> str:
    assert column.property is not None
    return column.property.name


def _null(column: Column) -> bytes:
    return wire.entry(wire.key(_property(column)), wire.NULL)


def _or_null(name: str, column: Column, written: str, null: bytes) -> str:
    if not column.field.nullable:
        return written
    return f"CASE WHEN {name} IS NULL THEN {_constant(null)} ELSE {written} END"


def _constant(content: bytes) -> str:
    """Whatever the session takes a backslash for."""
    return f"decode('{content.hex()}', 'hex')"


def _joined(pieces: Sequence[str]) -> str:
    return " || ".join(f"({piece})" for piece in pieces)


def _behind(content: str, starts: Sequence[bytes]) -> str:
    """Bytes in fields within fields, whose tags are the `starts` from the outside in; as `wire.Prefixes` has it.

    The longer the content, the more of the lengths, from the outside in, take two bytes.
    """
    size = f"octet_length({content})"
    shortest, longest = (sum(map(len, starts)) + many * len(starts) for many in (1, 2))
    prefixes = wire.Prefixes(*starts)
    widths = [len(prefixes[number]) for number in range(_ONE_BYTE + 1)]  # longer by two bytes at once, in places
    branches = [
        f"WHEN {size} < {bisect_right(widths, width)} THEN {_template(starts, width - shortest, size)}"
        for width in sorted({*widths} - {longest})
    ]
    return f"(CASE {' '.join(branches)} ELSE {_template(starts, len(starts), size)} END) || {content}"


def _template(starts: Sequence[bytes], long: int, size: str) -> str:
    """The prefix where the first so many lengths take two bytes: zeros at first, and then each byte is set."""
    zeros = [bytes(2 if index < long else 1) for index in range(len(starts))]
    template = b"".join(start + zero for start, zero in zip(starts, zeros, strict=True))
    written, at = _constant(template), 0
    for start, zero in zip(starts, zeros, strict=True):
        at += len(start)
        inside = len(template) - at - len(zero)
        length = f"({size} + {inside})" if inside else size
        if len(zero) == 1:
            written = f"set_byte({written}, {at}, {length})"
        else:
            written = f"set_byte(set_byte({written}, {at}, {length} & 127 | 128), {at + 1}, {length} >> 7)"
        at += len(zero)
    return written


def _splitter(statement: Statement) -> Callable[[int, bytes], list[Row]]:
    """What gives rows as `feature_reader` does, of features that were written together."""
    integer = statement.layer.integer_key
    distance = any(column.kind == "distance" for column in statement.columns)

    def split(ordinal: int, features: bytes) -> list[Row]:
        rows: list[Row] = []
        for element in wire.elements(features):
            feature = feature_pb2.Feature.FromString(wire.content(element))
            key = int(feature.id) if integer else feature.id
            rows.append((ordinal, key, *((feature.distance_meters,) if distance else ()), element))
        return rows

    return split
