"""Filters with streams in every layout, with matches and with joins."""

from typing import Any

import grpc
import pytest

from spatial_client import Output as Wanted
from spatial_client import SpatialClient
from tests import streams
from tests.filtered import BOX, NEAR, SQUARE, WHERE, World, around, crossing, whole
from tests.matching import match
from tests.oracle import fetch
from tests.searches import point
from tests.servers import refusal

STREAMS = {
    "radius": (around(), (WHERE, NEAR)),
    "intersects": (crossing(), (WHERE, f"ST_Intersects(location, {SQUARE})")),
    "layer": (whole(), (WHERE,)),
    "box": (whole(bbox=BOX), (WHERE, f"location && {SQUARE}")),
}


@pytest.mark.parametrize("resumable", [False, True], ids=["at once", "resumable"])
@pytest.mark.parametrize("layout", streams.LAYOUTS)
@pytest.mark.parametrize("asked", STREAMS)
def test_a_stream_delivers_what_meets_the_filter(world: World, asked: str, layout: str, resumable: bool) -> None:
    question, conditions = STREAMS[asked]
    delivered = streams.delivered(world.stub, streams.asked(question, layout, resumable=resumable))
    keys = [int(found.id) for found in delivered]

    assert sorted(keys) == world.keys(*conditions)
    assert not resumable or keys == sorted(keys)
    assert all(found.properties["kind"] == "school" for found in delivered)


@pytest.mark.parametrize("layout", streams.LAYOUTS)
def test_a_stream_of_nothing_ends(world: World, layout: str) -> None:
    assert streams.delivered(world.stub, streams.asked(whole("kind = 'none'"), layout)) == []


def test_a_stream_goes_on_with_its_filter_and_no_other(world: World) -> None:
    asked = streams.asked(whole("population > 10"), "COLUMNS", resumable=True)
    batches = [*streams.stream(world.stub, asked)]
    assert len(batches) > 1
    token = batches[0].resume_token
    rest = [key for batch in streams.stream(world.stub, streams.resumed(asked, token)) for key in streams.ids(batch)]

    assert rest == [key for batch in batches[1:] for key in streams.ids(batch)]
    other = streams.resumed(streams.asked(whole("population > 11"), "COLUMNS", resumable=True), token)
    with pytest.raises(grpc.RpcError) as caught:
        [*streams.stream(world.stub, other)]
    assert refusal(caught.value).reason == "INVALID_RESUME_TOKEN"


def test_matches_are_of_what_meets_the_filter(world: World) -> None:
    probes = [point(x, x) for x in (1.0, 3.0, 5.0, 30.0)]
    asked = around(meters=60_000)
    answers = match(world.stub, asked, probes, limit=1000)

    for probe, answer in zip(probes, answers, strict=True):
        center = f"ST_SetSRID(ST_MakePoint({probe.point.longitude}, {probe.point.latitude}), 4326)::geography"
        near = f"ST_DWithin(location::geography, {center}, 60000)"
        assert sorted(int(feature.id) for feature in answer.features) == world.keys(WHERE, near)


@pytest.mark.parametrize("resumable", [False, True], ids=["at once", "resumable"])
@pytest.mark.parametrize("turned", [False, True], ids=["zones first", "facilities first"])
@pytest.mark.parametrize("measured", [False, True], ids=["predicate", "distance"])
def test_a_join_pairs_what_meets_the_filters_of_both_sides(
    world: World, client: SpatialClient, measured: bool, turned: bool, resumable: bool
) -> None:
    sides = [("zones", "category = 'even' AND id > 2"), ("facilities", "kind = 'school' AND population > 15000")]
    (left, left_filter), (right, right_filter) = reversed(sides) if turned else sides
    condition: dict[str, Any] = {"distance_meters": 0.01, "distance_model": "planar"} if measured else {}
    found = client.stream_join(
        left,
        right,
        left_filter=left_filter,
        right_filter=right_filter,
        left=Wanted(),
        resumable=resumable,
        **condition,
    )
    meets = "ST_DWithin(boundary, location, 0.01)" if measured else "ST_Intersects(boundary, location)"
    expected = fetch(
        world.url,
        f"SELECT zones.id, facilities.id FROM zones JOIN facilities ON {meets} WHERE category = 'even' AND zones.id > 2"
        " AND kind = 'school' AND population > 15000 ORDER BY 1, 2",
    )
    pairs = [(int(pair.left_id), int(pair.right_id)) for pair in found]

    assert sorted((right, left) if turned else (left, right) for left, right in pairs) == expected
    assert not resumable or pairs == sorted(pairs)
    assert len(pairs) > 100
