"""MatchFeatures against other libraries, against the searches that ask about one probe, and as a stream."""

import os
import queue
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import shapely

from spatial.v1 import geometry_pb2 as geometry
from spatial.v1 import query_pb2 as query
from spatial.v1 import query_pb2_grpc
from spatial.v1.query_pb2 import MatchProbe, MatchRequest, Output, Query
from tests.matching import in_messages, keyed, match, matches, opening, pairs, refused, told
from tests.oracle import Points, disordered, geometries
from tests.processes import spatial_serve
from tests.searches import MODELS, ONLY_IDS, box, intersects, nearest, point, radius, shape
from tests.servers import Served, refusal, serving

AGREEMENT = {"SPHEROID": 1e-6, "SPHERE": 1e-3, "PLANAR": 1e-9}  # see test_radius.py


@dataclass(frozen=True)
class World:
    served: Served
    url: str

    @property
    def stub(self) -> Any:
        return self.served.stub


@pytest.fixture(scope="module")
def demo(demo_database: str) -> Iterator[World]:
    with serving(demo_database) as served:
        yield World(served, demo_database)


def places(count: int, seed: int = 1) -> list[tuple[float, float]]:
    """Spread over Europe, where the demo data are dense."""
    generator = random.Random(seed)
    return [(generator.uniform(-10, 30), generator.uniform(36, 60)) for _ in range(count)]


def points(count: int, seed: int = 1) -> list[geometry.Probe]:
    return [point(*place) for place in places(count, seed)]


# Against other libraries.


@pytest.mark.parametrize("model", MODELS)
def test_radius_finds_what_the_oracle_finds(demo: World, model: str) -> None:
    stored, reach, agreement = Points.of(demo.url), 2.0 if model == "PLANAR" else 90_000.0, AGREEMENT[model]
    centers = places(200)

    found = match(demo.stub, radius("facilities", point(0, 0), reach, model), points(200), limit=1000)

    assert sum(len(each.features) for each in found) > 200
    for center, each in zip(centers, found, strict=True):
        expected = dict(zip(stored.keys.tolist(), stored.distances(model, *center, reach=reach).tolist(), strict=True))
        answered = pairs(each)
        assert [distance for _, distance in answered] == pytest.approx(
            [expected[key] for key, _ in answered], abs=agreement
        )
        assert {key for key, _ in answered} >= {key for key, far in expected.items() if far < reach - agreement}
        assert all(expected[key] <= reach + agreement for key, _ in answered)
        assert disordered(answered) == []
        assert not each.more


@pytest.mark.parametrize("model", MODELS)
def test_nearest_finds_what_the_oracle_finds(demo: World, model: str) -> None:
    stored, limit, agreement = Points.of(demo.url), 7, AGREEMENT[model]

    found = match(demo.stub, nearest("facilities", point(0, 0), model), points(200, seed=2), limit=limit)

    for center, each in zip(places(200, seed=2), found, strict=True):
        expected = stored.distances(model, *center, nearest=limit)
        answered = pairs(each)
        chosen = np.searchsorted(stored.keys, [key for key, _ in answered])
        distances = [distance for _, distance in answered]
        assert len(set(chosen.tolist())) == limit
        assert distances == pytest.approx(np.sort(expected)[:limit].tolist(), abs=agreement)
        assert distances == pytest.approx(expected[chosen].tolist(), abs=agreement)
        assert not each.more


@pytest.mark.parametrize("predicate", ["INTERSECTS", "WITHIN", "COVERS", "OVERLAPS"])
def test_intersects_finds_what_the_oracle_finds(demo: World, predicate: str) -> None:
    stored = geometries(demo.url, "districts", "boundary")
    generator = random.Random(3)
    boundary = shapely.union_all([*stored.values()]).bounds
    shapes = []
    for number in range(300):
        x, y = generator.uniform(boundary[0], boundary[2]), generator.uniform(boundary[1], boundary[3])
        reach = 10 ** generator.uniform(-3, -0.2)
        shapes.append(
            shapely.Point(x, y) if number % 3 == 0 else shapely.box(x - reach, y - reach, x + reach, y + reach)
        )
    relate = getattr(shapely, predicate.lower())

    found = match(
        demo.stub, intersects("districts", point(0, 0), predicate), [shape(each) for each in shapes], limit=1000
    )

    answered = [[int(feature.id) for feature in each.features] for each in found]
    assert answered == [sorted(key for key, held in stored.items() if relate(held, each)) for each in shapes]
    assert any(answered)


