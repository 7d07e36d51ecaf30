"""Probes that are refused among others that are not, and streams that are refused as a whole."""

import queue

import pytest

from spatial.v1 import geometry_pb2 as geometry
from spatial.v1 import query_pb2 as query
from spatial.v1.query_pb2 import MatchProbe, MatchRequest, Output, Query
from tests.matched import World, points
from tests.matching import in_messages, keyed, match, matches, opening, refused, told
from tests.searches import ONLY_IDS, box, intersects, nearest, point, radius, shape
from tests.servers import refusal, serving

BOWTIE = "POLYGON ((0 0, 1 1, 1 0, 0 1, 0 0))"
INVALID = "INVALID_ARGUMENT"
BAD: dict[str, tuple[MatchProbe, str, str]] = {
    "latitude": (MatchProbe(probe=point(0, 91)), "COORDINATE_OUT_OF_RANGE", "probe.point.latitude"),
    "nan": (MatchProbe(probe=point(float("nan"), 0)), "NON_FINITE_COORDINATE", "probe.point.longitude"),
    "unset": (MatchProbe(), "REQUIRED", "probe"),
    "empty": (MatchProbe(probe=geometry.Probe()), "REQUIRED", "probe"),
    "torn": (MatchProbe(probe=shape("POINT (0")), "INVALID_ENCODING", "probe.geometry.wkt"),
    "bowtie": (MatchProbe(probe=shape(BOWTIE)), "INVALID_GEOMETRY", "probe.geometry.wkt"),
    "box": (MatchProbe(probe=box(0, 1, 1, 0)), "OUT_OF_RANGE", "probe.bbox.south"),
}


def test_bad_probes_among_good_ones_are_reported_by_key(demo: World) -> None:
    good = points(20)
    first = opening(intersects("zones", point(0, 0)), limit=1)
    for number, probe in enumerate(good):
        first.probes.add(key=f"good {number}", probe=probe)
        for name, (bad, *_) in BAD.items():
            first.probes.add(key=name, probe=bad.probe if bad.HasField("probe") else None)

    found = matches(demo.stub, [first])

    assert [each.key for each in found] == [each.key for each in first.probes]
    expected = match(demo.stub, intersects("zones", point(0, 0)), good, limit=1)
    assert [list(each.features) for each in found if each.key.startswith("good")] == [
        list(each.features) for each in expected
    ]
    for index, each in enumerate(found):
        if each.key in BAD:
            _, reason, field = BAD[each.key]
            assert told(each) == (INVALID, reason, f"probes[{index}].{field}")
        else:
            assert not each.HasField("error")


def test_a_collection_is_refused_by_other_predicates_than_intersects(demo: World) -> None:
    collection = shape("GEOMETRYCOLLECTION (POINT (9 9), LINESTRING (0 0, 1 1))")
    requests = in_messages(opening(intersects("zones", point(0, 0), "WITHIN")), keyed([point(9, 50), collection]), 2)

    good, bad = matches(demo.stub, requests)

    assert not good.HasField("error")
    assert told(bad) == (INVALID, "UNSUPPORTED_GEOMETRY_TYPE", "probes[1].probe.geometry")


def test_a_key_that_is_too_long_comes_back_cut_with_its_error(demo: World) -> None:
    request = opening(nearest("facilities", point(0, 0)), limit=1)
    request.probes.extend([MatchProbe(key="é" * 129, probe=point(0, 0)), MatchProbe(key="x" * 256, probe=point(0, 0))])

    long, longest = matches(demo.stub, [request])

    assert long.key == "é" * 128
    assert told(long) == (INVALID, "OUT_OF_RANGE", "probes[0].key")
    assert longest.key == "x" * 256
    assert not longest.HasField("error")


def test_a_match_that_is_too_large_is_its_own_error(demo_database: str) -> None:
    probes = [point(-140, -50), point(100, 64), point(2, 48)]
    with serving(demo_database, max_response_bytes=15_000) as served:
        found = matches(
            served.stub, in_messages(opening(intersects("zones", point(0, 0)), output=Output()), keyed(probes), 3)
        )

    nothing, russia, france = found
    assert nothing == query.Match(key="0")
    assert told(russia) == ("RESOURCE_EXHAUSTED", "RESPONSE_TOO_LARGE", "")
    assert not france.HasField("error")
    assert len(france.features) == 1


