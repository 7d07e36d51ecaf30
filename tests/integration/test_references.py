"""Features as probes: what a layer has is asked about as if the caller had sent it."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import grpc
import pytest
import shapely

from spatial.v1 import geometry_pb2 as geometry
from spatial.v1 import query_pb2 as query
from tests.matching import in_messages, keyed, match, matches, opening, pairs, told
from tests.oracle import fetch, geometries
from tests.searches import ONLY_IDS, count, ids, intersects, nearest, pages, point, radius, ranked, shape, within
from tests.servers import Served, refusal, serving
from tests.situations import eventually, locked, quiet
from tests.streams import LAYOUTS, asked, delivered


@pytest.fixture(scope="module")
def served(demo_database: str) -> Iterator[Served]:
    with serving(demo_database) as served:
        yield served


@pytest.fixture(scope="module")
def parcels(demo_database: str) -> Mapping[int, shapely.Geometry]:
    return geometries(demo_database, "parcels", "boundary")


def feature(layer: str, key: object) -> geometry.Probe:
    return geometry.Probe(feature=geometry.FeatureRef(layer=layer, id=str(key)))


SEARCHES: dict[str, Callable[[Any, geometry.Probe], Any]] = {
    "SearchRadius": lambda stub, probe: within(stub, radius("parcels", probe, 500)),
    "SearchNearest": lambda stub, probe: ranked(stub, nearest("parcels", probe), 20),
    "SearchIntersects": lambda stub, probe: ids(stub, intersects("parcels", probe)),
    "CountFeatures, radius": lambda stub, probe: count(stub, radius=radius("parcels", probe, 500)),
    "CountFeatures, nearest": lambda stub, probe: count(stub, nearest=nearest("parcels", probe, farthest=500)),
    "CountFeatures, intersects": lambda stub, probe: count(stub, intersects=intersects("parcels", probe, "WITHIN")),
    "CountFeatures, estimated": lambda stub, probe: count(stub, "ESTIMATED", intersects=intersects("parcels", probe)),
    **{
        f"StreamRadius in {layout}": lambda stub, probe, layout=layout: sorted(  # type: ignore[misc]
            found.id for found in delivered(stub, asked(radius("parcels", probe, 500), layout, output=ONLY_IDS))
        )
        for layout in LAYOUTS
    },
    "StreamIntersects, resumable": lambda stub, probe: [
        found.id for found in delivered(stub, asked(intersects("parcels", probe), output=ONLY_IDS, resumable=True))
    ],
    "MatchFeatures, radius": lambda stub, probe: pairs(match(stub, radius("parcels", point(0, 0), 500), [probe])[0]),
    "MatchFeatures, intersects": lambda stub, probe: [
        each.id for each in match(stub, intersects("parcels", point(0, 0)), [probe], limit=500)[0].features
    ],
}


@pytest.mark.parametrize("search", SEARCHES)
def test_a_feature_finds_what_its_geometry_finds(
    served: Served, parcels: Mapping[int, shapely.Geometry], search: str
) -> None:
    found = SEARCHES[search](served.stub, feature("parcels", 9))

    assert found
    assert found == SEARCHES[search](served.stub, shape(parcels[9]))


def test_a_feature_finds_itself(served: Served) -> None:
    assert within(served.stub, radius("parcels", feature("parcels", 7), 0))[0] == (7, 0.0)
    assert ids(served.stub, intersects("parcels", feature("parcels", 7), "EQUALS")) == [7]


def test_a_feature_of_any_size_can_be_asked_about(database: str) -> None:
    """What limits a caller's geometries keeps out what would have to travel; this is there."""
    fetch(
        database,
        "INSERT INTO zones (code, name, category, boundary) SELECT 'Z', 'Z', 'x',"
        " ST_Multi(ST_Buffer('SRID=4326;POINT(10 10)'::geometry, 5, 500))",
    )
    fetch(database, "INSERT INTO facilities (name, kind, location) VALUES ('x', 'x', 'SRID=4326;POINT(10 10)')")
    with serving(database, max_vertices=100, max_request_bytes=10_000) as served:
        assert ids(served.stub, intersects("facilities", feature("zones", 1))) == [1]
        assert ranked(served.stub, nearest("facilities", feature("zones", 1))) == [(1, 0.0)]


def test_pages_go_on_by_the_request_that_was_made(database: str) -> None:
    """Also where the feature moved between them: its geometry is not part of the request."""
    fetch(
        database,
        "INSERT INTO facilities (name, kind, location)"
        " SELECT 'x', 'x', ST_SetSRID(ST_MakePoint(0, n * 0.001), 4326) FROM generate_series(1, 9) n",
    )
    with serving(database) as served:
        expected = within(served.stub, radius("facilities", point(0, 0.001), 5000))
        assert len(expected) == 9
        assert within(served.stub, radius("facilities", feature("facilities", 1), 5000), page_size=2) == expected

        request = intersects("facilities", feature("facilities", 1))
        first = next(pages(served.stub, request, page_size=1))
        assert not first.next_page_token
        paged = query.SearchRadiusRequest(
            query=radius("facilities", feature("facilities", 1), 5000), output=ONLY_IDS, page_size=4
        )
        paged.page_token = served.stub.SearchRadius(paged, timeout=10).next_page_token
        fetch(database, "UPDATE facilities SET location = ST_Translate(location, 0.00001, 0) WHERE id = 1")
        assert len(served.stub.SearchRadius(paged, timeout=10).features) == 4

        paged.query.center.feature.id = "2"
        with pytest.raises(grpc.RpcError) as raised:
            served.stub.SearchRadius(paged, timeout=10)
        assert refusal(raised.value).reason == "INVALID_PAGE_TOKEN"


