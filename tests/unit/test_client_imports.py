"""Features, tables and frames as the messages of an import, and how an import goes on."""

import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import geopandas
import pyarrow as pa
import pytest
import shapely

from spatial_client import Layer, NewFeature, Property
from spatial_client._features import ewkb, point_wkb
from spatial_client._packing import BATCH_BYTES, COLUMNS, Request
from spatial_client._sources import end_of, source_of
from spatial_client._tables import TYPES

KINDS = {
    "name": "string",
    "population": "integer",
    "area": "number",
    "open": "boolean",
    "since": "timestamp",
    "tags": "json",
    "blob": "bytes",
}
LAYER = Layer(
    name="places",
    description="",
    geometry_type="POINT",
    srid=4326,
    properties=tuple(Property(name, kind, nullable=True, computed=False) for name, kind in KINDS.items()),
    extent=None,
    estimated_rows=None,
    indexes=(),
)
METRES = replace(LAYER, srid=3857)
POINT = shapely.Point(1, 2)
WKB = point_wkb(1, 2)
NOON = datetime(1970, 1, 1, 12, tzinfo=UTC)
MICROSECONDS = 12 * 3600 * 1_000_000


def requests(source: Any, layer: Layer = LAYER, srid: int | None = None, first: int = 0) -> list[Request]:
    return list(source_of(source, layer, srid).requests(first))


def test_features_travel_as_columns_of_the_layer_s_types() -> None:
    (request,) = requests(
        [
            NewFeature(
                POINT,
                {
                    "name": "a",
                    "population": 2**62,
                    "area": 1,
                    "open": True,
                    "since": NOON,
                    "tags": {"x": [1]},
                    "blob": b"\xff",
                },
                id=5,
            ),
            NewFeature(WKB, dict.fromkeys(KINDS), id=6),
        ]
    )

    columns = request.columns
    assert (columns.count, list(columns.int64_ids), list(columns.wkb)) == (2, [5, 6], [WKB, WKB])
    assert {each.name: each.WhichOneof("values") for each in columns.properties} == {
        name: COLUMNS[kind][0] for name, kind in KINDS.items()
    }
    first = {each.name: getattr(each, str(each.WhichOneof("values"))).values[0] for each in columns.properties}
    assert first == {
        "name": "a",
        "population": 2**62,
        "area": 1.0,
        "open": True,
        "since": MICROSECONDS,
        "tags": '{"x": [1]}',
        "blob": b"\xff",
    }
    assert {tuple(each.null_rows) for each in columns.properties} == {(1,)}


@pytest.mark.parametrize(
    ("geometry", "properties"),
    [
        pytest.param("POINT(1 2)", {}, id="WKT"),
        pytest.param({"type": "Point", "coordinates": [1, 2]}, {}, id="GeoJSON"),
        pytest.param(POINT, {"since": "1970-01-01T12:00:00Z"}, id="a timestamp as text"),
        pytest.param(POINT, {"population": 2.5}, id="no integer"),
        pytest.param(POINT, {"population": True}, id="a truth value for an integer"),
        pytest.param(POINT, {"population": 2**63}, id="an integer beyond 64 bits"),
        pytest.param(POINT, {"name": 5}, id="a number for a string"),
        pytest.param(POINT, {"height": 5}, id="a property that the layer does not have"),
        pytest.param(POINT, {"height": None}, id="null of such a one"),
        pytest.param(POINT, {"tags": float("nan")}, id="no JSON"),
    ],
)
def test_what_fits_no_column_travels_as_a_feature_for_the_service_to_judge(
    geometry: Any, properties: dict[str, Any]
) -> None:
    whole, odd, rest = requests([(POINT, {}), (geometry, properties), (POINT, {})])

    assert [each.WhichOneof("layout") for each in (whole, odd, rest)] == ["columns", "rows", "columns"]
    assert [each.first_row for each in (whole, odd, rest)] == [0, 1, 2]
    assert odd.rows.features[0].properties.fields.keys() == properties.keys()


def test_rows_that_do_not_bring_the_same_things_do_not_share_a_message() -> None:
    found = requests(
        [
            (POINT, {"name": "a"}),
            (POINT, {"name": None}),
            (POINT, {}),
            (None, {}),
            (None, {}, 5),
        ]
    )

    assert [each.columns.count for each in found] == [2, 1, 1, 1]
    assert [[column.name for column in each.columns.properties] for each in found] == [["name"], [], [], []]
    assert [len(each.columns.wkb) for each in found] == [2, 1, 0, 0]
    assert [list(each.columns.int64_ids) for each in found] == [[], [], [], [5]]
    assert [each.first_row for each in found] == [0, 2, 3, 4]


NAMED = replace(LAYER, key_type="string")


