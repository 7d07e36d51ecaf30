"""Matches are what other libraries find, and what searches for each probe would."""

import random

import numpy as np
import pytest
import shapely

from spatial.v1 import query_pb2 as query
from spatial.v1.query_pb2 import Output
from tests.matched import World, mixed, places, points
from tests.matching import match, pairs
from tests.oracle import Points, disordered, geometries
from tests.searches import MODELS, ONLY_IDS, intersects, nearest, point, radius, shape

AGREEMENT = {"SPHEROID": 1e-6, "SPHERE": 1e-3, "PLANAR": 1e-9}  # see test_radius.py


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


def test_many_probes_that_share_a_statement_are_answered_as_searches_are(demo: World) -> None:
    asked = radius("facilities", point(0, 0), 90_000)
    asked.filter = "kind <> 'it''s 100 % (none)s' AND name > 'B'"
    probes, output = points(300, seed=6), Output(properties=["name", "kind"])

    found = match(demo.stub, asked, probes, size=300, output=output, limit=2)

    for probe, each in zip(probes, found, strict=True):
        asked.center.CopyFrom(probe)
        searched = demo.stub.SearchRadius(query.SearchRadiusRequest(query=asked, output=output, page_size=2))
        assert (list(each.features), each.more) == (list(searched.features), bool(searched.next_page_token))
    assert {(len(each.features), each.more) for each in found} == {(0, False), (1, False), (2, False), (2, True)}


@pytest.mark.parametrize(("limit", "found"), [(0, 10), (1, 1), (1000, 1000), (5000, 1000)])
def test_the_limit_counts_for_each_probe(demo: World, limit: int, found: int) -> None:
    everywhere = radius("facilities", point(0, 0), 20_100_000)

    answered = match(demo.stub, everywhere, points(3), limit=limit)

    assert [(len(each.features), each.more) for each in answered] == [(found, True)] * 3


def test_nothing_found_is_an_answer(demo: World) -> None:
    (found,) = match(demo.stub, radius("facilities", point(0, 0), 1), [point(-140, -50)])

    assert found == query.Match(key="0")
