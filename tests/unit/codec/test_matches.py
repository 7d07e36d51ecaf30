"""Matches between the wire and the lanes: what is written by hand against what protobuf reads, and how it is packed."""

from typing import Any

import pytest
from google.rpc import status_pb2

from service.catalog import Catalog, shipped_layers
from service.codec.frames import BATCH_BYTES
from service.codec.geometry import GeometryLimits, ProbeReader
from service.codec.matches import KEY_BYTES, Matching, MatchReader, MatchWriter, ResponseBuilder
from service.codec.questions import QuestionReader
from service.db.batch import Answer
from service.db.queries import Statements
from service.domain import DistanceModel, Kind, Search
from service.errors import InvalidArgument, Reason, SpatialError
from spatial.v1.query_pb2 import Match, MatchProbe, MatchRequest, MatchResponse
from tests.matching import opening
from tests.searches import intersects, nearest, point, radius, shape

CATALOG = Catalog(shipped_layers())
READER = MatchReader(QuestionReader(CATALOG, ProbeReader(GeometryLimits(10_000, 1000, 4)), 20_100_000), 1000)


def status(error: SpatialError) -> status_pb2.Status:
    return status_pb2.Status(code=3, message=error.message)


def writer(max_bytes: int = 10_000) -> MatchWriter:
    return MatchWriter(max_bytes, status)


def matching(asked: Any = None, **fields: Any) -> Matching:
    return READER.first(opening(asked or radius("facilities", point(0, 0), 1000), **fields))


def answer(matching: Matching, count: int, *, cut: bool = False) -> Answer:
    """Rows as they are decoded: ordinal, key, distance, created_at."""
    statement = Statements(CATALOG)[matching.shared]
    return Answer(statement, [(1, key, key / 2, 0) for key in range(count)], cut)


def written(writer: MatchWriter, answer: Answer, limit: int, key: bytes = b"k") -> Match:
    pieces = list(writer.found(answer, limit))
    return MatchResponse.FromString(writer.match(key, answer, pieces, limit)).matches[0]


@pytest.mark.parametrize("count", [0, 1, 9, 10, 11, 49, 50, 51, 200])
def test_a_match_has_its_features_up_to_the_limit_and_says_whether_there_are_more(count: int) -> None:
    asked = matching(limit=50)

    found = written(writer(), answer(asked, count), asked.limit)

    assert found.key == "k"
    assert [(feature.id, feature.distance_meters) for feature in found.features] == [
        (str(key), key / 2) for key in range(min(count, 50))
    ]
    assert found.more == (count > 50)
    assert not found.HasField("error")


@pytest.mark.parametrize("cut", [True, False], ids=["cut by its lane", "too large when written"])
def test_a_match_beyond_the_limit_on_bytes_is_an_error(cut: bool) -> None:
    asked = matching(limit=1000)

    found = written(writer(10_000 if cut else 100), answer(asked, 3 if cut else 10, cut=cut), asked.limit)

    assert not found.features
    assert not found.more
    assert (found.key, found.error.code) == ("k", 3)


def test_an_error_carries_its_status_whole() -> None:
    error = InvalidArgument(Reason.REQUIRED, "probe must be set")

    (found,) = MatchResponse.FromString(writer().failed("ключ".encode(), error)).matches

    assert found == Match(key="ключ", error=status(error))


