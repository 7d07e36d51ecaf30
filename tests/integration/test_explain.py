"""Explain shows the plan of the very statement that answers a query."""

import re
from collections.abc import Callable, Iterator
from typing import Any

import grpc
import pytest

from service.db.joins import join_statement
from service.domain import DistanceModel, JoinShape, Predicate, Side
from spatial.v1 import admin_pb2, admin_pb2_grpc
from spatial.v1 import query_pb2 as query
from spatial.v1.geometry_pb2 import Probe
from tests.plans import COLUMNS, FILL, explain, gist, join, layer, top, without
from tests.searches import box, intersects, nearest, point, radius, request, shape
from tests.servers import Served, refusal, serving
from tests.situations import BLOCKED, RUNNING, blocked, eventually, fetch, locked, quiet, sessions
from tests.streams import CATALOG
from tests.streams import asked as stream_of

BERLIN = point(13.4, 52.5)
BOX = (13.0, 52.0, 14.0, 53.0)
MANY_VERTICES = shape("POLYGON ((" + ", ".join(f"{n / 100} {n % 2}" for n in range(100)) + ", 1 -9, 0 0))")
EARTH = (DistanceModel.SPHEROID, DistanceModel.SPHERE)
ANALYZING = f"{RUNNING} AND query LIKE 'EXPLAIN (ANALYZE%'"

LOOKED_UP = {"parcels": ["pk_districts"]}  # the name of a parcel's district


def through(name: str, *, geography: bool) -> list[str]:
    return [gist(name, geography=geography), *LOOKED_UP.get(name, [])]


@pytest.fixture(scope="module")
def filled(module_database: str) -> str:
    fetch(module_database, FILL)
    return module_database


@pytest.fixture(scope="module")
def served(filled: str) -> Iterator[Served]:
    with serving(filled, lock_timeout=60) as served:
        yield served


@pytest.mark.parametrize("stream", [False, True], ids=["page", "stream"])
@pytest.mark.parametrize("model", DistanceModel, ids=lambda model: model.name)
@pytest.mark.parametrize("name", COLUMNS)
def test_a_radius_search(served: Served, name: str, model: DistanceModel, stream: bool) -> None:
    reach = 20_000 if model in EARTH else 0.2
    explained = explain(served, radius=radius(name, BERLIN, reach, model.name), stream=stream)

    # The box around a circle is looked for in the plane, where points are kept on the Earth.
    assert explained.indexes == through(name, geography=model in EARTH and name != "facilities")
    assert explained.sequential_scans == []


@pytest.mark.parametrize("stream", [False, True], ids=["page", "stream"])
@pytest.mark.parametrize("place", [point(180, 52.5), point(13.4, -90)], ids=["antimeridian", "pole"])
def test_a_radius_search_that_no_box_encloses(served: Served, place: Probe, stream: bool) -> None:
    explained = explain(served, radius=radius("facilities", place, 20_000), stream=stream)

    assert explained.indexes == through("facilities", geography=True)
    assert explained.sequential_scans == []


@pytest.mark.parametrize("model", DistanceModel, ids=lambda model: model.name)
@pytest.mark.parametrize("name", COLUMNS)
def test_a_nearest_search(served: Served, name: str, model: DistanceModel) -> None:
    explained = explain(served, nearest=nearest(name, BERLIN, model.name))

    assert explained.indexes == through(name, geography=model in EARTH)
    assert explained.sequential_scans == []


@pytest.mark.parametrize("stream", [False, True], ids=["page", "stream"])
@pytest.mark.parametrize("predicate", Predicate, ids=lambda predicate: predicate.name)
@pytest.mark.parametrize("name", COLUMNS)
def test_an_intersects_search(served: Served, name: str, predicate: Predicate, stream: bool) -> None:
    explained = explain(served, intersects=intersects(name, box(*BOX), predicate.name), stream=stream)

    assert explained.indexes == through(name, geography=False)
    assert explained.sequential_scans == []


@pytest.mark.parametrize("name", COLUMNS)
def test_a_layer_and_a_window_are_streamed(served: Served, name: str) -> None:
    window, whole = explain(served, layer=layer(name, BOX)), explain(served, layer=layer(name))

    assert window.indexes == through(name, geography=False)
    assert window.sequential_scans == []
    assert whole.indexes == LOOKED_UP.get(name, [])
    assert whole.sequential_scans == [f"public.{COLUMNS[name][0]}"]


