"""Page tokens: they come back as they went out, and nothing else passes for one."""

import json
from base64 import urlsafe_b64decode, urlsafe_b64encode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.catalog import shipped_layers
from service.codec import tokens
from service.codec.tokens import DIGEST_BYTES, Kind, fingerprint, write_token
from service.domain import Argument
from service.errors import InvalidArgument, Reason
from spatial.v1 import query_pb2

BOUND = bytes(range(DIGEST_BYTES))
distances = st.floats(0, allow_nan=False, allow_infinity=False)
keys = st.integers(-(2**63), 2**63 - 1)


LAYER = shipped_layers()[0]


def read_token(token: str, bound_to: bytes, parts: int) -> tuple[Argument, ...]:
    return tokens.read_token(Kind.PAGE, token, bound_to, [LAYER], distances=parts - 1)


def forged(position: str) -> str:
    return urlsafe_b64encode(BOUND + position.encode()).rstrip(b"=").decode()


@given(distance=distances, key=keys)
def test_a_position_comes_back_exactly(distance: float, key: int) -> None:
    assert read_token(write_token(BOUND, distance, key), BOUND, 2) == (distance, key)
    assert read_token(write_token(BOUND, key), BOUND, 1) == (key,)


@given(distance=distances, key=keys, cut=st.integers(1, 20))
def test_a_token_cut_short_is_none(distance: float, key: int, cut: int) -> None:
    token = write_token(BOUND, distance, key)
    with pytest.raises(InvalidArgument):
        read_token(token[:-cut], BOUND, 2)


@given(st.text(max_size=60))
def test_no_text_is_a_token_by_chance(text: str) -> None:
    with pytest.raises(InvalidArgument) as raised:
        read_token(text, BOUND, 1)
    assert (raised.value.reason, raised.value.field) == (Reason.INVALID_PAGE_TOKEN, "page_token")


def test_a_token_can_stand_in_a_url() -> None:
    assert urlsafe_b64decode(write_token(b"\xff" * DIGEST_BYTES, 1) + "==")
    assert write_token(b"\xff" * DIGEST_BYTES, 1).replace("_", "").isalnum()


@pytest.mark.parametrize(
    "position",
    [
        "[]",
        "[1]",
        "[1,2,3]",
        "1",
        "null",
        "{}",
        '{"0":1,"1":2}',
        '["1",2]',
        "[1,null]",
        "[true,1]",
        "[1,[2]]",
        "[NaN,1]",
        "[Infinity,1]",
        "[1e999,1]",
        "[1,1.5]",
        "[1,NaN]",
        "[1,9223372036854775808]",
        "[1," + "9" * 5000 + "]",
        "[" * 20_000,
        "",
    ],
)
def test_a_forged_position_is_refused(position: str) -> None:
    with pytest.raises(InvalidArgument):
        read_token(forged(position), BOUND, 2)


def test_a_token_of_another_request_is_refused() -> None:
    with pytest.raises(InvalidArgument, match="another request"):
        read_token(write_token(BOUND, 1), bytes(DIGEST_BYTES), 1)


def request(**fields: object) -> query_pb2.SearchIntersectsRequest:
    made = query_pb2.SearchIntersectsRequest(query=query_pb2.IntersectsQuery(layer="zones"))
    made.query.probe.geometry.geojson.update({"type": "Point", "coordinates": [1, 2], "a": 1, "b": 2})
    made.MergeFrom(query_pb2.SearchIntersectsRequest(**fields))  # type: ignore[arg-type]
    return made


def test_a_fingerprint_leaves_out_what_it_is_told_to() -> None:
    plain = fingerprint(request(), "page_size", "page_token")

    assert fingerprint(request(page_size=5, page_token="x"), "page_size", "page_token") == plain
    assert fingerprint(request(page_size=5), "page_token") != fingerprint(request(), "page_token")


def test_a_fingerprint_tells_questions_apart() -> None:
    asked = [
        request(),
        request(output=query_pb2.Output(properties=["name"])),
        request(query=query_pb2.IntersectsQuery(predicate="PREDICATE_WITHIN")),
        query_pb2.SearchRadiusRequest(),
        query_pb2.SearchIntersectsRequest(),
    ]
    assert len({fingerprint(each) for each in asked}) == len(asked)
    assert len(fingerprint(request())) == DIGEST_BYTES


def test_a_fingerprint_does_not_depend_on_the_order_of_a_map() -> None:
    other = query_pb2.SearchIntersectsRequest(query=query_pb2.IntersectsQuery(layer="zones"))
    members = {"b": 2, "a": 1, "coordinates": [1, 2], "type": "Point"}
    other.query.probe.geometry.geojson.update(json.loads(json.dumps(members)))

    assert fingerprint(other) == fingerprint(request())
