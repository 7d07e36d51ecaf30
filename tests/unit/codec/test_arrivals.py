"""Messages of an import as rows, column by column, and as rejections."""

from dataclasses import replace
from typing import Any

import pytest
import shapely
from google.protobuf.struct_pb2 import Struct

from service.catalog import Catalog, shipped_layers
from service.changes import Importing, ImportPlan, Incoming, Rejection
from service.codec.arriving.imports import ImportReader
from service.errors import InvalidArgument, SpatialError
from spatial.v1 import feature_pb2, geometry_pb2, write_pb2
from tests.arriving import READER

LAYERS = [replace(layer, revision=3) for layer in shipped_layers()]
IMPORTS = ImportReader(Catalog(LAYERS), READER)
BOW_TIE = shapely.to_wkb(shapely.from_wkt("POLYGON ((0 0, 2 2, 2 0, 0 2, 0 0))"))
SQUARE = shapely.to_wkb(shapely.box(0, 0, 1, 1))


def planned(layer: str = "facilities", **fields: Any) -> ImportPlan:
    return IMPORTS.plan(write_pb2.ImportPlan(layer=layer, **fields))


def point(x: float, y: float = 0, srid: int | None = None) -> bytes:
    shape = shapely.Point(x, y)
    return shapely.to_wkb(shape if srid is None else shapely.set_srid(shape, srid), include_srid=True, byte_order=1)


def stored(x: float, srid: int = 4326) -> bytes:
    return point(x, 0, srid)


def feature(wkb: bytes | None = None, id: str = "", srid: int | None = None, **given: Any) -> feature_pb2.Feature:  # noqa: A002
    properties = Struct()
    properties.update(given)
    geometry = None if wkb is None else geometry_pb2.Geometry(wkb=wkb, srid=srid)
    return feature_pb2.Feature(id=id, geometry=geometry, properties=properties)


def rows(plan: ImportPlan, *features: feature_pb2.Feature, first: int = 0, missing: Any = ()) -> list[Incoming]:
    request = write_pb2.ImportFeaturesRequest(rows=feature_pb2.FeatureRows(features=features))
    return IMPORTS.rows(plan, request, first, missing)


def columns(plan: ImportPlan, first: int = 0, missing: Any = (), **fields: Any) -> Incoming:
    request = write_pb2.ImportFeaturesRequest(columns=feature_pb2.FeatureColumns(**fields))
    (found,) = IMPORTS.rows(plan, request, first, missing)
    return found


def strings(name: str, *values: str, nulls: tuple[int, ...] = ()) -> feature_pb2.Column:
    return feature_pb2.Column(name=name, null_rows=nulls, strings={"values": values})


def listed(incoming: Incoming) -> tuple[Any, ...]:
    keys = None if incoming.keys is None else list(incoming.keys)
    geometries = None if incoming.geometries is None else list(incoming.geometries)
    return list(incoming.numbers), keys, geometries, {name: list(texts) for name, texts in incoming.values.items()}


def rejected(rejection: Rejection) -> tuple[int, str, str, str]:
    return rejection.row, rejection.id, rejection.reason, rejection.field


def test_a_plan_has_its_defaults() -> None:
    plan = planned()

    assert (plan.layer, plan.mode, plan.match, plan.listed, plan.revision) == (
        "facilities",
        Importing.INSERT,
        None,
        100,
        3,
    )
    assert (plan.repair, plan.own_srid_only, plan.srid, plan.validate_only) == (False, False, 0, False)
    assert plan.id != planned().id
    assert plan.digest == planned(import_id="x").digest != planned(repair=True).digest


def test_a_plan_says_how_rows_are_matched_and_how_many_rejections_are_listed() -> None:
    plan = planned("zones", mode="IMPORT_MODE_UPSERT", match_property="code", import_id="x", max_rejections=50_000)
    assert (plan.id, plan.mode, plan.match, plan.listed) == ("x", Importing.UPSERT, "code", 10_000)


NO_PLANS: dict[str, tuple[dict[str, Any], str, str]] = {
    "no layer": ({"layer": ""}, "REQUIRED", "layer"),
    "a layer that is not writable": ({"layer": "zone_centroids"}, "LAYER_READ_ONLY", "layer"),
    "an unknown mode": ({"mode": 9}, "UNKNOWN_ENUM_VALUE", "mode"),
    "a match where nothing is replaced": ({"match_property": "name"}, "UNEXPECTED_FIELD", "match_property"),
    "a match by no property": ({"mode": 2, "match_property": "nope"}, "UNKNOWN_PROPERTY", "match_property"),
    "a match by what is computed": ({"mode": 2, "match_property": "longitude"}, "READ_ONLY_PROPERTY", "match_property"),
    "no CRS": ({"srid": 0}, "SRID_MISMATCH", "srid"),
    "another CRS than the only one": ({"srid": 3857, "require_layer_srid": True}, "SRID_MISMATCH", "srid"),
    "fewer rejections than none": ({"max_rejections": -1}, "OUT_OF_RANGE", "max_rejections"),
    "an id too long": ({"import_id": "x" * 129}, "OUT_OF_RANGE", "import_id"),
}