# Against the searches that ask about one probe.


def outline(longitude: float, latitude: float, reach: float, vertices: int) -> geometry.Probe:
    return shape(shapely.Point(longitude, latitude).buffer(reach, quad_segs=vertices // 4))


def mixed(count: int) -> list[geometry.Probe]:
    """Points, boxes, small shapes, shapes of many vertices, and large ones, in turns."""
    return [
        (
            point(x, y),
            box(x, y, x + 0.1, y + 0.1),
            outline(x, y, 0.05, 16),
            outline(x, y, 0.2, 400),
            outline(x, y, 1.5, 32),
        )[number % 5]
        for number, (x, y) in enumerate(places(count, seed=4))
    ]


OUTPUTS = {
    "everything": Output(),
    "ids": ONLY_IDS,
    "WKT boxes": Output(properties=["name"], view="GEOMETRY_VIEW_BBOX", encoding="GEOMETRY_ENCODING_WKT"),
    "GeoJSON": Output(encoding="GEOMETRY_ENCODING_GEOJSON"),
}


@pytest.mark.parametrize("output", OUTPUTS.values(), ids=OUTPUTS)
def test_radius_answers_as_a_search_does(demo: World, output: Output) -> None:
    probes, asked = mixed(60), radius("facilities", point(0, 0), 60_000)

    found = match(demo.stub, asked, probes, output=output, limit=5)

    for probe, each in zip(probes, found, strict=True):
        asked.center.CopyFrom(probe)
        searched = demo.stub.SearchRadius(query.SearchRadiusRequest(query=asked, output=output, page_size=5))
        assert (list(each.features), each.more) == (list(searched.features), bool(searched.next_page_token))


@pytest.mark.parametrize("reach", [None, 50_000.0])
def test_nearest_answers_as_a_search_does(demo: World, reach: float | None) -> None:
    probes, asked = mixed(60), nearest("zone_centroids", point(0, 0), farthest=reach)

    found = match(demo.stub, asked, probes, output=Output(), limit=3)

    for probe, each in zip(probes, found, strict=True):
        asked.center.CopyFrom(probe)
        searched = demo.stub.SearchNearest(query.SearchNearestRequest(query=asked, limit=3))
        assert list(each.features) == list(searched.features)


def test_intersects_answers_as_a_search_does(demo: World) -> None:
    probes, asked = mixed(60), intersects("zones", point(0, 0))

    found = match(demo.stub, asked, probes, output=OUTPUTS["WKT boxes"], limit=2)

    for probe, each in zip(probes, found, strict=True):
        asked.probe.CopyFrom(probe)
        searched = demo.stub.SearchIntersects(
            query.SearchIntersectsRequest(query=asked, output=OUTPUTS["WKT boxes"], page_size=2)
        )
        assert (list(each.features), each.more) == (list(searched.features), bool(searched.next_page_token))
    assert {each.more for each in found} == {True, False}


def test_a_radius_that_may_be_slow_is_answered_like_any_other(demo: World) -> None:
    probes, asked = points(40), radius("facilities", point(0, 0), 400_000)

    found = match(demo.stub, asked, probes, limit=20)

    for probe, each in zip(probes, found, strict=True):
        asked.center.CopyFrom(probe)
        searched = demo.stub.SearchRadius(query.SearchRadiusRequest(query=asked, output=ONLY_IDS, page_size=20))
        assert (list(each.features), each.more) == (list(searched.features), bool(searched.next_page_token))


# Limits.


@pytest.mark.parametrize(("limit", "found"), [(0, 10), (1, 1), (1000, 1000), (5000, 1000)])
def test_the_limit_counts_for_each_probe(demo: World, limit: int, found: int) -> None:
    everywhere = radius("facilities", point(0, 0), 20_100_000)

    answered = match(demo.stub, everywhere, points(3), limit=limit)

    assert [(len(each.features), each.more) for each in answered] == [(found, True)] * 3


def test_nothing_found_is_an_answer(demo: World) -> None:
    (found,) = match(demo.stub, radius("facilities", point(0, 0), 1), [point(-140, -50)])

    assert found == query.Match(key="0")


# The stream.


def test_answers_keep_the_order_of_the_probes_whatever_each_costs(demo: World) -> None:
    probes = [*keyed(mixed(50)), *keyed(points(500), start=50), *keyed(mixed(50), start=550)]
    generator = random.Random(5)
    requests = [opening(intersects("zones", point(0, 0)), limit=1)]
    rest = probes
    while rest:
        size = generator.choice([0, 1, 1, 7, 150])
        requests.append(MatchRequest(probes=rest[:size]))
        rest = rest[size:]

    assert [each.key for each in matches(demo.stub, requests)] == [each.key for each in probes]


def test_one_message_with_everything_is_enough(demo: World) -> None:
    request = opening(nearest("facilities", point(0, 0)), limit=1)
    request.probes.extend(keyed(points(400)))

    found = matches(demo.stub, [request])

    assert [each.key for each in found] == [str(number) for number in range(400)]
    assert all(len(each.features) == 1 for each in found)


def test_keys_need_not_be_unique_nor_set(demo: World) -> None:
    keys = ["", "a", "a", "ключ", "é" * 128]
    request = opening(nearest("facilities", point(0, 0)), limit=1)
    request.probes.extend(MatchProbe(key=key, probe=point(0, 0)) for key in keys)

    assert [each.key for each in matches(demo.stub, [request])] == keys


@pytest.mark.parametrize("messages", [0, 1, 3])
def test_a_stream_without_probes_ends_well(demo: World, messages: int) -> None:
    requests = [opening(nearest("facilities", point(0, 0))), MatchRequest(), MatchRequest()][:messages]

    assert matches(demo.stub, requests) == []


def test_a_probe_that_comes_alone_is_answered_at_once(demo: World) -> None:
    """The stream stays open all the while: each probe is sent when the one before it has been answered."""
    waiting: queue.SimpleQueue[MatchRequest | None] = queue.SimpleQueue()
    waiting.put(opening(nearest("facilities", point(0, 0)), limit=1))
    call = demo.stub.MatchFeatures(iter(waiting.get, None), timeout=20)
    for number in range(30):
        waiting.put(MatchRequest(probes=keyed([point(number, 50)], start=number)))
        assert [each.key for each in next(call).matches] == [str(number)]
    waiting.put(None)
    assert list(call) == []


def test_many_probes_share_a_statement(demo: World) -> None:
    count, total = "spatial_lane_batch_size_count", "spatial_lane_batch_size_sum"
    statements, probes = demo.served.metric(count), demo.served.metric(total)

    match(demo.stub, nearest("facilities", point(0, 0)), points(2000), size=2000, limit=1)

    assert demo.served.metric(total) - probes == 2000
    assert demo.served.metric(count) - statements < 2000 / 40


def test_responses_are_about_as_large_as_batches_are(demo: World) -> None:
    request = opening(intersects("zones", point(0, 0)), output=Output())
    request.probes.extend(keyed(points(800)))

    responses = list(demo.stub.MatchFeatures(iter([request]), timeout=60))

    sizes = [response.ByteSize() for response in responses]
    assert sum(sizes) > 4 * 2**20
    assert all(
        size <= 256 * 1024 or len(response.matches) == 1 for size, response in zip(sizes, responses, strict=True)
    )
    assert len(responses) < 3 * sum(sizes) / (256 * 1024) + 20


# Probes that are refused.

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


# Streams that are refused.

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


# Memory.


def resident_mebibytes(pid: int) -> float:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def test_ten_thousand_probes_pass_through_little_memory(demo_database: str) -> None:
    def everything(count: int) -> int:
        first = opening(intersects("zones", point(0, 0)), output=Output())
        requests = in_messages(first, keyed(points(count)), 500)
        return sum(response.ByteSize() for response in stub.MatchFeatures(requests, timeout=120))

    with spatial_serve(database_url=demo_database) as process, grpc.insecure_channel(process.address) as channel:
        stub: Any = query_pb2_grpc.SpatialServiceStub(channel)
        everything(1000)
        before = resident_mebibytes(process.process.pid)
        answered = everything(10_000)
        after = resident_mebibytes(process.process.pid)
    assert answered > 32 * 2**20
    assert after - before < 16
