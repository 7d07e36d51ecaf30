"""Pages: joined they are the whole answer, whatever their size and whatever happens between them."""

from collections.abc import Callable, Iterator
from typing import Any

import grpc
import pytest

from spatial.v1 import query_pb2 as query
from tests.oracle import fetch
from tests.searches import (
    MODELS,
    ONLY_IDS,
    intersects,
    nearest,
    pages,
    pairs,
    point,
    radius,
    ranked,
    request,
    search,
    shape,
    within,
)
from tests.servers import refusal, serving
from tests.world import NAMED, settle

AROUND_BERLIN = radius("facilities", point(13.4, 52.5), 400_000)
NEW_YORK = intersects("parcels", shape("POLYGON ((-74.1 40.5, -73.7 40.5, -73.7 40.9, -74.1 40.9, -74.1 40.5))"))
DUPLICATES = [key for key, place in enumerate(NAMED, 1) if place == (10.0, 10.0)]


@pytest.fixture(scope="module")
def stub(demo_database: str) -> Iterator[Any]:
    with serving(demo_database) as served:
        yield served.stub


@pytest.fixture(scope="module")
def world(module_database: str) -> Iterator[Any]:
    settle(module_database)
    with serving(module_database) as served:
        yield served.stub


@pytest.mark.parametrize("page_size", [1, 7, 100, 1000, 5000])
@pytest.mark.parametrize("asked", [AROUND_BERLIN, NEW_YORK], ids=["radius", "intersects"])
def test_pages_joined_are_the_whole_answer(stub: Any, asked: Any, page_size: int) -> None:
    whole = search(stub, request(asked, page_size=1000))
    parts = [*pages(stub, asked, page_size)]

    assert whole.next_page_token == ""
    assert [feature for page in parts for feature in page.features] == [*whole.features]
    assert {len(page.features) for page in parts[:-1]} <= {page_size}
    assert len(parts) == -(-len(whole.features) // page_size)
    assert len(whole.features) > 100


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("page_size", [1, 2, 3, 7])
def test_a_page_may_end_among_equal_distances(world: Any, model: str, page_size: int) -> None:
    asked = radius("facilities", point(10.01, 10), 1 if model == "PLANAR" else 100_000, model)
    whole = within(world, asked)

    assert within(world, asked, page_size) == whole
    assert [key for key, _ in whole[: len(DUPLICATES)]] == DUPLICATES


def test_no_page_follows_one_that_is_just_full(world: Any) -> None:
    page = search(world, request(radius("facilities", point(10, 10), 1), page_size=len(DUPLICATES)))

    assert (len(page.features), page.next_page_token) == (len(DUPLICATES), "")


def test_an_empty_answer_is_one_empty_page(world: Any) -> None:
    assert [len(page.features) for page in pages(world, intersects("parcels", point(0, 0)))] == [0]


def test_a_page_size_of_0_is_100(stub: Any) -> None:
    for asked in (AROUND_BERLIN, NEW_YORK):
        assert len(search(stub, request(asked)).features) == 100


def test_a_negative_page_size_is_refused(stub: Any) -> None:
    for asked in (AROUND_BERLIN, NEW_YORK):
        assert_refused(stub, request(asked, page_size=-1), "OUT_OF_RANGE", "page_size")


def test_the_page_size_may_change_from_page_to_page(stub: Any) -> None:
    for asked in (AROUND_BERLIN, NEW_YORK):
        whole = search(stub, request(asked, page_size=1000)).features
        first = search(stub, request(asked, page_size=3))
        second = search(stub, request(asked, page_size=10, page_token=first.next_page_token))
        third = search(stub, request(asked, page_size=1000, page_token=second.next_page_token))
        assert [*first.features, *second.features, *third.features] == [*whole]


@pytest.mark.parametrize("kind", ["radius", "intersects"])
def test_what_comes_and_goes_between_pages_moves_nothing_else(module_database: str, world: Any, kind: str) -> None:
    around = radius("facilities", point(10, 10), 5_000_000)
    asked: Any = around if kind == "radius" else intersects("facilities", shape("POLYGON ((0 0, 50 0, 50 50, 0 0))"))
    before = [int(feature.id) for page in pages(world, asked) for feature in page.features]
    first = search(world, request(asked, page_size=len(before) // 2))
    gone = before[0]
    saved = fetch(module_database, "DELETE FROM facilities WHERE id = %s RETURNING ST_AsText(location)", gone)[0][0]
    new = fetch(
        module_database,
        "INSERT INTO facilities (name, kind, location) SELECT 'new', 'x', ST_SetSRID(ST_MakePoint(10 + n, 9), 4326)"
        " FROM generate_series(0, 10) n RETURNING id",
    )
    try:
        rest = search(world, request(asked, page_size=1000, page_token=first.next_page_token))
        found = [int(feature.id) for feature in (*first.features, *rest.features)]
        assert [key for key in found if (key,) not in new] == before
        assert len(found) == len(set(found))
    finally:
        fetch(module_database, "DELETE FROM facilities WHERE name = 'new'")
        fetch(
            module_database,
            "INSERT INTO facilities (id, name, kind, location) OVERRIDING SYSTEM VALUE"
            " VALUES (%s, 'back', 'point', ST_GeomFromText(%s, 4326))",
            gone,
            saved,
        )


def _set(path: str, value: Any) -> Callable[[Any], None]:
    def change(message: Any) -> None:
        *outer, last = path.split(".")
        for name in outer:
            message = getattr(message, name)
        if isinstance(value, list):
            getattr(message, last).extend(value)
        else:
            setattr(message, last, value)

    return change


CHANGES = {
    "layer": _set("query.layer", "zones"),
    "center": _set("query.center.point.latitude", 52.6),
    "radius": _set("query.radius_meters", 400_001),
    "distance model": _set("query.distance_model", 2),
    "view": _set("output.view", 1),
    "encoding": _set("output.encoding", 2),
    "properties": _set("output.properties", ["name"]),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_token_belongs_to_its_request(stub: Any, change: str) -> None:
    token = search(stub, request(AROUND_BERLIN, page_size=5)).next_page_token
    other = request(AROUND_BERLIN, page_size=5, page_token=token)
    CHANGES[change](other)

    assert_refused(stub, other, "INVALID_PAGE_TOKEN", "page_token")


def test_a_token_belongs_to_its_rpc(stub: Any) -> None:
    asked: tuple[Any, ...] = (AROUND_BERLIN, NEW_YORK)
    tokens = [search(stub, request(each, page_size=5)).next_page_token for each in asked]
    for each, token in zip(asked, reversed(tokens), strict=True):
        assert_refused(stub, request(each, page_token=token), "INVALID_PAGE_TOKEN", "page_token")


@pytest.mark.parametrize(
    "spoil",
    [
        lambda token: token[:-1],
        lambda token: token[:-5],
        lambda token: token[:16],
        lambda token: token[:3],
        lambda token: token[1:],
        lambda token: token + "A",
        lambda token: token + "AAAA",
        lambda token: token * 2,
        lambda token: "B" + token[1:],
        lambda _: "x",
        lambda _: "garbage",
        lambda _: "☃",
        lambda _: " ",
        lambda _: "[" * 100_000,
    ],
)
@pytest.mark.parametrize("asked", [AROUND_BERLIN, NEW_YORK], ids=["radius", "intersects"])
def test_a_token_that_was_never_given_out(stub: Any, asked: Any, spoil: Callable[[str], str]) -> None:
    token = search(stub, request(asked, page_size=5)).next_page_token

    assert_refused(stub, request(asked, page_token=spoil(token)), "INVALID_PAGE_TOKEN", "page_token")


def assert_refused(stub: Any, asked: Any, reason: str, field: str) -> None:
    with pytest.raises(grpc.RpcError) as raised:
        search(stub, asked)
    refused = refusal(raised.value)
    assert (refused.code, refused.reason, refused.fields) == ("INVALID_ARGUMENT", reason, (field,))


LIMIT = 50_000


@pytest.fixture(scope="module")
def narrow(demo_database: str) -> Iterator[Any]:
    """A server whose answers may have but few bytes."""
    with serving(demo_database, max_response_bytes=LIMIT) as served:
        yield served.stub


@pytest.mark.parametrize(
    "asked",
    [radius("zones", point(13.4, 52.5), 1_500_000), intersects("zones", shape("LINESTRING (-10 40, 40 60)")), NEW_YORK],
    ids=["radius", "intersects", "parcels"],
)
def test_a_page_that_would_be_too_large_is_cut_and_goes_on(stub: Any, narrow: Any, asked: Any) -> None:
    everything = query.Output()
    whole = search(stub, request(asked, page_size=1000, output=everything))
    parts = [*pages(narrow, asked, 1000, output=everything)]

    assert [feature for page in parts for feature in page.features] == [*whole.features]
    assert len(parts) > 2
    assert all(page.features for page in parts[:-1])
    assert all(page.ByteSize() <= LIMIT + 200 for page in parts if len(page.features) > 1)


def test_one_feature_is_answered_however_large(stub: Any, narrow: Any) -> None:
    asked = intersects("zones", point(-100, 60), "CONTAINS")
    (canada,) = search(stub, request(asked, output=query.Output())).features

    page = search(narrow, request(asked, output=query.Output()))

    assert [*page.features] == [canada]
    assert canada.ByteSize() > LIMIT
    assert page.next_page_token == ""


def test_what_has_no_pages_is_refused_where_it_is_too_large(narrow: Any) -> None:
    zones = [str(key) for key in range(1, 101)]
    calls = [
        (narrow.SearchNearest, query.SearchNearestRequest(query=nearest("zones", point(13.4, 52.5)), limit=50)),
        (narrow.BatchGetFeatures, query.BatchGetFeaturesRequest(layer="zones", ids=zones)),
    ]
    for call, asked in calls:
        with pytest.raises(grpc.RpcError) as raised:
            call(asked, timeout=10)
        refused = refusal(raised.value)
        assert (refused.code, refused.reason) == ("RESOURCE_EXHAUSTED", "RESPONSE_TOO_LARGE")
        assert refused.metadata == {"limit": str(LIMIT)}
        assert refused.retry_seconds is None


def test_a_smaller_answer_to_the_same_question_fits(narrow: Any) -> None:
    assert len(ranked(narrow, nearest("zones", point(13.4, 52.5)), 50)) == 50
    zones = [str(key) for key in range(1, 101)]
    asked = query.BatchGetFeaturesRequest(layer="zones", ids=zones, output=ONLY_IDS)
    assert len(narrow.BatchGetFeatures(asked, timeout=10).features) == 100


def test_a_position_says_nothing_of_what_is_nearer(stub: Any) -> None:
    """The distances of a second page go on where the first ended."""
    first, second, *_ = pages(stub, AROUND_BERLIN, 50)

    assert pairs(first)[-1][1] <= pairs(second)[0][1]