@pytest.mark.parametrize(
    ("layer", "integers", "texts"),
    [pytest.param(LAYER, [5, 6], [], id="integers"), pytest.param(NAMED, [], ["5", "6"], id="texts")],
)
@pytest.mark.parametrize(
    "source",
    [[(POINT, {}, 5), (POINT, {}, "6")], pa.table({"id": [5, 6]}), pa.table({"id": ["5", "6"]})],
    ids=["features", "a table of integers", "a table of texts"],
)
def test_keys_travel_as_the_layer_has_them(source: Any, layer: Layer, integers: list[int], texts: list[str]) -> None:
    (request,) = requests(source, layer)

    assert (list(request.columns.int64_ids), list(request.columns.string_ids)) == (integers, texts)


@pytest.mark.parametrize("key", ["a", "5.0", " 5", "", True, 2**63], ids=repr)
def test_what_is_no_integer_key_is_for_the_service_to_judge(key: Any) -> None:
    (request,) = requests([(POINT, {}, key)])

    assert request.rows.features[0].id == str(key)


def test_messages_are_of_about_256_kib() -> None:
    found = requests((POINT, {"name": "x" * 1000}) for _ in range(1000))

    assert [end_of(each) for each in found] == [*(each.first_row for each in found[1:]), 1000]
    assert all(BATCH_BYTES * 0.9 < each.ByteSize() < BATCH_BYTES * 1.1 for each in found[:-1])


@pytest.mark.parametrize(
    ("geometry", "layer", "srid", "sent"),
    [
        pytest.param((1, 2), LAYER, None, WKB, id="longitude, latitude, as the layer has them"),
        pytest.param((1, 2), METRES, None, ewkb(WKB, 4326), id="into a layer in metres"),
        pytest.param((1, 2), METRES, 4326, WKB, id="where all is in degrees"),
        pytest.param((1, 2), LAYER, 3857, ewkb(WKB, 4326), id="where the rest is not"),
        pytest.param(POINT, METRES, None, WKB, id="shapely, in the layer's"),
        pytest.param(shapely.set_srid(POINT, 25832), LAYER, None, ewkb(WKB, 25832), id="shapely with an SRID"),
    ],
)
def test_a_geometry_s_crs(geometry: Any, layer: Layer, srid: int | None, sent: bytes) -> None:
    (request,) = requests([(geometry, {})], layer, srid)

    assert list(request.columns.wkb) == [sent]


def test_text_without_an_srid_is_in_the_import_s_crs() -> None:
    (request,) = requests([("POINT(1 2)", {}), ("SRID=4326;POINT(1 2)", {})], METRES)

    assert [each.geometry.srid for each in request.rows.features] == [3857, 0]


# Tables.

CRS = {"crs": {"id": {"authority": "EPSG", "code": 25832}}}


def marked(crs: Any = None, name: str = "shape", kind: Any = None) -> pa.Field:
    said = {"ARROW:extension:name": "geoarrow.wkb", "ARROW:extension:metadata": json.dumps(crs or {})}
    return pa.field(name, kind or pa.binary(), metadata=said)


def table(**columns: Any) -> pa.Table:
    return pa.table({"shape": [WKB, None], **columns}, schema=None).cast(
        pa.schema([marked(CRS), *(pa.field(name, each.type) for name, each in columns.items())])
    )


PLACES = pa.array([[1.0, 2.0]], pa.list_(pa.float64(), 2))
AS_POINTS = {"ARROW:extension:name": "geoarrow.point"}


def test_a_table_travels_as_columns() -> None:
    (request,) = requests(
        table(id=pa.array([5, 6]), name=pa.array(["a", None]), population=pa.array([1, 2], pa.int8()))
    )

    columns = request.columns
    assert (columns.count, list(columns.int64_ids), list(columns.wkb)) == (2, [5, 6], [WKB, b""])
    name, population = columns.properties
    assert (name.name, list(name.strings.values), list(name.null_rows)) == ("name", ["a", ""], [1])
    assert (population.name, list(population.integers.values)) == ("population", [1, 2])