@pytest.mark.parametrize(
    ("asked", "index"),
    [
        (join("zones", "facilities"), "ix_facilities_location_gist"),
        (join("facilities", "zones", distance_meters=500), "ix_zones_boundary_geography_gist"),
    ],
    ids=["predicate", "distance"],
)
def test_a_join_goes_through_one_layer_and_looks_into_the_index_of_the_other(
    served: Served, asked: query.JoinQuery, index: str
) -> None:
    explained = explain(served, join=asked)

    assert explained.indexes == [index]
    assert explained.sequential_scans == [f"public.{asked.left_layer}"]


def test_cost_and_rows_are_those_of_the_plan(served: Served, filled: str) -> None:
    explained = explain(served, layer=layer("facilities"))
    ((plan,),) = fetch(filled, "EXPLAIN (FORMAT JSON) SELECT FROM facilities")

    assert explained.estimated_rows == plan[0]["Plan"]["Plan Rows"] == 10_000
    assert explained.total_cost == top(explained)["Total Cost"] >= plan[0]["Plan"]["Total Cost"] > 0
    assert f"..{explained.total_cost:.2f} rows=10000 " in explained.text.splitlines()[0]


def test_an_output_that_is_asked_for_is_in_the_statement(served: Served) -> None:
    asked = radius("facilities", BERLIN, 1000)
    assert "population" in explain(served, radius=asked).sql
    assert "population" not in explain(served, radius=asked, output=query.Output(properties=["name"])).sql


NAMES = query.Output(properties=["name"], view="GEOMETRY_VIEW_NONE")
ASKED: dict[str, tuple[Callable[[Any], Any], dict[str, Any]]] = {
    "radius": (
        lambda stub: stub.SearchRadius.future(request(radius("facilities", BERLIN, 1000), output=NAMES), timeout=30),
        {"radius": radius("facilities", BERLIN, 1000)},
    ),
    "a slow radius": (
        lambda stub: stub.SearchRadius.future(request(radius("facilities", BERLIN, 2e6), output=NAMES), timeout=30),
        {"radius": radius("facilities", BERLIN, 2e6)},
    ),
    "intersects": (
        lambda stub: stub.SearchIntersects.future(request(intersects("zones", BERLIN), output=NAMES), timeout=30),
        {"intersects": intersects("zones", BERLIN)},
    ),
    "a stream": (
        lambda stub: stub.StreamIntersects(stream_of(intersects("zones", BERLIN), output=NAMES), timeout=30),
        {"intersects": intersects("zones", BERLIN), "stream": True},
    ),
    "a window": (
        lambda stub: stub.StreamFeatures(stream_of(layer("zones", BOX), output=NAMES), timeout=30),
        {"layer": layer("zones", BOX)},
    ),
}


@pytest.mark.parametrize(("start", "asked"), ASKED.values(), ids=ASKED)
def test_the_statement_is_the_one_that_answers(
    served: Served, filled: str, start: Callable[[Any], Any], asked: dict[str, Any]
) -> None:
    """As PostgreSQL shows it while it waits, with values in the places."""
    sql = explain(served, output=NAMES, **asked).sql
    pattern = "COPY \\(" + re.sub(r"%\\\(\w+\\\)s", ".*", re.escape(sql)) + r"\) TO STDOUT \(FORMAT binary\)"
    with locked(filled, "facilities", "zones"):
        call = start(served.stub)
        eventually(blocked(filled))
        ((shown,),) = fetch(filled, f"SELECT query FROM pg_stat_activity WHERE {BLOCKED}")
        call.cancel()
        eventually(quiet(filled))

    assert re.fullmatch(pattern, shown)


@pytest.mark.parametrize(("probe", "constant"), [(BERLIN, False), (MANY_VERTICES, True)], ids=["small", "big"])
def test_the_planner_sees_a_big_shape_and_no_small_one(served: Served, probe: Any, constant: bool) -> None:
    explained = explain(served, intersects=intersects("zones", probe))

    assert ("CTE spatial_probe" in explained.text) is not constant
    assert ("boundary && '01030000" in explained.text) is constant


def test_of_a_long_geometry_the_plan_shows_the_beginning(served: Served) -> None:
    explained = explain(served, intersects=intersects("zones", MANY_VERTICES))

    assert "…'::geometry" in explained.text
    assert not re.search("[0-9A-F]{100}", explained.text + explained.json)