ASKED = radius("facilities", point(0, 0), 1)
FIRST = opening(ASKED)
WITH_CENTER = MatchRequest(query=Query(radius=ASKED))
WITH_PROBE = MatchRequest(query=Query(intersects=intersects("zones", point(0, 0))))
REFUSED: dict[str, tuple[list[MatchRequest], str, str, str]] = {
    "no query": ([MatchRequest(probes=keyed([point(0, 0)]))], INVALID, "REQUIRED", "query"),
    "an empty query": ([MatchRequest(query=Query())], INVALID, "REQUIRED", "query.kind"),
    "a layer's query": (
        [MatchRequest(query=Query(layer=query.LayerQuery(layer="zones")))],
        INVALID,
        "UNEXPECTED_FIELD",
        "query.layer",
    ),
    "a center in the query": ([WITH_CENTER], INVALID, "UNEXPECTED_FIELD", "query.radius.center"),
    "a probe in the query": ([WITH_PROBE], INVALID, "UNEXPECTED_FIELD", "query.intersects.probe"),
    "no layer": ([opening(radius("", point(0, 0), 1))], INVALID, "REQUIRED", "query.radius.layer"),
    "a layer that is not there": (
        [opening(nearest("rivers", point(0, 0)))],
        "NOT_FOUND",
        "LAYER_NOT_FOUND",
        "query.nearest.layer",
    ),
    "a negative radius": (
        [opening(radius("zones", point(0, 0), -1))],
        INVALID,
        "OUT_OF_RANGE",
        "query.radius.radius_meters",
    ),
    "a negative reach": (
        [opening(nearest("zones", point(0, 0), farthest=-1))],
        INVALID,
        "OUT_OF_RANGE",
        "query.nearest.max_distance_meters",
    ),
    "an unknown predicate": (
        [MatchRequest(query=Query(intersects=query.IntersectsQuery(layer="zones", predicate=10)))],  # type: ignore[arg-type]
        INVALID,
        "UNKNOWN_ENUM_VALUE",
        "query.intersects.predicate",
    ),
    "an unknown property": (
        [opening(ASKED, output=Output(properties=["height"]))],
        INVALID,
        "UNKNOWN_PROPERTY",
        "output.properties[0]",
    ),
    "a negative limit": ([opening(ASKED, limit=-1)], INVALID, "OUT_OF_RANGE", "limit"),
    "a query again": ([FIRST, MatchRequest(query=FIRST.query)], INVALID, "UNEXPECTED_FIELD", "query"),
    "an output later": ([FIRST, MatchRequest(output=ONLY_IDS)], INVALID, "UNEXPECTED_FIELD", "output"),
    "a limit later": ([FIRST, MatchRequest(limit=3)], INVALID, "UNEXPECTED_FIELD", "limit"),
}


@pytest.mark.parametrize(("requests", "code", "reason", "field"), REFUSED.values(), ids=REFUSED)
def test_a_stream_is_refused(demo: World, requests: list[MatchRequest], code: str, reason: str, field: str) -> None:
    told_ = refusal(refused(demo.stub, requests))
    assert (told_.code, told_.reason, told_.fields) == (code, reason, (field,))


def test_a_wrong_first_message_is_refused_before_the_stream_is_closed(demo: World) -> None:
    waiting: queue.SimpleQueue[MatchRequest | None] = queue.SimpleQueue()
    waiting.put(opening(radius("", point(0, 0), 1)))
    error = refused(demo.stub, iter(waiting.get, None))
    waiting.put(None)
    assert refusal(error).reason == "REQUIRED"


def test_what_came_before_a_wrong_message_is_answered(demo: World) -> None:
    requests = [
        *in_messages(opening(nearest("facilities", point(0, 0))), keyed(points(300)), 300),
        MatchRequest(limit=1),
    ]
    keys = []

    def answered() -> None:
        for response in demo.stub.MatchFeatures(iter(requests), timeout=20):
            keys.extend([each.key for each in response.matches])

    with pytest.raises(Exception, match="limit must not be set here"):
        answered()
    assert keys == [str(number) for number in range(300)]