@pytest.mark.parametrize("case", NO_PLANS)
def test_plans_that_cannot_be_are_refused(case: str) -> None:
    fields, reason, field = NO_PLANS[case]
    with pytest.raises(SpatialError) as caught:
        planned(**fields)
    assert (caught.value.reason, caught.value.field) == (reason, field)


def test_columns_become_texts_and_ewkb() -> None:
    found = columns(
        planned(),
        first=10,
        count=3,
        int64_ids=[1, 2, 3],
        wkb=[point(1), b"", point(3, srid=3857)],
        properties=[
            strings("name", "a", "b", "c"),
            strings("country", "", "X", "", nulls=(0, 2)),
            feature_pb2.Column(name="created_at", timestamps={"values": [0, 0, 0]}),
        ],
    )

    assert listed(found) == (
        [10, 11, 12],
        ["1", "2", "3"],
        [stored(1), None, stored(3, 3857)],
        {"name": ["a", "b", "c"], "country": [None, "X", None]},
    )
    assert found.rejections == []


def test_columns_may_have_neither_keys_nor_geometries() -> None:
    assert listed(columns(planned(), count=1, properties=[strings("name", "a")])) == ([0], None, None, {"name": ["a"]})


def test_the_plan_says_the_crs_of_what_does_not_carry_one() -> None:
    found = columns(planned(srid=3857), count=2, wkb=[point(1), point(2, srid=4326)])
    assert list(found.geometries or ()) == [stored(1, 3857), stored(2)]


def test_rows_of_columns_that_are_refused_are_left_out() -> None:
    found = columns(
        planned("zones"),
        first=5,
        count=4,
        int64_ids=[1, 2, 3, 4],
        wkb=[SQUARE, BOW_TIE, SQUARE, SQUARE],
        properties=[strings("name", "a", "b", "c\0", "d")],
    )

    assert listed(found)[:2] == ([5, 8], ["1", "4"])
    assert len(found.geometries or ()) == 2
    assert found.values == {"name": ["a", "d"]}
    assert list(map(rejected, found.rejections)) == [
        (6, "2", "INVALID_GEOMETRY", "geometry"),
        (7, "3", "INVALID_PROPERTY_VALUE", "properties.name"),
    ]
    assert found.rejections[0].location == (1, 1)


def test_a_repair_leaves_none_out() -> None:
    assert columns(planned("zones", repair=True), count=1, wkb=[BOW_TIE]).rejections == []


def test_rejections_name_what_rows_are_matched_by() -> None:
    plan = planned("zones", mode=2, match_property="code")
    found = columns(
        plan, count=3, wkb=[SQUARE, BOW_TIE, SQUARE], properties=[strings("code", "A", "B", "", nulls=(2,))]
    )

    assert listed(found)[0] == [0]
    assert list(map(rejected, found.rejections)) == [
        (1, "B", "INVALID_GEOMETRY", "geometry"),
        (2, "", "REQUIRED", "properties.code"),
    ]


UPSERT = {"mode": 2}
NO_COLUMNS: dict[str, tuple[dict[str, Any], dict[str, Any], str, str]] = {
    "fewer than none": ({}, {"count": -1}, "OUT_OF_RANGE", "columns.count"),
    "too few keys": ({}, {"count": 2, "int64_ids": [1]}, "OUT_OF_RANGE", "columns.int64_ids"),
    "too many geometries": ({}, {"count": 0, "wkb": [b""]}, "OUT_OF_RANGE", "columns.wkb"),
    "keys of another type": ({}, {"count": 1, "string_ids": ["1"]}, "UNEXPECTED_FIELD", "columns.string_ids"),
    "distances": ({}, {"count": 1, "distance_meters": [1]}, "UNEXPECTED_FIELD", "columns.distance_meters"),
    "no keys to match by": (UPSERT, {"count": 1}, "REQUIRED", "columns.int64_ids"),
    "no property to match by": (
        {**UPSERT, "match_property": "name"},
        {"count": 1, "int64_ids": [1]},
        "REQUIRED",
        "columns.properties",
    ),
    "an unknown property": (
        {},
        {"count": 1, "properties": [strings("nope", "")]},
        "UNKNOWN_PROPERTY",
        "columns.properties[0].name",
    ),
    "a property twice": (
        {},
        {"count": 1, "properties": [strings("name", "a")] * 2},
        "UNEXPECTED_FIELD",
        "columns.properties[1].name",
    ),
    "a column of another type": (
        {},
        {"count": 1, "properties": [strings("population", "a")]},
        "INVALID_PROPERTY_VALUE",
        "columns.properties[0]",
    ),
    "a column too short": (
        {},
        {"count": 1, "properties": [strings("name")]},
        "INVALID_PROPERTY_VALUE",
        "columns.properties[0]",
    ),
}


