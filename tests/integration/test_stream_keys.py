"""Resumable streams over keys of any type, and what a stream does with a statement that takes its time."""

import asyncio
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from geoalchemy2 import Geometry
from sqlalchemy import Column, MetaData, SmallInteger, String, Table, Text, Uuid, cast, func, literal_column
from sqlalchemy.dialects import postgresql
from sqlalchemy.types import TypeEngine

from service.catalog import Layer, Property, PropertyType
from service.errors import InvalidArgument
from spatial.v1 import query_pb2 as query
from tests.searches import box, intersects, point, radius
from tests.situations import fetch, sessions
from tests.streams import BULK_RUNNING, LAYOUTS, asked, bench, features, resumed, whole

ROWS = 1000
# Types of keys, and how PostgreSQL makes the key of a number; text in no order of the numbers, with what is hard to
# write and to compare.
KEYS: dict[str, tuple[TypeEngine[Any], str]] = {
    "uuid": (Uuid(), "uuid_in(md5(n::text)::cstring)"),
    "text": (Text(), """CASE n % 3 WHEN 0 THEN '' WHEN 1 THEN 'Ä' ELSE 'a''"\\%%s ' END || md5(n::text)"""),
    "varchar": (String(40), "n::text"),
    "smallint": (SmallInteger(), "(n - 500)::smallint"),
}


def _sql(key: TypeEngine[Any]) -> str:
    return str(key.compile(postgresql.dialect()))  # type: ignore[no-untyped-call]


def keyed(name: str) -> Layer:
    """Points along the equator whose keys are of this type; each row has a kilobyte of filling."""
    table = Table(
        f"keyed_by_{name}",
        MetaData(),
        Column("key", KEYS[name][0], primary_key=True),
        Column("filling", Text),
        Column("location", Geometry("POINT", 4326, spatial_index=False)),
    )
    filling = Property("filling", PropertyType.STRING, table.c.filling, nullable=True)
    return Layer(table.name, "", table, table.c.key, table.c.location, "POINT", 4326, {filling.name: filling})


@pytest.fixture(scope="module")
def database(module_database: str) -> str:
    for name, (key, made) in KEYS.items():
        fetch(
            module_database,
            f"CREATE TABLE keyed_by_{name} (key {_sql(key)} PRIMARY KEY, filling text, location geometry);"
            f"INSERT INTO keyed_by_{name} SELECT {made.replace('%%', '%')}, nullif(repeat('x', 2 * n), ''),"
            f" ST_SetSRID(ST_MakePoint(n * 0.001, 0), 4326) FROM generate_series(0, {ROWS - 1}) n",
        )
    return module_database


QUESTIONS: dict[str, Callable[[str], Any]] = {
    "radius": lambda layer: radius(layer, point(0, 0), 100_000),
    "intersects": lambda layer: intersects(layer, box(0, -1, 0.8005, 1)),
    "all": lambda layer: query.LayerQuery(layer=layer),
}


@pytest.mark.parametrize(
    ("name", "question", "layout"),
    [
        *((name, "all", layout) for name in KEYS for layout in LAYOUTS),
        *((name, question, "ROWS") for name in KEYS for question in ("radius", "intersects")),
    ],
)
async def test_a_stream_cut_again_and_again_delivers_every_key_once(
    database: str, name: str, question: str, layout: str
) -> None:
    layer = keyed(name)
    request = asked(QUESTIONS[question](layer.name), layout, resumable=True)
    where = {"radius": "n <= 898", "intersects": "n <= 800", "all": "true"}[question]
    expected = fetch(
        database,
        f"SELECT key::text, filling FROM (SELECT *, round(ST_X(location) * 1000) AS n FROM {layer.name}) AS keyed"
        f" WHERE {where} ORDER BY keyed.key",
    )
    found = []
    async with bench(database, layer) as streams:
        cut = await streams.batches(request, 2)
        while cut:
            found += [(each.id, each.properties["filling"]) for batch in cut for each in features(batch, layer)]
            cut = await streams.batches(resumed(request, cut[-1].resume_token), 2)

    assert found == expected
    assert len(expected) > 700


