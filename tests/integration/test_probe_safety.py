"""What the probe reader lets through, PostGIS answers: without a crash, an error or a hang, and rightly."""

import math
from collections.abc import Iterator

import numpy as np
import psycopg2
import pytest
import shapely
from psycopg2 import extensions

from service.codec.geometry import GeometryLimits, ProbeReader
from spatial.v1 import geometry_pb2

READER = ProbeReader(GeometryLimits(max_bytes=8_000_000, max_vertices=250_000, max_depth=8))
TIME_LIMIT = "30s"  # what hangs takes minutes; on a busy machine a thousand distances take seconds
PREDICATES = {
    "ST_Intersects": shapely.intersects,
    "ST_Within": shapely.within,
    "ST_Contains": shapely.contains,
    "ST_Covers": shapely.covers,
    "ST_CoveredBy": shapely.covered_by,
    "ST_Touches": shapely.touches,
    "ST_Crosses": shapely.crosses,
    "ST_Overlaps": shapely.overlaps,
    "ST_Equals": shapely.equals,
}
DISTANCES = (
    "ST_DWithin(geography(shape), geography(probe), 100000, true)",
    "ST_DWithin(geography(shape), geography(probe), 100000, false)",
    "ST_Distance(geography(shape), geography(probe), true) >= 0",
    "ST_Distance(geography(shape), geography(probe), false) >= 0",
    "(geography(shape) <-> geography(probe)) >= 0",
    "ST_Distance(shape, probe) >= 0",
    "ST_DWithin(shape, probe, 1)",
    "(shape <-> probe) >= 0",
)
FEATURES = (
    "POINT (0 0)",
    "POINT (180 0)",
    "POINT (-180 10)",
    "POINT (5 90)",
    "POINT (77 -90)",
    "POINT (3 3)",
    "LINESTRING (0 0, 10 10, 20 0)",
    "LINESTRING (2 2, 2 2.0000000001, 3 3)",
    "POLYGON ((0 0, 4 0, 4 4, 0 4, 0 0))",
    "POLYGON ((1 1, 5 1, 5 5, 1 5, 1 1))",
    "POLYGON ((170 -20, 180 -20, 180 20, 170 20, 170 -20))",
    "POLYGON ((-180 80, 0 80, 180 80, 180 85, 0 85, -180 85, -180 80))",
    "MULTIPOINT ((0 0), (3 3), (180 0))",
    "MULTILINESTRING ((0 0, 1 1), (1 1, 2 0))",
    "MULTIPOLYGON (((0 0, 4 0, 4 4, 0 0)), ((5 5, 6 5, 6 6, 5 5)))",
)
SQUARE = "POLYGON ((0 0, 4 0, 4 4, 0 4, 0 0))"
COLLECTIONS = {
    "one point": "GEOMETRYCOLLECTION (POINT (3 3))",
    "one polygon": f"GEOMETRYCOLLECTION ({SQUARE})",
    "collections in a collection": "GEOMETRYCOLLECTION (GEOMETRYCOLLECTION (POINT (1 1)), MULTIPOINT ((7 7), (2 2)))",
    "members apart": "GEOMETRYCOLLECTION (POINT (9 9), LINESTRING (5 0, 8 0), POLYGON ((0 0, 4 0, 4 4, 0 0)))",
    "polygons that overlap": f"GEOMETRYCOLLECTION ({SQUARE}, POLYGON ((2 2, 6 2, 6 6, 2 6, 2 2)))",
    "polygons that share a side": f"GEOMETRYCOLLECTION ({SQUARE}, POLYGON ((4 0, 8 0, 8 4, 4 4, 4 0)))",
    "a polygon twice": f"GEOMETRYCOLLECTION ({SQUARE}, {SQUARE})",
    "a polygon in another": f"GEOMETRYCOLLECTION ({SQUARE}, POLYGON ((1 1, 2 1, 2 2, 1 2, 1 1)))",
    "a line through a polygon": f"GEOMETRYCOLLECTION ({SQUARE}, LINESTRING (-1 1, 8 1))",
    "points in and on a polygon": f"GEOMETRYCOLLECTION ({SQUARE}, POINT (1 1), POINT (4 4))",
    "lines that cross": "GEOMETRYCOLLECTION (LINESTRING (0 0, 4 4), LINESTRING (0 4, 4 0))",
}
ODD_SHAPES = {
    "the same point thrice": "MULTIPOINT ((1 1), (1 1), (1 1))",
    "the same vertex twice": "LINESTRING (0 0, 0 0, 1 1, 1 1)",
    "a polygon of repeated vertices": "POLYGON ((0 0, 0 0, 5 0, 5 0, 5 5, 0 5, 0 5, 0 0))",
    "a hole that touches its shell": "POLYGON ((0 0, 10 0, 10 10, 0 10, 0 0), (0 0, 5 1, 1 5, 0 0))",
    "a triangle of nanometres": "POLYGON ((3 3, 3.0000000000001 3, 3 3.0000000000001, 3 3))",
    "a line of nanometres": "LINESTRING (10 10, 10.00000000000001 10)",
    "a line that crosses itself": "LINESTRING (0 0, 5 5, 5 0, 0 5)",
    "all but antipodal": "LINESTRING (0 0, 179.9999 0)",
    "the equator as a ring": "POLYGON ((-90 1e-9, 0 1e-9, 90 1e-9, 180 0, -90 1e-9))",
    "a hemisphere": "POLYGON ((-90 0, 0 -89, 90 0, 0 89, -90 0))",
    "a band around the world": "POLYGON ((-180 -80, 0 -80, 180 -80, 180 80, 0 80, -180 80, -180 -80))",
    "a band whose edges have no length on the spheroid": ("POLYGON ((-180 -80, 180 -80, 180 80, -180 80, -180 -80))"),
    "a polar cap": "POLYGON ((-180 60, -90 60, 0 60, 90 60, 180 60, 180 90, -180 90, -180 60))",
    "a cap around the pole": "POLYGON ((-120 60, 0 61, 120 60, -120 60))",
    "one pole under several longitudes": "MULTIPOINT ((77 90), (10 90), (180 -90))",
    "an edge that is the pole": "LINESTRING (0 90, 90 90)",
    "over the pole": "LINESTRING (0 10, 0 90, 180 10)",
    "a corner at the pole": "POLYGON ((0 80, 10 90, 20 90, 90 80, 0 80))",
    "the antimeridian there and back": "LINESTRING (180 10, -180 10)",
    "a wide polygon": "POLYGON ((-100 -10, 100 -10, 100 11, -100 11, -100 -10))",
}


