"""Joins as PostgreSQL answers them, against GEOS and GeographicLib; and the plans by which it does."""

import io
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import psycopg2
import pytest
import shapely
from geoalchemy2 import Geometry
from psycopg2.extensions import cursor as Cursor  # noqa: N812 - a class, whatever its case
from shapely.geometry.base import BaseGeometry
from sqlalchemy import BigInteger, Column, MetaData, Table, Text, Uuid
from sqlalchemy.types import TypeEngine

from service.catalog import Catalog, Layer, Property, PropertyType, shipped_layers
from service.codec.joins import JoinWriter
from service.db.engine import session_settings
from service.db.joins import join_statement, larger
from service.db.plans import plan_nodes
from service.domain import Argument, DistanceModel, JoinShape, Key, Output, Predicate, Side, View
from service.settings import Settings
from spatial.v1 import query_pb2
from tests.integration.test_intersects import PREDICATES, PROBES, SQUARES
from tests.oracle import Outline, Points, fetch, geodesic, geometries, haversine, surrounds
from tests.world import settle

EARTH = (DistanceModel.SPHEROID, DistanceModel.SPHERE)
Pairs = list[tuple[Key, Key]]


def made_up(name: str, key: TypeEngine[Any]) -> Layer:
    """A layer over a table that `make` makes."""
    table = Table(
        name,
        MetaData(),
        Column("key", key, primary_key=True),
        Column("label", Text),
        Column("shape", Geometry("GEOMETRY", 4326, spatial_index=False), nullable=False),
    )
    label = Property("label", PropertyType.STRING, table.c.label, nullable=True)
    return Layer(name, "", table, table.c.key, table.c.shape, "GEOMETRY", 4326, {"label": label})


def make(url: str, name: str, key: str, rows: Mapping[Any, str]) -> None:
    """A table of shapes in WKT by their keys, with the indexes that a layer has."""
    fetch(
        url,
        f"CREATE TABLE {name} (key {key} PRIMARY KEY, label text, shape geometry(Geometry, 4326) NOT NULL);"
        f"CREATE INDEX {name}_gist ON {name} USING gist (shape);"
        f"CREATE INDEX {name}_geography_gist ON {name} USING gist (geography(shape));"
        f"INSERT INTO {name} SELECT key::{key}, 'shape ' || key, ST_GeomFromText(wkt, 4326)"
        " FROM unnest(%s::text[], %s) AS given (key, wkt);"
        f"ANALYZE {name}",
        list(map(str, rows)),
        list(rows.values()),
    )


@dataclass
class Joins:
    """Joins over a database, run as a stream would."""

    url: str
    catalog: Catalog
    cursor: Cursor

    def batch(self, shape: JoinShape, *arguments: Argument, through: Side | None = None) -> query_pb2.JoinBatch:
        """All that a join answers."""
        statement = join_statement(self.catalog, shape)
        run = statement.bound(self.cursor, arguments)
        if through:
            given = dict(zip(statement.arguments, arguments, strict=True))
            run = self.cursor.mogrify(statement.copy(through), given)
        sent = io.BytesIO()
        self.cursor.copy_expert(run, sent)
        batches = [batch.message for batch in JoinWriter(statement, None).batches(sent.getvalue())]
        return query_pb2.JoinBatch.FromString(b"".join(batches))

    def pairs(self, shape: JoinShape, *arguments: Argument, through: Side | None = None) -> Pairs:
        left, right = self.catalog[shape.left], self.catalog[shape.right]
        answer = self.batch(shape, *arguments, through=through)
        return [(left.parse_key(pair.left_id), right.parse_key(pair.right_id)) for pair in answer.pairs]

    def explained(self, shape: JoinShape, *arguments: Argument) -> list[Mapping[str, Any]]:
        """The nodes of the plan."""
        statement = join_statement(self.catalog, shape)
        given = dict(zip(statement.arguments, arguments, strict=True))
        self.cursor.execute(f"EXPLAIN (FORMAT JSON) {statement.sql(larger(self.cursor, statement))}", given)
        row = self.cursor.fetchone()
        assert row is not None
        return [*plan_nodes(row[0][0]["Plan"])]


def joining(url: str, *layers: Layer) -> Iterator[Joins]:
    options = " ".join(f"-c {name}={value}" for name, value in session_settings(Settings()).items())
    with closing(psycopg2.connect(url, options=options)) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            yield Joins(url, Catalog([*shipped_layers(), *layers]), cursor)


@pytest.fixture(scope="module")
def demo(demo_database: str) -> Iterator[Joins]:
    yield from joining(demo_database)


