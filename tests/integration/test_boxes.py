"""Circles on the Earth that are looked for by boxes of degrees: each box holds its circle, and some have none."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from pyproj import Geod
from sqlalchemy import column, func, literal_column, select

from service.db.boxes import box, encloses
from service.db.queries import compiled
from spatial.v1 import query_pb2 as query
from tests.matching import match
from tests.plans import explain
from tests.searches import point, radius, request, search, within
from tests.servers import Served, serving
from tests.situations import fetch
from tests.streams import stream

BY_BOX, BY_GEOGRAPHY = ["places_geom_idx"], ["places_geography_idx"]
ON_EARTH = "ST_X(geom) BETWEEN -180 AND 180 AND ST_Y(geom) BETWEEN -90 AND 90"
# On the antimeridian and at the poles places are written in more ways than one.
PLACES = """
CREATE TABLE places (
  id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, geom geometry(Point, 4326) NOT NULL, created_at date
);
INSERT INTO places (geom) SELECT ST_Point(x, y, 4326) FROM generate_series(-180, 180) x, generate_series(-90, 90, 2) y;
CREATE INDEX places_geom_idx ON places USING gist (geom);
CREATE INDEX places_geography_idx ON places USING gist (geography(geom));
ANALYZE places;
"""
BERLIN = point(13.4, 52.5)


@pytest.fixture
def places(database: str) -> Iterator[Served]:
    fetch(database, PLACES)
    with serving(database, layers="public.places") as served:
        yield served


def indexes(served: Served, center: Any = BERLIN, meters: float = 150_000, **asked: Any) -> list[str]:
    return [*explain(served, radius=radius("places", center, meters), **asked).indexes]


def refreshed(served: Served) -> None:
    served.stub.RefreshLayers(query.RefreshLayersRequest(), timeout=10)


@pytest.mark.parametrize("ellipsoid", [Geod(ellps="WGS84"), Geod(a=6_371_008.771415, f=0)], ids=["spheroid", "sphere"])
def test_a_box_holds_all_of_its_circle(ellipsoid: Geod, database: str) -> None:
    random = np.random.default_rng(5)
    drawn = zip(
        random.uniform(-180, 180, 6000),
        np.degrees(np.arcsin(random.uniform(-1, 1, 6000))),
        10 ** random.uniform(-3, 7.3, 6000),
        strict=True,
    )
    circles = [circle for circle in drawn if encloses(*circle)]
    assert len(circles) > 3000
    assert max(reach for _, _, reach in circles) > 5_000_000
    around = np.repeat(np.array(circles), 24, axis=0)
    azimuths = np.tile(np.arange(0, 360, 15), len(circles))
    x, y, _ = ellipsoid.fwd(around[:, 0], around[:, 1], azimuths, around[:, 2])

    place = func.ST_SetSRID(func.ST_MakePoint(column("x"), column("y")), literal_column("4326"))
    made = compiled(select(box(place, column("r"))))
    boxes = fetch(
        database,
        "SELECT ST_XMin(b::geometry), ST_YMin(b::geometry), ST_XMax(b::geometry), ST_YMax(b::geometry)"
        f" FROM unnest(%s, %s, %s) WITH ORDINALITY AS c (x, y, r, n), LATERAL ({made}) made (b) ORDER BY n",
        *(list(map(float, each)) for each in zip(*circles, strict=True)),
    )
    west, south, east, north = np.repeat(np.array(boxes), 24, axis=0).T
    assert np.all((west <= x) & (x <= east) & (south <= y) & (y <= north))


@pytest.mark.parametrize(
    ("longitude", "latitude", "reach"),
    [
        (180.0, 0.0, 0.0),
        (-180.0, 0.0, 0.0),
        (179.9, 0.0, 12_000.0),
        (-179.9, 60.0, 6_000.0),
        (0.0, 90.0, 0.0),
        (0.0, -89.5, 1.0),
        (0.0, 80.0, 1_100_000.0),
        (100.0, 0.0, 8_000_000.0),
        (0.0, 0.0, 20_100_000.0),
        (float("nan"), float("nan"), 1.0),
    ],
)
def test_over_the_antimeridian_or_about_a_pole_there_is_no_box(longitude: float, latitude: float, reach: float) -> None:
    assert not encloses(longitude, latitude, reach)


def test_without_a_check_nobody_knows_where_points_are(places: Served, database: str) -> None:
    assert indexes(places) == BY_GEOGRAPHY
    before = [key for key, _ in within(places.stub, radius("places", point(-170, 52), 1000))]

    fetch(database, "INSERT INTO places (geom) VALUES (ST_Point(190, 52, 4326))")

    found = [key for key, _ in within(places.stub, radius("places", point(-170, 52), 1000))]
    assert len(found) == len(before) + 1


def test_a_check_is_seen_when_it_comes_and_when_it_goes(places: Served, database: str) -> None:
    fetch(database, f"ALTER TABLE places ADD CONSTRAINT on_earth CHECK ({ON_EARTH}) NOT VALID")
    refreshed(places)
    assert indexes(places) == BY_GEOGRAPHY
    fetch(database, "ALTER TABLE places VALIDATE CONSTRAINT on_earth")
    refreshed(places)
    assert indexes(places) == BY_BOX
    assert indexes(places, point(180, 52.5)) == BY_GEOGRAPHY
    fetch(database, "ALTER TABLE places DROP CONSTRAINT on_earth")
    refreshed(places)
    assert indexes(places) == BY_GEOGRAPHY


def test_without_an_index_in_the_plane_the_geography_has_to_do(places: Served, database: str) -> None:
    fetch(database, f"ALTER TABLE places ADD CHECK ({ON_EARTH})")
    fetch(database, "DROP INDEX places_geom_idx")
    refreshed(places)
    assert indexes(places) == BY_GEOGRAPHY


def test_an_index_in_the_plane_is_enough(places: Served, database: str) -> None:
    fetch(database, f"ALTER TABLE places ADD CHECK ({ON_EARTH})")
    fetch(database, "DROP INDEX places_geography_idx")
    refreshed(places)
    assert indexes(places) == BY_BOX


@pytest.mark.parametrize("kind", ["geometry(MultiPoint, 4326)", "geometry(LineString, 4326)", "geometry(Point, 3857)"])
def test_only_points_in_degrees_have_boxes(database: str, kind: str) -> None:
    sides = " AND ".join(f"ST_{side} <= {most}" for side, most in (("XMax(geom)", 180), ("YMax(geom)", 90)))
    least = sides.replace("Max", "Min").replace("<= ", ">= -")
    made = PLACES.replace("geometry(Point, 4326)", kind).splitlines()
    fetch(database, "\n".join(line for line in made if not line.startswith(("INSERT", "CREATE INDEX places_geog"))))
    fetch(database, f"ALTER TABLE places ADD CHECK ({sides} AND {least})")
    with serving(database, layers="public.places") as served:
        assert not served.server.catalog["places"].boxable


def test_with_and_without_a_box_the_answers_are_the_same(places: Served, database: str) -> None:
    asked = [radius("places", point(*place), 400_000) for place in ((13.4, 52.5), (-179, 0), (30, 88.7), (100, -60))]
    before = [within(places.stub, each, page_size=7) for each in asked]
    fetch(database, f"ALTER TABLE places ADD CHECK ({ON_EARTH})")
    refreshed(places)

    assert [within(places.stub, each, page_size=7) for each in asked] == before
    assert all(before)


def test_probes_with_and_without_a_box_go_together(places: Served, database: str) -> None:
    centers = [point(13, 52), point(180, 52), point(14, 52), point(13, 90)]
    asked = radius("places", BERLIN, 1000)
    without = match(places.stub, asked, centers)
    fetch(database, f"ALTER TABLE places ADD CHECK ({ON_EARTH})")
    refreshed(places)

    assert match(places.stub, asked, centers) == without
    assert [len(found.features) > 0 for found in without] == [True] * 4


def test_the_like_of_many_boxed_requests_is_answered_rightly_across_the_antimeridian(
    places: Served, database: str
) -> None:
    """After so many, requests are told by their bytes, and statements prepared."""
    fetch(database, f"ALTER TABLE places ADD CHECK ({ON_EARTH})")
    refreshed(places)
    across = [search(places.stub, request(radius("places", point(179.9, 52), 100_000))).features for _ in range(2)]
    for _ in range(100):
        found = search(places.stub, request(radius("places", point(13.1, 52), 100_000))).features
        assert len(found) == 3
        assert search(places.stub, request(radius("places", point(179.9, 52), 100_000))).features == across[0]
    assert len(across[0]) == 4


def test_a_stream_reads_rows_as_it_finds_them(places: Served, database: str) -> None:
    """However many the planner expects: a bitmap would be whole before the first is read."""
    fetch(database, f"ALTER TABLE places ADD CHECK ({ON_EARTH})")
    refreshed(places)
    explained = explain(places, radius=radius("places", point(10, 10), 3_000_000), stream=True)

    assert explained.indexes == BY_BOX
    assert "Bitmap" not in explained.text


@pytest.mark.parametrize("model", ["SPHEROID", "SPHERE"])
@pytest.mark.parametrize("radius_meters", [0, 100_000, 885_000, 3_000_000])
def test_a_stream_looks_in_the_middle_first_and_finds_nothing_twice(
    places: Served, database: str, radius_meters: float, model: str
) -> None:
    """The middle of the third reaches as far as the nearest places in the north and in the south."""
    fetch(database, f"ALTER TABLE places ADD CHECK ({ON_EARTH})")
    refreshed(places)
    asked = radius("places", point(10, 50), radius_meters, model)
    paged = within(places.stub, asked)

    streamed = [
        (feature.id, feature.distance_meters)
        for batch in stream(places.stub, query.StreamRadiusRequest(query=asked, layout="BATCH_LAYOUT_ROWS"))
        for feature in batch.rows.features
    ]
    assert sorted(streamed) == sorted((str(key), distance) for key, distance in paged)
    assert radius_meters < 500_000 or float(streamed[0][1]) < radius_meters / 4
