"""Requests for streams told by their bytes: they mean what they would have meant had they been read."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from google.protobuf.message import DecodeError
from google.type.latlng_pb2 import LatLng

from service.access import ACCESS, Access, Grants, Scope
from service.catalog import Catalog, Layer, shipped_layers
from service.codec.exports import ExportReader, FeatureStream
from service.codec.familiar_exports import MOST_BYTES, MOST_KNOWN, FamiliarExports
from service.codec.geometry import GeometryLimits, ProbeReader
from service.codec.questions import QuestionReader
from service.domain import Export
from spatial.v1 import geometry_pb2
from spatial.v1.query_pb2 import (
    IntersectsQuery,
    LayerQuery,
    Output,
    RadiusQuery,
    StreamFeaturesRequest,
    StreamIntersectsRequest,
    StreamRadiusRequest,
)

PROBE = geometry_pb2.Probe(point=LatLng(latitude=1.5, longitude=2.5))
FEATURE = geometry_pb2.Probe(feature=geometry_pb2.FeatureRef(layer="zones", id="1"))


def layers(revision: int) -> list[Layer]:
    return [replace(layer, revision=revision) for layer in shipped_layers()]


class World:
    def __init__(self) -> None:
        self.catalog = Catalog(layers(revision=1))
        probes = ProbeReader(GeometryLimits(max_bytes=1 << 20, max_vertices=1000, max_depth=8))
        questions = QuestionReader(self.catalog, probes, 1e7)
        exports = ExportReader(questions)
        self.readers: dict[type[FeatureStream], Callable[[Any], Export]] = {
            StreamRadiusRequest: exports.radius,
            StreamIntersectsRequest: exports.intersects,
            StreamFeaturesRequest: exports.features,
        }
        self.familiar = FamiliarExports(questions)

    def ask(self, request: FeatureStream) -> bool:
        """Whether it was known; learns it."""
        asked = self.familiar.reader(type(request))(request.SerializeToString())
        read = self.readers[type(request)]
        if asked.export is not None:
            assert asked.message is None
            assert asked.export == read(request)
            return True
        self.familiar.learn(asked, read(asked.message))
        return False


@pytest.fixture
def world() -> World:
    return World()


def whole(layer: str = "facilities", filtered: str = "", **rest: Any) -> StreamFeaturesRequest:
    return StreamFeaturesRequest(query=LayerQuery(layer=layer, filter=filtered), **rest)


def circle(radius: float = 99.0, probe: geometry_pb2.Probe = PROBE) -> StreamRadiusRequest:
    return StreamRadiusRequest(query=RadiusQuery(layer="facilities", center=probe, radius_meters=radius))


REQUESTS: dict[str, FeatureStream] = {
    "a layer": whole(),
    "another": whole("zones"),
    "some of it": whole(filtered="kind = 'airport'"),
    "in another layout": whole(layout="BATCH_LAYOUT_ARROW"),
    "with fewer properties": whole(output=Output(properties=["name"])),
    "to be gone on with": whole(resumable=True),
    "a circle": circle(),
    "another circle": circle(98.0),
    "what intersects": StreamIntersectsRequest(query=IntersectsQuery(layer="zones", probe=PROBE)),
}


@pytest.mark.parametrize("name", REQUESTS)
def test_what_has_come_before_means_the_same_again(world: World, name: str) -> None:
    for request in REQUESTS.values():
        assert not world.ask(request)
    assert world.ask(REQUESTS[name])


def test_the_same_bytes_are_another_question_to_another_rpc(world: World) -> None:
    request = StreamIntersectsRequest(query=IntersectsQuery(layer="zones"))
    alike = StreamFeaturesRequest.FromString(request.SerializeToString())
    assert not world.ask(alike)
    asked = world.familiar.reader(StreamIntersectsRequest)(request.SerializeToString())
    assert asked.message == request


@pytest.mark.parametrize(
    "request_",
    [
        whole(freshness_token="AQAAAAAAAAAAAAAA"),
        whole(filtered=f"name = '{'x' * MOST_BYTES}'"),
    ],
    ids=["fresh", "long"],
)
def test_what_is_of_one_call_alone_is_not_learnt(world: World, request_: FeatureStream) -> None:
    assert not world.ask(request_)
    assert not world.ask(request_)


def test_a_feature_may_be_elsewhere_the_next_time(world: World) -> None:
    asked = world.familiar.reader(StreamRadiusRequest)(circle(probe=FEATURE).SerializeToString())
    world.familiar.learn(asked, world.readers[StreamRadiusRequest](circle()))
    assert world.familiar.reader(StreamRadiusRequest)(asked.sent).export is None


def test_a_layer_that_was_replaced_or_may_not_be_seen_is_unfamiliar(world: World) -> None:
    world.ask(whole())
    token = ACCESS.set(Access(Grants.of(["spatial.read:zones"]), Scope.READ))
    try:
        assert world.familiar.reader(StreamFeaturesRequest)(whole().SerializeToString()).export is None
    finally:
        ACCESS.reset(token)
    assert world.ask(whole())
    world.catalog.replace(layers(revision=2))
    assert not world.ask(whole())
    assert world.ask(whole())


def test_what_was_read_of_a_layer_that_is_replaced_meanwhile_stays_unfamiliar(world: World) -> None:
    asked = world.familiar.reader(StreamFeaturesRequest)(whole().SerializeToString())
    export = world.readers[StreamFeaturesRequest](whole())
    world.catalog.replace(layers(revision=2))
    world.familiar.learn(asked, export)
    assert not world.ask(whole())


def test_so_many_are_known_at_most(world: World) -> None:
    world.ask(whole())
    for number in range(MOST_KNOWN):
        world.ask(circle(float(number + 1)))
    assert not world.ask(whole())
    assert world.ask(circle(float(MOST_KNOWN)))


def test_bytes_that_are_no_message_are_said_to_be_none(world: World) -> None:
    with pytest.raises(DecodeError):
        world.familiar.reader(StreamFeaturesRequest)(b"nonsense")
