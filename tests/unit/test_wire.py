"""What is written by hand against what protobuf's own runtime reads."""

import json
import struct
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from google.protobuf.json_format import MessageToDict
from google.protobuf.struct_pb2 import Struct, Value
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import LargeBinary, literal_column

from service.catalog import Catalog, Property, PropertyType, shipped_layers
from service.codec import rows, wire
from service.codec.features import feature_encoder
from service.codec.values import property_encoder
from service.db.columns import property_column
from service.db.queries import Statement, Statements
from service.domain import DistanceModel, Encoding, Kind, Output, Shape, View
from spatial.v1.feature_pb2 import Feature

STATEMENTS = Statements(Catalog(shipped_layers()))
text = st.text(st.characters(codec="utf-8"), max_size=30)
sizes = st.sampled_from([0, 1, 63, 64, 119, 120, 127, 128, 129, 300, 16_370, 16_383, 16_384, 20_000, 70_000])
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False, allow_infinity=False) | text,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(text, inner, max_size=4),
    max_leaves=12,
)


def as_sent(content: Any) -> Any:
    """JSON as a Value can hold it: integers beyond 2^53 as strings, the others as doubles."""
    if isinstance(content, dict):
        return {name: as_sent(item) for name, item in content.items()}
    if isinstance(content, list):
        return [as_sent(item) for item in content]
    if isinstance(content, int) and not isinstance(content, bool):
        return float(content) if abs(content) <= 2**53 else str(content)
    return content


@given(json_values)
def test_any_json_is_a_value(content: Any) -> None:
    assert MessageToDict(Value.FromString(wire.value(content))) == as_sent(content)


@given(st.dictionaries(text, json_values, max_size=5))
def test_any_json_object_is_a_struct(content: dict[str, Any]) -> None:
    assert MessageToDict(Struct.FromString(wire.struct(content))) == as_sent(content)


@given(st.integers(0, 2**64 - 1))
def test_a_varint_is_protobufs(number: int) -> None:
    if number < 2**31:
        expected = Feature()
        expected.geometry.srid = number
        assert Feature.FromString(
            b"\x12" + wire.varint(1 + len(wire.varint(number))) + b"\x20" + wire.varint(number)
        ) == (expected)
    assert sum((byte & 0x7F) << 7 * place for place, byte in enumerate(wire.varint(number))) == number
    assert [byte >> 7 for byte in wire.varint(number)] == [1] * (len(wire.varint(number)) - 1) + [0]


@pytest.mark.parametrize("number", [2**53, -(2**53), 2**53 + 1, -(2**53) - 1, 0, 2**63 - 1, -(2**63)])
def test_integers_are_numbers_as_far_as_doubles_hold_them(number: int) -> None:
    value = Value.FromString(wire.integer(number))

    assert value == (Value(number_value=number) if abs(number) <= 2**53 else Value(string_value=str(number)))


@given(size=sizes, beside=st.binary(max_size=9))
def test_prefixes_know_the_sizes_around_a_content(size: int, beside: bytes) -> None:
    prefixes = wire.Prefixes(b"\x12", beside + b"\x0a")
    inner = beside + wire.delimited(b"\x0a", b"x" * size)

    assert prefixes[size] + b"x" * size == wire.delimited(b"\x12", inner)
    assert prefixes[size] == prefixes[size]


@given(size=sizes)
def test_sized_prefixes_know_how_large_the_whole_is(size: int) -> None:
    sized = wire.SizedPrefixes(wire.Prefixes(b"\x12"), null=b"none")

    assert sized[size] == sized[size] == (wire.Prefixes(b"\x12")[size], len(wire.delimited(b"\x12", b"x" * size)))
    assert sized[-1] == (b"none", 4)


def statement(**shape: Any) -> Statement:
    return STATEMENTS[Shape(**{"kind": Kind.LOOKUP, "layer": "facilities", **shape})]


@given(key=st.integers(-(2**63), 2**63 - 1), name=text, size=sizes, distance=st.floats(0, 2.1e7))
def test_a_feature_is_protobufs(key: int, name: str, size: int, distance: float) -> None:
    asked = statement(kind=Kind.RADIUS, variant=DistanceModel.SPHEROID, output=Output(("name",)))
    encode = feature_encoder(asked, 4326)

    feature = Feature.FromString(encode((1, key, distance, b"w" * size, name.encode())))

    expected = Feature(id=str(key), distance_meters=distance)
    expected.geometry.wkb, expected.geometry.srid = b"w" * size, 4326
    expected.properties["name"] = name
    assert feature == expected


