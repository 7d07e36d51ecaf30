"""Filters with searches, their pages, counts and estimates, and in the client."""

from typing import Any

import grpc
import pytest

from spatial.v1 import query_pb2 as query
from spatial_client import SpatialClient
from tests import searches
from tests.filtered import BOX, CENTER, FILTER, NEAR, SQUARE, WHERE, World, around, crossing, whole
from tests.oracle import fetch
from tests.searches import nearest, point
from tests.servers import refusal


def test_a_radius_search_finds_what_meets_the_filter_page_by_page(world: World) -> None:
    found = searches.within(world.stub, around(), page_size=7)

    assert sorted(key for key, _ in found) == world.keys(WHERE, NEAR)
    assert [distance for _, distance in found] == sorted(distance for _, distance in found)
    assert len(found) > 20


def test_an_intersects_search_finds_what_meets_the_filter_page_by_page(world: World) -> None:
    assert searches.ids(world.stub, crossing(), page_size=7) == world.keys(WHERE, f"ST_Intersects(location, {SQUARE})")


def test_the_nearest_are_the_nearest_that_meet_the_filter(world: World) -> None:
    asked = nearest("facilities", point(5, 5))
    asked.filter = FILTER
    ranking = (
        f"SELECT id FROM facilities WHERE {WHERE} ORDER BY ST_Distance(location::geography, {CENTER}::geography), id"
    )

    expected = [key for (key,) in fetch(world.url, f"{ranking} LIMIT 25")]
    assert [key for key, _ in searches.ranked(world.stub, asked, limit=25)] == expected


def test_a_large_probe_is_asked_about_with_a_filter(world: World) -> None:
    """It runs alone, as a constant."""
    ring = ", ".join(f"{2 + n / 50} 2" for n in range(100)) + ", 4 2, 4 4, 2 4, 2 2"
    asked = query.IntersectsQuery(layer="facilities", probe=searches.shape(f"POLYGON (({ring}))"), filter=FILTER)

    assert searches.ids(world.stub, asked) == world.keys(WHERE, f"ST_Intersects(location, {SQUARE})")


def test_calls_that_share_a_statement_keep_their_own_values(world: World) -> None:
    calls = [
        (number, world.stub.SearchRadius.future(searches.request(around(f"id = {number}", 20_000_000))))
        for number in range(1, 60)
    ]

    assert [[int(feature.id) for feature in call.result().features] for _, call in calls] == [[n] for n, _ in calls]


def test_a_page_token_belongs_to_its_filter(world: World) -> None:
    page = searches.search(world.stub, searches.request(around(), page_size=5))
    other = searches.request(around("kind = 'park'"), page_size=5, page_token=page.next_page_token)
    with pytest.raises(grpc.RpcError) as caught:
        searches.search(world.stub, other)

    assert refusal(caught.value).reason == "INVALID_PAGE_TOKEN"


@pytest.mark.parametrize(
    ("asked", "conditions"),
    [
        ({"radius": around()}, (WHERE, NEAR)),
        ({"intersects": crossing()}, (WHERE, f"ST_Intersects(location, {SQUARE})")),
        ({"layer": whole()}, (WHERE,)),
        ({"layer": whole(bbox=BOX)}, (WHERE, f"location && {SQUARE}")),
        ({"nearest": query.NearestQuery(layer="facilities", center=point(5, 5), filter=FILTER)}, (WHERE,)),
    ],
    ids=["radius", "intersects", "layer", "box", "nearest"],
)
def test_what_meets_the_filter_is_counted(world: World, asked: dict[str, Any], conditions: tuple[str, ...]) -> None:
    assert searches.count(world.stub, **asked) == len(world.keys(*conditions))


def test_an_estimate_knows_of_the_filter(world: World) -> None:
    every = searches.count(world.stub, "ESTIMATED", layer=whole(""))
    active = searches.count(world.stub, "ESTIMATED", layer=whole("active"))

    assert every == pytest.approx(20_000, rel=0.05)
    assert active == pytest.approx(200, rel=0.5)


def test_every_question_of_the_client_takes_a_filter(world: World, client: SpatialClient) -> None:
    near, inside = world.keys(WHERE, NEAR), world.keys(WHERE, f"ST_Intersects(location, {SQUARE})")
    place, area = (5.0, 5.0), (2.0, 2.0, 4.0, 4.0)

    assert sorted(int(each.id) for each in client.iterate_radius("facilities", place, 100_000, filter=FILTER)) == near
    assert [int(each.id) for each in client.iterate_intersects("facilities", area, filter=FILTER)] == inside
    assert client.search_radius("facilities", place, 100_000, filter="FALSE").features == []
    assert client.search_intersects("facilities", area, filter="FALSE").features == []
    assert client.search_nearest("facilities", place, filter="FALSE") == []
    assert client.count_radius("facilities", place, 100_000, filter=FILTER) == len(near)
    assert client.count_intersects("facilities", area, filter=FILTER) == len(inside)
    assert client.count_nearest("facilities", place, filter="FALSE") == 0
    assert client.count_features("facilities", filter=FILTER) == len(world.keys(WHERE))
    assert sorted(int(each.id) for each in client.stream_radius("facilities", place, 100_000, filter=FILTER)) == near
    assert sorted(int(each.id) for each in client.stream_intersects("facilities", area, filter=FILTER)) == inside
    assert len([*client.stream_features("facilities", filter=FILTER)]) == len(world.keys(WHERE))
    assert [len(found.features) for found in client.match_radius([(1, place)], "facilities", 9e6, filter="id = 5")] == [
        1
    ]
    assert [len(found.features) for found in client.match_nearest([(1, place)], "facilities", filter="FALSE")] == [0]
    assert [len(found.features) for found in client.match_intersects([(1, area)], "facilities", filter="FALSE")] == [0]
