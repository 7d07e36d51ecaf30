"""Values as texts that PostgreSQL reads, and those that a property cannot have."""

import math
from typing import Any

import pytest
from google.protobuf import struct_pb2
from sqlalchemy import column
from sqlalchemy import types as sql
from sqlalchemy.dialects import postgresql
from sqlalchemy.types import TypeEngine

from service.catalog import Property, PropertyType
from service.codec.arriving.texts import text_of, texts_of
from service.errors import InvalidArgument
from service.reflected.types import OtherType
from spatial.v1 import feature_pb2
from tests.arriving import layer

LAYER = layer()
TYPES: dict[str, tuple[TypeEngine[Any], PropertyType]] = {
    "text": (sql.Text(), PropertyType.STRING),
    "smallint": (sql.SmallInteger(), PropertyType.INTEGER),
    "bigint": (sql.BigInteger(), PropertyType.INTEGER),
    "numeric": (sql.Numeric(), PropertyType.NUMBER),
    "real": (postgresql.REAL(), PropertyType.NUMBER),
    "double": (sql.Float(53), PropertyType.NUMBER),
    "boolean": (sql.Boolean(), PropertyType.BOOLEAN),
    "timestamptz": (sql.DateTime(timezone=True), PropertyType.TIMESTAMP),
    "timestamp": (sql.DateTime(timezone=False), PropertyType.STRING),
    "date": (sql.Date(), PropertyType.STRING),
    "uuid": (sql.Uuid(), PropertyType.STRING),
    "mood": (OtherType("mood"), PropertyType.STRING),
    "json": (sql.JSON(), PropertyType.JSON),
    "jsonb": (postgresql.JSONB(), PropertyType.JSON),
    "hstore": (OtherType("hstore"), PropertyType.JSON),
    "pair": (OtherType("pair"), PropertyType.JSON),
    "bytea": (postgresql.BYTEA(), PropertyType.BYTES),
    "int[]": (postgresql.ARRAY(sql.Integer()), PropertyType.JSON),
    "text[]": (postgresql.ARRAY(sql.Text()), PropertyType.JSON),
    "mood[]": (postgresql.ARRAY(OtherType("mood")), PropertyType.JSON),
    "jsonb[]": (postgresql.ARRAY(postgresql.JSONB()), PropertyType.JSON),
    "boolean[]": (postgresql.ARRAY(sql.Boolean()), PropertyType.JSON),
    "timestamptz[]": (postgresql.ARRAY(sql.DateTime(timezone=True)), PropertyType.JSON),
}


def prop(name: str) -> Property:
    type_, kind = TYPES[name]
    return Property("value", kind, column("value", type_), nullable=True, writable=True)


def value(content: Any) -> struct_pb2.Value:
    struct = struct_pb2.Struct()
    struct.update({"value": content})
    return struct.fields["value"]


WRITTEN = [
    ("text", "Ä '\"\\", "Ä '\"\\"),
    ("text", "", ""),
    ("mood", "Glücklich", "Glücklich"),
    ("smallint", -32768.0, "-32768"),
    ("smallint", "12", "12"),
    ("bigint", 2.0**53, "9007199254740992"),
    ("bigint", "-9223372036854775808", "-9223372036854775808"),
    ("numeric", 0.1, "0.1"),
    ("numeric", "123456789012345678901234567890.5", "123456789012345678901234567890.5"),
    ("numeric", "NaN", "NaN"),
    ("double", math.inf, "Infinity"),
    ("double", -math.inf, "-Infinity"),
    ("double", math.nan, "NaN"),
    ("double", 5e-324, "5e-324"),
    ("double", "0e-9999", "0e-9999"),
    ("real", 1.5, "1.5"),
    ("real", "Infinity", "Infinity"),
    ("boolean", True, "true"),
    ("boolean", False, "false"),
    ("timestamptz", "2024-02-29T12:34:56.789Z", "2024-02-29T12:34:56.789Z"),
    ("timestamptz", "2024-02-29 12:34:56+02", "2024-02-29 12:34:56+02"),
    ("timestamptz", "-infinity", "-infinity"),
    ("timestamp", "2024-02-29T12:34:56", "2024-02-29T12:34:56"),
    ("timestamp", "0044-03-15T12:00:00 BC", "0044-03-15T12:00:00 BC"),
    ("date", "2024-02-29", "2024-02-29"),
    ("date", "0044-03-15 BC", "0044-03-15 BC"),
    ("uuid", "11111111222233334444555555555ABC", "11111111-2222-3333-4444-555555555abc"),
    ("json", {"a": [1.0, 1.5, None, True, "ü"]}, '{"a":[1,1.5,null,true,"ü"]}'),
    ("json", "\0", r'"\u0000"'),
    ("jsonb", r"\u0000", r'"\\u0000"'),
    ("jsonb", {}, "{}"),
    ("hstore", {"a": "1", 'b"\\': None}, r'"a"=>"1","b\"\\"=>NULL'),
    ("hstore", {}, ""),
    ("bytea", "AP8Q", r"\x00ff10"),
    ("bytea", "-_8", r"\xfbff"),
    ("bytea", "", r"\x"),
    ("int[]", [1.0, None, "3"], '{"1",NULL,"3"}'),
    ("int[]", [[1.0, 2.0], [3.0, 4.0]], '{{"1","2"},{"3","4"}}'),
    ("int[]", [], "{}"),
    ("text[]", ["", "NULL", 'a "b" \\ {c}, d'], r'{"","NULL","a \"b\" \\ {c}, d"}'),
    ("mood[]", ["sad"], '{"sad"}'),
    ("jsonb[]", [[1.0], {"a": "b"}], r'{"[1]","{\"a\":\"b\"}"}'),
    ("boolean[]", [True, None], '{"true",NULL}'),
    ("timestamptz[]", ["2024-01-01T00:00:00Z"], '{"2024-01-01T00:00:00Z"}'),
]


