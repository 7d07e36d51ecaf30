"""Filters as callers send them: with every search, count, stream, layout, match and join; and the plans they make."""

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Any

import grpc
import psycopg2
import pytest
from psycopg2.extensions import cursor as Cursor  # noqa: N812 - a class, whatever its case

from service.catalog import Catalog, shipped_layers
from service.codec.filters import FilterReader
from service.codec.geometry import GeometryLimits, ProbeReader
from service.db.engine import session_settings
from service.db.joins import join_statement
from service.db.plans import plan_nodes
from service.db.queries import Statements
from service.domain import DistanceModel, JoinShape, Kind, Output, Predicate, Result, Search, Shape, Side
from service.settings import Settings
from spatial.v1 import geometry_pb2 as geometry
from spatial.v1 import query_pb2 as query
from spatial_client import Output as Wanted
from spatial_client import SpatialClient
from tests import searches, streams
from tests.conftest import NewDatabase
from tests.matching import match
from tests.oracle import fetch
from tests.searches import box, nearest, point, radius
from tests.servers import Served, refusal, serving

FILL = """
SELECT setseed(0.5);
INSERT INTO facilities (name, kind, country, population, location, tags, active, attributes)
SELECT 'Facility ' || n, (ARRAY['school', 'hospital', 'park'])[1 + mod(n, 3)], CASE WHEN mod(n, 7) > 0 THEN 'DE' END,
       CASE WHEN mod(n, 5) > 0 THEN n END, ST_SetSRID(ST_MakePoint(random() * 10, random() * 10), 4326),
       CASE WHEN mod(n, 1000) = 0 THEN ARRAY['rare'] ELSE ARRAY['common', 'n' || mod(n, 4)] END, mod(n, 100) = 0,
       jsonb_build_object('height', mod(n, 2000), 'deep', jsonb_build_object('er', mod(n, 3) = 0))
  FROM generate_series(1, 20000) n;
INSERT INTO zones (code, name, category, boundary)
SELECT 'Z' || n, 'Zone ' || n, CASE WHEN mod(n, 2) = 0 THEN 'even' ELSE 'odd' END,
       ST_Multi(ST_MakeEnvelope(n, 0, n + 0.5, 5, 4326)) FROM generate_series(0, 9) n;
ANALYZE facilities, zones;
"""
FILTER = "kind = 'school' AND population > 1000 AND NOT attributes.height = 1002"
WHERE = "kind = 'school' AND population > 1000 AND NOT (attributes ->> 'height')::numeric = 1002"
CENTER = "ST_SetSRID(ST_MakePoint(5, 5), 4326)"
NEAR = f"ST_DWithin(location::geography, {CENTER}::geography, 100000)"
SQUARE = "ST_MakeEnvelope(2, 2, 4, 4, 4326)"


@dataclass(frozen=True)
class World:
    url: str
    served: Served

    @property
    def stub(self) -> Any:
        return self.served.stub

    def keys(self, *conditions: str) -> list[int]:
        """What a plain SELECT finds."""
        return [
            key for (key,) in fetch(self.url, f"SELECT id FROM facilities WHERE {' AND '.join(conditions)} ORDER BY id")
        ]


@pytest.fixture(scope="module")
def world(new_database: NewDatabase) -> Iterator[World]:
    with new_database() as url:
        fetch(url, FILL)
        with serving(url) as served:
            yield World(url, served)


@pytest.fixture(scope="module")
def client(world: World) -> Iterator[SpatialClient]:
    with SpatialClient(world.served.address) as client:
        yield client


def around(filtered: str = FILTER, meters: float = 100_000.0) -> query.RadiusQuery:
    asked = radius("facilities", point(5, 5), meters)
    asked.filter = filtered
    return asked


def crossing(filtered: str = FILTER) -> query.IntersectsQuery:
    return query.IntersectsQuery(layer="facilities", probe=box(2, 2, 4, 4), filter=filtered)


def whole(filtered: str = FILTER, bbox: geometry.BoundingBox | None = None) -> query.LayerQuery:
    return query.LayerQuery(layer="facilities", bbox=bbox, filter=filtered)


BOX = geometry.BoundingBox(west=2, south=2, east=4, north=4)


# Searches, and their pages.


def test_a_radius_search_finds_what_meets_the_filter_page_by_page(world: World) -> None:
    found = searches.within(world.stub, around(), page_size=7)

    assert sorted(key for key, _ in found) == world.keys(WHERE, NEAR)
    assert [distance for _, distance in found] == sorted(distance for _, distance in found)
    assert len(found) > 20


def test_an_intersects_search_finds_what_meets_the_filter_page_by_page(world: World) -> None:
    assert searches.ids(world.stub, crossing(), page_size=7) == world.keys(WHERE, f"ST_Intersects(location, {SQUARE})")


