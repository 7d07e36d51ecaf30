"""Probes in any CRS: the database transforms them, and finds what is right by pyproj, GeographicLib and GEOS."""

from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any, NamedTuple, cast

import grpc
import numpy as np
import psycopg2
import pytest
import shapely
from psycopg2.extensions import cursor as Cursor  # noqa: N812 - a class, whatever its case

from service.codec.geometry import GeometryLimits, ProbeReader
from service.codec.systems import KnownSystems
from service.db.batch import Batch, Call
from service.db.queries import Statements
from service.domain import DistanceModel, Kind, Output, Predicate, Search, Shape
from spatial.v1 import geometry_pb2 as geometry
from spatial.v1 import query_pb2 as query
from tests.matching import in_messages, keyed, match, matches, opening, pairs, told
from tests.oracle import Points, fetch
from tests.projections import MERCATOR, NEW_YORK_FEET, UTM_33N, message, moved, probe
from tests.searches import ONLY_IDS, box, count, ids, intersects, nearest, point, radius, ranked, within
from tests.servers import refusal, serving
from tests.streams import CATALOG, asked, delivered

# Where each CRS is at home, and one square there.
HOMES = {
    MERCATOR: (13.4, 52.5),
    UTM_33N: (13.4, 52.5),
    NEW_YORK_FEET: (-74.006, 40.7128),
    3035: (13.4, 52.5),
    4258: (13.4, 52.5),
}
METRES = 300_000.0


class World(NamedTuple):
    stub: Any
    points: Points


@pytest.fixture(scope="module")
def world(demo_database: str) -> Iterator[World]:
    with serving(demo_database) as served:
        yield World(served.stub, Points.of(demo_database))


def distances(world: World, center: tuple[float, float]) -> dict[int, float]:
    return dict(zip(world.points.keys.tolist(), world.points.distances("SPHEROID", *center).tolist(), strict=True))


@pytest.mark.parametrize("encoding", ["wkb", "wkt", "ewkb", "ewkt"])
@pytest.mark.parametrize("srid", HOMES)
def test_distances_are_those_from_where_the_probe_is(world: World, srid: int, encoding: str) -> None:
    center = HOMES[srid]
    about = probe(shapely.Point(center), srid, encoding)

    found = within(world.stub, radius("facilities", about, METRES))

    expected = {key: metres for key, metres in distances(world, center).items() if metres <= METRES}
    assert len(expected) > 5
    assert {key for key, _ in found} == set(expected)
    assert all(abs(metres - expected[key]) < 0.01 for key, metres in found)
    assert ranked(world.stub, nearest("facilities", about), 5) == found[:5]


@pytest.mark.parametrize("predicate", ["INTERSECTS", "WITHIN"])
@pytest.mark.parametrize("srid", HOMES)
def test_relations_are_those_to_the_transformed_vertices(world: World, srid: int, predicate: str) -> None:
    """Not to the edges between them: a square in metres is a quadrilateral with straight edges in degrees."""
    x, y = HOMES[srid]
    square = shapely.box(x - 2, y - 2, x + 2, y + 2)
    there = moved(square, 4326, srid)
    back = shapely.set_srid(moved(there, srid, 4326), 0)
    points = shapely.points(world.points.longitudes, world.points.latitudes)
    expected = world.points.keys[shapely.intersects(back, points)].tolist()
    about = geometry.Probe(geometry=message(there))

    assert expected
    assert ids(world.stub, intersects("facilities", about, predicate)) == expected
    assert count(world.stub, intersects=intersects("facilities", about, predicate)) == len(expected)
    streamed = delivered(world.stub, asked(intersects("facilities", about, predicate), "ARROW", output=ONLY_IDS))
    assert sorted(int(found.id) for found in streamed) == expected


@pytest.mark.parametrize("place", [(179.9999, 10.0), (-179.9999, 10.0), (0.0, 85.0), (0.0, -85.0), (0.0, 0.0)], ids=str)
def test_where_maps_end(world: World, place: tuple[float, float]) -> None:
    found = ranked(world.stub, nearest("facilities", probe(shapely.Point(place), MERCATOR)), 10)

    expected = distances(world, place)
    nearest_ones = np.sort(list(expected.values()))[:10]
    assert np.allclose([metres for _, metres in found], nearest_ones, atol=0.01, rtol=0)
    assert all(abs(expected[key] - metres) < 0.01 for key, metres in found)


