"""Requests to create features, read from their bytes: they mean what they mean as messages, or are left to those."""

from random import Random
from typing import Any

import pytest
import shapely
from google.protobuf.message import DecodeError

from service.access import ACCESS
from service.catalog import Catalog, shipped_layers
from service.changes import Edit
from service.codec import wire
from service.codec.arriving.creates import MOST_BYTES, CreateReader
from service.codec.arriving.edits import EditReader
from service.errors import SpatialError
from spatial.v1 import feature_pb2, geometry_pb2, query_pb2
from spatial.v1.write_pb2 import CreateFeatureRequest
from tests.arriving import READER

CATALOG = Catalog(shipped_layers())
EDITS = EditReader(CATALOG, READER)
CREATES = CreateReader(CATALOG, READER, EDITS)
POINT = geometry_pb2.Geometry(wkb=shapely.to_wkb(shapely.Point(1, 2)))
BOX = "POLYGON ((0 0, 1 0, 1 1, 0 1, 0 0))"
BOW = "POLYGON ((0 0, 1 1, 1 0, 0 1, 0 0))"


def feature(geometry: geometry_pb2.Geometry | None = POINT, id: str = "", **given: Any) -> feature_pb2.Feature:  # noqa: A002
    made = feature_pb2.Feature(id=id, geometry=geometry)
    made.properties.update(given)
    return made


def request(made: feature_pb2.Feature | None, layer: str = "facilities", **besides: Any) -> CreateFeatureRequest:
    return CreateFeatureRequest(layer=layer, feature=made, **besides)


WHOLE = request(
    feature(
        name="Well", kind="x" * 200, population=12, country=None, tags=["a", "é"], active=True, attributes={"a": [1]}
    )
)
FAMILIAR = {
    "all there is of it": WHOLE,
    "no properties": request(feature()),
    "no geometry": request(feature(None, name="Well")),
    "a key": request(feature(id="7", name="Well")),
    "what is not written": request(feature(name="Well", longitude=1, created_at="now")),
    "integers as strings": request(feature(population="12", name="9007199254740993")),
    "as WKT": request(feature(geometry_pb2.Geometry(wkt="POINT (1 2)"), name="Well")),
    "in another CRS": request(feature(geometry_pb2.Geometry(wkt="POINT (1 2)", srid=3857), name="Well")),
    "an area": request(feature(geometry_pb2.Geometry(wkt=BOX), name="Land", code="L"), "zones"),
    "one that is repaired": request(
        feature(geometry_pb2.Geometry(wkt=BOW), name="Land", code="L"), "zones", repair=True
    ),
    "an id of the request": request(feature(name="Well"), request_id="1"),
    "only a check": request(feature(name="Well"), validate_only=True),
    "some of it to be answered": request(feature(name="Well"), output=query_pb2.Output(properties=["name"])),
}
LEFT = {
    "nothing": CreateFeatureRequest(),
    "no feature": request(None),
    "no layer": request(feature(name="Well"), ""),
    "an unknown layer": request(feature(name="Well"), "wells"),
    "an unknown property": request(feature(colour="red")),
    "a text for a number": request(feature(population="many")),
    "a fraction for an integer": request(feature(population=1.5)),
    "a NUL": request(feature(name="\0")),
    "an id that is none": request(feature(id="seven")),
    "an etag": request(feature_pb2.Feature(etag="1")),
    "a distance": request(feature_pb2.Feature(distance_meters=1)),
    "a geometry without any": request(feature(geometry_pb2.Geometry())),
    "a geometry of another type": request(feature(geometry_pb2.Geometry(wkt=BOX))),
    "a point beyond the Earth": request(feature(geometry_pb2.Geometry(wkb=shapely.to_wkb(shapely.Point(181, 2))))),
    "one that is not valid": request(feature(geometry_pb2.Geometry(wkt=BOW), name="Land"), "zones"),
    "one not in the layer's CRS": request(
        feature(geometry_pb2.Geometry(wkt="POINT (1 2)", srid=3857)), require_layer_srid=True
    ),
    "an id of the request that is too long": request(feature(), request_id="x" * 129),
    "a request that is too large for the event loop": request(feature(name="x" * MOST_BYTES)),
}


