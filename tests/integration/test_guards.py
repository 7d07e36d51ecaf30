"""Calls whose plans are too expensive, or read a large table from end to end, are refused before they run."""

from collections.abc import Iterator, Sequence
from contextlib import closing
from typing import Any

import grpc
import psycopg2
import pytest
from google.rpc import error_details_pb2
from psycopg2.extensions import cursor as Cursor  # noqa: N812 - a class, whatever its case

from service.db.explain import Asked
from service.db.guards import KEPT_SECONDS, PlanGuards
from service.db.queries import Statements
from service.domain import DistanceModel, Kind, Shape
from service.errors import FailedPrecondition, Reason
from spatial.v1 import query_pb2 as query
from tests.conftest import NewDatabase
from tests.matching import in_messages, keyed, matches, opening
from tests.plans import explain, facilities_and_zones, join, layer, without
from tests.searches import ONLY_IDS, box, count, intersects, nearest, point, radius, request, shape
from tests.servers import Served, refusal, serving
from tests.situations import fetch
from tests.streams import CATALOG
from tests.streams import asked as stream_of

ROWS = 4000
INDEX = "ix_facilities_location_geography_gist"
MISSING = "CREATE INDEX CONCURRENTLY ON public.facilities USING gist (geography(location));"
BERLIN = point(13.4, 52.5)
MANY_VERTICES = shape("POLYGON ((" + ", ".join(f"{n / 100} {n % 2}" for n in range(100)) + ", 1 -9, 0 0))")
HALF_THE_WORLD = box(-170, -80, 10, 80)
NEAR = radius("zones", BERLIN, 1000)
ANTIMERIDIAN = point(180, 52.5)  # circles about it are in no box that the index in the plane could be asked for
FEW, MANY = radius("facilities", ANTIMERIDIAN, 1000), radius("facilities", ANTIMERIDIAN, 2_000_000)
REJECTED = 'spatial_requests_rejected_total{{reason="{}"}}'


@pytest.fixture(scope="module")
def filled(new_database: NewDatabase) -> Iterator[str]:
    with new_database() as url:
        fetch(url, facilities_and_zones(ROWS))
        yield url


@pytest.fixture(scope="module")
def unindexed(filled: str) -> Iterator[str]:
    """Distances on the Earth from facilities have no index."""
    with without(filled, INDEX):
        yield filled


@pytest.fixture(scope="module")
def guarded(unindexed: str) -> Iterator[Served]:
    with serving(unindexed, refuse_seq_scan=ROWS - 1) as served:
        yield served


def unary(asked: Any, **fields: Any) -> Any:
    return lambda stub: getattr(stub, "Search" + type(asked).__name__.removesuffix("Query"))(
        request(asked, **fields), timeout=30
    )


def streamed(asked: Any, **fields: Any) -> Any:
    name = {query.RadiusQuery: "StreamRadius", query.IntersectsQuery: "StreamIntersects"}
    method = name.get(type(asked), "StreamFeatures")
    return lambda stub: [*getattr(stub, method)(stream_of(asked, **fields), timeout=30)]


def joined(asked: query.JoinQuery, **fields: Any) -> Any:
    return lambda stub: [*stub.StreamJoin(query.StreamJoinRequest(query=asked, **fields), timeout=30)]


def ranked(asked: query.NearestQuery) -> Any:
    return lambda stub: stub.SearchNearest(query.SearchNearestRequest(query=asked), timeout=30)


def grid(asked: query.RadiusQuery) -> Any:
    made = query.AggregateGridRequest(query=query.Query(radius=asked), cell_size=1)
    return lambda stub: [*stub.AggregateGrid(made, timeout=30)]