def test_the_nearest_are_the_nearest_that_meet_the_filter(world: World) -> None:
    asked = nearest("facilities", point(5, 5))
    asked.filter = FILTER
    ranking = (
        f"SELECT id FROM facilities WHERE {WHERE} ORDER BY ST_Distance(location::geography, {CENTER}::geography), id"
    )

    expected = [key for (key,) in fetch(world.url, f"{ranking} LIMIT 25")]
    assert [key for key, _ in searches.ranked(world.stub, asked, limit=25)] == expected


def test_a_large_probe_is_asked_about_with_a_filter(world: World) -> None:
    """It runs alone, as a constant."""
    ring = ", ".join(f"{2 + n / 50} 2" for n in range(100)) + ", 4 2, 4 4, 2 4, 2 2"
    asked = query.IntersectsQuery(layer="facilities", probe=searches.shape(f"POLYGON (({ring}))"), filter=FILTER)

    assert searches.ids(world.stub, asked) == world.keys(WHERE, f"ST_Intersects(location, {SQUARE})")


def test_calls_that_share_a_statement_keep_their_own_values(world: World) -> None:
    calls = [
        (number, world.stub.SearchRadius.future(searches.request(around(f"id = {number}", 20_000_000))))
        for number in range(1, 60)
    ]

    assert [[int(feature.id) for feature in call.result().features] for _, call in calls] == [[n] for n, _ in calls]


def test_a_page_token_belongs_to_its_filter(world: World) -> None:
    page = searches.search(world.stub, searches.request(around(), page_size=5))
    other = searches.request(around("kind = 'park'"), page_size=5, page_token=page.next_page_token)
    with pytest.raises(grpc.RpcError) as caught:
        searches.search(world.stub, other)

    assert refusal(caught.value).reason == "INVALID_PAGE_TOKEN"


# Counts.


@pytest.mark.parametrize(
    ("asked", "conditions"),
    [
        ({"radius": around()}, (WHERE, NEAR)),
        ({"intersects": crossing()}, (WHERE, f"ST_Intersects(location, {SQUARE})")),
        ({"layer": whole()}, (WHERE,)),
        ({"layer": whole(bbox=BOX)}, (WHERE, f"location && {SQUARE}")),
        ({"nearest": query.NearestQuery(layer="facilities", center=point(5, 5), filter=FILTER)}, (WHERE,)),
    ],
    ids=["radius", "intersects", "layer", "box", "nearest"],
)
def test_what_meets_the_filter_is_counted(world: World, asked: dict[str, Any], conditions: tuple[str, ...]) -> None:
    assert searches.count(world.stub, **asked) == len(world.keys(*conditions))


def test_an_estimate_knows_of_the_filter(world: World) -> None:
    every = searches.count(world.stub, "ESTIMATED", layer=whole(""))
    active = searches.count(world.stub, "ESTIMATED", layer=whole("active"))

    assert every == pytest.approx(20_000, rel=0.05)
    assert active == pytest.approx(200, rel=0.5)


# Streams.

STREAMS = {
    "radius": (around(), (WHERE, NEAR)),
    "intersects": (crossing(), (WHERE, f"ST_Intersects(location, {SQUARE})")),
    "layer": (whole(), (WHERE,)),
    "box": (whole(bbox=BOX), (WHERE, f"location && {SQUARE}")),
}


@pytest.mark.parametrize("resumable", [False, True], ids=["at once", "resumable"])
@pytest.mark.parametrize("layout", streams.LAYOUTS)
@pytest.mark.parametrize("asked", STREAMS)
def test_a_stream_delivers_what_meets_the_filter(world: World, asked: str, layout: str, resumable: bool) -> None:
    question, conditions = STREAMS[asked]
    delivered = streams.delivered(world.stub, streams.asked(question, layout, resumable=resumable))
    keys = [int(found.id) for found in delivered]

    assert sorted(keys) == world.keys(*conditions)
    assert not resumable or keys == sorted(keys)
    assert all(found.properties["kind"] == "school" for found in delivered)


@pytest.mark.parametrize("layout", streams.LAYOUTS)
def test_a_stream_of_nothing_ends(world: World, layout: str) -> None:
    assert streams.delivered(world.stub, streams.asked(whole("kind = 'none'"), layout)) == []


