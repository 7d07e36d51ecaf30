"""Changes as callers say them, as requests; and when they are tried again."""

from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import numpy
import pytest
import shapely
from google.protobuf import field_mask_pb2, struct_pb2

from spatial.v1 import feature_pb2, geometry_pb2, query_pb2, write_pb2
from spatial_client import (
    Aborted,
    AlreadyExists,
    Feature,
    InternalError,
    NewFeature,
    ResourceExhausted,
    SpatialError,
    Unavailable,
    _writes,
)
from spatial_client._attempts import is_never, is_unsettled
from spatial_client._features import feature_message, geometry_message, new_feature, point_wkb, value_message

POINT = shapely.Point(13.4, 52.5)
WKB = shapely.to_wkb(POINT)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        pytest.param(None, {"null_value": 0}, id="null"),
        pytest.param(True, {"bool_value": True}, id="bool"),
        pytest.param("a", {"string_value": "a"}, id="text"),
        pytest.param(2**53, {"number_value": 2**53}, id="the largest exact integer"),
        pytest.param(2**53 + 1, {"string_value": "9007199254740993"}, id="an integer beyond it"),
        pytest.param(-(2**63), {"string_value": "-9223372036854775808"}, id="the smallest integer"),
        pytest.param(0.1, {"number_value": 0.1}, id="number"),
        pytest.param(float("nan"), {"string_value": "NaN"}, id="not a number"),
        pytest.param(float("-inf"), {"string_value": "-Infinity"}, id="minus infinity"),
        pytest.param(numpy.int64(7), {"number_value": 7}, id="numpy's integer"),
        pytest.param(numpy.float32(0.5), {"number_value": 0.5}, id="numpy's number"),
        pytest.param(b"\x00\xff", {"string_value": "AP8="}, id="bytes"),
        pytest.param(datetime(2026, 1, 2, 3, tzinfo=UTC), {"string_value": "2026-01-02T03:00:00+00:00"}, id="moment"),
        pytest.param(datetime(2026, 1, 2, 3), {"string_value": "2026-01-02T03:00:00+00:00"}, id="naive moment is UTC"),
        pytest.param(date(2026, 1, 2), {"string_value": "2026-01-02"}, id="date"),
        pytest.param(Decimal("1.10"), {"string_value": "1.10"}, id="decimal"),
        pytest.param(UUID(int=1), {"string_value": "00000000-0000-0000-0000-000000000001"}, id="uuid"),
    ],
)
def test_a_value_travels_as_it_would_be_answered(value: Any, expected: dict[str, Any]) -> None:
    assert value_message(value) == struct_pb2.Value(**expected)


def test_values_may_lie_in_one_another() -> None:
    message = value_message({"a": [1, {"b": None}], "c": ("x",), "d": numpy.array([1.5])})

    expected = struct_pb2.Struct()
    expected.update({"a": [1, {"b": None}], "c": ["x"], "d": [1.5]})
    assert message.struct_value == expected


@pytest.mark.parametrize(
    ("place", "expected"),
    [
        pytest.param((13.4, 52.5), {"wkb": WKB}, id="longitude, latitude"),
        pytest.param(WKB, {"wkb": WKB}, id="WKB"),
        pytest.param("POINT(13.4 52.5)", {"wkt": "POINT(13.4 52.5)"}, id="WKT"),
        pytest.param(POINT, {"wkb": WKB}, id="shapely"),
        pytest.param(shapely.set_srid(POINT, 3857), {"wkb": WKB, "srid": 3857}, id="shapely with an SRID"),
    ],
)
def test_a_geometry(place: Any, expected: dict[str, Any]) -> None:
    assert geometry_message(place) == geometry_pb2.Geometry(**expected)


def test_a_geometry_as_geojson() -> None:
    message = geometry_message({"type": "Point", "coordinates": [13.4, 52.5]})

    expected = struct_pb2.Struct()
    expected.update({"type": "Point", "coordinates": [13.4, 52.5]})
    assert message == geometry_pb2.Geometry(geojson=expected)


