"""Requests that change one feature, as edits."""

from dataclasses import replace
from typing import Any

import pytest
import shapely
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.struct_pb2 import Struct

from service.catalog import Catalog, shipped_layers
from service.changes import Act, Edit
from service.codec.arriving.edits import EditReader
from service.errors import SpatialError
from spatial.v1 import feature_pb2, geometry_pb2, query_pb2, write_pb2
from tests.arriving import READER

LAYERS = {layer.name: replace(layer, revision=3) for layer in shipped_layers()}
EDITS = EditReader(Catalog(LAYERS.values()), READER)
POINT = geometry_pb2.Geometry(wkt="POINT (1 2)")
HEXEWKB = shapely.to_wkb(shapely.set_srid(shapely.Point(1, 2), 4326), hex=True, include_srid=True, byte_order=1).lower()
DEFAULTS = ("name", "kind", "country", "population", "tags", "active", "attributes")


def feature(geometry: geometry_pb2.Geometry | None = None, id: str = "", etag: str = "", **given: Any) -> Any:  # noqa: A002
    properties = Struct()
    properties.update(given)
    return feature_pb2.Feature(id=id, geometry=geometry, properties=properties, etag=etag)


def create(made: Any = None, layer: str = "facilities", **fields: Any) -> Edit:
    return EDITS.create(write_pb2.CreateFeatureRequest(layer=layer, feature=made, **fields))


def update(made: Any = None, *paths: str, layer: str = "facilities", **fields: Any) -> Edit:
    mask = FieldMask(paths=paths) if paths else None
    return EDITS.update(write_pb2.UpdateFeatureRequest(layer=layer, feature=made, update_mask=mask, **fields))


def test_a_feature_is_created_with_what_it_has() -> None:
    edit = create(feature(POINT, name="Well", population=5, country=None, tags=["a"]))

    assert (edit.act, edit.layer, edit.key, edit.revision) == (Act.CREATE, "facilities", None, 3)
    assert dict(edit.values) == {"name": "Well", "population": "5", "country": None, "tags": '{"a"}'}
    assert edit.geometry is not None
    assert edit.geometry == (HEXEWKB, 4326)
    assert (edit.defaults, edit.etag, edit.validate_only, edit.promise) == ((), "", False, None)
    assert edit.output.etags


def test_a_key_may_be_given() -> None:
    assert create(feature(POINT, id="7")).key == 7


def test_properties_that_are_read_only_are_passed_over() -> None:
    made = feature(POINT, name="Well", longitude=1, created_at="2024-01-01T00:00:00Z")
    assert dict(create(made).values) == {"name": "Well"}
    made.id = "7"
    assert dict(update(made).values) == {"name": "Well"}


CHANGES = {
    "what it has": ([], feature(id="7", name="Well"), {"name": "Well"}, (), False),
    "the geometry it has": ([], feature(POINT, id="7"), {}, (), True),
    "one property of many": (
        ["properties.name"],
        feature(POINT, id="7", name="Well", kind="x"),
        {"name": "Well"},
        (),
        False,
    ),
    "a property it does not have": (["properties.country"], feature(id="7", name="Well"), {"country": None}, (), False),
    "the geometry": (["geometry"], feature(POINT, id="7", name="Well"), {}, (), True),
    "a geometry it does not have": (["geometry"], feature(id="7", name="Well"), {"location": None}, (), False),
    "all properties": (["properties"], feature(POINT, id="7", name="Well"), {"name": "Well"}, DEFAULTS[1:], False),
    "all, but one null": (
        ["properties", "properties.country"],
        feature(id="7", name="Well"),
        {"name": "Well", "country": None},
        ("kind", *DEFAULTS[3:]),
        False,
    ),
    "everything": (
        ["*"],
        feature(POINT, id="7", name="Well", kind="x"),
        {"name": "Well", "kind": "x"},
        DEFAULTS[2:],
        True,
    ),
    "everything of nothing": (["*"], feature(id="7"), {"location": None}, DEFAULTS, False),
}


@pytest.mark.parametrize("case", CHANGES)
def test_the_mask_says_what_changes(case: str) -> None:
    paths, made, values, defaults, placed = CHANGES[case]

    edit = update(made, *paths)

    assert (edit.act, edit.key) == (Act.UPDATE, 7)
    assert (dict(edit.values), edit.defaults, edit.geometry is not None) == (values, defaults, placed)


def test_what_the_mask_leaves_out_is_not_looked_at() -> None:
    made = feature(geometry_pb2.Geometry(wkt="nonsense"), id="7", name="Well", population="many")
    assert dict(update(made, "properties.name").values) == {"name": "Well"}


def test_an_etag_goes_with_the_edit() -> None:
    assert update(feature(id="7", etag="abc", name="Well")).etag == "abc"
    assert EDITS.delete(write_pb2.DeleteFeatureRequest(layer="zones", id="7", etag="abc")).etag == "abc"