@pytest.mark.parametrize(
    ("name", "array", "values"),
    [
        pytest.param("name", pa.array(["a", "b"]).dictionary_encode(), ["a", "b"], id="a dictionary"),
        pytest.param("name", pa.array(["a", "b"], pa.large_string()), ["a", "b"], id="large strings"),
        pytest.param("name", pa.array(["a", "b"], pa.string_view()), ["a", "b"], id="string views"),
        pytest.param("population", pa.array([1.0, 2.0]), [1, 2], id="whole numbers"),
        pytest.param("area", pa.array([1, 2]), [1.0, 2.0], id="integers for numbers"),
        pytest.param("open", pa.array([True, False]), [True, False], id="truth values"),
        pytest.param("since", pa.array([NOON, NOON]), [MICROSECONDS] * 2, id="moments"),
        pytest.param(
            "since", pa.array([NOON.replace(tzinfo=None)] * 2), [MICROSECONDS] * 2, id="naive moments are UTC"
        ),
        pytest.param("since", pa.array([NOON] * 2, pa.timestamp("ns", "Asia/Tokyo")), [MICROSECONDS] * 2, id="Tokyo"),
        pytest.param("tags", pa.array(['{"a": 1}', "[]"]), ['{"a": 1}', "[]"], id="JSON as text"),
        pytest.param("tags", pa.array([[1], []]), ["[1]", "[]"], id="lists as JSON"),
        pytest.param("blob", pa.array([b"a", b"b"], pa.large_binary()), [b"a", b"b"], id="large binary"),
    ],
)
def test_a_column_becomes_one_of_the_property_s_type(name: str, array: pa.Array, values: list[Any]) -> None:
    (request,) = requests(table(**{name: array}))

    (column,) = request.columns.properties
    assert column.WhichOneof("values") == COLUMNS[KINDS[name]][0]
    assert list(getattr(column, COLUMNS[KINDS[name]][0]).values) == values


@pytest.mark.parametrize(
    ("source", "complaint"),
    [
        pytest.param(table(height=pa.array([1, 2])), r"no property 'height'; it has name, population", id="unknown"),
        pytest.param(
            table(population=pa.array([1.5, 2])),
            r"'population' of type double cannot be read as int64",
            id="type",
        ),
        pytest.param(table(id=pa.array([1, None])), r"'id' holds the features' keys, and some are null", id="no key"),
        pytest.param(pa.table([[WKB]], schema=pa.schema([marked({"crs": {"name": "own"}})])), "no EPSG code", id="CRS"),
        pytest.param(
            pa.table([PLACES], schema=pa.schema([pa.field("geometry", PLACES.type, metadata=AS_POINTS)])),
            r"geometry comes as WKB \(geoarrow.wkb\), not as geoarrow.point",
            id="another encoding",
        ),
    ],
)
def test_what_a_table_cannot_be(source: pa.Table, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        requests(source)


@pytest.mark.parametrize(
    ("crs", "srid"),
    [
        ({}, None),
        ({"crs": None}, None),
        (CRS, 25832),
        ({"crs": "EPSG:3857"}, 3857),
        ({"crs": "OGC:CRS84"}, 4326),
        ({"crs": {"id": {"authority": "OGC", "code": "CRS84"}}}, 4326),
    ],
    ids=str,
)
def test_a_table_says_its_crs(crs: dict[str, Any], srid: int | None) -> None:
    source = source_of(pa.table([[WKB]], schema=pa.schema([marked(crs)])), LAYER, None)

    assert source.srid == srid


def test_the_caller_s_word_on_the_crs_counts() -> None:
    unknown = pa.table([[WKB]], schema=pa.schema([marked({"crs": {"name": "own"}})]))

    assert source_of(unknown, LAYER, 3857).srid == 3857


def test_what_the_service_streams_can_be_imported() -> None:
    asked = {"geometry": [WKB], "id": [1], "distance_meters": [5.0], "name": ["a"]}
    (request,) = requests(pa.table(asked))

    assert [each.name for each in request.columns.properties] == ["name"]
    assert list(request.columns.wkb) == [WKB]


def test_a_property_of_a_name_of_the_service_s_own_arrow() -> None:
    layer = Layer("odd", "", "POINT", 4326, (Property("id", "string", True, False),), None, None, ())
    (request,) = requests(pa.table({"id": [1], "id_property": ["a"]}), layer)

    assert [each.name for each in request.columns.properties] == ["id"]
    assert list(request.columns.int64_ids) == [1]


FRAME = geopandas.GeoDataFrame(
    {"name": ["a", None], "population": [1.0, float("nan")]}, geometry=[POINT, None], crs="EPSG:25832"
)


def test_a_frame_travels_with_its_crs() -> None:
    source = source_of(FRAME.rename_geometry("shape"), LAYER, None)
    (request,) = source.requests(0)

    assert source.srid == 25832
    assert list(request.columns.wkb) == [WKB, b""]
    name, population = request.columns.properties
    assert (list(name.strings.values), list(name.null_rows)) == (["a", ""], [1])
    assert (list(population.integers.values), list(population.null_rows)) == ([1, 0], [1])


def test_a_table_s_messages_are_of_at_most_256_kib() -> None:
    found = requests(pa.table({"name": ["x" * 1000] * 1000}))

    assert [end_of(each) for each in found] == [*(each.first_row for each in found[1:]), 1000]
    assert all(each.ByteSize() < BATCH_BYTES * 1.1 for each in found)


def test_every_type_of_property_has_a_column_and_an_arrow_type() -> None:
    assert COLUMNS.keys() == TYPES.keys() == set(KINDS.values())