SCANS = {
    "a quick search": unary(FEW),
    "its next page": lambda stub: stub.SearchRadius(request(FEW, page_size=10), timeout=30),
    "a slow search": unary(MANY),
    "a search with a big shape": unary(radius("facilities", MANY_VERTICES, 1000)),
    "what is nearest": ranked(nearest("facilities", BERLIN)),
    "a count": lambda stub: count(stub, radius=FEW),
    "a stream": streamed(FEW),
    "a resumable stream": streamed(FEW, resumable=True),
    "a stream in columns": streamed(FEW, layout="COLUMNS"),
    "a join": joined(join("zones", "facilities", distance_meters=100)),
    "a resumable join": joined(join("zones", "facilities", distance_meters=100), resumable=True),
    "a grid": grid(FEW),
}
SERVED = {
    "a search through an index": unary(radius("facilities", BERLIN, 0.1, "PLANAR")),
    "a slow one": unary(radius("zones", BERLIN, 2_000_000)),
    "by key": lambda stub: stub.GetFeature(query.GetFeatureRequest(layer="facilities", id="7"), timeout=30),
    "a stream through an index": streamed(intersects("facilities", box(0, 0, 20, 20))),
    "a whole layer": streamed(layer("facilities")),
    "a whole layer by key": streamed(layer("facilities"), resumable=True),
    "a whole layer that PostgreSQL assembles": streamed(layer("facilities"), layout="ARROW"),
    "a whole layer counted": lambda stub: count(stub, layer=layer("facilities")),
    "an estimate": lambda stub: count(stub, "ESTIMATED", radius=FEW),
    "a join that reads one layer and looks into the other": joined(join("facilities", "zones", distance_meters=100)),
    "a layer with itself": joined(join("zones", "zones")),
}


@pytest.mark.parametrize("call", SCANS.values(), ids=SCANS)
def test_what_would_read_a_large_table_is_refused(guarded: Served, call: Any) -> None:
    before = guarded.metric(REJECTED.format("seq_scan_refused"))
    with pytest.raises(grpc.RpcError) as ended:
        call(guarded.stub)
    refused = refusal(ended.value)

    assert (refused.code, refused.reason) == ("FAILED_PRECONDITION", "SEQ_SCAN_REFUSED")
    assert refused.metadata == {"table": "public.facilities", "limit": str(ROWS - 1), "hint": MISSING}
    assert f"would read all of public.facilities, about {ROWS} rows" in refused.message
    assert refused.message.endswith(MISSING)
    assert guarded.metric(REJECTED.format("seq_scan_refused")) == before + 1


def test_a_layer_that_is_filtered_by_what_has_no_index_is_refused(guarded: Served) -> None:
    with pytest.raises(grpc.RpcError) as ended:
        streamed(layer("facilities", filter="name = 'Facility 7'"))(guarded.stub)
    refused = refusal(ended.value)

    assert (refused.code, refused.reason) == ("FAILED_PRECONDITION", "SEQ_SCAN_REFUSED")
    assert refused.metadata == {"table": "public.facilities", "limit": str(ROWS - 1)}


@pytest.mark.parametrize("call", SERVED.values(), ids=SERVED)
def test_what_has_an_index_or_means_to_read_it_all_is_served(guarded: Served, call: Any) -> None:
    before = guarded.metric(REJECTED.format("seq_scan_refused"))
    assert call(guarded.stub)
    assert guarded.metric(REJECTED.format("seq_scan_refused")) == before


@pytest.mark.parametrize("call", [SCANS[name] for name in ("a quick search", "a count", "a stream")])
def test_a_small_table_may_be_read(unindexed: str, call: Any) -> None:
    with serving(unindexed, refuse_seq_scan=ROWS) as served:
        call(served.stub)


def probed(stub: Any, asked: Any, probes: Sequence[Any]) -> list[query.Match]:
    return matches(stub, in_messages(opening(asked), keyed(probes), 10))


def reasons(found: Sequence[query.Match]) -> list[str]:
    told = []
    for each in found:
        info = error_details_pb2.ErrorInfo()
        if each.HasField("error"):
            assert each.error.details[0].Unpack(info)
        told.append(info.reason)
    return told


def test_each_probe_of_a_match_is_refused(guarded: Served) -> None:
    before = guarded.metric(REJECTED.format("seq_scan_refused"))
    found = probed(guarded.stub, FEW, [ANTIMERIDIAN, point(180, 0), point(-180, 1)])

    assert reasons(found) == ["SEQ_SCAN_REFUSED"] * 3
    assert guarded.metric(REJECTED.format("seq_scan_refused")) == before + 3
    assert reasons(probed(guarded.stub, radius("zones", BERLIN, 1000), [BERLIN, point(0, 0)])) == [""] * 2


def test_explain_says_why_and_runs_it_nevertheless(guarded: Served) -> None:
    refused = explain(guarded, radius=FEW, analyze=True)

    assert refused.sequential_scans == ["public.facilities"]
    assert "would read all of public.facilities" in refused.refusal
    assert "actual time" in refused.text
    assert explain(guarded, layer=layer("facilities")).refusal == ""
    assert explain(guarded, join=join("zones", "facilities", distance_meters=1)).refusal != ""
    assert explain(guarded, join=join("facilities", "zones", distance_meters=1)).refusal == ""


