"""Matching as the clients do it, against the real server."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from itertools import count, islice
from queue import SimpleQueue
from typing import Any

import pytest
import shapely

from spatial_client import AsyncSpatialClient, NotFound, SpatialClient
from spatial_client._matching import CHUNK, WINDOW
from tests.servers import Served, serving

NEW_YORK = (-74.006, 40.7128)
MIDTOWN = (-73.9857, 40.7484)


@pytest.fixture(scope="module")
def served(demo_database: str) -> Iterator[Served]:
    with serving(demo_database) as running:
        yield running


def places(number: int) -> list[tuple[float, float]]:
    return [(-180 + 360 * each / number, 60 - 120 * each / number) for each in range(number)]


def test_every_probe_is_answered_as_a_search_answers_it(client: Any) -> None:
    probes = [NEW_YORK, "POINT(13.4 52.5)", shapely.Point(2.35, 48.85).buffer(0.1), (-74.1, 40.6, -73.9, 40.8)]

    matches = list(client.match_radius(enumerate(probes), "facilities", 10_000, limit=5, properties=["name"]))

    assert [match.key for match in matches] == [0, 1, 2, 3]
    for match, probe in zip(matches, probes, strict=True):
        page = client.search_radius("facilities", probe, 10_000, page_size=5, properties=["name"])
        assert match.features == page.features
        assert match.more == bool(page.next_page_token)
        assert match.error is None


def test_the_nearest_of_each(client: Any) -> None:
    probes = dict(enumerate(places(CHUNK * 2 + 3)))

    matches = {match.key: match for match in client.match_nearest(probes.items(), "facilities", view="none")}

    assert list(matches) == list(probes)
    for key in (0, CHUNK, CHUNK * 2 + 2):
        assert matches[key].features == client.search_nearest("facilities", probes[key], 1, view="none")


def test_what_each_lies_in(client: Any) -> None:
    probes = {"midtown": MIDTOWN, "the sea": (-30.0, 40.0)}

    matches = client.match_intersects(probes.items(), "parcels", predicate="contains", properties=["name"])

    assert {match.key: [feature.properties["name"] for feature in match] for match in matches} == {
        "midtown": ["Midtown South"],
        "the sea": [],
    }


def test_a_key_is_anything_and_need_not_be_unique(client: Any) -> None:
    keys = [("a", 1), None, None, 5.5]

    assert [each.key for each in client.match_nearest([(key, NEW_YORK) for key in keys], "facilities")] == keys


def test_a_bad_probe_is_answered_with_its_error_and_ends_nothing(client: Any) -> None:
    good, bad, after = client.match_nearest([("good", NEW_YORK), ("bad", "POINT(1"), ("after", NEW_YORK)], "facilities")

    assert good.features == after.features != []
    assert bad.features == []
    assert bad.error.reason == "INVALID_ENCODING"


def test_no_probes_no_matches(client: Any) -> None:
    assert list(client.match_nearest([], "facilities")) == []


@pytest.mark.parametrize("probes", [1, 5 * CHUNK])
def test_a_question_that_is_wrong_is_refused(client: Any, probes: int) -> None:
    with pytest.raises(NotFound) as caught:
        list(client.match_nearest(enumerate(places(probes)), "nowhere"))

    assert caught.value.reason == "LAYER_NOT_FOUND"


def test_what_the_source_raises_is_raised_after_the_answers_to_what_came_before(client: Any) -> None:
    def source() -> Iterator[tuple[int, tuple[float, float]]]:
        yield 1, NEW_YORK
        raise OSError("the file is gone")

    matches = client.match_nearest(source(), "facilities")

    assert next(matches).key == 1
    with pytest.raises(OSError, match="the file is gone"):
        next(matches)


def test_what_is_no_probe_is_raised(client: Any) -> None:
    with pytest.raises(TypeError, match="what is asked about is"):
        list(client.match_nearest([(1, None)], "facilities"))


def test_an_endless_source_is_read_only_as_far_as_there_is_room(client: Any) -> None:
    read = 0

    def source() -> Iterator[tuple[int, tuple[float, float]]]:
        nonlocal read
        for read in count():
            yield read, NEW_YORK

    matches = client.match_nearest(source(), "facilities", view="none")
    keys = [match.key for match in islice(matches, 3 * CHUNK)]
    matches.close()

    assert keys == list(range(3 * CHUNK))
    assert read <= 4 * CHUNK + WINDOW + 1


def test_an_answer_does_not_wait_for_the_next_probe(served: Served) -> None:
    source: SimpleQueue[tuple[int, tuple[float, float]] | None] = SimpleQueue()

    with SpatialClient(served.address) as client:
        matches = client.match_nearest(iter(source.get, None), "facilities")
        for key in range(3):
            source.put((key, NEW_YORK))
            assert next(matches).key == key
        source.put(None)
        assert list(matches) == []


async def test_an_asynchronous_source_is_answered_as_it_comes(served: Served) -> None:
    source: asyncio.Queue[int] = asyncio.Queue()

    async def probes() -> AsyncIterator[tuple[int, tuple[float, float]]]:
        while True:
            yield await source.get(), NEW_YORK

    async with AsyncSpatialClient(served.address) as client:
        matches = client.match_nearest(probes(), "facilities")
        for key in range(3):
            await source.put(key)
            assert (await anext(matches)).key == key
        await matches.aclose()