@pytest.mark.parametrize(("type_", "content", "expected"), WRITTEN)
def test_a_value_is_written_as_postgresql_reads_it(type_: str, content: Any, expected: str) -> None:
    assert text_of(LAYER, prop(type_), value(content)) == expected


@pytest.mark.parametrize("type_", TYPES)
def test_null_is_null_whatever_the_type(type_: str) -> None:
    assert text_of(LAYER, prop(type_), value(None)) is None


UNFIT = [
    ("text", 1.0, "1.0 is not a text"),
    ("text", "a\0", "PostgreSQL's texts have no NUL"),
    ("smallint", 1.5, "1.5 is not an integer"),
    ("smallint", 32768.0, "32768 is not from -32768 to 32767"),
    ("smallint", True, "True is not an integer"),
    ("bigint", 2.0**53 + 2, "beyond 2^53 they are written as strings"),
    ("bigint", "9223372036854775808", "is not from -9223372036854775808"),
    ("bigint", " 1", "' 1' is not an integer"),
    ("bigint", math.nan, "nan is not an integer"),
    ("numeric", "1_000", "'1_000' is not a number"),
    ("numeric", "0x10", "is not a number"),
    ("numeric", True, "True is not a number"),
    ("double", "1e309", "1e309 is out of range"),
    ("double", "-1e-400", "-1e-400 is out of range"),
    ("real", 1e39, "1e+39 is out of range"),
    ("boolean", "true", "'true' is neither true nor false"),
    ("boolean", 1.0, "1.0 is neither"),
    ("timestamptz", "2024-02-29T12:34:56", "is not a timestamp (RFC 3339, with its offset)"),
    ("timestamptz", "2023-02-29T12:34:56Z", "is not a timestamp"),
    ("timestamptz", "now", "is not a timestamp"),
    ("timestamptz", "out of range", "is not a timestamp"),
    ("timestamp", "2024-02-29T12:34:56Z", "is not a timestamp without an offset"),
    ("date", "29.02.2024", "is not a date"),
    ("date", "2023-02-29", "is not a date"),
    ("date", "tomorrow", "is not a date"),
    ("uuid", "urn:uuid:11111111-2222-3333-4444-555555555555", "is not a UUID"),
    ("jsonb", {"a": ["\0"]}, "jsonb has no NUL"),
    ("jsonb", {"\0": 1.0}, "jsonb has no NUL"),
    ("json", [math.inf], "JSON has no number that is not finite"),
    ("hstore", ["a"], "is not an object"),
    ("hstore", {"a": 1.0}, "1.0 is not a text"),
    ("pair", {"a": 1.0}, "values of its type cannot be written"),
    ("bytea", "a b=", "is not base64"),
    ("int[]", {"a": 1.0}, "is not a list"),
    ("int[]", [[1.0], [2.0, 3.0]], "not all of one size"),
    ("int[]", [[1.0], 2.0], "not all of one size"),
    ("int[]", [1.0, [2.0]], "[2.0] is not an integer"),
    ("int[]", [2.0**31], "2147483648 is not from"),
    ("text[]", [1.0], "1.0 is not a text"),
]


