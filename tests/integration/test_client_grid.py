"""Grids as the clients read them, against the real server. Every test is for both."""

from collections.abc import Iterator
from typing import Any

import pytest
import shapely

from spatial_client import GridCell, InvalidArgument
from tests.servers import Served, serving

BERLIN = (13.405, 52.52)
GERMANY = (5.9, 47.3, 15.0, 55.1)


@pytest.fixture(scope="module")
def served(demo_database: str) -> Iterator[Served]:
    with serving(demo_database) as running:
        yield running


def test_a_cell_says_where_it_is_and_what_lies_in_it(client: Any) -> None:
    cells = list(client.aggregate_grid("facilities", cell_size=1, property="population"))

    assert all(isinstance(cell, GridCell) for cell in cells)
    for cell in cells:
        assert shapely.equals(cell.geometry, shapely.box(cell.i, cell.j, cell.i + 1, cell.j + 1))
        assert (shapely.get_srid(cell.geometry), cell.srid) == (4326, 4326)
        assert (cell.sum is None) == (cell.average is None)
    assert sum(cell.count for cell in cells) == client.count_features("facilities")
    assert sum(cell.sum for cell in cells if cell.sum is not None) > 1e9


def test_without_a_property_there_is_no_sum(client: Any) -> None:
    cells = list(client.aggregate_grid("zones", zoom=0, shape="hexagon"))

    assert {(cell.sum, cell.average, cell.srid) for cell in cells} == {(None, None, 3857)}
    assert {len(cell.geometry.exterior.coords) for cell in cells} == {7}


@pytest.mark.parametrize(
    ("asked", "count"),
    [
        (
            {"center": BERLIN, "radius_meters": 300_000},
            lambda client: client.count_radius("facilities", BERLIN, 300_000),
        ),
        (
            {"probe": GERMANY, "predicate": "within"},
            lambda client: client.count_intersects("facilities", GERMANY, predicate="within"),
        ),
        ({"bbox": GERMANY}, lambda client: client.count_features("facilities", bbox=GERMANY)),
    ],
    ids=["radius", "intersects", "bbox"],
)
def test_a_grid_of_what_a_question_finds(client: Any, asked: dict[str, Any], count: Any) -> None:
    batches = list(client.aggregate_grid("facilities", cell_size=0.5, **asked).batches())

    assert sum(cell.count for batch in batches for cell in batch) == count(client) > 50


def test_a_filter_is_passed_on(client: Any) -> None:
    every, some = (
        sum(cell.count for cell in client.aggregate_grid("facilities", zoom=2, filter=condition))
        for condition in ("", "population > 100000")
    )
    assert 0 < some < every


def test_what_the_server_refuses(client: Any) -> None:
    with pytest.raises(InvalidArgument) as caught:
        list(client.aggregate_grid("facilities", cell_size=-1))
    assert (caught.value.reason, caught.value.field) == ("OUT_OF_RANGE", "cell_size")


@pytest.mark.parametrize(
    ("asked", "complaint"),
    [
        ({}, "a cell_size or a zoom"),
        ({"cell_size": 1, "zoom": 1}, "a cell_size or a zoom"),
        ({"zoom": 1, "center": BERLIN}, "go together"),
        ({"zoom": 1, "radius_meters": 5}, "go together"),
        ({"zoom": 1, "bbox": GERMANY, "probe": GERMANY}, "not several"),
    ],
)
def test_what_cannot_be_meant_is_refused_at_once(client: Any, asked: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        client.aggregate_grid("facilities", **asked)
