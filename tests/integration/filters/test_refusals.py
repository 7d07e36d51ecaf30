"""Filters that are wrong, and texts that look like SQL."""

from typing import Any

import grpc
import pytest

from spatial.v1 import query_pb2 as query
from tests import searches, streams
from tests.filtered import World, around, crossing, whole
from tests.oracle import fetch
from tests.servers import refusal

CASES: dict[str, tuple[str, Any, str]] = {
    "SearchRadius": ("SearchRadius", query.SearchRadiusRequest(query=around("nme = 1")), "query.filter"),
    "SearchIntersects": ("SearchIntersects", query.SearchIntersectsRequest(query=crossing("nme = 1")), "query.filter"),
    "CountFeatures": (
        "CountFeatures",
        query.CountFeaturesRequest(query=query.Query(layer=whole("nme = 1"))),
        "query.layer.filter",
    ),
    "StreamFeatures": ("StreamFeatures", query.StreamFeaturesRequest(query=whole("nme = 1")), "query.filter"),
    "StreamJoin": (
        "StreamJoin",
        query.StreamJoinRequest(
            query=query.JoinQuery(left_layer="zones", right_layer="facilities", right_filter="nme = 1")
        ),
        "query.right_filter",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_a_wrong_filter_is_said_of_its_field_and_place(world: World, case: str) -> None:
    method, request, field = CASES[case]
    asked = getattr(world.stub, method)
    with pytest.raises(grpc.RpcError) as caught:
        next(asked(request, timeout=10)) if method.startswith("Stream") else asked(request, timeout=10)
    refused = refusal(caught.value)

    assert (refused.code, refused.reason, refused.fields) == ("INVALID_ARGUMENT", "UNKNOWN_PROPERTY", (field,))
    assert refused.message == f"{field}: line 1, column 1: layer 'facilities' has no property 'nme'"
    assert refused.metadata == {"layer": "facilities", "line": "1", "column": "1"}


INJECTIONS = [
    "x'; DROP TABLE facilities; --",
    "x' OR '1' = '1",
    "x'' OR TRUE",
    "$$; SELECT pg_sleep(10); $$",
    "%(filter_1)s %s %% {}",
    "\\'; SELECT 1; --",
    "E'\\x27'",
    '"; --',
    "\x1b\n\r\t\u2028\u02bc\uff07",
]


@pytest.mark.parametrize("text", INJECTIONS)
def test_what_looks_like_sql_in_a_text_is_a_text(world: World, text: str) -> None:
    fetch(world.url, "UPDATE zones SET name = %s WHERE id = 1", text)
    quoted = text.replace("'", "''")
    asked = query.LayerQuery(layer="zones", filter=f"name = '{quoted}' AND name IN ('{quoted}')")

    assert [found.id for found in streams.delivered(world.stub, streams.asked(asked))] == ["1"]


@pytest.mark.parametrize(
    "text",
    [
        "name = 'x'; DROP TABLE facilities",
        "name = 'x' --",
        "name = 'x' UNION SELECT 1",
        "id = (SELECT 1)",
        "pg_sleep(10) IS NULL",
        "id::text = '1'",
        "name ~ 'x'",
        "name || 'x' = 'y'",
        '"name\'" = 1',
        "xmin = 1",
        "%s = 1",
    ],
)
def test_what_looks_like_sql_elsewhere_is_refused(world: World, text: str) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        world.stub.SearchRadius(query.SearchRadiusRequest(query=around(text)), timeout=10)

    assert refusal(caught.value).code == "INVALID_ARGUMENT"
    assert refusal(caught.value).reason in ("INVALID_FILTER", "UNKNOWN_PROPERTY")


def test_a_number_that_is_worked_out_and_too_large_is_the_callers_fault(world: World) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        searches.count(world.stub, layer=whole("longitude * 1e15 * 1e15 * 1e15" + " * population * 1e15" * 20 + " > 1"))

    assert (refusal(caught.value).code, refusal(caught.value).reason) == ("INVALID_ARGUMENT", "OUT_OF_RANGE")