def test_a_feature_is_deleted_by_its_key() -> None:
    request = write_pb2.DeleteFeatureRequest(layer="zones", id="7", validate_only=True, request_id="r")

    edit = EDITS.delete(request)

    assert (edit.act, edit.layer, edit.key, edit.validate_only) == (Act.DELETE, "zones", 7, True)
    assert edit.promise is not None
    assert edit.promise.id == "r"


def test_a_promise_is_of_all_that_the_request_asks_but_its_id() -> None:
    promises = [
        create(feature(POINT, name=name), request_id=id_, output=output).promise
        for name, id_, output in (
            ("Well", "a", None),
            ("Well", "b", None),
            ("Spring", "a", None),
            ("Well", "a", query_pb2.Output(no_properties=True)),
        )
    ]
    first, again, other, less = (promise.digest for promise in promises if promise)
    assert first == again
    assert len({first, other, less}) == 3


BOW_TIE = geometry_pb2.Geometry(wkt="POLYGON ((0 0, 2 2, 2 0, 0 2, 0 0))")


def test_a_geometry_is_repaired_where_that_is_asked_for() -> None:
    assert create(feature(BOW_TIE), "zones", repair=True).geometry is not None
    assert update(feature(BOW_TIE, id="7"), layer="zones", repair=True).geometry is not None


REFUSED: dict[str, tuple[Any, str, str]] = {
    "no layer": (lambda: create(feature(POINT), layer=""), "REQUIRED", "layer"),
    "an unknown layer": (lambda: create(feature(POINT), layer="x"), "LAYER_NOT_FOUND", "layer"),
    "a layer that is not writable": (
        lambda: create(feature(POINT), layer="zone_centroids"),
        "LAYER_READ_ONLY",
        "layer",
    ),
    "no feature": (create, "REQUIRED", "feature"),
    "an etag of what is not there yet": (lambda: create(feature(POINT, etag="a")), "UNEXPECTED_FIELD", "feature.etag"),
    "a distance": (
        lambda: update(feature_pb2.Feature(id="7", distance_meters=0)),
        "UNEXPECTED_FIELD",
        "feature.distance_meters",
    ),
    "an unknown property": (lambda: create(feature(POINT, nope=1)), "UNKNOWN_PROPERTY", "feature.properties.nope"),
    "a value that it cannot have": (
        lambda: create(feature(POINT, population="many")),
        "INVALID_PROPERTY_VALUE",
        "feature.properties.population",
    ),
    "no key": (lambda: update(feature(name="Well")), "REQUIRED", "feature.id"),
    "a key that is none": (lambda: create(feature(POINT, id="x")), "INVALID_ID", "feature.id"),
    "no key to delete": (lambda: EDITS.delete(write_pb2.DeleteFeatureRequest(layer="zones")), "REQUIRED", "id"),
    "a geometry of another type": (
        lambda: create(feature(POINT), layer="zones"),
        "GEOMETRY_TYPE_MISMATCH",
        "feature.geometry.wkt",
    ),
    "an invalid geometry": (
        lambda: create(feature(BOW_TIE), layer="zones"),
        "INVALID_GEOMETRY",
        "feature.geometry.wkt",
    ),
    "another CRS": (
        lambda: create(feature(geometry_pb2.Geometry(wkt="POINT (1 2)", srid=3857)), require_layer_srid=True),
        "SRID_MISMATCH",
        "feature.geometry.srid",
    ),
    "nothing to change": (lambda: update(feature(id="7", longitude=1)), "REQUIRED", "feature"),
    "a mask of something else": (
        lambda: update(feature(id="7"), "geometry", "id"),
        "INVALID_UPDATE_MASK",
        "update_mask.paths[1]",
    ),
    "a mask of no property": (
        lambda: update(feature(id="7"), "properties.nope"),
        "INVALID_UPDATE_MASK",
        "update_mask.paths[0]",
    ),
    "a mask of what is computed": (
        lambda: update(feature(id="7"), "properties.longitude"),
        "READ_ONLY_PROPERTY",
        "update_mask.paths[0]",
    ),
    "a mask of what the server keeps": (
        lambda: update(feature(id="7"), "properties.updated_at"),
        "READ_ONLY_PROPERTY",
        "update_mask.paths[0]",
    ),
    "all properties, one unknown": (
        lambda: update(feature(id="7", nope=1), "*"),
        "UNKNOWN_PROPERTY",
        "feature.properties.nope",
    ),
    "an answer of no property": (
        lambda: create(feature(POINT), output=query_pb2.Output(properties=["nope"])),
        "UNKNOWN_PROPERTY",
        "output.properties[0]",
    ),
    "a request id too long": (lambda: create(feature(POINT), request_id="x" * 129), "OUT_OF_RANGE", "request_id"),
    "a request id of control characters": (
        lambda: create(feature(POINT), request_id="\n"),
        "OUT_OF_RANGE",
        "request_id",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_is_refused_with_its_place_in_the_request(case: str) -> None:
    ask, reason, field = REFUSED[case]
    with pytest.raises(SpatialError) as caught:
        ask()
    assert (caught.value.reason, caught.value.field) == (reason, field)