def test_a_stream_goes_on_with_its_filter_and_no_other(world: World) -> None:
    asked = streams.asked(whole("population > 10"), "COLUMNS", resumable=True)
    batches = [*streams.stream(world.stub, asked)]
    assert len(batches) > 1
    token = batches[0].resume_token
    rest = [key for batch in streams.stream(world.stub, streams.resumed(asked, token)) for key in streams.ids(batch)]

    assert rest == [key for batch in batches[1:] for key in streams.ids(batch)]
    other = streams.resumed(streams.asked(whole("population > 11"), "COLUMNS", resumable=True), token)
    with pytest.raises(grpc.RpcError) as caught:
        [*streams.stream(world.stub, other)]
    assert refusal(caught.value).reason == "INVALID_RESUME_TOKEN"


# Matches and joins.


def test_matches_are_of_what_meets_the_filter(world: World) -> None:
    probes = [point(x, x) for x in (1.0, 3.0, 5.0, 30.0)]
    asked = around(meters=60_000)
    answers = match(world.stub, asked, probes, limit=1000)

    for probe, answer in zip(probes, answers, strict=True):
        center = f"ST_SetSRID(ST_MakePoint({probe.point.longitude}, {probe.point.latitude}), 4326)::geography"
        near = f"ST_DWithin(location::geography, {center}, 60000)"
        assert sorted(int(feature.id) for feature in answer.features) == world.keys(WHERE, near)


@pytest.mark.parametrize("resumable", [False, True], ids=["at once", "resumable"])
@pytest.mark.parametrize("turned", [False, True], ids=["zones first", "facilities first"])
@pytest.mark.parametrize("measured", [False, True], ids=["predicate", "distance"])
def test_a_join_pairs_what_meets_the_filters_of_both_sides(
    world: World, client: SpatialClient, measured: bool, turned: bool, resumable: bool
) -> None:
    sides = [("zones", "category = 'even' AND id > 2"), ("facilities", "kind = 'school' AND population > 15000")]
    (left, left_filter), (right, right_filter) = reversed(sides) if turned else sides
    condition: dict[str, Any] = {"distance_meters": 0.01, "distance_model": "planar"} if measured else {}
    found = client.stream_join(
        left,
        right,
        left_filter=left_filter,
        right_filter=right_filter,
        left=Wanted(),
        resumable=resumable,
        **condition,
    )
    meets = "ST_DWithin(boundary, location, 0.01)" if measured else "ST_Intersects(boundary, location)"
    expected = fetch(
        world.url,
        f"SELECT zones.id, facilities.id FROM zones JOIN facilities ON {meets} WHERE category = 'even' AND zones.id > 2"
        " AND kind = 'school' AND population > 15000 ORDER BY 1, 2",
    )
    pairs = [(int(pair.left_id), int(pair.right_id)) for pair in found]

    assert sorted((right, left) if turned else (left, right) for left, right in pairs) == expected
    assert not resumable or pairs == sorted(pairs)
    assert len(pairs) > 100


# The client has it everywhere.


def test_every_question_of_the_client_takes_a_filter(world: World, client: SpatialClient) -> None:
    near, inside = world.keys(WHERE, NEAR), world.keys(WHERE, f"ST_Intersects(location, {SQUARE})")
    place, area = (5.0, 5.0), (2.0, 2.0, 4.0, 4.0)

    assert sorted(int(each.id) for each in client.iterate_radius("facilities", place, 100_000, filter=FILTER)) == near
    assert [int(each.id) for each in client.iterate_intersects("facilities", area, filter=FILTER)] == inside
    assert client.search_radius("facilities", place, 100_000, filter="FALSE").features == []
    assert client.search_intersects("facilities", area, filter="FALSE").features == []
    assert client.search_nearest("facilities", place, filter="FALSE") == []
    assert client.count_radius("facilities", place, 100_000, filter=FILTER) == len(near)
    assert client.count_intersects("facilities", area, filter=FILTER) == len(inside)
    assert client.count_nearest("facilities", place, filter="FALSE") == 0
    assert client.count_features("facilities", filter=FILTER) == len(world.keys(WHERE))
    assert sorted(int(each.id) for each in client.stream_radius("facilities", place, 100_000, filter=FILTER)) == near
    assert sorted(int(each.id) for each in client.stream_intersects("facilities", area, filter=FILTER)) == inside
    assert len([*client.stream_features("facilities", filter=FILTER)]) == len(world.keys(WHERE))
    assert [len(found.features) for found in client.match_radius([(1, place)], "facilities", 9e6, filter="id = 5")] == [
        1
    ]
    assert [len(found.features) for found in client.match_nearest([(1, place)], "facilities", filter="FALSE")] == [0]
    assert [len(found.features) for found in client.match_intersects([(1, area)], "facilities", filter="FALSE")] == [0]


# What is refused.

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


# Plans.

