"""Keys of every type in every question: looked up, paged and gone on by, joined, and given back as they are."""

from collections.abc import Iterator
from typing import Any

import grpc
import pytest

from service.codec.tokens import fingerprint, write_token
from spatial.v1 import query_pb2 as query
from tests.awkward import KEYED, LAYERS, everything, ids
from tests.matching import match
from tests.searches import box, intersects, nearest, pages, point, radius
from tests.servers import Served, refusal, serving
from tests.situations import fetch
from tests.streams import LAYOUTS, features, resumed, stream, whole


@pytest.fixture(scope="module")
def served(awkward_database: str) -> Iterator[Served]:
    with serving(awkward_database, layers=LAYERS) as served:
        yield served


@pytest.fixture(scope="module", params=KEYED)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def keys(awkward_database: str, name: str) -> dict[str, int]:
    """Of every row the key as text, in the order of the keys themselves, and its number."""
    return dict(fetch(awkward_database, f"SELECT id::text, n FROM {name} ORDER BY {name}.id"))


def test_each_id_finds_its_feature(served: Served, name: str, keys: dict[str, int]) -> None:
    asked = query.BatchGetFeaturesRequest(layer=name, ids=list(keys))
    answer = served.stub.BatchGetFeatures(asked, timeout=20)

    assert {each.id: each.properties["n"] for each in answer.features} == keys
    assert not answer.missing_ids
    for key in list(keys)[:10]:
        found = served.stub.GetFeature(query.GetFeatureRequest(layer=name, id=key), timeout=20)
        assert (found.id, found.properties["n"]) == (key, keys[key])


MISSING = {"keyed_uuid": "00000000-0000-0000-0000-000000000000", "keyed_text": '{"NULL"},\\', "keyed_domain": "k100"}


def test_an_id_that_is_nobody_s_is_missing(served: Served, name: str) -> None:
    nobody = MISSING.get(name, "32769")  # more than a smallint has, too
    answer = served.stub.BatchGetFeatures(query.BatchGetFeaturesRequest(layer=name, ids=[nobody]), timeout=20)
    assert (list(answer.features), list(answer.missing_ids)) == ([], [nobody])
    with pytest.raises(grpc.RpcError) as refused:
        served.stub.GetFeature(query.GetFeatureRequest(layer=name, id=nobody), timeout=20)
    assert (refusal(refused.value).code, refusal(refused.value).reason) == ("NOT_FOUND", "FEATURE_NOT_FOUND")


@pytest.mark.parametrize("wrong", {"keyed_integer": "one", "keyed_uuid": "1", "keyed_bigint": "1.5"}.items())
def test_an_id_that_cannot_be_one_is_refused(served: Served, wrong: tuple[str, str]) -> None:
    with pytest.raises(grpc.RpcError) as refused:
        served.stub.GetFeature(query.GetFeatureRequest(layer=wrong[0], id=wrong[1]), timeout=20)
    assert (refusal(refused.value).code, refusal(refused.value).reason) == ("INVALID_ARGUMENT", "INVALID_ID")


def test_searches_give_the_keys(served: Served, name: str, keys: dict[str, int]) -> None:
    by_number = {number: key for key, number in keys.items()}
    assert ids(served.stub, nearest(name, point(0.5, 0)), limit=1) == [by_number[50]]
    assert ids(served.stub, radius(name, point(0.5, 0), 1200))[0] == by_number[50]
    assert set(ids(served.stub, radius(name, point(0.5, 0), 1200))) == {by_number[n] for n in (49, 50, 51)}


@pytest.mark.parametrize("question", ["radius", "intersects"])
def test_pages_end_and_go_on_at_any_key(served: Served, name: str, keys: dict[str, int], question: str) -> None:
    queries: dict[str, Any] = {
        "radius": radius(name, point(0, 0), 60_000, "PLANAR"),
        "intersects": intersects(name, box(-1, -1, 1, 1)),
    }
    through = pages(served.stub, queries[question], page_size=7, output=query.Output())
    found = [each.id for page in through for each in page.features]

    assert found == (sorted(keys, key=keys.__getitem__) if question == "radius" else list(keys))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_streams_give_every_key_in_its_order_through_cuts(
    served: Served, name: str, keys: dict[str, int], layout: str
) -> None:
    layer = served.server.catalog[name]
    assert {each.id: each.properties["n"] for each in everything(served.stub, layer, layout)} == keys

    request = whole(name, layout=layout, resumable=True)
    found = [each for batch in stream(served.stub, request) for each in features(batch, layer)]
    assert [each.id for each in found] == list(keys)
    # As if the stream had been cut there.
    half = _token_after(served, name, layout, list(keys)[49])
    rest = [each for again in stream(served.stub, resumed(request, half)) for each in features(again, layer)]
    assert [each.id for each in rest] == list(keys)[50:]


def _token_after(served: Served, name: str, layout: str, key: str) -> str:
    layer = served.server.catalog[name]
    request = whole(name, layout=layout, resumable=True)
    return write_token(fingerprint(request, "resume_token"), int(key) if layer.integer_key else key)


def test_a_match_gives_the_keys(served: Served, name: str, keys: dict[str, int]) -> None:
    probes = [point(n * 0.01, 0) for n in (3, 50, 99)]
    found = match(served.stub, nearest(name, point(0, 0)), probes, limit=1, output=query.Output())
    assert [keys[each.features[0].id] for each in found] == [3, 50, 99]


@pytest.mark.parametrize("resumable", [False, True])
def test_a_join_gives_the_keys_of_both(served: Served, name: str, keys: dict[str, int], resumable: bool) -> None:
    join = query.JoinQuery(left_layer=name, right_layer="keyed_integer")
    batches = served.stub.StreamJoin(query.StreamJoinRequest(query=join, resumable=resumable), timeout=20)
    pairs = [(pair.left_id, int(pair.right_id)) for batch in batches for pair in batch.pairs]

    assert (pairs if resumable else sorted(pairs, key=lambda pair: list(keys).index(pair[0]))) == [
        (key, number * 20000003) for key, number in keys.items()
    ]
