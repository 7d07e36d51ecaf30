"""Answers as callers see them."""

import json
import pickle
from datetime import UTC, datetime

import pytest
import shapely
from google.protobuf import json_format

from spatial.v1 import feature_pb2, geometry_pb2, query_pb2
from spatial_client import Box, Columns, Feature, Pair
from spatial_client._values import layer_of, pair_of

PROPERTIES = {"name": "Ost", "beds": 100, "share": 0.5, "open": True, "owner": None, "tags": ["a", {"b": 2}]}


def feature(**fields: object) -> Feature:
    message = feature_pb2.Feature(id="7", **fields)  # type: ignore[arg-type]
    json_format.ParseDict(PROPERTIES, message.properties)
    return Feature(message)


def test_properties_are_python_values_and_whole_numbers_are_integers() -> None:
    assert feature().properties == PROPERTIES
    assert isinstance(feature().properties["beds"], int)


def test_a_geometry_is_a_shapely_one_that_knows_its_srid() -> None:
    point = shapely.Point(1, 2)
    found = feature(geometry=geometry_pb2.Geometry(wkb=point.wkb, srid=3857))

    assert found.geometry == point
    assert shapely.get_srid(found.geometry) == found.srid == 3857
    assert found.wkb == point.wkb
    assert found.geometry is found.geometry


def test_without_a_geometry_there_is_none() -> None:
    assert (feature().geometry, feature().wkb, feature().srid) == (None, None, None)


@pytest.mark.parametrize("distance", [None, 0.0, 12.5])
def test_a_distance_of_zero_is_not_none(distance: float | None) -> None:
    assert feature(distance_meters=distance).distance_meters == distance


def test_a_feature_is_geojson_for_those_who_ask() -> None:
    found = feature(geometry=geometry_pb2.Geometry(wkb=shapely.Point(1, 2).wkb, srid=4326))

    assert json.loads(json.dumps(found.__geo_interface__)) == {
        "type": "Feature",
        "id": "7",
        "geometry": {"type": "Point", "coordinates": [1, 2]},
        "properties": PROPERTIES,
    }


def test_features_are_equal_if_all_they_say_is() -> None:
    assert feature() == feature()
    assert feature() != feature(distance_meters=0)
    assert len({feature(), feature()}) == 1


def test_a_feature_can_be_handed_to_another_process() -> None:
    assert pickle.loads(pickle.dumps(feature(distance_meters=3))) == feature(distance_meters=3)


def test_a_layer_before_its_first_analyze_has_no_extent_and_no_rows() -> None:
    layer = layer_of(query_pb2.Layer(name="zones", properties=[query_pb2.Property(name="a", type=5)]))  # type: ignore[arg-type]

    assert (layer.extent, layer.estimated_rows) == (None, None)
    assert layer.properties[0].type == "timestamp"


def test_a_layer_has_its_extent_as_a_box() -> None:
    extent = geometry_pb2.BoundingBox(west=1, south=2, east=3, north=4)

    assert layer_of(query_pb2.Layer(extent=extent, estimated_rows=0)).extent == Box(1, 2, 3, 4)


def test_a_pair_has_features_only_where_they_were_asked_for() -> None:
    message = query_pb2.JoinPair(left_id="1", right_id="2", right=feature_pb2.Feature(id="2"))

    assert pair_of(message) == Pair("1", "2", None, None, Feature(feature_pb2.Feature(id="2")))


def columns(**fields: object) -> Columns:
    return Columns(feature_pb2.FeatureColumns(count=3, **fields), 4326)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("ids", "expected"),
    [({"int64_ids": [1, 2**60, 3]}, [1, 2**60, 3]), ({"string_ids": ["a", "b", "c"]}, ["a", "b", "c"])],
    ids=["integers", "text"],
)
def test_ids_are_of_the_layer_s_kind(ids: dict[str, object], expected: list[object]) -> None:
    assert columns(**ids).ids == expected


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        pytest.param({"strings": {"values": ["a", "", "c"]}}, ["a", None, "c"], id="strings"),
        pytest.param({"integers": {"values": [2**60, 0, -1]}}, [2**60, None, -1], id="integers"),
        pytest.param({"numbers": {"values": [0.5, 0, 1]}}, [0.5, None, 1.0], id="numbers"),
        pytest.param({"booleans": {"values": [True, False, False]}}, [True, None, False], id="booleans"),
        pytest.param({"json": {"values": ['{"a": 1}', "", "null"]}}, [{"a": 1}, None, None], id="json"),
        pytest.param(
            {"timestamps": {"values": [0, 0, 1_500_000]}},
            [datetime(1970, 1, 1, tzinfo=UTC), None, datetime(1970, 1, 1, 0, 0, 1, 500_000, tzinfo=UTC)],
            id="timestamps",
        ),
        pytest.param(
            {"timestamps": {"values": [2**63 - 1, 0, -(2**63)]}},
            [datetime.max.replace(tzinfo=UTC), None, datetime.min.replace(tzinfo=UTC)],
            id="timestamps at infinity",
        ),
    ],
)
def test_a_column_has_none_for_null(values: dict[str, object], expected: list[object]) -> None:
    column = feature_pb2.Column(name="it", null_rows=[1], **values)  # type: ignore[arg-type]

    properties = columns(properties=[column]).properties

    assert properties["it"] == expected
    assert list(properties) == ["it"]
    assert properties["it"] is properties["it"]
