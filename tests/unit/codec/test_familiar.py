"""Requests told by the bytes around their numbers: they mean what they would have meant had they been read."""

from struct import pack, unpack

import pytest
from google.protobuf.message import DecodeError
from google.type.latlng_pb2 import LatLng
from hypothesis import given
from hypothesis import strategies as st

from service.access import ACCESS, Access, Grants, Scope
from service.catalog import Catalog, shipped_layers
from service.codec.familiar import LEARNT_FROM, MOST_BYTES, MOST_KNOWN, FamiliarSearches
from service.codec.geometry import GeometryLimits, ProbeReader
from service.codec.questions import QuestionReader
from service.codec.requests import RequestReader
from service.codec.wire import LENGTH, delimited, tag
from service.db.boxes import encloses
from service.errors import SpatialError
from spatial.v1 import geometry_pb2, query_pb2

MOST_METERS = 20_100_000.0
LATITUDES, LONGITUDES = st.floats(-90, 90), st.floats(-180, 180)
RADII = st.floats(0, MOST_METERS)
(AS_TEXT,) = unpack("<d", b"AAAAAAA@")
PLAIN = query_pb2.Output(properties=["name", "kind"])


class World:
    def __init__(self) -> None:
        self.catalog = Catalog(shipped_layers())
        probes = ProbeReader(GeometryLimits(max_bytes=1 << 20, max_vertices=1000, max_depth=8))
        self.requests = RequestReader(QuestionReader(self.catalog, probes, MOST_METERS), 1000)
        self.familiar = FamiliarSearches(self.requests)

    def learn(self, sent: bytes, times: int = LEARNT_FROM) -> None:
        for _ in range(times):
            asked = self.familiar.read(sent)
            if asked.message is not None:
                self.familiar.learn(asked, self.requests.radius(asked.message))

    def knows(self, sent: bytes) -> bool:
        asked = self.familiar.read(sent)
        if asked.page is not None:
            assert asked.page == self.requests.radius(query_pb2.SearchRadiusRequest.FromString(sent))
        return asked.page is not None


@pytest.fixture
def world() -> World:
    return World()


def sent(
    latitude: float = 1.5,
    longitude: float = 2.5,
    radius: float = 99.0,
    layer: str = "facilities",
    filtered: str = "",
    **rest: object,
) -> bytes:
    center = geometry_pb2.Probe(point=LatLng(latitude=latitude, longitude=longitude))
    query = query_pb2.RadiusQuery(layer=layer, center=center, radius_meters=radius, filter=filtered)
    message = query_pb2.SearchRadiusRequest(query=query)
    message.MergeFrom(query_pb2.SearchRadiusRequest(**({"output": PLAIN} | rest)))  # type: ignore[arg-type]
    return message.SerializeToString()


KNOWN = World()
KNOWN.learn(sent())


@given(LATITUDES, LONGITUDES, RADII)
def test_a_request_with_other_numbers_means_what_it_would_if_it_were_read(
    latitude: float, longitude: float, radius: float
) -> None:
    known = KNOWN.knows(sent(latitude, longitude, radius))
    written = all(str(number) != "0.0" for number in (latitude, longitude, radius))  # protobuf leaves out a zero
    # Learnt from a circle with a box around it.
    assert known == (written and encloses(longitude, latitude, radius))


@pytest.mark.parametrize(
    "rest",
    [
        {"page_size": 7},
        {"page_size": 900},
        {"layer": "parcels", "output": query_pb2.Output()},
        {"filtered": "kind = 'airport'"},
        {"output": query_pb2.Output(view="GEOMETRY_VIEW_NONE")},
    ],
)
def test_whatever_else_it_says_is_what_it_means(world: World, rest: dict[str, object]) -> None:
    world.learn(sent())
    assert not world.knows(sent(**rest))  # type: ignore[arg-type]
    world.learn(sent(**rest))  # type: ignore[arg-type]
    assert world.knows(sent(3, 4, 120_000, **rest))  # type: ignore[arg-type]
    assert world.knows(sent(3, 4, 5, **rest))  # type: ignore[arg-type]
    assert world.knows(sent())


def test_one_of_several_that_are_unfamiliar_is_learnt(world: World) -> None:
    world.learn(sent(), LEARNT_FROM - 1)
    assert not world.knows(sent())
    world.learn(sent(), 1)
    assert world.knows(sent())


@pytest.mark.parametrize("numbers", [(91, 1, 1), (1, -181, 1), (1, 1, -1), (1, 1, 3e7), (float("nan"), 1, 1)])
def test_numbers_that_are_to_be_refused_are_left_to_who_says_why(
    world: World, numbers: tuple[float, float, float]
) -> None:
    world.learn(sent())
    asked = world.familiar.read(sent(*numbers))
    assert asked.page is None
    assert asked.message is not None
    with pytest.raises(SpatialError):
        world.requests.radius(asked.message)


@pytest.mark.parametrize(
    "rest",
    [
        {"filtered": "name = 'AAAAAAA@'", "latitude": AS_TEXT},  # a number's bytes, once more
        {"freshness_token": "AA"},
        {"filtered": f"name = '{'x' * MOST_BYTES}'"},
        {"latitude": 2.5},  # twice the same
        {"longitude": 0.0},  # left out
    ],
    ids=["bytes of a number elsewhere", "token", "long", "same numbers", "zero"],
)
def test_what_cannot_be_told_apart_or_is_of_one_call_alone_is_not_learnt(world: World, rest: dict[str, object]) -> None:
    world.learn(sent(**rest), 2 * LEARNT_FROM)  # type: ignore[arg-type]
    assert not world.knows(sent(**rest))  # type: ignore[arg-type]


def test_a_number_that_another_overrides_is_not_one(world: World) -> None:
    """The last of two is what counts, wherever they stand."""
    query = query_pb2.RadiusQuery(center=geometry_pb2.Probe(point=LatLng(latitude=7.5))).SerializeToString()
    twice = sent() + delimited(tag(1, LENGTH), query)
    world.learn(twice)
    assert world.knows(twice)
    assert world.knows(twice.replace(pack("<d", 7.5), pack("<d", 8.5)))
    assert not world.knows(twice.replace(pack("<d", 1.5), pack("<d", 8.5)))


def test_a_layer_that_was_replaced_or_may_not_be_seen_is_unfamiliar(world: World) -> None:
    world.learn(sent())
    token = ACCESS.set(Access(Grants.of(["spatial.read:zones"]), Scope.READ))
    try:
        assert world.familiar.read(sent()).page is None
    finally:
        ACCESS.reset(token)
    assert world.knows(sent())
    world.catalog.replace(World().catalog)
    assert not world.knows(sent())
    world.learn(sent())
    assert world.knows(sent())


def test_so_many_are_known_at_most(world: World) -> None:
    world.learn(sent())
    for number in range(1, MOST_KNOWN + 1):
        world.learn(sent(page_size=number))
    assert not world.knows(sent())
    assert world.knows(sent(page_size=MOST_KNOWN))


def test_bytes_that_are_no_message_are_said_to_be_none(world: World) -> None:
    with pytest.raises(DecodeError):
        world.familiar.read(b"nonsense")