# By cost: a few rows through an index, and many or all.

CHEAP = {
    "a search": (unary(NEAR), {"radius": NEAR}),
    "a stream": (streamed(NEAR), {"radius": NEAR, "stream": True}),
    "what is nearest": (ranked(nearest("zones", BERLIN)), None),
}
DEAR = {
    "a search with a big shape": (
        unary(radius("zones", MANY_VERTICES, 5_000_000)),
        {"radius": radius("zones", MANY_VERTICES, 5_000_000), "output": ONLY_IDS},
    ),
    "a count": (lambda stub: count(stub, intersects=intersects("zones", HALF_THE_WORLD)), None),
    "a stream": (
        streamed(intersects("zones", HALF_THE_WORLD)),
        {"intersects": intersects("zones", HALF_THE_WORLD), "stream": True},
    ),
    "a whole layer": (streamed(layer("zones")), {"layer": layer("zones")}),
    "a whole layer that PostgreSQL assembles": (streamed(layer("zones"), layout="ARROW"), None),
    "a join": (joined(join("zones", "facilities")), {"join": join("zones", "facilities")}),
}
MOST = 600.0


@pytest.fixture(scope="module")
def thrifty(filled: str) -> Iterator[Served]:
    with serving(filled, max_plan_cost=MOST) as served:
        yield served


@pytest.mark.parametrize(("call", "asked"), CHEAP.values(), ids=CHEAP)
def test_what_is_cheap_is_served(thrifty: Served, call: Any, asked: dict[str, Any] | None) -> None:
    assert call(thrifty.stub) is not None
    if asked is not None:
        explained = explain(thrifty, **asked)
        assert (explained.total_cost < MOST, explained.refusal) == (True, "")


@pytest.mark.parametrize(("call", "asked"), DEAR.values(), ids=DEAR)
def test_what_is_too_expensive_is_refused(thrifty: Served, call: Any, asked: dict[str, Any] | None) -> None:
    before = thrifty.metric(REJECTED.format("plan_too_expensive"))
    with pytest.raises(grpc.RpcError) as ended:
        call(thrifty.stub)
    refused = refusal(ended.value)

    assert (refused.code, refused.reason) == ("FAILED_PRECONDITION", "PLAN_TOO_EXPENSIVE")
    assert refused.metadata["limit"] == "600"
    assert float(refused.metadata["cost"]) > MOST
    assert f"costs {float(refused.metadata['cost']):.0f}, and this server runs none above 600" in refused.message
    assert thrifty.metric(REJECTED.format("plan_too_expensive")) == before + 1
    if asked is not None:
        explained = explain(thrifty, **asked)
        assert (f"{explained.total_cost:.2f}", explained.refusal) == (refused.metadata["cost"], refused.message)


def test_a_probe_that_is_too_expensive_costs_no_other_one(thrifty: Served) -> None:
    dear = radius("zones", BERLIN, 5_000_000)
    found = probed(thrifty.stub, dear, [point(0, 0), MANY_VERTICES, point(1, 1)])

    assert reasons(found) == ["", "PLAN_TOO_EXPENSIVE", ""]
    assert all(found[place].features for place in (0, 2))


# What is looked at, and for how long it holds.


@pytest.fixture(scope="module")
def cursor(filled: str) -> Iterator[Cursor]:
    with closing(psycopg2.connect(filled)) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            yield cursor


def scanned(cursor: Cursor, sql: str, limit: int) -> Any:
    """Why a statement that is asked for in SQL would be refused."""
    guards = PlanGuards(CATALOG, 0, limit)
    _, refused = guards.explaining(lambda cursor: Asked(sql, {}, lambda scan: False), analyze=False)(cursor)
    return refused


@pytest.fixture
def tables(cursor: Cursor) -> Iterator[None]:
    cursor.execute("""
        CREATE SCHEMA "Água";
        CREATE TABLE "Água"."50%" AS SELECT n FROM generate_series(1, 1000) n;
        CREATE TABLE parted (n integer, payload text) PARTITION BY RANGE (n);
        CREATE TABLE parted_1 PARTITION OF parted FOR VALUES FROM (0) TO (600);
        CREATE TABLE parted_2 PARTITION OF parted FOR VALUES FROM (600) TO (1200);
        INSERT INTO parted SELECT n, 'x' FROM generate_series(0, 1199) n;
        CREATE TABLE unknown AS SELECT n, repeat('x', 100) AS payload FROM generate_series(1, 100000) n;
        CREATE VIEW seen AS SELECT n FROM "Água"."50%" WHERE n > 1;
        ANALYZE "Água"."50%"; ANALYZE parted;
    """)
    yield
    cursor.execute('DROP TABLE parted, unknown; DROP SCHEMA "Água" CASCADE')