TEXTS = ["a", "A", "b", "B", "ab", "aB", "-a", "ä", "Å", "z", "1", "10", "2", "'", '"', "%s", "%", "\\", " x", "é 日本"]
UUIDS = [f"{number * 0x11111111:08x}-0000-4000-8000-{number:012x}" for number in range(1, 13)]


@pytest.fixture(scope="module")
def joins(module_database: str) -> Iterator[Joins]:
    """Shapes made for their edges under integer keys, and one row of squares under keys of each type."""
    make(module_database, "squares", "bigint", dict(enumerate(SQUARES.values(), -5)))
    make(module_database, "probes", "bigint", dict(enumerate(PROBES.values(), 100)))
    make(module_database, "texts", "text", dict(zip(TEXTS, row_of_squares(), strict=False)))
    make(module_database, "uuids", "uuid", dict(zip(UUIDS, row_of_squares(), strict=False)))
    keys: dict[str, TypeEngine[Any]] = {"squares": BigInteger(), "probes": BigInteger(), "texts": Text()}
    keys["uuids"] = Uuid(as_uuid=False)
    settle(module_database)
    fetch(module_database, "ANALYZE facilities")
    yield from joining(module_database, *(made_up(name, key) for name, key in keys.items()))


def row_of_squares() -> list[str]:
    """Each meets its neighbours and those next to them."""
    return [shapely.box(n * 0.4, 0, n * 0.4 + 1, 1).wkt for n in range(20)]


# By predicate.


@cache
def expected_pairs(url: str, left: str, right: str, predicate: Predicate) -> Pairs:
    """Between two of the tables that are made here, worked out once."""
    return related(made(url, left), made(url, right), predicate)


@cache
def made(url: str, name: str) -> dict[int, BaseGeometry]:
    rows = fetch(url, f"SELECT key, ST_AsBinary(shape) FROM {name}")
    return {key: shapely.from_wkb(bytes(wkb)) for key, wkb in rows}


def related(left: Mapping[int, BaseGeometry], right: Mapping[int, BaseGeometry], predicate: Predicate) -> Pairs:
    """The pairs as GEOS finds them."""
    lefts, rights = np.array([*left.values()]), np.array([*right.values()])
    near_left, near_right = shapely.STRtree(rights).query(lefts)
    true = PREDICATES[predicate.name](lefts[near_left], rights[near_right])
    left_keys, right_keys = [*left], [*right]
    return sorted((left_keys[i], right_keys[j]) for i, j in zip(near_left[true], near_right[true], strict=True))


def stored(joins: Joins, layer: Layer) -> dict[int, BaseGeometry]:
    if layer.name in ("squares", "probes"):
        return made(joins.url, layer.name)
    return geometries(joins.url, layer.table.name, layer.geometry_name)


# Those that have pairs. Between countries and points, PostGIS takes half a minute over predicates that are not listed.
DEMO = {
    ("zones", "facilities"): ("INTERSECTS", "CONTAINS"),
    ("facilities", "zones"): ("WITHIN", "COVERED_BY"),
    ("districts", "parcels"): ("COVERS",),
    ("parcels", "districts"): ("INTERSECTS",),
    ("zones", "zone_centroids"): ("COVERS",),
    ("zone_centroids", "zone_centroids"): ("INTERSECTS", "EQUALS"),
    ("parcels", "parcels"): ("INTERSECTS", "TOUCHES", "EQUALS"),
}


@pytest.mark.parametrize(
    ("left", "right", "predicate"), [(*layers, Predicate[name]) for layers, names in DEMO.items() for name in names]
)
def test_predicates_over_the_demo_data(demo: Joins, left: str, right: str, predicate: Predicate) -> None:
    expected = related(stored(demo, demo.catalog[left]), stored(demo, demo.catalog[right]), predicate)
    assert expected

    assert demo.pairs(JoinShape(left, right, predicate, ordered=True)) == expected


@pytest.mark.parametrize("through", Side, ids=lambda side: side.name)
@pytest.mark.parametrize("predicate", Predicate, ids=lambda predicate: predicate.name)
@pytest.mark.parametrize(("left", "right"), [("squares", "probes"), ("probes", "probes")])
def test_predicates_at_their_edges(joins: Joins, left: str, right: str, predicate: Predicate, through: Side) -> None:
    """Read as *left PREDICATE right*, whichever index is searched; the squares are among the probes."""
    expected = expected_pairs(joins.url, left, right, predicate)
    assert expected or predicate is Predicate.CROSSES

    assert sorted(joins.pairs(JoinShape(left, right, predicate), through=through)) == expected
    assert joins.pairs(JoinShape(left, right, predicate, ordered=True), through=through) == expected


