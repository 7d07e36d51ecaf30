"""Geography columns: distances on the column itself, everything else in the plane, through the column's own index."""

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import numpy as np
import psycopg2
import pytest
import shapely
from psycopg2.extensions import cursor as Cursor  # noqa: N812 - a class, whatever its case

from service.catalog import Layer
from service.codec.geometry import GeometryLimits, ProbeReader
from service.db.batch import parameters
from service.db.engine import session_settings
from service.db.queries import Statements
from service.domain import DistanceModel, Kind, Output, Predicate, Result, Shape
from service.settings import Settings
from spatial.v1 import query_pb2 as query
from tests.awkward import everything, ids
from tests.oracle import SPHEROID
from tests.searches import box, intersects, nearest, pages, point, radius, shape
from tests.servers import Served, serving
from tests.situations import fetch
from tests.streams import stream, whole
from tests.world import NAMED, scattered

ROWS = 20_000
SCALES = (0.01, 1.0, 30.0, 170.0)  # degrees


@dataclass(frozen=True)
class World:
    served: Served
    url: str
    longitudes: Any
    latitudes: Any
    tree: shapely.STRtree

    @property
    def layer(self) -> Layer:
        return self.served.server.catalog["places"]

    def inside(self, area: shapely.Geometry) -> list[int]:
        return [int(each) + 1 for each in np.sort(self.tree.query(area, predicate="intersects"))]


@pytest.fixture(scope="module")
def world(module_database: str) -> Iterator[World]:
    longitudes, latitudes = zip(*NAMED, *scattered(ROWS, seed=5), strict=True)
    fetch(
        module_database,
        """
        CREATE TABLE places (id serial PRIMARY KEY, place geography(Point, 4326) NOT NULL);
        INSERT INTO places (place) SELECT ST_Point(x, y)::geography FROM unnest(%s, %s) AS position (x, y);
        CREATE INDEX places_gist ON places USING gist (place);
        CREATE TABLE areas (id serial PRIMARY KEY, area geography(Polygon, 4326) NOT NULL);
        INSERT INTO areas (area) SELECT ST_MakeEnvelope(x, y, x + 20, y + 15, 4326)::geography
          FROM generate_series(-170, 150, 20) x, generate_series(-80, 60, 20) y;
        CREATE INDEX ON areas USING gist (area);
        CREATE INDEX areas_plane ON areas USING gist (geometry(area));
        ANALYZE places, areas;
        """,
        list(longitudes),
        list(latitudes),
    )
    with serving(module_database, layers="places,areas") as served:
        tree = shapely.STRtree(shapely.points(longitudes, latitudes))
        yield World(served, module_database, np.array(longitudes), np.array(latitudes), tree)


def found(world: World, asked: Any) -> list[int]:
    through = pages(world.served.stub, asked, output=query.Output())
    return [int(each.id) for page in through for each in page.features]


AREAS = {
    "a city": "POLYGON ((13.1 52.3, 13.8 52.3, 13.8 52.7, 13.1 52.3))",
    "a pole": "POLYGON ((-180 80, 180 80, 180 90, -180 90, -180 80))",
    "the other pole": "POLYGON ((-180 -90, 180 -90, 180 -89, -180 -90))",
    "beside the antimeridian": "POLYGON ((170 -30, 180 -30, 180 30, 170 -30))",
    "both sides of it": "MULTIPOLYGON (((170 -9, 180 -9, 180 9, 170 -9)), ((-180 -9, -170 -9, -170 9, -180 -9)))",
    "everything": "POLYGON ((-180 -90, 180 -90, 180 90, -180 90, -180 -90))",
    "long edges": "POLYGON ((-170 10, 170 12, 170 60, -170 10))",
    "a line": "LINESTRING (-180 0, 180 0)",
    "a point": "POINT (10 10)",
}


@pytest.mark.parametrize("area", AREAS)
def test_predicates_are_those_of_the_plane(world: World, area: str) -> None:
    expected = world.inside(shapely.from_wkt(AREAS[area]))
    assert found(world, intersects("places", shape(AREAS[area]))) == expected
    streamed = everything_within(world, AREAS[area])
    assert sorted(streamed) == expected


def everything_within(world: World, wkt: str) -> list[int]:
    request = query.StreamIntersectsRequest(query=intersects("places", shape(wkt)))
    return [int(row.id) for batch in stream(world.served.stub, request) for row in batch.rows.features]


@pytest.mark.parametrize("size", SCALES)
def test_predicates_are_those_of_the_plane_wherever_and_however_large(world: World, size: float) -> None:
    random = np.random.default_rng(int(size * 100))
    for x, y in zip(random.uniform(-180, 180 - size, 12), random.uniform(-90, max(-89.9, 90 - size), 12), strict=True):
        area = shapely.box(x, y, x + size, min(90, y + size))
        assert found(world, intersects("places", shape(area))) == world.inside(area)


@pytest.mark.parametrize(
    "corners", [(-10, -10, 10, 10), (170, -50, -170, 50), (-180, 85, 180, 90), (0, -90, 5, -85), (10, 10, 10, 10)]
)
def test_a_box_finds_what_lies_in_it_also_over_the_antimeridian(
    world: World, corners: tuple[float, float, float, float]
) -> None:
    west, south, east, north = corners
    parts = [shapely.box(west, south, east, north)]
    if west > east:
        parts = [shapely.box(west, south, 180, north), shapely.box(-180, south, east, north)]
    request = whole("places", bbox=box(*corners).bbox)
    streamed = [int(row.id) for batch in stream(world.served.stub, request) for row in batch.rows.features]
    # Boxes are compared in single precision, rounded outwards.
    least, most = (set(world.inside(shapely.union_all(shapely.buffer(parts, by)))) for by in (0, 1e-4))
    assert least <= set(streamed) <= most
    assert len(streamed) == len(set(streamed))