@pytest.mark.parametrize(
    ("sql", "table", "rows"),
    [
        ('SELECT * FROM "Água"."50%%" WHERE n = 1', '"Água"."50%"', 1000),
        ("SELECT * FROM seen WHERE n = 7", '"Água"."50%"', 1000),
        ("SELECT * FROM parted WHERE payload = 'y'", "public.parted", 1200),
        ("SELECT * FROM parted WHERE n = 7", "public.parted", 600),
        ("WITH found AS MATERIALIZED (SELECT n FROM parted_1) SELECT * FROM found", "public.parted", 600),
        ('SELECT * FROM parted JOIN "Água"."50%%" USING (n)', "public.parted", 1200),
    ],
    ids=["named oddly", "behind a view", "partitions together", "one partition", "in a CTE", "the larger of two"],
)
@pytest.mark.usefixtures("tables")
def test_rows_are_those_that_the_planner_believes_in(cursor: Cursor, sql: str, table: str, rows: int) -> None:
    refused = scanned(cursor, sql, rows - 1)

    assert (refused.reason, refused.metadata["table"]) == (Reason.SEQ_SCAN_REFUSED, table)
    assert f"about {rows} rows" in refused.message
    assert scanned(cursor, sql, rows) is None


@pytest.mark.usefixtures("tables")
def test_of_a_table_that_was_never_analysed_the_size_tells(cursor: Cursor) -> None:
    sql = "SELECT * FROM unknown WHERE n = 1"
    assert scanned(cursor, sql, 30_000).reason is Reason.SEQ_SCAN_REFUSED
    assert scanned(cursor, sql, 300_000) is None


@pytest.mark.usefixtures("tables")
def test_workers_are_no_way_around(cursor: Cursor) -> None:
    cursor.execute("SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0; SET min_parallel_table_scan_size = 0")
    cursor.execute("SET max_parallel_workers_per_gather = 2")
    cursor.execute("EXPLAIN SELECT count(*) FROM parted WHERE payload = 'y'")
    assert "Parallel Seq Scan" in str(cursor.fetchall())
    assert scanned(cursor, "SELECT count(*) FROM parted WHERE payload = 'y'", 1199).metadata["table"] == "public.parted"
    cursor.execute("RESET ALL")


def test_what_was_found_of_a_shared_statement_holds_for_a_while(cursor: Cursor, unindexed: str) -> None:
    now = [100.0]
    guards = PlanGuards(CATALOG, 0, ROWS - 1, clock=lambda: now[0])
    asked = Shape(Kind.RADIUS, "facilities", variant=DistanceModel.SPHERE, limit=101)
    statement, arguments = Statements(CATALOG)[asked], ("0101000020E610000000000000000000000000000000000000", 1000.0)

    def refused() -> bool:
        try:
            guards.admit_search(cursor, statement, arguments)
        except FailedPrecondition:
            return True
        return False

    assert refused()
    cursor.execute(f"CREATE INDEX {INDEX} ON facilities USING gist (geography(location))")
    try:
        assert refused()
        now[0] += KEPT_SECONDS + 1
        assert not refused()
    finally:
        cursor.execute(f"DROP INDEX {INDEX}")
    assert not refused()


def test_without_a_limit_no_plan_is_looked_at() -> None:
    assert not PlanGuards(CATALOG, 0, 0).active
    assert PlanGuards(CATALOG, 0, 1).active
    assert PlanGuards(CATALOG, 0.5, 0).active


def test_calls_that_wait_together_are_refused_each(guarded: Served) -> None:
    before = guarded.metric(REJECTED.format("seq_scan_refused"))
    calls = [
        guarded.stub.SearchRadius.future(request(radius("facilities", point(180, n), 1000)), timeout=30)
        for n in range(40)
    ]

    assert [refusal(call.exception()).reason for call in calls] == ["SEQ_SCAN_REFUSED"] * 40
    assert guarded.metric(REJECTED.format("seq_scan_refused")) == before + 40
