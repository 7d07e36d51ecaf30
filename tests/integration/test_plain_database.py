"""A database restored from plain SQL, which no migration of ours has seen, served by a role that may only read.

Its layers are the demo's cities and countries: in degrees, in metres, in feet, and as geography; the answers are
compared with those of pyproj and shapely.
"""

import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psycopg2
import pytest
import shapely
from pyproj import Transformer
from shapely.geometry.base import BaseGeometry

from service.postgres.programs import find_programs
from spatial.v1 import geometry_pb2
from spatial.v1 import query_pb2 as query
from tests.awkward import everything, found, ids
from tests.clusters import DEMO
from tests.conftest import NewDatabase
from tests.matching import match
from tests.oracle import SPHEROID
from tests.searches import count, intersects, nearest, pages, point, radius, shape
from tests.servers import Served, serving
from tests.situations import fetch
from tests.streams import LAYOUTS, features, resumed, stream, whole

TABLES = """
CREATE SCHEMA gis;
CREATE TABLE gis.cities AS
  SELECT id::int, name, population, location AS geom FROM facilities WHERE population IS NOT NULL;
CREATE TABLE gis.cities_mercator AS
  SELECT id, name, ST_Transform(geom, 3857)::geometry(Point, 3857) AS geom FROM gis.cities;
CREATE TABLE gis.cities_geography AS SELECT id, name, geom::geography(Point, 4326) AS geog FROM gis.cities;
CREATE TABLE gis.cities_feet AS
  SELECT id, name, ST_Transform(geom, 2263)::geometry(Point, 2263) AS geom FROM gis.cities
   WHERE geom && ST_MakeEnvelope(-74.3, 40.4, -73.6, 41, 4326);
CREATE TABLE gis.countries AS SELECT code, name, boundary AS geom FROM zones;
CREATE TABLE gis.countries_mercator AS
  SELECT code, name, ST_Transform(boundary, 3857)::geometry(MultiPolygon, 3857) AS geom FROM zones WHERE code <> 'ATA';
ALTER TABLE gis.cities ADD PRIMARY KEY (id);
ALTER TABLE gis.cities_mercator ADD PRIMARY KEY (id);
ALTER TABLE gis.cities_geography ADD PRIMARY KEY (id);
ALTER TABLE gis.cities_feet ADD PRIMARY KEY (id);
ALTER TABLE gis.countries ADD PRIMARY KEY (code);
ALTER TABLE gis.countries_mercator ADD PRIMARY KEY (code);
CREATE INDEX ON gis.cities USING gist (geom);
CREATE INDEX ON gis.cities USING gist (geography(geom));
CREATE INDEX ON gis.cities_mercator USING gist (geom);
CREATE INDEX ON gis.cities_geography USING gist (geog);
CREATE INDEX ON gis.cities_feet USING gist (geom);
CREATE INDEX ON gis.countries USING gist (geom);
CREATE INDEX ON gis.countries_mercator USING gist (geom);
"""
READER = "only_reads"
PASSWORD = "for-this-test-alone"
BERLIN, TIMES_SQUARE = (13.4, 52.5), (-73.9855, 40.758)
TO_MERCATOR = Transformer.from_crs(4326, 3857, always_xy=True)


@dataclass(frozen=True)
class World:
    served: Served
    url: str
    keys: Any  # of the cities
    longitudes: Any
    latitudes: Any
    countries: dict[str, BaseGeometry]

    @property
    def stub(self) -> Any:
        return self.served.stub

    def within(self, meters: float, place: tuple[float, float]) -> dict[str, float]:
        """The cities so near to a place, with their distances."""
        size = len(self.keys)
        _, _, distances = SPHEROID.inv(
            np.full(size, place[0]), np.full(size, place[1]), self.longitudes, self.latitudes
        )
        near = distances <= meters
        return dict(zip(map(str, self.keys[near].tolist()), distances[near].tolist(), strict=True))

    def inside(self, area: shapely.Geometry) -> list[str]:
        lie = shapely.intersects(area, shapely.points(self.longitudes, self.latitudes))
        return [str(key) for key in sorted(self.keys[lie].tolist())]


