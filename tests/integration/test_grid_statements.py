"""Grids over a table of the tests' own: borders, coordinates of any kind, values of any kind."""

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from math import inf, nan, sqrt
from typing import Any

import numpy as np
import psycopg2
import pytest
import shapely
from geoalchemy2 import Geometry
from psycopg2.extensions import cursor as Cursor  # noqa: N812 - a class, whatever its case
from pyproj import Transformer
from sqlalchemy import BigInteger, Column, Float, MetaData, Numeric, Table, Text

from service.catalog import Layer, Property, property_type
from service.codec.frames import BATCH_BYTES
from service.errors import InvalidArgument, Reason
from spatial.v1 import query_pb2 as query
from tests.grids import SHAPES, Floats, aggregated, by_position, check, of_layer

TABLE = Table(
    "places",
    MetaData(),
    Column("id", BigInteger, primary_key=True),
    Column("place", Geometry("GEOMETRY", srid=0, spatial_index=False)),
    Column("whole", BigInteger),
    Column("exact", Numeric),
    Column("number", Float(53)),
    Column("name", Text),
)
PLACES = Layer(
    name="places",
    description="",
    table=TABLE,
    key=TABLE.c.id,
    geometry=TABLE.c.place,
    geometry_type="GEOMETRY",
    srid=0,
    properties={c.name: Property(c.name, property_type(c.type), c, nullable=True) for c in list(TABLE.c)[2:]},
)
POINTS = replace(PLACES, geometry_type="POINT")


@pytest.fixture(scope="module")
def connection(module_database: str) -> Iterator[Any]:
    with closing(psycopg2.connect(module_database)) as connection, connection.cursor() as cursor:
        cursor.execute(
            "CREATE TEMP TABLE places (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, place geometry,"
            " whole bigint, exact numeric, number float8, name text)"
        )
        connection.commit()
        yield connection


@pytest.fixture
def cursor(connection: Any) -> Iterator[Cursor]:
    """What a test writes is gone after it."""
    with connection.cursor() as cursor:
        yield cursor
    connection.rollback()


def place(cursor: Cursor, xs: Floats, ys: Floats, srid: int = 0) -> None:
    cursor.execute(
        "INSERT INTO places (place) SELECT ST_SetSRID(ST_MakePoint(x, y), %s) FROM unnest(%s, %s) AS place (x, y)",
        (srid, xs.tolist(), ys.tolist()),
    )


def cells(cursor: Cursor, layer: Layer, shape: str = "SQUARE", **fields: Any) -> dict[tuple[int, int], query.GridCell]:
    return by_position(aggregated(cursor, layer, of_layer("places", shape, **fields)))


# Where one cell ends and another begins.


@pytest.mark.parametrize("size", [1.0, 0.1, 1 / 3])
@pytest.mark.parametrize("shape", SHAPES)
def test_a_point_on_a_border_belongs_to_one_of_the_cells(cursor: Cursor, shape: str, size: float) -> None:
    """Corners, centres and the middles of edges, on both sides of the origin."""
    across, up = (0.5, 0.5) if shape == "SQUARE" else (0.25, sqrt(3) / 4)
    columns, rows = np.meshgrid(np.arange(-24, 25), np.arange(-24, 25))
    xs, ys = (columns * across * size).ravel(), (rows * up * size).ravel()
    place(cursor, xs, ys)

    check(cells(cursor, POINTS, shape, cell_size=size), shape, size, xs, ys)


@pytest.mark.parametrize("shape", SHAPES)
def test_a_corner_of_many_cells_is_in_one(cursor: Cursor, shape: str) -> None:
    for x, y in ((0.5, sqrt(3) / 2), (-1.0, 0.0), (0.0, 0.0), (-0.0, -0.0), (-5e-324, -5e-324)):
        place(cursor, np.array([x]), np.array([y]))
        assert [cell.count for cell in cells(cursor, POINTS, shape, cell_size=1).values()] == [1]
        cursor.execute("DELETE FROM places")


def test_squares_have_their_left_and_lower_edges_and_hexagons_their_centres(cursor: Cursor) -> None:
    corners = np.arange(-3.0, 4.0)
    place(cursor, corners, corners)
    assert {*cells(cursor, POINTS, cell_size=1)} == {(int(each), int(each)) for each in corners}

    cursor.execute("DELETE FROM places")
    columns = np.arange(-3, 4)
    place(cursor, 1.5 * columns, sqrt(3) * (2 + 0.5 * (columns % 2)))
    assert {*cells(cursor, POINTS, "HEXAGON", cell_size=1)} == {(int(each), 2) for each in columns}


