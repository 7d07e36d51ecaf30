"""How PostgreSQL goes about joins: through which index, and in which order without sorting more than it must."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import pytest

from service.db.joins import join_statement, larger
from service.db.plans import plan_nodes
from service.domain import DistanceModel, JoinShape, Output, Predicate, Side
from tests.integration.test_join_statements import EARTH, Joins, joining
from tests.oracle import fetch

FILL = """
CREATE TEMP TABLE place AS
    SELECT n, random() * 350 - 175 AS x, random() * 160 - 80 AS y FROM generate_series(1, 10000) n;
INSERT INTO facilities (name, kind, location)
    SELECT 'Facility ' || n, 'test', ST_SetSRID(ST_MakePoint(x, y), 4326) FROM place;
INSERT INTO districts (name, boundary)
    SELECT 'District ' || n, ST_Multi(ST_MakeEnvelope(x, y, x + 0.5, y + 0.5, 4326)) FROM place;
INSERT INTO zones (code, name, category, boundary)
    SELECT 'Z' || n, 'Zone ' || n, 'test', ST_Multi(ST_Buffer(ST_SetSRID(ST_MakePoint(x, y), 4326), 2)) FROM place
     WHERE n <= 200;
"""
LARGE = {"facilities": "ix_facilities_location", "districts": "ix_districts_boundary"}
# Before the first ANALYZE the planner knows but the tables' sizes.
ANALYZED = pytest.mark.parametrize("plans", ["ANALYZE", "SELECT"], indirect=True, ids=["analyzed", "never analyzed"])


@pytest.fixture(scope="module")
def plans(request: pytest.FixtureRequest, new_database: Any) -> Iterator[Joins]:
    """Layers of 10,000 points, 10,000 polygons and 200 polygons."""
    with new_database() as url:
        fetch(url, FILL)
        fetch(url, "ANALYZE facilities, districts, zones, parcels" if request.param == "ANALYZE" else "SELECT")
        yield from joining(url)


def indexes(nodes: Iterable[Mapping[str, Any]], table: str) -> list[str]:
    """The indexes through which a table is read, or how it is read without one."""
    scans = [node for node in nodes if node.get("Relation Name") == table]
    return [
        within.get("Index Name", scan["Node Type"])
        for scan in scans
        for within in plan_nodes(scan)
        if within is scan or "Index Name" in within
        if scan["Node Type"] != "Bitmap Heap Scan" or within is not scan
    ]


def types(nodes: Iterable[Mapping[str, Any]]) -> set[str]:
    return {node["Node Type"] for node in nodes}


CONDITIONS: Sequence[tuple[Any, tuple[float, ...]]] = [
    *((predicate, ()) for predicate in Predicate),
    *((model, (20_000.0,)) for model in EARTH),
    (DistanceModel.PLANAR, (0.2,)),
]
KINDS = {"at once": (False, False), "in order": (True, False), "resumed": (True, True)}


@ANALYZED
@pytest.mark.parametrize("turned", [False, True], ids=["larger on the right", "larger on the left"])
@pytest.mark.parametrize("large", LARGE)
@pytest.mark.parametrize("kind", KINDS)
def test_the_larger_layer_is_searched_through_its_index(plans: Joins, large: str, turned: bool, kind: str) -> None:
    ordered, resumed = KINDS[kind]
    sides = (large, "zones") if turned else ("zones", large)
    for condition, distance in CONDITIONS:
        index = f"{LARGE[large]}_{'geography_' if condition in EARTH else ''}gist"
        shape = JoinShape(*sides, condition, ordered=ordered, resumed=resumed)
        nodes = plans.explained(shape, *distance, *((5, 5) if resumed else ()))
        assert indexes(nodes, large) == [index], condition


@ANALYZED
def test_between_equals_the_right_one_is_searched(plans: Joins) -> None:
    nodes = plans.explained(JoinShape("facilities", "facilities", DistanceModel.SPHEROID), 1000.0)

    assert sorted(indexes(nodes, "facilities")) == ["Seq Scan", "ix_facilities_location_geography_gist"]


AT_ONCE = {"Nested Loop", "Seq Scan", "Index Scan", "Index Only Scan", "Bitmap Heap Scan", "Bitmap Index Scan"}


@ANALYZED
@pytest.mark.parametrize("turned", [False, True], ids=["larger on the right", "larger on the left"])
@pytest.mark.parametrize("large", LARGE)
def test_the_first_pairs_wait_for_no_others(plans: Joins, large: str, turned: bool) -> None:
    sides = (large, "zones") if turned else ("zones", large)
    for condition, distance in CONDITIONS:
        assert types(plans.explained(JoinShape(*sides, condition, Output(), Output()), *distance)) <= AT_ONCE


@ANALYZED
@pytest.mark.parametrize("resumed", [False, True], ids=["first", "resumed"])
@pytest.mark.parametrize("large", LARGE)
def test_in_order_along_the_smaller_layer_only_the_pairs_of_each_feature_are_sorted(
    plans: Joins, large: str, resumed: bool
) -> None:
    for condition, distance in CONDITIONS:
        shape = JoinShape("zones", large, condition, Output(), Output(), ordered=True, resumed=resumed)
        nodes = plans.explained(shape, *distance, *((5, 5) if resumed else ()))
        assert types(nodes) <= AT_ONCE | {"Incremental Sort"}
        assert indexes(nodes, "zones") == ["pk_zones", "pk_zones"]


@ANALYZED
@pytest.mark.parametrize("turned", [False, True], ids=["larger on the right", "larger on the left"])
def test_only_keys_and_distances_are_sorted(plans: Joins, turned: bool) -> None:
    sides = ("facilities", "zones") if turned else ("zones", "facilities")
    shape = JoinShape(*sides, DistanceModel.SPHEROID, Output(), Output(), ordered=True)
    (sort,) = [node for node in plans.explained(shape, 1000.0) if "Sort" in node["Node Type"]]

    assert sort["Plan Width"] == 3 * 8


@pytest.mark.parametrize("plans", ["ANALYZE"], indirect=True)
def test_the_larger_layer_is_known_without_a_look_at_its_rows(plans: Joins) -> None:
    for left, right, expected in (
        ("zones", "facilities", Side.RIGHT),
        ("facilities", "zones", Side.LEFT),
        ("facilities", "districts", Side.RIGHT),
        ("zone_centroids", "zones", Side.RIGHT),
        ("zones", "parcels", Side.LEFT),
    ):
        statement = join_statement(plans.catalog, JoinShape(left, right, Predicate.INTERSECTS))
        assert larger(plans.cursor, statement) is expected