@pytest.fixture(scope="module")
def world(new_database: NewDatabase) -> Iterator[World]:
    with new_database(template=DEMO) as source, new_database(template="template1") as target:
        fetch(source, TABLES)
        _restore(source, target)
        try:
            yield from _served(target)
        finally:
            fetch(target, f"DROP OWNED BY {READER}; DROP ROLE {READER}")


def _restore(source: str, target: str) -> None:
    """By way of plain SQL."""
    dump: list[str | Path] = [find_programs() / "pg_dump", "--no-owner", "--no-privileges", "--schema=gis", source]
    sql = subprocess.run(dump, check=True, capture_output=True, text=True, timeout=60).stdout
    fetch(target, "CREATE EXTENSION postgis")
    restore = ["psql", "--quiet", "--no-psqlrc", "--set=ON_ERROR_STOP=1", "--output=/dev/null", target]
    subprocess.run(restore, input=sql, check=True, text=True, timeout=60)
    fetch(
        target,
        f"ANALYZE; CREATE ROLE {READER} LOGIN PASSWORD '{PASSWORD}'; GRANT USAGE ON SCHEMA gis TO {READER};"
        f"GRANT SELECT ON ALL TABLES IN SCHEMA gis TO {READER}",
    )


def _served(target: str) -> Iterator[World]:
    url = f"postgresql://{READER}:{PASSWORD}@{target.rpartition('@')[2]}"
    keys, longitudes, latitudes = map(
        np.array, zip(*fetch(target, "SELECT id, ST_X(geom), ST_Y(geom) FROM gis.cities ORDER BY id"), strict=True)
    )
    countries = fetch(target, "SELECT code, ST_AsBinary(geom) FROM gis.countries")
    shapes = {code: shapely.from_wkb(bytes(wkb)) for code, wkb in countries}
    with serving(url, layers="gis.*") as served:
        yield World(served, url, keys, longitudes, latitudes, shapes)


def test_it_is_ready_and_has_its_layers(world: World) -> None:
    assert world.served.health() == "SERVING"
    layers = {each.name: each for each in world.stub.ListLayers(query.ListLayersRequest(), timeout=10).layers}
    assert {name: (each.srid, each.geography) for name, each in layers.items()} == {
        "gis.cities": (4326, False),
        "gis.cities_mercator": (3857, False),
        "gis.cities_geography": (4326, True),
        "gis.cities_feet": (2263, False),
        "gis.countries": (4326, False),
        "gis.countries_mercator": (3857, False),
    }
    assert layers["gis.cities"].estimated_rows == len(world.keys)


def test_the_role_may_only_read(world: World) -> None:
    with pytest.raises(psycopg2.errors.InsufficientPrivilege):
        fetch(world.url, "DELETE FROM gis.cities")


@pytest.mark.parametrize("layer", ["gis.cities", "gis.cities_geography"])
@pytest.mark.parametrize("place", [BERLIN, TIMES_SQUARE, (179.9, -17.0)])
def test_distances_in_metres_are_those_of_pyproj(world: World, layer: str, place: tuple[float, float]) -> None:
    through = pages(world.stub, radius(layer, point(*place), 300_000), output=query.Output())
    answer = {each.id: each.distance_meters for page in through for each in page.features}

    assert answer == pytest.approx(world.within(300_000, place), abs=1e-4)
    (closest,) = found(world.stub, nearest(layer, point(*place)), limit=1)
    assert closest.distance_meters == pytest.approx(min(world.within(3e7, place).values()), abs=1e-4)


def test_planar_distances_in_mercator_are_those_of_its_plane(world: World) -> None:
    x, y = TO_MERCATOR.transform(world.longitudes, world.latitudes)
    center = TO_MERCATOR.transform(*BERLIN)
    distances = dict(zip(map(str, world.keys.tolist()), np.hypot(x - center[0], y - center[1]).tolist(), strict=True))
    through = pages(world.stub, radius("gis.cities_mercator", point(*BERLIN), 200_000, "PLANAR"), output=query.Output())
    answer = {each.id: each.distance_meters for page in through for each in page.features}

    expected = {key: distance for key, distance in distances.items() if distance <= 200_000}
    assert answer == pytest.approx(expected, abs=1e-3)
    assert len(expected) > 10