def test_a_resumable_stream_goes_on(served: Served) -> None:
    request = asked(radius("facilities", feature("zones", 3), 2_000_000), resumable=True)
    batches = list(served.stub.StreamRadius(request, timeout=30))
    everything = [feature.id for batch in batches for feature in batch.rows.features]
    assert len(batches) > 1

    request.resume_token = batches[0].resume_token
    rest = [feature.id for batch in served.stub.StreamRadius(request, timeout=30) for feature in batch.rows.features]

    assert [feature.id for feature in batches[0].rows.features] + rest == everything


REFUSED = {
    "no layer": (feature("", 1), "INVALID_ARGUMENT", "REQUIRED", "feature.layer", {}),
    "an unknown layer": (feature("x", 1), "NOT_FOUND", "LAYER_NOT_FOUND", "feature.layer", {"layer": "x"}),
    "no id": (feature("zones", ""), "INVALID_ARGUMENT", "INVALID_ID", "feature.id", {}),
    "what cannot be an id": (feature("zones", "1a"), "INVALID_ARGUMENT", "INVALID_ID", "feature.id", {}),
    "an id that is not there": (
        feature("zones", 10**9),
        "NOT_FOUND",
        "FEATURE_NOT_FOUND",
        "feature.id",
        {"layer": "zones", "id": "1000000000"},
    ),
}
CALLS: dict[str, tuple[str, Callable[[Any, geometry.Probe], Any]]] = {
    name: (path, SEARCHES[name])
    for name, path in {
        "SearchRadius": "query.center",
        "SearchNearest": "query.center",
        "SearchIntersects": "query.probe",
        "CountFeatures, radius": "query.radius.center",
        "CountFeatures, nearest": "query.nearest.center",
        "CountFeatures, intersects": "query.intersects.probe",
        "StreamRadius in ROWS": "query.center",
        "StreamIntersects, resumable": "query.probe",
    }.items()
}


@pytest.mark.parametrize("case", REFUSED)
@pytest.mark.parametrize("call", CALLS)
def test_what_is_not_there_is_refused_with_its_field(served: Served, call: str, case: str) -> None:
    probe, code, reason, field, metadata = REFUSED[case]
    path, ask = CALLS[call]

    with pytest.raises(grpc.RpcError) as raised:
        ask(served.stub, probe)

    refused = refusal(raised.value)
    assert (refused.code, refused.reason, refused.fields) == (code, reason, (f"{path}.{field}",))
    assert refused.metadata == metadata


def test_in_a_match_it_is_an_error_by_its_key(served: Served, parcels: Mapping[int, shapely.Geometry]) -> None:
    """Among others that are answered, of several layers, some of them twice."""
    bad = [case[0] for case in REFUSED.values()]
    good = [feature("facilities", 1), feature("parcels", 5), shape(parcels[2]), feature("parcels", 5)]
    probes = [*good, *bad, *bad, *good]

    answered = matches(
        served.stub, in_messages(opening(radius("parcels", point(0, 0), 10), limit=500), keyed(probes), size=1000)
    )

    expected = match(served.stub, radius("parcels", point(0, 0), 10), good, limit=500)
    assert [pairs(each) for each in answered[:4]] == [pairs(each) for each in answered[-4:]] == [*map(pairs, expected)]
    for place, each in enumerate(answered[4:-4], 4):
        _, code, reason, field, _ = [*REFUSED.values()][(place - 4) % len(bad)]
        assert told(each) == (code, reason, f"probes[{place}].probe.{field}")


def test_many_features_are_looked_up_together(served: Served, demo_database: str) -> None:
    keys = [key for (key,) in fetch(demo_database, "SELECT id FROM facilities ORDER BY id LIMIT 1000")]

    found = match(
        served.stub, nearest("facilities", point(0, 0)), [feature("facilities", key) for key in keys], size=500, limit=1
    )

    assert all(each.features[0].distance_meters == 0.0 for each in found)
    expected = match(served.stub, nearest("facilities", point(0, 0)), [feature("facilities", keys[7])], limit=1)
    assert pairs(found[7]) == pairs(expected[0])


def test_a_deadline_ends_the_look_up_too(database: str) -> None:
    with serving(database, lock_timeout=20) as served, locked(database, "zones"):
        request = query.SearchNearestRequest(query=nearest("facilities", feature("zones", 1)))
        with pytest.raises(grpc.RpcError) as raised:
            served.stub.SearchNearest(request, timeout=0.5)

        assert raised.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        eventually(quiet(database))