def pinwheel() -> shapely.Polygon:
    angles = np.linspace(0, 2 * math.pi, 400, endpoint=False)
    radius = np.where(np.arange(400) % 2, 1.0, 60.0)
    return shapely.Polygon(np.stack((radius * np.cos(angles), radius * np.sin(angles)), 1))


LARGE_SHAPES = {
    "a circle of 4,000 vertices": shapely.Point(0, 0).buffer(50, quad_segs=1000),
    "a pinwheel of 200 spikes": pinwheel(),
    "1,000 points": shapely.MultiPoint(np.random.default_rng(7).uniform(-80, 80, (1000, 2))),
    "100 islands": shapely.MultiPoint(np.random.default_rng(7).uniform(-80, 80, (100, 2))).buffer(0.01, quad_segs=2),
    "a tangle of 100 segments": shapely.LineString(np.random.default_rng(7).uniform(-80, 80, (100, 2))),
}
BOXES = {
    "a city": (13.0, 52.3, 13.8, 52.7),
    "Europe": (-10.0, 35.0, 40.0, 70.0),
    "359 degrees": (-179.5, 44.0, 179.5, 46.0),
    "359 degrees across the antimeridian": (1.0, -46.0, 0.0, -44.0),
    "the tropics": (-180.0, -23.0, 180.0, 23.0),
    "the world": (-180.0, -90.0, 180.0, 90.0),
    "the arctic": (-180.0, 66.5, 180.0, 90.0),
    "one metre around the south pole": (-180.0, -90.0, 180.0, -89.99999),
    "Fiji": (177.0, -20.0, -178.0, -15.0),
    "half the world": (0.0, -90.0, 180.0, 90.0),
    "a quarter of the north": (-20.0, 0.0, 70.0, 90.0),
    "a lune": (30.0, -90.0, 90.0, 90.0),
}
FLAT_BOXES = {
    "a point": (5.0, 6.0, 5.0, 6.0),
    "a pole": (-180.0, 90.0, 180.0, 90.0),
    "a parallel": (-100.0, 60.0, 100.0, 60.0),
    "the antimeridian": (180.0, -90.0, -180.0, 90.0),
    "a meridian": (7.0, -90.0, 7.0, 90.0),
}
PROBES = {
    **{name: geometry_pb2.Probe(geometry=geometry_pb2.Geometry(wkt=text)) for name, text in COLLECTIONS.items()},
    **{name: geometry_pb2.Probe(geometry=geometry_pb2.Geometry(wkt=text)) for name, text in ODD_SHAPES.items()},
    **{
        name: geometry_pb2.Probe(geometry=geometry_pb2.Geometry(wkb=shapely.to_wkb(shape)))
        for name, shape in LARGE_SHAPES.items()
    },
    **{
        f"box: {name}": geometry_pb2.Probe(bbox=geometry_pb2.BoundingBox(west=w, south=s, east=e, north=n))
        for name, (w, s, e, n) in {**BOXES, **FLAT_BOXES}.items()
    },
}