def test_planar_distances_in_feet_are_in_feet(world: World) -> None:
    stored = fetch(world.url, "SELECT id::text, ST_X(geom), ST_Y(geom) FROM gis.cities_feet")
    center = geometry_pb2.Probe(geometry=geometry_pb2.Geometry(wkt="POINT (988000 215000)", srid=2263))
    distances = {key: float(np.hypot(x - 988000, y - 215000)) for key, x, y in stored}
    answer = found(world.stub, radius("gis.cities_feet", center, 5 * 5280, "PLANAR"))

    expected = {key: distance for key, distance in distances.items() if distance <= 5 * 5280}
    assert {each.id: each.distance_meters for each in answer} == pytest.approx(expected, abs=1e-6)
    assert {each.geometry.srid for each in answer} == {2263}
    assert expected


@pytest.mark.parametrize("layer", ["gis.cities", "gis.cities_geography", "gis.cities_mercator"])
@pytest.mark.parametrize("country", ["LUX", "DEU", "FJI"])
def test_cities_in_a_country_are_those_of_shapely(world: World, layer: str, country: str) -> None:
    through = pages(world.stub, intersects(layer, shape(world.countries[country])), output=query.Output())
    answer = [each.id for page in through for each in page.features]
    if layer == "gis.cities_mercator":
        # Its edges are straight in another plane: what lies close to them may be on either side.
        border = shapely.buffer(world.countries[country].boundary, 0.05)
        unsure = set(world.inside(border))
        assert set(answer) - unsure == set(world.inside(world.countries[country])) - unsure
    else:
        assert answer == world.inside(world.countries[country])


def test_the_country_of_a_place_is_found_in_either_crs(world: World) -> None:
    for layer in ("gis.countries", "gis.countries_mercator"):
        assert ids(world.stub, intersects(layer, point(*BERLIN))) == ["DEU"]


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("layer", ["gis.cities", "gis.cities_geography", "gis.cities_feet", "gis.countries_mercator"])
def test_every_layer_streams_in_every_layout(world: World, layer: str, layout: str) -> None:
    known = world.served.server.catalog[layer]
    streamed = everything(world.stub, known, layout)
    stored = fetch(world.url, f"SELECT {known.key.key}::text, name FROM {layer}")
    assert {each.id: each.properties["name"] for each in streamed} == dict(stored)
    assert len(streamed) == len(stored)


def test_a_stream_goes_on_where_it_was_cut(world: World) -> None:
    known = world.served.server.catalog["gis.countries"]
    request = whole("gis.countries", layout="COLUMNS", resumable=True)
    cut = stream(world.stub, request)
    first = next(cut)
    cut.cancel()
    rest = list(stream(world.stub, resumed(request, first.resume_token)))
    delivered = [each.id for batch in [first, *rest] for each in features(batch, known)]
    # In the order of the column's own collation.
    assert delivered == [code for (code,) in fetch(world.url, "SELECT code FROM gis.countries ORDER BY code")]
    assert rest


def test_counts_matches_and_joins_agree_with_shapely(world: World) -> None:
    germany, luxembourg = world.countries["DEU"], world.countries["LUX"]
    inside = len(world.inside(germany))
    assert count(world.stub, intersects=intersects("gis.cities", shape(germany))) == inside
    assert count(world.stub, layer=query.LayerQuery(layer="gis.cities")) == len(world.keys)
    answers = match(
        world.stub,
        intersects("gis.cities_geography", point(0, 0)),
        [shape(luxembourg), shape(germany)],
        limit=1000,
        output=query.Output(),
    )
    assert [[each.id for each in answer.features] for answer in answers] == [
        world.inside(luxembourg),
        world.inside(germany),
    ]
    join = query.JoinQuery(left_layer="gis.countries", right_layer="gis.cities")
    batches = world.stub.StreamJoin(query.StreamJoinRequest(query=join), timeout=60)
    pairs = [(pair.left_id, pair.right_id) for batch in batches for pair in batch.pairs]
    assert sorted(right for left, right in pairs if left == "DEU") == sorted(world.inside(germany))
    assert len({left for left, _ in pairs}) > 100