@pytest.mark.parametrize("place", [5, (1, 2, 3, 4), object()], ids=["a number", "four numbers", "an object"])
def test_what_is_no_geometry(place: Any) -> None:
    with pytest.raises(TypeError, match=r"a geometry is \(longitude, latitude\), WKB, WKT, GeoJSON or a shapely"):
        geometry_message(place)


@pytest.mark.parametrize(
    ("place", "srid"),
    [
        pytest.param(WKB, 3857, id="WKB that says none"),
        pytest.param("POINT(1 2)", 3857, id="WKT that says none"),
        pytest.param(shapely.to_wkb(shapely.set_srid(POINT, 4326), include_srid=True), 0, id="EWKB"),
        pytest.param(b"\x00\x20\x00\x00\x01" + bytes(20), 0, id="EWKB, big-endian"),
        pytest.param("srid=4326;POINT(1 2)", 0, id="EWKT"),
        pytest.param(shapely.set_srid(POINT, 25832), 25832, id="shapely that says one"),
        pytest.param((1, 2), 0, id="longitude, latitude"),
    ],
)
def test_an_srid_is_said_of_what_says_none(place: Any, srid: int) -> None:
    assert geometry_message(place, 3857).srid == srid


READ = Feature(
    feature_pb2.Feature(
        id="7",
        geometry=geometry_pb2.Geometry(wkb=WKB, srid=3857),
        properties=feature_message(NewFeature(None, {"name": "a"})).properties,
    )
)
EWKB = shapely.to_wkb(shapely.set_srid(POINT, 3857), include_srid=True)


class WithInterface:
    def __init__(self, **said: Any) -> None:
        self.__geo_interface__ = said


@pytest.mark.parametrize(
    ("feature", "expected"),
    [
        pytest.param((POINT, {"a": 1}), NewFeature(POINT, {"a": 1}), id="a pair"),
        pytest.param((POINT, {"a": 1}, 5), NewFeature(POINT, {"a": 1}, 5), id="a triple"),
        pytest.param(NewFeature(POINT), NewFeature(POINT, {}, None), id="a NewFeature"),
        pytest.param(READ, NewFeature(EWKB, {"name": "a"}, "7"), id="a feature that was read"),
        pytest.param(
            {"type": "Feature", "geometry": None, "properties": {"a": 1}, "id": 3},
            NewFeature(None, {"a": 1}, 3),
            id="GeoJSON",
        ),
        pytest.param(
            WithInterface(type="Feature", geometry=None, properties=None), NewFeature(None, {}), id="__geo_interface__"
        ),
    ],
)
def test_what_is_a_feature(feature: Any, expected: NewFeature) -> None:
    assert new_feature(feature) == expected


@pytest.mark.parametrize(
    "feature", [5, (1.0, 2.0), (POINT,), {"type": "Point"}, POINT, (POINT, {}, 1, 2)], ids=lambda each: repr(each)[:40]
)
def test_what_is_no_feature(feature: Any) -> None:
    with pytest.raises(TypeError, match=r"a feature is a NewFeature, \(geometry, properties\), a Feature or GeoJSON"):
        new_feature(feature)


def test_a_creation() -> None:
    call = _writes.create_feature("zones", (13.4, 52.5), {"name": "a"}, id=5, repair=True, request_id="once")

    expected = write_pb2.CreateFeatureRequest(layer="zones", repair=True, request_id="once")
    expected.feature.id = "5"
    expected.feature.geometry.wkb = point_wkb(13.4, 52.5)
    expected.feature.properties.update({"name": "a"})
    assert (call.method, call.request) == ("CreateFeature", expected)