@given(content=text)
def test_wkt_goes_on_as_it_is(content: str) -> None:
    encode = feature_encoder(statement(output=Output(("name",), encoding=Encoding.WKT)), 3857)

    geometry = Feature.FromString(encode((1, 7, content.encode(), b"n"))).geometry

    assert (geometry.wkt, geometry.srid) == (content, 3857)


def test_geojson_becomes_a_struct() -> None:
    encode = feature_encoder(statement(output=Output(("name",), encoding=Encoding.GEOJSON)), 4326)
    content = {"type": "Polygon", "coordinates": [[[0, 1.5], [-3, 4], [0, 1.5]]]}

    geometry = Feature.FromString(encode((1, 7, json.dumps(content).encode(), b"n"))).geometry

    assert MessageToDict(geometry.geojson) == content
    assert geometry.srid == 4326


def test_no_geometry_is_no_field() -> None:
    asked = statement(output=Output(("name",), view=View.NONE))
    feature = Feature.FromString(feature_encoder(asked, 4326)((1, 7, b"n")))

    assert not feature.HasField("geometry")
    assert not feature.HasField("distance_meters")
    assert feature.properties["name"] == "n"


def microseconds(moment: datetime) -> int:
    return (moment - datetime(2000, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)


PROPERTIES: dict[PropertyType, list[tuple[Any, Any]]] = {
    PropertyType.STRING: [(b"", ""), ("☃".encode(), "☃"), (b"x" * 20_000, "x" * 20_000)],
    PropertyType.INTEGER: [(0, 0), (-5, -5), (2**53 + 1, str(2**53 + 1)), (-(2**63), str(-(2**63)))],
    PropertyType.NUMBER: [
        (0.5, 0.5),
        (-1e308, -1e308),
        (float("inf"), "Infinity"),
        (float("-inf"), "-Infinity"),
        (float("nan"), "NaN"),
    ],
    PropertyType.BOOLEAN: [(True, True), (False, False)],
    PropertyType.TIMESTAMP: [
        (0, "2000-01-01T00:00:00Z"),
        (microseconds(datetime(2024, 2, 29, 1, 2, 3, 4, UTC)), "2024-02-29T01:02:03.000004Z"),
        (microseconds(datetime(1, 1, 1, tzinfo=UTC)), "0001-01-01T00:00:00Z"),
        (2**63 - 1, "infinity"),
        (-(2**63), "-infinity"),
    ],
    PropertyType.JSON: [(b"{}", {}), (b'[1, null, {"a": "b"}]', [1, None, {"a": "b"}]), (b"null", None), (b'""', "")],
}
NAMES = {
    PropertyType.STRING: ("facilities", "country"),
    PropertyType.INTEGER: ("facilities", "population"),
    PropertyType.BOOLEAN: ("facilities", "active"),
    PropertyType.TIMESTAMP: ("facilities", "created_at"),
    PropertyType.JSON: ("facilities", "attributes"),
    PropertyType.NUMBER: ("zones", "area_square_meters"),
}


@pytest.mark.parametrize("kind", NAMES)
def test_every_type_of_property_and_null(kind: PropertyType) -> None:
    layer, name = NAMES[kind]
    asked = statement(layer=layer, output=Output((name,), view=View.NONE))
    assert asked.columns[-1].property is not None
    assert asked.columns[-1].property.type is kind
    encode = feature_encoder(asked, 4326)

    for value, expected in [*PROPERTIES[kind], (None, None)]:
        feature = Feature.FromString(encode((1, 7, value)))
        assert MessageToDict(feature.properties) == {name: expected}


@pytest.mark.parametrize(("value", "expected"), [(b"\0\xff\x10", "AP8Q"), (b"", ""), (None, None)])
def test_bytes_are_in_base64(value: bytes | None, expected: str | None) -> None:
    raw = Property("raw", PropertyType.BYTES, literal_column("raw", LargeBinary()), nullable=True)
    encode = property_encoder(property_column(raw))

    assert MessageToDict(Struct.FromString(encode(value))) == {"raw": expected}


def test_the_writer_keeps_an_encoder_a_statement() -> None:
    writer = rows.FeatureWriter()
    asked = statement(output=Output(("name",), view=View.NONE))

    written = [Feature.FromString(each) for each in writer.features(asked, [(1, 1, b"a"), (1, 2, b"b")])]

    assert [(feature.id, feature.properties["name"]) for feature in written] == [("1", "a"), ("2", "b")]
    assert writer.features(asked, []) == []


def test_a_double_is_little_endian() -> None:
    assert wire.number(1.5)[1:] == struct.pack("<d", 1.5)