@pytest.mark.parametrize(("type_", "content", "why"), UNFIT)
def test_what_a_property_cannot_have_is_refused(type_: str, content: Any, why: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        text_of(LAYER, prop(type_), value(content))
    error = caught.value
    assert (error.reason, error.field) == ("INVALID_PROPERTY_VALUE", None)
    assert error.metadata == {"layer": "arriving", "property": "value"}
    assert why in error.message


def test_a_value_that_is_none_is_refused() -> None:
    with pytest.raises(InvalidArgument) as caught:
        text_of(LAYER, prop("text"), struct_pb2.Value())
    assert caught.value.reason == "INVALID_PROPERTY_VALUE"


def _lists(values: dict[str, list[Any]]) -> Any:
    return {name: {"values": each} for name, each in values.items()}


def texts(
    type_: str, count: int, nulls: tuple[int, ...] = (), **values: list[Any]
) -> tuple[list[str | None], set[int]]:
    column_ = feature_pb2.Column(null_rows=nulls, **_lists(values))
    found, refused = texts_of(LAYER, prop(type_), column_, count)
    assert all(error.reason == "INVALID_PROPERTY_VALUE" for error in refused.values())
    return found, set(refused)


COLUMNS = [
    ("text", (1,), {"strings": ["a", "", "c\0"]}, ["a", None, None], {2}),
    ("smallint", (1,), {"integers": [1, 0, 40000]}, ["1", None, None], {2}),
    ("bigint", (), {"integers": [2**63 - 1, -(2**63)]}, ["9223372036854775807", "-9223372036854775808"], set()),
    ("double", (), {"numbers": [0.1, math.nan, -math.inf]}, ["0.1", "NaN", "-Infinity"], set()),
    ("real", (), {"numbers": [1.0, 1e39]}, ["1.0", None], {1}),
    ("boolean", (0,), {"booleans": [False, True, False]}, [None, "true", "false"], set()),
    ("bytea", (1,), {"bytes": [b"\0\xff", b"", b""]}, [r"\x00ff", None, r"\x"], set()),
    ("jsonb", (2,), {"json": ['{"b":1.50, "b":2}', "{", ""]}, ['{"b":1.50, "b":2}', None, None], {1}),
    ("jsonb", (), {"json": [r'"\u0000"', r'"\\u0000"']}, [None, r'"\\u0000"'], {0}),
    ("json", (), {"json": ["NaN", r'"\u0000"', "1" * 5000]}, [None, r'"\u0000"', "1" * 5000], {0}),
    ("int[]", (), {"json": ["[1,null]", "{}", "null"]}, ['{"1",NULL}', None, None], {1, 2}),
    ("hstore", (), {"json": ['{"a":null}']}, ['"a"=>NULL'], set()),
    ("pair", (1,), {"json": ['{"a":null}', ""]}, [None, None], {0}),
    (
        "timestamptz",
        (4,),
        {"timestamps": [0, -1, 2**63 - 1, -(2**63), 0, -62_135_596_800_000_001, -(2**62), 2**63 - 2]},
        [
            "1970-01-01T00:00:00.000000Z",
            "1969-12-31T23:59:59.999999Z",
            "infinity",
            "-infinity",
            None,
            "0001-12-31T23:59:59.999999Z BC",
            None,
            "294247-01-10T04:00:54.775806Z",
        ],
        {6},
    ),
]


@pytest.mark.parametrize(("type_", "nulls", "given", "expected", "refused"), COLUMNS)
def test_a_column_is_written_value_by_value(
    type_: str, nulls: tuple[int, ...], given: dict[str, list[Any]], expected: list[str | None], refused: set[int]
) -> None:
    (values,) = given.values()
    assert texts(type_, len(values), nulls, **given) == (expected, refused)


NO_COLUMNS = [
    ("of another type", "text", feature_pb2.Column(integers={"values": [1]}), "it comes as strings, not as integers"),
    ("of none", "text", feature_pb2.Column(), "it comes as strings, not as nothing"),
    ("too short", "text", feature_pb2.Column(strings={}), "there are 0 values of 1 features"),
    ("null beyond", "text", feature_pb2.Column(strings={"values": ["a"]}, null_rows=[1]), "row 1 is to be null"),
]


@pytest.mark.parametrize(("case", "type_", "column_", "why"), NO_COLUMNS)
def test_a_column_that_is_not_the_propertys_is_refused_as_a_whole(
    case: str, type_: str, column_: feature_pb2.Column, why: str
) -> None:
    with pytest.raises(InvalidArgument) as caught:
        texts_of(LAYER, prop(type_), column_, 1)
    assert caught.value.reason == "INVALID_PROPERTY_VALUE"
    assert why in caught.value.message