@pytest.mark.parametrize("case", NO_COLUMNS)
def test_columns_that_cannot_be_read_are_refused_as_a_whole(case: str) -> None:
    plan, fields, reason, field = NO_COLUMNS[case]
    with pytest.raises(InvalidArgument) as caught:
        columns(planned(**plan), **fields)
    assert (caught.value.reason, caught.value.field) == (reason, field)


def test_rows_of_one_kind_become_columns() -> None:
    found = rows(
        planned(),
        feature(point(1), "7", name="a", population=5, longitude=1),
        feature(point(2), "8", srid=3857, population=None, name="b"),
        first=10,
    )

    values = {"name": ["a", "b"], "population": ["5", None]}
    assert [listed(each) for each in found] == [([10, 11], ["7", "8"], [stored(1), stored(2, 3857)], values)]


def test_geometries_of_every_encoding_come_in_rows() -> None:
    text = feature_pb2.Feature(geometry=geometry_pb2.Geometry(wkt="POINT (1 0)"))
    (found,) = rows(planned(), text, feature(point(2)))
    assert list(found.geometries or ()) == [stored(1), stored(2)]


def test_rows_that_bring_something_else_are_columns_of_their_own() -> None:
    """What one does not have is not null in it: it gets the column's default, or stays as it is."""
    found = rows(
        planned(),
        *(feature(name="a"), feature(name="b"), feature(point(1), name="c"), feature(id="4"), feature(name="d")),
    )

    assert [listed(each) for each in found] == [
        ([0, 1], None, None, {"name": ["a", "b"]}),
        ([2], None, [stored(1)], {"name": ["c"]}),
        ([3], ["4"], None, {}),
        ([4], None, None, {"name": ["d"]}),
    ]


def test_rows_that_are_refused_end_no_columns() -> None:
    found = rows(
        planned(),
        feature(point(1), "1", name="a"),
        feature(point(1), "x", name="b"),
        feature(point(1), "3", nope="b"),
        feature(b"\0", "4", name="d"),
        feature(point(1), "5", name=1),
        feature(point(1, srid=4326), "6", srid=3857, name="b"),
        feature_pb2.Feature(id="7", etag="a"),
        feature_pb2.Feature(id="8", distance_meters=0),
        feature_pb2.Feature(id="9", geometry=geometry_pb2.Geometry(wkt="POINT (181 0)")),
        feature(point(2), "10", name="e"),
        first=100,
    )

    (incoming,) = [each for each in found if each.numbers]
    assert listed(incoming) == ([100, 109], ["1", "10"], [stored(1), stored(2)], {"name": ["a", "e"]})
    assert [rejected(each) for part in found for each in part.rejections] == [
        (101, "x", "INVALID_ID", "id"),
        (102, "3", "UNKNOWN_PROPERTY", "properties.nope"),
        (103, "4", "INVALID_ENCODING", "geometry"),
        (104, "5", "INVALID_PROPERTY_VALUE", "properties.name"),
        (105, "6", "SRID_MISMATCH", "geometry.srid"),
        (106, "7", "UNEXPECTED_FIELD", "etag"),
        (107, "8", "UNEXPECTED_FIELD", "distance_meters"),
        (108, "9", "COORDINATE_OUT_OF_RANGE", "geometry.wkt"),
    ]


def test_rows_that_may_replace_others_say_which() -> None:
    by_key = rows(planned(mode=2), feature(id="1", name="a"), feature(name="a"))
    by_match = rows(
        planned("zones", mode=2, match_property="code"), feature(code="A"), feature(code=None), feature(name="a")
    )

    assert [rejected(each) for part in by_key for each in part.rejections] == [(1, "", "REQUIRED", "id")]
    assert [rejected(each) for part in by_match for each in part.rejections] == [
        (1, "", "REQUIRED", "properties.code"),
        (2, "", "REQUIRED", "properties.code"),
    ]


def test_a_crs_that_nobody_has_asked_about_is_asked_about_first() -> None:
    ask: dict[str, Any] = {"rows": lambda missing: rows(planned(), feature(point(1), "7", srid=2263), missing=missing)}
    ask["columns"] = lambda missing: [columns(planned(), count=1, wkb=[point(1, srid=2263)], missing=missing)]
    for read in ask.values():
        with pytest.raises(InvalidArgument) as caught:
            read(())
        assert (caught.value.reason, caught.value.metadata["srid"]) == ("UNKNOWN_SRID", "2263")
        assert [each.reason for part in read({2263}) for each in part.rejections] == ["UNKNOWN_SRID"]


def test_a_message_without_rows_has_none() -> None:
    assert IMPORTS.rows(planned(), write_pb2.ImportFeaturesRequest(), 0) == []
    assert rows(planned()) == []
    assert listed(columns(planned(mode=2), count=0)) == ([], None, None, {})