@pytest.fixture(scope="module")
def database(module_database: str) -> Iterator[extensions.connection]:
    connection = psycopg2.connect(module_database)
    connection.autocommit = True
    with connection.cursor() as cursor:
        cursor.execute("SET statement_timeout = %s", (TIME_LIMIT,))
        cursor.execute("CREATE TEMP TABLE feature (id int, shape geometry)")
        cursor.executemany("INSERT INTO feature VALUES (%s, ST_GeomFromText(%s, 4326))", list(enumerate(FEATURES)))
    yield connection
    connection.close()


def matches(database: extensions.connection, probe: str, condition: str) -> list[bool]:
    """Of each feature, whether it fulfils the condition; the probe is made once, as the service makes it."""
    with database.cursor() as cursor:
        cursor.execute(
            f"WITH asked AS MATERIALIZED (SELECT %s::geometry AS probe)"
            f" SELECT {condition} FROM asked, feature ORDER BY id",
            (probe,),
        )
        return [matched for (matched,) in cursor.fetchall()]


@pytest.mark.parametrize("case", PROBES)
def test_every_predicate_of_an_accepted_probe_is_answered_in_time(database: extensions.connection, case: str) -> None:
    probe = READER.read(PROBES[case], srid=4326, geodetic=False)
    for predicate in PREDICATES:
        assert None not in matches(database, probe.hexewkb, f"{predicate}(shape, probe)"), predicate


@pytest.mark.parametrize("case", PROBES)
def test_every_distance_from_an_accepted_probe_is_answered_in_time(database: extensions.connection, case: str) -> None:
    probe = READER.read(PROBES[case], srid=4326, geodetic=True)
    for distance in DISTANCES:
        assert None not in matches(database, probe.hexewkb, distance), distance


@pytest.mark.parametrize("case", COLLECTIONS)
@pytest.mark.parametrize("predicate", PREDICATES)
def test_predicates_of_collections_are_those_of_their_set_of_points(
    database: extensions.connection, case: str, predicate: str
) -> None:
    probe = READER.read(PROBES[case], srid=4326, geodetic=False)
    points = shapely.unary_union(shapely.from_wkt(COLLECTIONS[case]))
    expected = PREDICATES[predicate](shapely.from_wkt(FEATURES), points)
    assert matches(database, probe.hexewkb, f"{predicate}(shape, probe)") == expected.tolist()


def inside(box: tuple[float, float, float, float], longitude: float, latitude: float) -> bool:
    west, south, east, north = box
    across = west <= longitude <= east if west <= east else longitude >= west or longitude <= east
    return across and south <= latitude <= north


def around(box: tuple[float, float, float, float]) -> list[tuple[float, float]]:
    """Points all over the world, and some two metres from the box's sides; none antipodal to a vertex of the box,
    where PostGIS would find it."""
    west, south, east, north = box
    margin = 2e-5
    longitudes = [*np.linspace(-179.3, 179.1, 17), west - margin, west + margin, east - margin, east + margin]
    latitudes = [*np.linspace(-89.2, 89.7, 13), south - 2 * margin, south + margin, north - margin, north + 2 * margin]
    return [(float(x), float(y)) for x in longitudes for y in latitudes if abs(x) <= 180 and abs(y) <= 89.9]


@pytest.mark.parametrize("case", BOXES)
def test_on_the_spheroid_a_box_holds_the_points_between_its_sides(database: extensions.connection, case: str) -> None:
    probe = READER.read(PROBES[f"box: {case}"], srid=4326, geodetic=True)
    points = around(BOXES[case])
    with database.cursor() as cursor:
        cursor.execute(
            "WITH asked AS MATERIALIZED (SELECT %s::geometry AS probe)"
            " SELECT ST_DWithin(geography(ST_SetSRID(ST_MakePoint(x, y), 4326)), geography(probe), 0)"
            " FROM asked, unnest(%s::float8[], %s::float8[]) WITH ORDINALITY AS point (x, y, place) ORDER BY place",
            (probe.hexewkb, [x for x, _ in points], [y for _, y in points]),
        )
        found = [held for (held,) in cursor.fetchall()]
    wrong = [point for point, held in zip(points, found, strict=True) if held != inside(BOXES[case], *point)]
    assert wrong == []


@pytest.mark.parametrize("case", ["the world", "the arctic", "a lune", "one metre around the south pole"])
def test_on_the_spheroid_a_box_up_to_a_pole_holds_the_pole(database: extensions.connection, case: str) -> None:
    pole = 90 if BOXES[case][3] == 90 else -90
    probe = READER.read(PROBES[f"box: {case}"], srid=4326, geodetic=True)
    with database.cursor() as cursor:
        cursor.execute(
            "SELECT ST_Distance(geography(ST_SetSRID(ST_MakePoint(123, %s), 4326)), geography(%s::geometry))",
            (pole, probe.hexewkb),
        )
        assert cursor.fetchone() == (0,)
