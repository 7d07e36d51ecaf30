"""Answers about many probes that PostgreSQL writes are, byte for byte, those that are written of its rows."""

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import closing
from typing import Any

import psycopg2
import pytest
from psycopg2.extensions import cursor as Cursor  # noqa: N812 - a class, whatever its case

from service.catalog import Catalog, shipped_layers
from service.codec.matches import match_packing
from service.codec.packed import packing
from service.codec.rows import FeatureReader
from service.db.batch import Answer, parameters
from service.db.canceller import Canceller
from service.db.copy import CopyBuffer, Row
from service.db.engine import Pool, bulk_pool
from service.db.lanes import Lanes, match_lanes
from service.db.packed import REST, PackedRows
from service.db.packed_copies import MANY, PackedCopies
from service.db.queries import Statement, Statements
from service.domain import DistanceModel, Encoding, Kind, Output, Predicate, Search, Shape, View
from service.observability.metrics import Metrics
from service.settings import Settings
from tests.laned import lanes_over

BUFFER_BYTES = 1 << 22
NAMED = Output(("name", "kind", "active"))
PLACES = [
    f"SRID=4326;POINT({longitude} {latitude})" for longitude in range(-10, 30, 8) for latitude in range(36, 60, 5)
]

CATALOG = Catalog(shipped_layers())
STATEMENTS = Statements(CATALOG)


@pytest.fixture(scope="module")
def cursor(demo_database: str) -> Iterator[Cursor]:
    with closing(psycopg2.connect(demo_database)) as connection, connection.cursor() as cursor:
        connection.autocommit = True
        yield cursor


def made(cursor: Cursor, statement: Statement, searches: Sequence[Sequence[Any]]) -> list[list[Row]]:
    """The rows for each search, written in Python."""
    sent = CopyBuffer(BUFFER_BYTES).copy(cursor, cursor.mogrify(statement.copy, parameters(statement, searches)))
    rows = FeatureReader()(statement)(sent.data)
    return [[row for row in rows if row[0] == ordinal] for ordinal in range(1, len(searches) + 1)]


def packed(cursor: Cursor, statement: Statement, searches: Sequence[Sequence[Any]]) -> list[PackedRows] | None:
    copy = PackedCopies(packing)[statement]
    assert copy is not None
    return copy.run(cursor, parameters(statement, searches), CopyBuffer(BUFFER_BYTES))


SHAPES = {
    "radius": Shape(Kind.RADIUS, "facilities", NAMED, DistanceModel.SPHEROID, 101),
    "nearest": Shape(Kind.NEAREST, "facilities", NAMED, DistanceModel.SPHERE, 7),
    "intersects": Shape(Kind.INTERSECTS, "zones", Output(("name",), View.BBOX), Predicate.INTERSECTS, 3),
    "as text": Shape(Kind.RADIUS, "facilities", Output((), encoding=Encoding.WKT, srid=3857), DistanceModel.SPHERE, 5),
}
ARGUMENTS: dict[Kind, tuple[Any, ...]] = {Kind.RADIUS: (90_000.0,), Kind.NEAREST: (None,), Kind.INTERSECTS: ()}


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_what_is_found_is_the_same_and_in_the_same_order(cursor: Cursor, shape: Shape) -> None:
    statement = STATEMENTS[shape]
    searches = [(place, *ARGUMENTS[shape.kind]) for place in PLACES]
    right = made(cursor, statement, searches)
    found = packed(cursor, statement, searches)
    assert found is not None
    assert any(right)
    assert [rows.written for rows in found] == [b"".join(row[-1] for row in rows) for rows in right]
    assert [list(rows) for rows in found] == right


def test_too_little_room_leaves_it_to_the_ordinary_way_for_a_while(cursor: Cursor) -> None:
    statement = STATEMENTS[SHAPES["radius"]]
    given = parameters(statement, [(place, 90_000.0) for place in PLACES])
    copy = PackedCopies(packing)[statement]
    assert copy is not None
    assert copy.run(cursor, given, CopyBuffer(4096)) is None
    room = CopyBuffer(BUFFER_BYTES)
    assert [copy.run(cursor, given, room) is None for _ in range(REST + 1)] == [True] * REST + [False]


def test_a_feature_that_is_too_large_leaves_it_to_the_ordinary_way(cursor: Cursor) -> None:
    whole = STATEMENTS[Shape(Kind.INTERSECTS, "zones", Output(()), Predicate.INTERSECTS, 3)]
    searches = [("SRID=4326;POINT(-140 -50)",), ("SRID=4326;POINT(100 64)",)]  # in the sea, and in Russia
    assert packed(cursor, whole, searches) is None
    assert packed(cursor, whole, searches[:1]) is not None


@pytest.mark.parametrize(
    ("reason", "shape"),
    [
        ("its probe is a constant", Shape(Kind.RADIUS, "facilities", NAMED, DistanceModel.SPHEROID, 5, constant=True)),
        ("GeoJSON is read and written anew", Shape(Kind.LOOKUP, "zones", Output(encoding=Encoding.GEOJSON))),
        ("so is a property that is JSON", Shape(Kind.LOOKUP, "facilities", Output(("attributes",)))),
    ],
)
def test_what_is_not_packed(reason: str, shape: Shape) -> None:
    assert PackedCopies(packing)[STATEMENTS[shape]] is None, reason


def copying_lanes(pool: Pool, canceller: Canceller, settings: Settings, metrics: Metrics) -> Lanes:
    return match_lanes(pool, canceller, STATEMENTS, settings, metrics, packed=PackedCopies(match_packing))


async def test_lanes_pack_what_many_ask_together(demo_database: str) -> None:
    search = Search(SHAPES["radius"], (PLACES[0], 90_000.0), heavy=True)
    async with lanes_over(demo_database, bulk_pool, copying_lanes) as lanes:
        for count in (MANY - 1, MANY):
            answers = (await lanes.answer_together([search] * count)).answers
            assert [isinstance(each, Answer) and isinstance(each.rows, PackedRows) for each in answers] == [
                count == MANY
            ] * count


async def test_a_probe_that_fails_fails_alone(demo_database: str) -> None:
    shape = SHAPES["radius"]
    searches = [Search(shape, (place, 90_000.0), heavy=True) for place in PLACES[:MANY]]
    searches[3] = Search(shape, ("this is no geometry", 90_000.0), heavy=True)
    async with lanes_over(demo_database, bulk_pool, copying_lanes) as lanes:
        answers = (await lanes.answer_together(searches)).answers
    assert [isinstance(each, Answer) for each in answers] == [place != 3 for place in range(MANY)]


async def test_who_leaves_abandons_all(demo_database: str) -> None:
    search = Search(SHAPES["radius"], (PLACES[0], 20_000_000.0), heavy=True)
    async with lanes_over(demo_database, bulk_pool, copying_lanes) as lanes:
        asked = asyncio.create_task(lanes.answer_together([search] * 400))
        await asyncio.sleep(0)
        asked.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asked
        assert len((await lanes.answer_together([search._replace(arguments=(PLACES[0], 1.0))] * MANY)).answers) == MANY