@pytest.mark.parametrize("center", [(13.4, 52.5), (0.0, 90.0), (180.0, 10.0), (-77.0, -89.999)])
def test_distances_are_measured_on_the_column_itself(world: World, center: tuple[float, float]) -> None:
    lengths = len(world.longitudes)
    _, _, meters = SPHEROID.inv(
        np.full(lengths, center[0]), np.full(lengths, center[1]), world.longitudes, world.latitudes
    )
    within = {int(each) + 1 for each in np.flatnonzero(meters <= 500_000)}
    assert set(found(world, radius("places", point(*center), 500_000))) == within
    nearest_ids = ids(world.served.stub, nearest("places", point(*center)), limit=20)
    assert np.sort(meters)[:20] == pytest.approx([meters[int(each) - 1] for each in nearest_ids], abs=1e-5)


def test_planar_distances_are_in_degrees(world: World) -> None:
    degrees = np.hypot(world.longitudes - 175, world.latitudes - 60)
    expected = {int(each) + 1 for each in np.flatnonzero(degrees <= 4.5)}
    assert set(found(world, radius("places", point(175, 60), 4.5, "PLANAR"))) == expected


def test_polygons_are_compared_in_the_plane_too(world: World) -> None:
    stored = fetch(world.url, "SELECT id, ST_AsBinary(area::geometry) FROM areas ORDER BY id")
    for wkt in (*AREAS.values(), "POINT (-160 -70.5)"):
        probe = shapely.from_wkt(wkt)
        expected = [key for key, area in stored if shapely.intersects(shapely.from_wkb(bytes(area)), probe)]
        assert found(world, intersects("areas", shape(wkt))) == expected


@pytest.mark.parametrize("layout", ["ROWS", "COLUMNS", "ARROW"])
def test_what_is_sent_is_the_geometry_in_the_plane(world: World, layout: str) -> None:
    streamed = everything(world.served.stub, world.layer, layout)
    keys = np.array([int(each.id) for each in streamed]) - 1
    sent = shapely.get_coordinates([shapely.from_wkb(each.geometry) for each in streamed])
    assert len(keys) == len(set(keys)) == len(world.longitudes)
    assert sent.tolist() == np.column_stack([world.longitudes, world.latitudes])[keys].tolist()


def test_a_join_with_points_as_geography_is_one_in_the_plane(world: World) -> None:
    join = query.JoinQuery(left_layer="areas", right_layer="places")
    batches = world.served.stub.StreamJoin(query.StreamJoinRequest(query=join), timeout=30)
    pairs = {(int(pair.left_id), int(pair.right_id)) for batch in batches for pair in batch.pairs}
    stored = fetch(world.url, "SELECT id, ST_AsBinary(area::geometry) FROM areas")
    expected = {(key, place) for key, area in stored for place in world.inside(shapely.from_wkb(bytes(area)))}
    assert pairs == expected


# Plans.


@pytest.fixture(scope="module")
def cursor(world: World) -> Iterator[Cursor]:
    options = " ".join(f"-c {name}={value}" for name, value in session_settings(Settings()).items())
    with closing(psycopg2.connect(world.url, options=options)) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            yield cursor


PROBES = ProbeReader(GeometryLimits(max_bytes=1_000_000, max_vertices=100_000, max_depth=8))
BOX = PROBES.read(box(13.0, 52.0, 14.0, 53.0), srid=4326, geodetic=False).hexewkb
SHAPES = {
    "radius": (Shape(Kind.RADIUS, "places", Output(), DistanceModel.SPHEROID, 101), (BOX, 20_000.0)),
    "planar radius": (Shape(Kind.RADIUS, "places", Output(), DistanceModel.PLANAR, 101), (BOX, 0.5)),
    "nearest": (Shape(Kind.NEAREST, "places", Output(), DistanceModel.SPHEROID, 10), (BOX, None)),
    "intersects": (Shape(Kind.INTERSECTS, "places", Output(), Predicate.INTERSECTS, 101), (BOX,)),
    "within": (Shape(Kind.INTERSECTS, "places", Output(), Predicate.WITHIN, 101), (BOX,)),
    "window": (Shape(Kind.WINDOW, "places", Output(), constant=True, result=Result.ALL), (BOX,)),
}


@pytest.mark.parametrize("name", SHAPES)
def test_questions_go_through_the_column_s_own_index(world: World, cursor: Cursor, name: str) -> None:
    asked, arguments = SHAPES[name]
    statement = Statements(world.served.server.catalog)[asked]
    cursor.execute(f"EXPLAIN {statement.sql}", parameters(statement, [arguments]))
    plan = "\n".join(line for (line,) in cursor.fetchall())

    assert "places_gist" in plan
    assert "Seq Scan on places" not in plan


def test_polygons_need_an_index_in_the_plane(world: World, cursor: Cursor) -> None:
    statement = Statements(world.served.server.catalog)[
        Shape(Kind.INTERSECTS, "areas", Output(), Predicate.INTERSECTS, 101)
    ]
    cursor.execute("SET enable_seqscan = off")
    cursor.execute(f"EXPLAIN {statement.sql}", parameters(statement, [(BOX,)]))
    assert "areas_plane" in "\n".join(line for (line,) in cursor.fetchall())
    cursor.execute("RESET enable_seqscan")