def test_a_join_is_explained_as_it_runs(served: Served) -> None:
    shape = JoinShape("zones", "facilities", Predicate.CONTAINS)
    explained = explain(served, join=join("zones", "facilities", predicate="PREDICATE_CONTAINS"))

    assert explained.sql == join_statement(CATALOG, shape).sql(Side.RIGHT)


def test_analyze_runs_the_statement(served: Served) -> None:
    asked = radius("facilities", BERLIN, 200_000)
    found = served.stub.SearchRadius(request(asked, page_size=1000), timeout=10).features
    explained, measured = explain(served, radius=asked), explain(served, radius=asked, analyze=True)

    assert 1 < len(found) <= 100
    assert top(measured)["Actual Rows"] == len(found)
    assert f"rows={len(found)} loops=1" in measured.text.splitlines()[0]
    assert "Actual Rows" not in explained.json
    assert "actual" not in explained.text
    assert measured.indexes == explained.indexes


ENDLESS = join("zones", "districts", distance_meters=20_000_000)


def test_a_cancelled_analysis_ends_its_statement(served: Served, filled: str) -> None:
    stub = admin_pb2_grpc.AdminServiceStub(served.channel)
    call = stub.Explain.future(admin_pb2.ExplainRequest(query=query.Query(join=ENDLESS), analyze=True), timeout=60)
    eventually(lambda: sessions(filled, ANALYZING))
    call.cancel()
    eventually(quiet(filled), within=5)


def test_an_analysis_ends_with_the_callers_deadline(served: Served, filled: str) -> None:
    stub = admin_pb2_grpc.AdminServiceStub(served.channel)
    with pytest.raises(grpc.RpcError) as ended:
        stub.Explain(admin_pb2.ExplainRequest(query=query.Query(join=ENDLESS), analyze=True), timeout=0.5)
    assert ended.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    eventually(quiet(filled), within=5)


def test_an_analysis_ends_at_the_limit_on_statements(filled: str) -> None:
    with serving(filled, statement_timeout=0.3) as served, pytest.raises(grpc.RpcError) as ended:
        explain(served, join=ENDLESS, analyze=True)
    refused = refusal(ended.value)
    assert (refused.code, refused.reason) == ("DEADLINE_EXCEEDED", "STATEMENT_TIMEOUT")


@pytest.mark.parametrize(
    ("asked", "code", "reason", "field"),
    [
        ({}, "INVALID_ARGUMENT", "REQUIRED", "query"),
        ({"radius": query.RadiusQuery(layer="zones")}, "INVALID_ARGUMENT", "REQUIRED", "query.radius.center"),
        ({"layer": layer("rivers")}, "NOT_FOUND", "LAYER_NOT_FOUND", "query.layer.layer"),
        ({"join": join("zones", "rivers")}, "NOT_FOUND", "LAYER_NOT_FOUND", "query.join.right_layer"),
        ({"join": join("zones", "zones"), "output": NAMES}, "INVALID_ARGUMENT", "UNEXPECTED_FIELD", "output"),
        ({"nearest": nearest("zones", BERLIN), "stream": True}, "INVALID_ARGUMENT", "UNEXPECTED_FIELD", "stream"),
        (
            {"layer": layer("zones"), "output": query.Output(properties=["depth"])},
            "INVALID_ARGUMENT",
            "UNKNOWN_PROPERTY",
            "output.properties[0]",
        ),
    ],
)
def test_what_cannot_be_asked_cannot_be_explained(
    served: Served, asked: dict[str, Any], code: str, reason: str, field: str
) -> None:
    with pytest.raises(grpc.RpcError) as ended:
        explain(served, **asked)
    refused = refusal(ended.value)
    assert (refused.code, refused.reason, refused.fields) == (code, reason, (field,))


def test_a_table_without_an_index_is_named(served: Served, filled: str) -> None:
    asked = radius("facilities", point(180, 52.5), 1000)
    with without(filled, "ix_facilities_location_geography_gist"):
        explained = explain(served, radius=asked)

    assert explained.indexes == []
    assert explained.sequential_scans == ["public.facilities"]
    assert "Seq Scan on facilities" in explained.text
    assert explained.refusal == ""


def test_no_service_is_left_out_of_health_and_metrics(served: Served) -> None:
    assert served.health("spatial.v1.AdminService") == "SERVING"
    started = (
        'grpc_server_started_total{grpc_method="Explain",grpc_service="spatial.v1.AdminService",grpc_type="unary"}'
    )
    before = served.metric(started)
    explain(served, layer=layer("zones"))
    assert served.metric(started) == before + 1