def test_a_layer_joined_with_itself_pairs_each_feature_with_itself(joins: Joins) -> None:
    found = joins.pairs(JoinShape("squares", "squares", Predicate.EQUALS))

    assert {(key, key) for key in stored(joins, joins.catalog["squares"])} < set(found)
    assert sorted(found) == sorted((right, left) for left, right in found)


# By distance.


@cache
def all_distances(url: str, model: DistanceModel) -> list[tuple[Key, Key, float]]:
    """Between any two facilities."""
    points = Points.of(url)
    return [
        (int(key), int(other), float(distance))
        for key, longitude, latitude in zip(points.keys, points.longitudes, points.latitudes, strict=True)
        for other, distance in zip(points.keys, points.distances(model.name, longitude, latitude), strict=True)
    ]


@pytest.mark.parametrize("through", Side, ids=lambda side: side.name)
@pytest.mark.parametrize("distance", [0.0, 5.0, 200_000.0, 3_000_000.0])
@pytest.mark.parametrize("model", DistanceModel, ids=lambda model: model.name)
def test_points_all_over_the_earth(joins: Joins, model: DistanceModel, distance: float, through: Side) -> None:
    """Poles, both sides of the antimeridian and coinciding points among them."""
    limit = distance / 100_000 if model is DistanceModel.PLANAR else distance
    # On the Earth a point at +180 degrees and one at -180 may be told apart by rounding alone.
    touching = 1e-6 if model in EARTH else 0.0
    everything = all_distances(joins.url, model)
    # On the sphere, haversine and PostGIS round differently; nothing lies that near to the limit, but 0 itself.
    expected = {(left, right): d for left, right, d in everything if d <= limit + touching}
    answer = joins.batch(JoinShape("facilities", "facilities", model), limit, through=through)

    found: dict[tuple[Key, Key], float] = {
        (int(pair.left_id), int(pair.right_id)): pair.distance_meters for pair in answer.pairs
    }
    assert len(found) == len(answer.pairs)
    assert found.keys() == expected.keys()
    assert np.allclose([found[pair] for pair in expected], [*expected.values()], rtol=1e-8, atol=1e-3)


@pytest.mark.parametrize(("left", "right"), [("zone_centroids", "facilities"), ("facilities", "zone_centroids")])
@pytest.mark.parametrize("model", EARTH, ids=lambda model: model.name)
def test_distances_over_the_demo_data(demo: Joins, left: str, right: str, model: DistanceModel) -> None:
    centroids = Points.of(demo.url, "zones", "centroid")
    facilities = Points.of(demo.url)
    measure = geodesic if model is DistanceModel.SPHEROID else haversine
    expected: dict[tuple[Key, Key], float] = {}
    for key, longitude, latitude in zip(centroids.keys, centroids.longitudes, centroids.latitudes, strict=True):
        near = haversine(longitude, latitude, facilities.longitudes, facilities.latitudes) < 21_000
        distances = measure(longitude, latitude, facilities.longitudes[near], facilities.latitudes[near])
        for other, d in zip(facilities.keys[near], distances, strict=True):
            if d <= 20_000:
                pair = (int(key), int(other))
                expected[pair if left == "zone_centroids" else pair[::-1]] = float(d)
    answer = demo.batch(JoinShape(left, right, model, ordered=True), 20_000.0)

    found: Pairs = [(int(pair.left_id), int(pair.right_id)) for pair in answer.pairs]
    assert found == sorted(expected)
    assert np.allclose([pair.distance_meters for pair in answer.pairs], [expected[pair] for pair in found], atol=1e-3)


def test_distances_to_polygons_are_to_their_nearest_edge(joins: Joins) -> None:
    """As GeographicLib finds them at points along the edges; 0 inside."""
    spacing, limit = 500.0, 400_000.0
    points = Points.of(joins.url)
    polygons = {key: shapely.from_wkt(wkt) for key, wkt in enumerate([*SQUARES.values()][:2], -5)}
    answer = joins.batch(JoinShape("squares", "facilities", DistanceModel.SPHEROID), limit)
    found = {(int(pair.left_id), int(pair.right_id)): pair.distance_meters for pair in answer.pairs}

    for key, polygon in polygons.items():
        bounds = Outline.of(polygon, spacing).bounds(points.longitudes, points.latitudes)
        for number, lower, upper, x, y in zip(
            points.keys, bounds.lower, bounds.upper, points.longitudes, points.latitudes, strict=True
        ):
            inside = surrounds(polygon, x, y)
            pair = (key, int(number))
            assert (pair in found) or not (inside or upper <= limit)
            assert (pair not in found) or inside or lower <= limit
            if pair in found:
                assert (0 <= found[pair] <= 1e-6) if inside else (lower - 0.01 <= found[pair] <= upper + 0.01)