def test_a_pole_can_be_asked_about_in_its_own_map(world: World) -> None:
    about = geometry.Probe(geometry=geometry.Geometry(wkt="POINT(0 0)", srid=3031))

    found = ranked(world.stub, nearest("facilities", about), 3)

    expected = ranked(world.stub, nearest("facilities", point(0, -90)), 3)
    assert [key for key, _ in found] == [key for key, _ in expected]


def test_probes_of_different_systems_share_a_statement_and_a_bad_one_fails_alone(world: World) -> None:
    center = HOMES[MERCATOR]
    bad = geometry.Probe(geometry=geometry.Geometry(wkt="POINT(1e9 1e9)", srid=UTM_33N))
    good = [probe(shapely.Point(center), srid) for srid in (MERCATOR, UTM_33N, 3035)]
    probes = [*good, bad, point(*center), *good]

    answered = matches(
        world.stub,
        in_messages(opening(radius("facilities", point(0, 0), 100_000), limit=100), keyed(probes), size=100),
    )

    assert told(answered.pop(3)) == ("FAILED_PRECONDITION", "TRANSFORM_FAILED", "")
    expected = match(world.stub, radius("facilities", point(0, 0), 100_000), [point(*center)], limit=100)[0]
    for each in answered:
        assert [key for key, _ in pairs(each)] == [key for key, _ in pairs(expected)]


def test_calls_that_come_at_once_do_not_harm_each_other(world: World) -> None:
    center = HOMES[MERCATOR]
    bad = geometry.Probe(geometry=geometry.Geometry(wkt="POINT(1e9 1e9)", srid=UTM_33N))
    probes = [probe(shapely.Point(center), srid) for srid in (MERCATOR, UTM_33N, 3035)] * 8
    probes[5:5] = probes[17:17] = [bad]

    calls = [
        world.stub.SearchRadius.future(
            query.SearchRadiusRequest(query=radius("facilities", each, 100_000), output=ONLY_IDS), timeout=20
        )
        for each in probes
    ]

    expected = [key for key, _ in within(world.stub, radius("facilities", point(*center), 100_000))]
    for each, call in zip(probes, calls, strict=True):
        if each is bad:
            refused = refusal(cast("grpc.RpcError", call.exception()))
            assert (refused.code, refused.reason) == ("FAILED_PRECONDITION", "TRANSFORM_FAILED")
        else:
            assert [int(feature.id) for feature in call.result().features] == expected