@pytest.mark.parametrize("shape", SHAPES)
def test_very_many_points_are_each_in_the_cell_around_them(cursor: Cursor, shape: str) -> None:
    xs, ys = np.random.default_rng(4).uniform(-7, 7, (2, 20_000))
    place(cursor, xs, ys)

    check(cells(cursor, POINTS, shape, cell_size=0.37), shape, 0.37, xs, ys)


# Coordinates of any kind.


@pytest.mark.parametrize("shape", SHAPES)
def test_cells_in_units_of_a_projected_crs(cursor: Cursor, shape: str) -> None:
    random = np.random.default_rng(5)
    xs, ys = random.uniform(4_000_000, 4_600_000, 500), random.uniform(2_700_000, 3_500_000, 500)
    place(cursor, xs, ys, srid=3035)
    batches = aggregated(cursor, replace(POINTS, srid=3035), of_layer("places", shape, cell_size=20_000))

    check(by_position(batches), shape, 20_000, xs, ys)
    assert {batch.srid for batch in batches} == {3035}


def test_cells_of_a_map_over_a_projected_crs(cursor: Cursor) -> None:
    random = np.random.default_rng(6)
    xs, ys = random.uniform(4_000_000, 4_600_000, 500), random.uniform(2_700_000, 3_500_000, 500)
    place(cursor, xs, ys, srid=3035)
    mapped = [np.asarray(each) for each in Transformer.from_crs(3035, 3857, always_xy=True).transform(xs, ys)]

    found = cells(cursor, replace(POINTS, srid=3035), "HEXAGON", zoom=7)
    assert sum(cell.count for cell in found.values()) == 500
    _check_nearly(found, *mapped)


def _check_nearly(found: dict[Any, query.GridCell], xs: Floats, ys: Floats) -> None:
    """To the millimetre: two releases of PROJ need not agree on more."""
    for cell in found.values():
        outline = shapely.from_wkb(cell.geometry.wkb)
        inside = shapely.dwithin(outline, shapely.points(xs, ys), 1e-3).sum()
        surely = shapely.contains(outline.buffer(-1e-3), shapely.points(xs, ys)).sum()
        assert surely <= cell.count <= inside


def test_a_layer_without_a_crs_has_cells_but_is_on_no_map(cursor: Cursor) -> None:
    place(cursor, np.array([0.5]), np.array([0.5]))
    (batch,) = aggregated(cursor, POINTS, of_layer("places", cell_size=1))
    assert (batch.srid, batch.cells[0].geometry.srid, batch.cells[0].count) == (0, 0, 1)

    with pytest.raises(InvalidArgument) as refused:
        aggregated(cursor, POINTS, of_layer("places", zoom=3))
    assert (refused.value.reason, refused.value.field) == (Reason.SRID_MISMATCH, "zoom")


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(
    ("layer", "empty"),
    [(POINTS, ["POINT EMPTY"]), (PLACES, ["POLYGON EMPTY", "GEOMETRYCOLLECTION EMPTY"])],
)
def test_what_has_no_place_is_left_out(cursor: Cursor, layer: Layer, empty: list[str], shape: str) -> None:
    odd = np.array([nan, inf, -inf, 1.0, 1.0, nan])
    place(cursor, odd, odd[::-1])
    shapes = [None, "POINT (1 1)", *empty]
    cursor.execute("INSERT INTO places (place) SELECT ST_GeomFromText(shape) FROM unnest(%s) AS shape", (shapes,))

    assert sum(cell.count for cell in cells(cursor, layer, shape, cell_size=1).values()) == 1


def test_a_map_leaves_out_what_lies_beyond_it(cursor: Cursor) -> None:
    latitudes = np.array([90.0, -90.0, 85.0512, -85.0512, 95.0, -1e10, nan, inf, 85.0511, -85.0511, 0.0])
    place(cursor, np.zeros(len(latitudes)), latitudes, srid=4326)
    for layer in (PLACES, POINTS):
        for shape in SHAPES:
            found = cells(cursor, replace(layer, srid=4326), shape, zoom=4)
            assert sum(cell.count for cell in found.values()) == 3