def test_planar_distances_between_polygons(joins: Joins) -> None:
    squares, probes = (stored(joins, joins.catalog[name]) for name in ("squares", "probes"))
    expected = {
        (left, right): shapely.distance(square, probe)
        for left, square in squares.items()
        for right, probe in probes.items()
        if shapely.distance(square, probe) <= 15.5
    }
    answer = joins.batch(JoinShape("squares", "probes", DistanceModel.PLANAR), 15.5)

    found = {(int(pair.left_id), int(pair.right_id)): pair.distance_meters for pair in answer.pairs}
    assert found == pytest.approx(expected)


# What comes with the pairs.


@pytest.mark.parametrize("ordered", [False, True], ids=["at once", "in order"])
@pytest.mark.parametrize("through", Side, ids=lambda side: side.name)
def test_features_come_with_their_own_pair(joins: Joins, through: Side, ordered: bool) -> None:
    shape = JoinShape("squares", "probes", DistanceModel.PLANAR, Output(), Output(view=View.BBOX), ordered=ordered)
    squares, probes = (stored(joins, joins.catalog[name]) for name in ("squares", "probes"))
    answer = joins.batch(shape, 1.0, through=through)

    assert len(answer.pairs) > 50
    for pair in answer.pairs:
        assert (pair.left.id, pair.right.id) == (pair.left_id, pair.right_id)
        assert pair.left.properties["label"] == f"shape {pair.left_id}"
        assert pair.right.properties["label"] == f"shape {pair.right_id}"
        assert shapely.from_wkb(pair.left.geometry.wkb).wkt == squares[int(pair.left_id)].wkt
        assert shapely.from_wkb(pair.right.geometry.wkb).bounds == probes[int(pair.right_id)].bounds
        assert pair.left.geometry.srid == 4326


def test_a_parcels_district_comes_with_each_of_two_parcels(demo: Joins) -> None:
    output = Output(("number", "district_name", "vertex_count"), View.NONE)
    expected = dict(fetch(demo.url, "SELECT p.number, d.name FROM parcels p JOIN districts d ON d.id = p.district_id"))
    for ordered in (False, True):
        answer = demo.batch(JoinShape("parcels", "parcels", Predicate.TOUCHES, output, output, ordered=ordered))
        assert answer.pairs
        for pair in answer.pairs:
            for feature in (pair.left, pair.right):
                assert feature.properties["district_name"] == expected[feature.properties["number"]]
        assert {pair.left.properties["number"] for pair in answer.pairs} == {
            pair.right.properties["number"] for pair in answer.pairs
        }


# Order, and going on.


def in_database_order(joins: Joins, layer: str) -> dict[Key, int]:
    ordered = fetch(joins.url, f"SELECT key::text FROM {layer} ORDER BY {layer}.key")
    parse = joins.catalog[layer].parse_key
    return {parse(text): rank for rank, (text,) in enumerate(ordered)}


@pytest.mark.parametrize("through", Side, ids=lambda side: side.name)
@pytest.mark.parametrize("condition", [Predicate.INTERSECTS, DistanceModel.SPHEROID], ids=lambda each: each.name)
@pytest.mark.parametrize("right", ["texts", "uuids", "squares"])
@pytest.mark.parametrize("left", ["texts", "uuids", "squares"])
def test_a_join_cut_anywhere_goes_on_with_the_rest(
    joins: Joins, left: str, right: str, condition: Any, through: Side
) -> None:
    distance = () if isinstance(condition, Predicate) else (50_000.0,)
    shape = JoinShape(left, right, condition, ordered=True)
    whole = joins.pairs(shape, *distance, through=through)
    ranks = in_database_order(joins, left), in_database_order(joins, right)

    assert len(whole) > 20
    assert whole == sorted(whole, key=lambda pair: (ranks[0][pair[0]], ranks[1][pair[1]]))
    assert sorted(whole, key=str) == sorted(joins.pairs(JoinShape(left, right, condition), *distance), key=str)
    resumed = JoinShape(left, right, condition, ordered=True, resumed=True)
    for cut in (1, *range(2, len(whole), 1 + len(whole) // 5), len(whole)):
        assert joins.pairs(resumed, *distance, *whole[cut - 1], through=through) == whole[cut:]


def test_a_join_goes_on_after_a_pair_that_is_no_longer_there(joins: Joins) -> None:
    shape = JoinShape("squares", "probes", Predicate.INTERSECTS, ordered=True)
    whole = joins.pairs(shape)
    resumed = JoinShape("squares", "probes", Predicate.INTERSECTS, ordered=True, resumed=True)
    keys: list[tuple[Key, Key]] = [(-6, 10**9), (0, -1), (0, 10**9), (10**9, 0)]

    for last in keys:
        assert joins.pairs(resumed, *last) == [pair for pair in whole if pair > last]