def test_responses_are_filled_up_to_their_size_and_no_match_is_lost_or_split() -> None:
    sizes = [100, BATCH_BYTES - 200, 50, 60, 3 * BATCH_BYTES, 70, *[BATCH_BYTES // 3] * 7]
    matches = [bytes([number]) * size for number, size in enumerate(sizes)]
    builder, responses = ResponseBuilder(), list[bytes]()

    for match in matches:
        responses.extend(builder.add(match))
    responses.extend(builder.rest())

    assert b"".join(responses) == b"".join(matches)
    assert [len(response) for response in responses] == [
        BATCH_BYTES - 50,
        60,
        3 * BATCH_BYTES,
        70 + 2 * (BATCH_BYTES // 3),
        3 * (BATCH_BYTES // 3),
        2 * (BATCH_BYTES // 3),
    ]
    assert list(builder.rest()) == []


@pytest.mark.parametrize(
    ("asked", "limit", "fetched"),
    [
        (radius("facilities", point(0, 0), 5), 0, 11),
        (radius("facilities", point(0, 0), 5), 7, 8),
        (intersects("zones", point(0, 0)), 5000, 1001),
        (nearest("facilities", point(0, 0)), 0, 10),
        (nearest("facilities", point(0, 0)), 5000, 1000),
    ],
)
def test_one_more_than_the_limit_is_fetched_where_that_shows_whether_there_are_more(
    asked: Any, limit: int, fetched: int
) -> None:
    read = matching(asked, limit=limit)

    assert (read.shared.limit, read.constant.limit) == (fetched, fetched)
    assert (read.shared.constant, read.constant.constant) == (False, True)


def test_a_probe_becomes_a_search() -> None:
    probed = matching().read(0, MatchProbe(key="é", probe=point(1, 2)))

    assert isinstance(probed.asked, Search)
    assert (probed.key, probed.alone) == ("é".encode(), False)
    assert (probed.asked.shape.kind, probed.asked.shape.variant) == (Kind.RADIUS, DistanceModel.SPHEROID)
    assert probed.asked.arguments[1] == 1000
    assert probed.asked.heavy, "it must not keep the lanes of lookups busy"


MANY = "LINESTRING (" + ", ".join(f"0 {n / 1000}" for n in range(65)) + ")"


@pytest.mark.parametrize(
    ("wkt", "alone", "constant"),
    [
        ("POLYGON ((0 0, 1 0, 1 1, 0 0))", False, False),
        ("POLYGON ((0 0, 1.1 0, 1 1, 0 0))", True, False),
        (MANY, True, True),
    ],
    ids=["small", "large", "of many vertices"],
)
def test_a_probe_that_may_be_slow_goes_alone(wkt: str, alone: bool, constant: bool) -> None:
    probed = matching(intersects("zones", point(0, 0))).read(0, MatchProbe(probe=shape(wkt)))

    assert isinstance(probed.asked, Search)
    assert (probed.alone, probed.asked.shape.constant) == (alone, constant)


def test_a_large_radius_makes_no_probe_go_alone_since_it_is_that_of_all() -> None:
    read = matching(radius("facilities", point(0, 0), 500_000))

    assert read.inquiry.heavy
    assert not read.read(0, MatchProbe(probe=point(0, 0))).alone


@pytest.mark.parametrize(
    ("key", "kept"),
    [
        ("x" * KEY_BYTES, None),
        ("x" * (KEY_BYTES + 1), "x" * KEY_BYTES),
        ("a" + "é" * 128, "a" + "é" * 127),
        ("😀" * 65, "😀" * 64),
    ],
)
def test_a_key_is_cut_between_characters(key: str, kept: str | None) -> None:
    probed = matching().read(3, MatchProbe(key=key, probe=point(0, 0)))

    assert probed.key.decode() == (kept or key)
    if kept:
        assert isinstance(probed.asked, InvalidArgument)
        assert (probed.asked.reason, probed.asked.field) == (Reason.OUT_OF_RANGE, "probes[3].key")


@pytest.mark.parametrize("field", ["query", "output", "limit"])
def test_later_messages_bring_probes_only(field: str) -> None:
    later = MatchRequest(probes=[MatchProbe()])
    READER.check_later(later)
    whole = opening(radius("facilities", point(0, 0), 1), limit=3)
    later.MergeFrom(whole)
    for name in {"query", "output", "limit"} - {field}:
        later.ClearField(name)

    with pytest.raises(InvalidArgument) as refused:
        READER.check_later(later)
    assert (refused.value.reason, refused.value.field) == (Reason.UNEXPECTED_FIELD, field)
