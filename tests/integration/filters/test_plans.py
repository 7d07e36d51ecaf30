"""The indexes that searches, streams and joins go through when they are filtered."""

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace

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
from tests.filtered import World
from tests.searches import box, point

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


@pytest.mark.parametrize("text", ["active", "kind = 'school'", "population > 5 OR name LIKE 'F%'", "longitude > 3"])
def test_a_radius_in_a_box_uses_the_index_in_the_plane_whatever_the_filter(cursor: Cursor, text: str) -> None:
    boxed = RADIUS._replace(shape=replace(RADIUS.shape, boxed=True))

    assert indexes(cursor, boxed, text) == {"ix_facilities_location_gist"}


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