CATALOG = Catalog(shipped_layers())
STATEMENTS = Statements(CATALOG)
PROBES = ProbeReader(GeometryLimits(max_bytes=10_000, max_vertices=100, max_depth=4))
READER = FilterReader(PROBES)
POINT = PROBES.read(point(5, 5), srid=4326, geodetic=False).hexewkb
WINDOW = PROBES.read(box(2, 2, 4, 4), srid=4326, geodetic=False).hexewkb


@pytest.fixture(scope="module")
def cursor(world: World) -> Iterator[Cursor]:
    options = " ".join(f"-c {name}={value}" for name, value in session_settings(Settings()).items())
    with closing(psycopg2.connect(world.url, options=options)) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            # What was written a moment ago waits in a list that makes a GIN index look dear.
            cursor.execute("VACUUM ANALYZE facilities")
            yield cursor


def indexes(cursor: Cursor, search: Search, text: str) -> set[str]:
    """Those that a search goes through when it is asked with a filter."""
    asked = replace(search.shape, filter=READER.read(CATALOG[search.shape.layer], text, "filter"))
    statement = STATEMENTS[asked]
    given = search.arguments if asked.constant else [f"{{{value}}}" for value in search.arguments]
    cursor.execute(f"EXPLAIN (FORMAT JSON) {statement.sql}", statement.parameters(given))
    (plan,) = cursor.fetchone() or ()
    return {node["Index Name"] for node in plan_nodes(plan[0]["Plan"]) if "Index Name" in node}


RADIUS = Search(Shape(Kind.RADIUS, "facilities", Output(), DistanceModel.SPHEROID, limit=101), (POINT, 20_000.0))
STREAM = Search(Shape(Kind.ALL, "facilities", Output(), constant=True, result=Result.ALL), ())
ACTIVE = "ix_facilities_location_geography_active_gist"


@pytest.mark.parametrize("text", ["active", "active = TRUE", "active AND kind = 'school'", "TRUE = active"])
def test_a_radius_among_the_active_uses_the_index_of_the_active(cursor: Cursor, text: str) -> None:
    assert indexes(cursor, RADIUS, text) == {ACTIVE}


def test_the_nearest_active_are_found_through_the_index_of_the_active(cursor: Cursor) -> None:
    shape = Shape(Kind.NEAREST, "facilities", Output(), DistanceModel.SPHEROID, limit=5)

    assert indexes(cursor, Search(shape, (POINT, 1e6)), "active") == {ACTIVE}


@pytest.mark.parametrize("text", ["kind = 'school'", "population > 5 OR name LIKE 'F%'", "longitude > 3"])
def test_a_radius_with_any_other_filter_uses_the_spatial_index(cursor: Cursor, text: str) -> None:
    assert indexes(cursor, RADIUS, text) == {"ix_facilities_location_geography_gist"}


@pytest.mark.parametrize(
    ("text", "index"),
    [
        ("attributes.height = 5", "ix_facilities_attributes_gin"),
        ("attributes.height IN (5, 6)", "ix_facilities_attributes_gin"),
        ("attributes.height = 5 AND attributes.deep.er", "ix_facilities_attributes_gin"),
        ("A_CONTAINS(tags, ('rare'))", "ix_facilities_tags_gin"),
        ("A_OVERLAPS(tags, ('rare', 'rarer'))", "ix_facilities_tags_gin"),
        ("A_EQUALS(tags, ('rare'))", "ix_facilities_tags_gin"),
        ("id BETWEEN 5 AND 9", "pk_facilities"),
        ("id IN (1, 2, 3)", "pk_facilities"),
        ("S_WITHIN(location, BBOX(1, 1, 1.2, 1.2))", "ix_facilities_location_gist"),
    ],
)
def test_a_stream_of_few_features_uses_the_index_of_what_is_asked(cursor: Cursor, text: str, index: str) -> None:
    assert indexes(cursor, STREAM, text) == {index}


def test_a_filter_on_an_indexed_property_can_be_the_way_into_an_intersects_search(cursor: Cursor) -> None:
    shape = Shape(Kind.INTERSECTS, "facilities", Output(), Predicate.INTERSECTS, limit=101)

    assert indexes(cursor, Search(shape, (WINDOW,)), "id = 5") == {"pk_facilities"}


def test_a_join_looks_into_the_index_of_the_active(cursor: Cursor) -> None:
    asked = READER.read(CATALOG["facilities"], "active", "right_filter")
    shape = JoinShape("zone_centroids", "facilities", DistanceModel.SPHEROID, right_filter=asked)
    statement = join_statement(CATALOG, shape)
    cursor.execute(f"EXPLAIN (FORMAT JSON) {statement.sql(Side.RIGHT)}", statement.parameters((20_000.0,)))
    (plan,) = cursor.fetchone() or ()

    assert ACTIVE in {node.get("Index Name") for node in plan_nodes(plan[0]["Plan"])}