def test_geometries_of_any_type_count_where_their_centroid_lies(cursor: Cursor) -> None:
    shapes = {
        "LINESTRING (0 0, 2 0)": (1, 0),
        "MULTIPOINT (5 5, 7 7)": (6, 6),
        "POLYGON ((-10 -10, -8 -10, -8 -8, -10 -8, -10 -10))": (-9, -9),
        "POINT Z (3 -4 100)": (3, -4),
        "GEOMETRYCOLLECTION (POINT (20 20), POLYGON ((30 30, 32 30, 32 32, 30 32, 30 30)))": (31, 31),
    }
    cursor.execute("INSERT INTO places (place) SELECT ST_GeomFromText(shape) FROM unnest(%s) AS shape", ([*shapes],))

    assert {*cells(cursor, PLACES, cell_size=1)} == {*shapes.values()}


@pytest.mark.parametrize("shape", SHAPES)
def test_cells_are_numbered_up_to_what_postgis_counts_to(cursor: Cursor, shape: str) -> None:
    last, along, middle = 2**31 - 2, *((1.0, 0.5) if shape == "SQUARE" else (1.5, 0.0))
    xs = np.array([last, -last]) * along + middle
    place(cursor, xs, np.array([0.5, 0.5]))
    found = cells(cursor, POINTS, shape, cell_size=1)

    assert {*found} == {(last, 0), (-last, 0)}
    for x, cell in zip(xs, (found[last, 0], found[-last, 0]), strict=True):
        assert shapely.from_wkb(cell.geometry.wkb).covers(shapely.Point(x, 0.5))
    place(cursor, np.array([xs[0] + along]), np.array([0.5]))
    with pytest.raises(InvalidArgument, match="cells from the origin") as refused:
        cells(cursor, POINTS, shape, cell_size=1)
    assert (refused.value.reason, refused.value.field) == (Reason.OUT_OF_RANGE, "cell_size")


def test_however_small_the_cells_a_refusal_says_so(cursor: Cursor) -> None:
    place(cursor, np.array([1e99]), np.array([-1e99]))
    for shape in SHAPES:
        with pytest.raises(InvalidArgument) as refused:
            cells(cursor, POINTS, shape, cell_size=1e-9)
        assert (refused.value.reason, refused.value.field) == (Reason.OUT_OF_RANGE, "cell_size")


# Values of any kind.

# By cell of size 1: the values there, their sum and mean.
VALUES: dict[str, list[tuple[list[Any], float | None, float | None]]] = {
    "whole": [
        ([1, 2, None], 3.0, 1.5),
        ([None], None, None),
        ([2**62] * 4, 2.0**64, 2.0**62),
        ([2**53, 1, 1], 2.0**53 + 2, (2**53 + 2) / 3),
        ([-5, 5], 0.0, 0.0),
    ],
    "number": [
        ([0.5, 0.25, None], 0.75, 0.375),
        ([None, None], None, None),
        ([nan, 1.0], nan, nan),
        ([inf, 1.0], inf, inf),
        ([inf, -inf], nan, nan),
        ([-0.0], 0.0, 0.0),
    ],
    "exact": [(["0.1"] * 10, 1.0, 0.1), (["NaN", "1"], nan, nan), ([None], None, None)],
}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", VALUES)
def test_sums_and_means(cursor: Cursor, name: str, shape: str) -> None:
    rows = [(i, value) for i, (values, _, _) in enumerate(VALUES[name]) for value in values]
    cursor.executemany(f"INSERT INTO places (place, {name}) VALUES (ST_MakePoint(%s * 9, 0), %s)", rows)
    found = cells(cursor, POINTS, shape, cell_size=1, property=name)

    assert len(found) == len(VALUES[name])
    for i, (values, total, mean) in enumerate(VALUES[name]):
        cell = found[9 * i if shape == "SQUARE" else 6 * i, 0]
        assert cell.count == len(values)
        told = [getattr(cell, field) if cell.HasField(field) else None for field in ("sum", "average")]
        assert told == ([None, None] if total is None else pytest.approx([total, mean], rel=1e-15, nan_ok=True))


# Batches.


def test_many_cells_come_in_batches_of_some_size(cursor: Cursor) -> None:
    random = np.random.default_rng(7)
    place(cursor, *random.uniform(-1000, 1000, (2, 10_000)))
    batches = aggregated(cursor, POINTS, of_layer("places", "HEXAGON", cell_size=0.001))

    assert len(batches) > 5
    assert all(BATCH_BYTES - 1000 < batch.ByteSize() <= BATCH_BYTES + 10 for batch in batches[:-1])
    assert len(by_position(batches)) == 10_000