@pytest.mark.parametrize(
    ("change", "paths"),
    [
        pytest.param({"properties": {"name": None}}, None, id="a property that becomes null is in the message"),
        pytest.param({"geometry": (1, 2)}, None, id="a geometry is in the message"),
        pytest.param({"geometry": None}, ["geometry"], id="a geometry that goes is said"),
        pytest.param(
            {"geometry": None, "properties": {"a": 1, "b": None}},
            ["geometry", "properties.a", "properties.b"],
            id="and then the properties are, too",
        ),
        pytest.param({"geometry": None, "update_mask": ["*"]}, ["*"], id="the caller's word counts"),
    ],
)
def test_what_an_update_changes(change: dict[str, Any], paths: list[str] | None) -> None:
    request = _writes.update_feature("zones", 5, etag="12", **change).request

    assert (request.feature.id, request.feature.etag) == ("5", "12")
    assert request.HasField("update_mask") == (paths is not None)
    assert request.update_mask == field_mask_pb2.FieldMask(paths=paths)


@pytest.mark.parametrize(
    ("where", "query"),
    [
        pytest.param({}, {"layer": query_pb2.LayerQuery(layer="zones", filter="a = 1")}, id="all of the layer"),
        pytest.param(
            {"bbox": (1, 2, 3, 4)},
            {
                "layer": query_pb2.LayerQuery(
                    layer="zones",
                    bbox=geometry_pb2.BoundingBox(west=1, south=2, east=3, north=4),
                    filter="a = 1",
                )
            },
            id="a box",
        ),
        pytest.param(
            {"probe": "POINT(1 2)", "predicate": "contains"},
            {
                "intersects": query_pb2.IntersectsQuery(
                    layer="zones",
                    probe=geometry_pb2.Probe(geometry=geometry_pb2.Geometry(wkt="POINT(1 2)")),
                    predicate="PREDICATE_CONTAINS",
                    filter="a = 1",
                )
            },
            id="a probe",
        ),
    ],
)
def test_a_deletion_of_many(where: dict[str, Any], query: dict[str, Any]) -> None:
    request = _writes.delete_features("zones", 10, filter="a = 1", **where).request

    assert request.query == query_pb2.Query(**query)
    assert request.max_features == 10


def calls(**options: Any) -> list[Any]:
    return [
        _writes.create_feature("zones", **options),
        _writes.update_feature("zones", 1, **options),
        _writes.delete_feature("zones", 1, **options),
        _writes.delete_features("zones", 1, **options),
    ]


def test_every_change_has_an_id_of_its_own_and_may_be_tried_again() -> None:
    made = [*calls(), *calls()]

    assert len({UUID(call.request.request_id) for call in made}) == 8
    assert {call.passes for call in made} == {is_unsettled}


def test_a_change_with_the_caller_s_id_may_be_tried_again() -> None:
    assert {(call.request.request_id, call.passes) for call in calls(request_id="mine")} == {("mine", is_unsettled)}


def test_a_change_without_an_id_is_never_tried_again() -> None:
    assert {(call.request.request_id, call.passes) for call in calls(request_id="")} == {("", is_never)}


def test_what_only_validates_needs_no_id_to_be_tried_again() -> None:
    assert {(call.request.request_id, call.passes) for call in calls(validate_only=True)} == {("", is_unsettled)}


@pytest.mark.parametrize(
    ("error", "again"),
    [
        pytest.param(Unavailable("", reason="OUTCOME_UNKNOWN", retry_after=1), True, id="outcome unknown"),
        pytest.param(Unavailable(""), True, id="connection lost"),
        pytest.param(InternalError(""), True, id="reset by what is between"),
        pytest.param(InternalError("", reason="INTERNAL"), False, id="a bug of the service"),
        pytest.param(Aborted("", reason="CONFLICT", retry_after=1), True, id="a collision"),
        pytest.param(Aborted("", reason="ETAG_MISMATCH"), False, id="changed by somebody else"),
        pytest.param(ResourceExhausted("", reason="OVERLOADED", retry_after=1), True, id="shed"),
        pytest.param(AlreadyExists("", reason="FEATURE_EXISTS"), False, id="there already"),
    ],
)
def test_after_which_errors_a_change_is_tried_again(error: SpatialError, again: bool) -> None:
    assert is_unsettled(error) is again
    assert not is_never(error)
