"""Freshness tokens on reads: one from a write is satisfied by a primary at once, and what is none is refused."""

from collections.abc import Iterator
from typing import Any

import grpc
import pytest

from service.codec.freshness import LAST_POSITION, freshness_token
from spatial.v1 import query_pb2 as query
from tests.searches import box, intersects, nearest, point, radius
from tests.servers import Served, refusal, serving
from tests.situations import fetch

POSITION = "SELECT (pg_current_wal_lsn() - '0/0')::bigint"
AREA = box(-74.01, 40.70, -73.99, 40.72)
NEAR = radius("facilities", point(-74, 40.7), 2000)
LAYER = query.LayerQuery(layer="districts")
JOIN = query.JoinQuery(left_layer="districts", right_layer="districts")

REQUESTS: dict[str, Any] = {
    "GetFeature": query.GetFeatureRequest(layer="facilities", id="1"),
    "BatchGetFeatures": query.BatchGetFeaturesRequest(layer="facilities", ids=["1"]),
    "SearchRadius": query.SearchRadiusRequest(query=NEAR),
    "SearchNearest": query.SearchNearestRequest(query=nearest("facilities", point(-74, 40.7))),
    "SearchIntersects": query.SearchIntersectsRequest(query=intersects("districts", AREA)),
    "CountFeatures": query.CountFeaturesRequest(query=query.Query(radius=NEAR)),
    "CountFeatures of pairs": query.CountFeaturesRequest(query=query.Query(join=JOIN), mode="MODE_ESTIMATED"),
    "StreamRadius": query.StreamRadiusRequest(query=NEAR),
    "StreamIntersects": query.StreamIntersectsRequest(query=intersects("districts", AREA)),
    "StreamFeatures": query.StreamFeaturesRequest(query=LAYER),
    "StreamJoin": query.StreamJoinRequest(query=JOIN),
    "AggregateGrid": query.AggregateGridRequest(query=query.Query(layer=LAYER), zoom=8),
    "MatchFeatures": query.MatchRequest(
        query=query.Query(nearest=query.NearestQuery(layer="facilities")),
        probes=[query.MatchProbe(key="a", probe=point(-74, 40.7))],
    ),
}


@pytest.fixture(scope="module")
def served(demo_database: str) -> Iterator[Served]:
    with serving(demo_database) as served:
        yield served


def ask(served: Served, name: str, token: str) -> list[Any]:
    """What a call answers, one message or several."""
    asked = type(REQUESTS[name])()
    asked.CopyFrom(REQUESTS[name])
    asked.freshness_token = token
    method = name.partition(" ")[0]
    call = getattr(served.stub, method)
    if method == "MatchFeatures":
        return list(call(iter([asked]), timeout=20))
    answer = call(asked, timeout=20)
    return list(answer) if isinstance(answer, grpc.Future) and hasattr(answer, "__iter__") else [answer]


def test_every_request_that_has_the_field_is_tried() -> None:
    messages = query.DESCRIPTOR.message_types_by_name.values()
    having = {each.name for each in messages if "freshness_token" in each.fields_by_name}

    assert {type(each).DESCRIPTOR.name for each in REQUESTS.values()} == having


@pytest.mark.parametrize("name", REQUESTS)
def test_a_token_of_now_changes_nothing_about_the_answer(served: Served, demo_database: str, name: str) -> None:
    ((position,),) = fetch(demo_database, POSITION)
    answer = ask(served, name, freshness_token(position))

    assert any(each.ByteSize() for each in answer)
    assert sorted(map(bytes_of, answer)) == sorted(map(bytes_of, ask(served, name, "")))


def bytes_of(message: Any) -> bytes:
    serialized: bytes = message.SerializeToString(deterministic=True)
    return serialized


@pytest.mark.parametrize("name", REQUESTS)
@pytest.mark.parametrize("token", ["0/16B3748", freshness_token(1)[:-1], "x" * 5000])
def test_what_is_no_token_is_refused(served: Served, name: str, token: str) -> None:
    with pytest.raises(grpc.RpcError) as error:
        ask(served, name, token)
    told = refusal(error.value)

    assert (told.code, told.reason, told.fields) == (
        "INVALID_ARGUMENT",
        "INVALID_FRESHNESS_TOKEN",
        ("freshness_token",),
    )


def test_a_primary_is_always_fresh_enough(served: Served) -> None:
    """A token from before a restore may be ahead of the log: there is nothing fresher than a primary."""
    assert ask(served, "SearchRadius", freshness_token(LAST_POSITION))


@pytest.mark.parametrize("search", ["SearchRadius", "SearchIntersects"])
def test_a_page_token_goes_on_with_any_freshness(served: Served, search: str) -> None:
    request = type(REQUESTS[search])()
    request.CopyFrom(REQUESTS[search])
    request.page_size = 1
    call = getattr(served.stub, search)
    first = call(request, timeout=20)
    request.page_token, request.freshness_token = first.next_page_token, freshness_token(1)
    second = call(request, timeout=20)

    assert second.features
    assert second.features[0].id != first.features[0].id


@pytest.mark.parametrize("stream", ["StreamFeatures", "StreamJoin"])
def test_a_resumed_stream_goes_on_with_any_freshness(served: Served, stream: str) -> None:
    request = type(REQUESTS[stream])()
    request.CopyFrom(REQUESTS[stream])
    request.resumable = True
    call = getattr(served.stub, stream)
    batches = list(call(request, timeout=20))
    request.resume_token, request.freshness_token = batches[-1].resume_token, freshness_token(1)

    assert list(call(request, timeout=20)) == []