REFUSED = {
    "an unknown SRID in the field": (
        geometry.Geometry(wkt="POINT(1 2)", srid=2264000),
        "UNKNOWN_SRID",
        "geometry.srid",
        {"srid": "2264000"},
    ),
    "an unknown SRID in the text": (
        geometry.Geometry(wkt="SRID=31;POINT(1 2)"),
        "UNKNOWN_SRID",
        "geometry.wkt",
        {"srid": "31"},
    ),
    "no CRS": (
        geometry.Geometry(wkt="POINT(1 2)", srid=0),
        "SRID_MISMATCH",
        "geometry.srid",
        {"actual": "0", "expected": "4326"},
    ),
    "two of them": (
        geometry.Geometry(wkt="SRID=3857;POINT(1 2)", srid=2263),
        "SRID_MISMATCH",
        "geometry.srid",
        {"actual": "3857", "expected": "2263"},
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_transformed_is_refused_with_its_field(world: World, case: str) -> None:
    given, reason, field, metadata = REFUSED[case]
    about = geometry.Probe(geometry=given)
    asked_for: list[tuple[str, Callable[[], object]]] = [
        ("query.center", lambda: within(world.stub, radius("facilities", about, 1))),
        ("query.center", lambda: ranked(world.stub, nearest("facilities", about))),
        ("query.probe", lambda: ids(world.stub, intersects("facilities", about))),
        ("query.radius.center", lambda: count(world.stub, radius=radius("facilities", about, 1))),
        ("query.center", lambda: delivered(world.stub, asked(radius("facilities", about, 1)))),
    ]
    for path, ask in asked_for:
        with pytest.raises(grpc.RpcError) as raised:
            ask()
        refused = refusal(raised.value)
        assert (refused.code, refused.reason, refused.fields) == ("INVALID_ARGUMENT", reason, (f"{path}.{field}",))
        assert refused.metadata == metadata
    (answer,) = matches(world.stub, in_messages(opening(radius("facilities", point(0, 0), 1)), keyed([about]), 1))
    assert told(answer) == ("INVALID_ARGUMENT", reason, f"probes[0].probe.{field}")


def test_a_code_that_the_database_learns_is_known(database: str) -> None:
    fetch(database, "INSERT INTO facilities (name, kind, location) VALUES ('x', 'x', 'SRID=4326;POINT(1 2)')")
    about = geometry.Probe(geometry=geometry.Geometry(wkt="POINT(0 0)", srid=990_002))
    with serving(database) as served:
        with pytest.raises(grpc.RpcError) as raised:
            ranked(served.stub, nearest("facilities", about))
        assert refusal(raised.value).reason == "UNKNOWN_SRID"
        fetch(
            database,
            "INSERT INTO spatial_ref_sys (srid, proj4text)"
            " VALUES (990002, '+proj=aeqd +lat_0=2 +lon_0=1 +datum=WGS84')",
        )
        ((key, metres),) = ranked(served.stub, nearest("facilities", about))
        assert (key, round(metres, 3)) == (1, 0.0)


# How the database is asked: the constant is transformed, and never the column.

PROBES = ProbeReader(GeometryLimits(1_000_000, 100_000, 8), KnownSystems(HOMES))
STATEMENTS = Statements(CATALOG)
CIRCLE = shapely.Point(-74.0, 40.7).buffer(0.05, quad_segs=64)
QUESTIONS: dict[str, tuple[Kind, DistanceModel | Predicate, tuple[float | None, ...], str]] = {
    "radius": (Kind.RADIUS, DistanceModel.SPHEROID, (5000.0,), "ix_facilities_location_geography_gist"),
    "radius in the plane": (Kind.RADIUS, DistanceModel.PLANAR, (0.1,), "ix_facilities_location_gist"),
    "nearest": (Kind.NEAREST, DistanceModel.SPHEROID, (None,), "ix_facilities_location_geography_gist"),
    "intersects": (Kind.INTERSECTS, Predicate.INTERSECTS, (), "ix_facilities_location_gist"),
}


@pytest.fixture(scope="module")
def cursor(demo_database: str) -> Iterator[Cursor]:
    with closing(psycopg2.connect(demo_database)) as connection, connection.cursor() as cursor:
        yield cursor


@pytest.mark.parametrize("constant", [False, True], ids=["shared", "constant"])
@pytest.mark.parametrize("case", QUESTIONS)
def test_the_index_serves_and_only_the_probe_is_transformed(cursor: Cursor, case: str, constant: bool) -> None:
    kind, variant, arguments, index = QUESTIONS[case]
    given = PROBES.read(probe(CIRCLE, NEW_YORK_FEET), srid=4326, geodetic=False).hexewkb
    asked_for = Shape(kind, "facilities", Output(properties=()), variant, limit=10, constant=constant)
    call = Call(Search(asked_for, (given, *arguments)), cast("Any", None), 0.0)
    batch = Batch(STATEMENTS[asked_for], [call] * (1 if constant else 4), cast("Any", None))

    cursor.execute(f"EXPLAIN (VERBOSE) {batch.statement.sql}", batch._parameters())
    plan = [line for (line,) in cursor.fetchall()]

    transformed = [line for line in plan if "st_transform" in line.lower()]
    assert any(index in line for line in plan)
    assert not any("location" in line for line in transformed)
    if constant:
        assert transformed == []  # by the planner, once
    else:
        assert len(transformed) == 1  # in the list of the probes


def test_a_box_stays_in_the_coordinates_of_its_layer(world: World) -> None:
    assert ids(world.stub, intersects("facilities", box(-74.1, 40.6, -73.9, 40.8)))