@pytest.mark.parametrize("name", KEYS)
async def test_a_token_is_of_no_use_to_a_layer_with_other_keys(database: str, name: str) -> None:
    layers = [keyed(each) for each in KEYS]
    request = whole(f"keyed_by_{name}", resumable=True)
    async with bench(database, *layers) as streams:
        (first,) = await streams.batches(request, 1)
        for other in KEYS.keys() - {name}:
            with pytest.raises(InvalidArgument, match="it belongs to another request"):
                streams.read(resumed(whole(f"keyed_by_{other}", resumable=True), first.resume_token))


# A layer whose rows take their time: row `n` has a property that sleeps so many seconds.


def sleepers() -> Layer:
    table = Table(
        "sleepers",
        MetaData(),
        Column("id", SmallInteger, primary_key=True),
        Column("seconds", SmallInteger),
        Column("location", Geometry("POINT", 4326, spatial_index=False)),
    )
    slept: Any = cast(func.pg_sleep(table.c.seconds), Text) + literal_column("repeat('x', 100000)", Text())
    properties = {"slept": Property("slept", PropertyType.STRING, slept, nullable=False)}
    return Layer("sleepers", "", table, table.c.id, table.c.location, "POINT", 4326, properties)


@pytest.fixture(scope="module")
def sleeping(database: str) -> str:
    """Rows of 100 KB: fifteen that come at once, more than a stream holds, and one that takes a minute."""
    fetch(
        database,
        "CREATE TABLE sleepers (id smallint PRIMARY KEY, seconds float8, location geometry);"
        "INSERT INTO sleepers SELECT n, CASE WHEN n = 16 THEN 60 ELSE 0 END, ST_SetSRID(ST_MakePoint(0, 0), 4326)"
        " FROM generate_series(1, 20) n",
    )
    return database


async def until(condition: Callable[[], object], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not await asyncio.to_thread(condition):
        assert time.monotonic() < deadline, f"not so within {seconds} s"
        await asyncio.sleep(0.01)


ASLEEP = f"{BULK_RUNNING} AND wait_event = 'PgSleep'"


@pytest.mark.parametrize("taken", [1, 4], ids=["while the thread waits for room", "while the thread waits for rows"])
async def test_a_statement_that_has_nothing_to_send_just_then_ends_within_a_second(sleeping: str, taken: int) -> None:
    async with bench(sleeping, sleepers()) as streams:
        messages = streams.read(whole("sleepers", resumable=True))
        for _ in range(taken):
            await anext(messages)
        await until(partial(sessions, sleeping, ASLEEP), 20)
        await messages.aclose()
        await until(lambda: not sessions(sleeping, BULK_RUNNING), 20)  # it would sleep for longer


async def test_the_first_batch_leaves_at_once(sleeping: str) -> None:
    async with bench(sleeping, sleepers()) as streams:
        started = time.monotonic()
        (first,) = await streams.batches(whole("sleepers", resumable=True), 1)
        assert time.monotonic() - started < 5
        assert [each.id for each in features(first, sleepers())] == ["1"]


async def test_a_stream_that_came_to_its_end_cancelled_nothing(database: str) -> None:
    async with bench(database, keyed("uuid")) as streams:
        for _ in range(30):
            assert await streams.batches(whole("keyed_by_uuid"))
        assert streams.sample("spatial_statements_cancelled_total", cause="abandoned") == 0


async def test_streams_one_after_the_other_share_a_thread_that_ends_with_the_service(database: str) -> None:
    def threads() -> list[str]:
        return [thread.name for thread in threading.enumerate() if thread.name.startswith("stream-")]

    async with bench(database, keyed("uuid")) as streams:
        for _ in range(3):
            assert await streams.batches(whole("keyed_by_uuid"))
        assert len(threads()) == 1
    assert not threads()