def sent(message: CreateFeatureRequest) -> bytes:
    return message.SerializeToString()


def meant(data: bytes) -> Edit | type[Exception]:
    """By the message."""
    try:
        return EDITS.create(CreateFeatureRequest.FromString(data))
    except (SpatialError, DecodeError) as error:
        return type(error)


@pytest.mark.parametrize("name", FAMILIAR)
def test_what_is_familiar_means_what_the_message_means(name: str) -> None:
    data = sent(FAMILIAR[name])

    edit = CREATES.read(data)

    assert isinstance(edit, Edit)
    assert edit == meant(data)


@pytest.mark.parametrize("name", LEFT)
def test_what_is_to_be_refused_or_is_out_of_the_ordinary_is_left_as_a_message(name: str) -> None:
    assert CREATES.read(sent(LEFT[name])) == LEFT[name]


AGAIN = {
    "the layer": sent(request(None, "zones")),
    "no layer": wire.delimited(wire.tag(1, wire.LENGTH), b""),
    "the feature": sent(request(feature(name="Spring"), "")),
    "what nobody knows": wire.delimited(wire.tag(90, wire.LENGTH), b"?"),
}


@pytest.mark.parametrize("name", AGAIN)
def test_what_is_said_again_counts(name: str) -> None:
    data = sent(WHOLE) + AGAIN[name]
    assert_same(data)


def test_a_property_that_is_said_twice_is_the_last() -> None:
    twice = feature_pb2.Feature(geometry=POINT).SerializeToString()
    entries = wire.struct({"name": "Well"}) + wire.struct({"name": "Spring"})
    data = wire.delimited(wire.tag(1, wire.LENGTH), b"facilities") + wire.delimited(
        wire.tag(2, wire.LENGTH), twice + wire.delimited(wire.tag(3, wire.LENGTH), entries)
    )
    assert_same(data)
    found = EDITS.create(CreateFeatureRequest.FromString(data))
    assert dict(found.values) == {"name": "Spring"}


def test_the_order_in_which_properties_are_said_makes_no_other_statement() -> None:
    start = feature_pb2.Feature(geometry=POINT).SerializeToString()
    edits = []
    for given in ({"name": "Well", "kind": "well"}, {"kind": "well", "name": "Well"}):
        content = start + wire.delimited(wire.tag(3, wire.LENGTH), wire.struct(given))
        data = wire.delimited(wire.tag(1, wire.LENGTH), b"facilities")
        edits.append(CREATES.read(data + wire.delimited(wire.tag(2, wire.LENGTH), content)))
    assert isinstance(edits[0], Edit)
    assert edits[0] == edits[1]


def assert_same(data: bytes) -> None:
    """Whether it is read from the bytes or not, it means the same."""
    wanted = meant(data)
    try:
        found = CREATES.read(data)
    except DecodeError:
        assert wanted is DecodeError
        return
    if isinstance(found, Edit):
        assert found == wanted
    else:
        assert found == CreateFeatureRequest.FromString(data)


@pytest.mark.parametrize("name", FAMILIAR)
def test_bytes_that_were_changed_anyhow_mean_what_the_message_means(name: str) -> None:
    chance = Random(name)
    data = sent(FAMILIAR[name])
    for _ in range(150):
        changed = bytearray(data)
        for _ in range(chance.choice((1, 1, 2))):
            at = chance.randrange(len(changed) + 1)
            match chance.randrange(4):
                case 0:
                    changed[at : at + 1] = bytes([chance.randrange(256)])
                case 1:
                    del changed[at : at + chance.choice((1, 2, 9))]
                case 2:
                    changed[at:at] = chance.randbytes(chance.choice((1, 2)))
                case _:
                    changed[at:at] = data[at : at + chance.randrange(40)]
        assert_same(bytes(changed))


def test_a_layer_that_the_call_does_not_cover_is_left_to_be_refused() -> None:
    guarded = Catalog(shipped_layers(), guarded=True)
    reader = CreateReader(guarded, READER, EditReader(guarded, READER))
    assert ACCESS.get() is None
    assert reader.read(sent(WHOLE)) == WHOLE
