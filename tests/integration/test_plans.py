"""Every question of every layer is answered through the index that is there for it.

The planner chooses freely, among so many rows that a wrong choice would cost; the settings are those of the service's
sessions, the statements and parameters those that a lane would send.
"""

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from typing import Any, cast

import psycopg2
import pytest
from psycopg2.extensions import cursor as Cursor  # noqa: N812 - a class, whatever its case

from service.catalog import Catalog, shipped_layers
from service.changes import Act, Edit, Placed
from service.codec.geometry import GeometryLimits, ProbeReader
from service.db.batch import Batch, Call
from service.db.engine import session_settings
from service.db.grid import GridStatement
from service.db.plans import plan_nodes
from service.db.queries import Statements, compiled
from service.db.writing.edits import EditStatements, arguments_of
from service.db.writing.overlaps import overlapping
from service.domain import Argument, DistanceModel, Grid, GridShape, Kind, Output, Predicate, Result, Search, Shape
from service.settings import Settings
from tests.plans import COLUMNS, FILL, gist
from tests.searches import box, point, shape

CATALOG = Catalog(shipped_layers())
STATEMENTS = Statements(CATALOG)
PROBES = ProbeReader(GeometryLimits(max_bytes=1_000_000, max_vertices=100_000, max_depth=8))


@pytest.fixture(scope="module")
def cursor(module_database: str) -> Iterator[Cursor]:
    options = " ".join(f"-c {name}={value}" for name, value in session_settings(Settings()).items())
    with closing(psycopg2.connect(module_database, options=options)) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(FILL)
            yield cursor


def hexewkb(probe: Any, *, geodetic: bool) -> str:
    return PROBES.read(probe, srid=4326, geodetic=geodetic).hexewkb


POINT = hexewkb(point(13.4, 52.5), geodetic=False)
BOX = hexewkb(box(13.0, 52.0, 14.0, 53.0), geodetic=False)
GEODETIC_BOX = hexewkb(box(13.0, 52.0, 14.0, 53.0), geodetic=True)
LINE = hexewkb(shape("LINESTRING (13 52, 14 53)"), geodetic=False)

EARTH = (DistanceModel.SPHEROID, DistanceModel.SPHERE)


def explained(cursor: Cursor, asked: Shape, *arguments: Argument, probes: int = 1) -> list[Any]:
    """The nodes of the plan for so many probes of a shape."""
    call = Call(Search(asked, arguments), cast("Any", None), 0.0)
    batch = Batch(STATEMENTS[asked], [call] * probes, cast("Any", None))
    cursor.execute(f"EXPLAIN (FORMAT JSON) {batch.statement.sql}", batch._parameters())
    row = cursor.fetchone()
    assert row is not None
    return [*plan_nodes(row[0][0]["Plan"])]


def assert_through(index: str, layer: str, nodes: list[Any]) -> None:
    """Every access to the layer's table goes through this index."""
    table = COLUMNS[layer][0]
    scans = [node for node in nodes if node.get("Relation Name") == table]
    assert scans
    for scan in scans:
        below = [node for node in plan_nodes(scan) if node.get("Relation Name", table) == table]
        used = [node["Index Name"] for node in below if "Index Name" in node]
        assert used == [index], (scan["Node Type"], used)


@pytest.mark.parametrize("probes", [1, 16])
@pytest.mark.parametrize("resumed", [False, True], ids=["first", "resumed"])
@pytest.mark.parametrize("model", DistanceModel, ids=lambda model: model.name)
@pytest.mark.parametrize("layer", COLUMNS)
def test_radius(cursor: Cursor, layer: str, model: DistanceModel, resumed: bool, probes: int) -> None:
    asked = Shape(Kind.RADIUS, layer, Output(), model, limit=101, resumed=resumed)
    after = (1000.0, 5) if resumed else ()
    nodes = explained(cursor, asked, POINT, 20_000.0, *after, probes=probes)

    assert_through(gist(layer, geography=model in EARTH), layer, nodes)


@pytest.mark.parametrize("resumed", [False, True], ids=["first", "resumed"])
@pytest.mark.parametrize("model", DistanceModel, ids=lambda model: model.name)
@pytest.mark.parametrize("layer", COLUMNS)
def test_radius_around_a_big_shape(cursor: Cursor, layer: str, model: DistanceModel, resumed: bool) -> None:
    asked = Shape(Kind.RADIUS, layer, Output(), model, limit=101, resumed=resumed, constant=True)
    radius = 20_000.0 if model in EARTH else 0.2
    nodes = explained(cursor, asked, GEODETIC_BOX, radius, *((1000.0, 5) if resumed else ()))

    assert_through(gist(layer, geography=model in EARTH), layer, nodes)


@pytest.mark.parametrize("constant", [False, True], ids=["shared", "constant"])
@pytest.mark.parametrize("limit", [1, 10, 1000])
@pytest.mark.parametrize("model", DistanceModel, ids=lambda model: model.name)
@pytest.mark.parametrize("layer", COLUMNS)
def test_nearest(cursor: Cursor, layer: str, model: DistanceModel, limit: int, constant: bool) -> None:
    asked = Shape(Kind.NEAREST, layer, Output(), model, limit=limit, constant=constant)
    for farthest in (None, 50_000.0):
        nodes = explained(cursor, asked, GEODETIC_BOX if constant else POINT, farthest)
        assert_through(gist(layer, geography=model in EARTH), layer, nodes)


SMALL, WORLD = BOX, hexewkb(box(-179.0, -89.0, 179.0, 89.0), geodetic=False)


@pytest.mark.parametrize("area", [SMALL, WORLD], ids=["small", "world"])
@pytest.mark.parametrize("limit", [1, 10, 1000])
@pytest.mark.parametrize("model", DistanceModel, ids=lambda model: model.name)
@pytest.mark.parametrize("layer", COLUMNS)
def test_nearest_within_an_area(cursor: Cursor, layer: str, model: DistanceModel, limit: int, area: str) -> None:
    """Of a small area all are ranked that the plane's index finds in it; of a large one the nearest are looked at."""
    asked = Shape(Kind.NEAREST, layer, Output(), model, limit=limit, constant=True, within=True)
    for farthest in (None, 50_000.0 if model in EARTH else 0.5):
        nodes = explained(cursor, asked, POINT, farthest, area)
        assert_through(gist(layer, geography=model in EARTH and area is WORLD), layer, nodes)


@pytest.mark.parametrize("probes", [1, 16])
@pytest.mark.parametrize("resumed", [False, True], ids=["first", "resumed"])
@pytest.mark.parametrize("predicate", Predicate, ids=lambda predicate: predicate.name)
@pytest.mark.parametrize("layer", COLUMNS)
def test_intersects(cursor: Cursor, layer: str, predicate: Predicate, resumed: bool, probes: int) -> None:
    asked = Shape(Kind.INTERSECTS, layer, Output(), predicate, limit=101, resumed=resumed)
    for probe in (POINT, BOX, LINE):
        nodes = explained(cursor, asked, probe, *((5,) if resumed else ()), probes=probes)
        assert_through(gist(layer, geography=False), layer, nodes)


@pytest.mark.parametrize("resumed", [False, True], ids=["first", "resumed"])
@pytest.mark.parametrize("predicate", Predicate, ids=lambda predicate: predicate.name)
@pytest.mark.parametrize("layer", COLUMNS)
def test_intersects_with_a_big_shape(cursor: Cursor, layer: str, predicate: Predicate, resumed: bool) -> None:
    asked = Shape(Kind.INTERSECTS, layer, Output(), predicate, limit=101, resumed=resumed, constant=True)
    nodes = explained(cursor, asked, BOX, *((5,) if resumed else ()))

    assert_through(gist(layer, geography=False), layer, nodes)


@pytest.mark.parametrize("layer", COLUMNS)
def test_count_through_a_window(cursor: Cursor, layer: str) -> None:
    asked = Shape(Kind.WINDOW, layer, constant=True, result=Result.COUNT)

    assert_through(gist(layer, geography=False), layer, explained(cursor, asked, BOX))


@pytest.mark.parametrize("model", DistanceModel, ids=lambda model: model.name)
@pytest.mark.parametrize("layer", COLUMNS)
def test_count_within_a_distance(cursor: Cursor, layer: str, model: DistanceModel) -> None:
    distance = 20_000.0 if model in EARTH else 0.2
    for kind in (Kind.RADIUS, Kind.NEAREST):
        asked = Shape(kind, layer, variant=model, constant=True, result=Result.COUNT)
        nodes = explained(cursor, asked, POINT, distance)
        assert_through(gist(layer, geography=model in EARTH), layer, nodes)


_Variant = DistanceModel | Predicate | None
_SEARCHES: list[tuple[Kind, _Variant, tuple[Argument, ...], bool]] = [
    *((Kind.RADIUS, model, (POINT, 20_000.0), True) for model in EARTH),
    (Kind.RADIUS, DistanceModel.PLANAR, (POINT, 0.2), False),
    *((Kind.INTERSECTS, predicate, (BOX,), False) for predicate in Predicate),
    (Kind.WINDOW, None, (BOX,), False),
]
STREAMS: dict[str, tuple[Shape, tuple[Argument, ...], bool]] = {
    f"{kind.value} {variant.name if variant else ''}".strip(): (Shape(kind, "", Output(), variant), given, geography)
    for kind, variant, given, geography in _SEARCHES
}


@pytest.mark.parametrize("resumed", [False, True], ids=["first", "resumed"])
@pytest.mark.parametrize("result", [Result.ALL, Result.ALL_BY_KEY])
@pytest.mark.parametrize("stream", STREAMS)
@pytest.mark.parametrize("layer", COLUMNS)
def test_a_stream_of_what_a_search_finds(
    cursor: Cursor, layer: str, stream: str, result: Result, resumed: bool
) -> None:
    if resumed and result is Result.ALL:
        return  # no such stream goes on
    asked, given, geography = STREAMS[stream]
    asked = replace(asked, layer=layer, constant=True, result=result, resumed=resumed)
    nodes = explained(cursor, asked, *given, *((5,) if resumed else ()))

    assert_through(gist(layer, geography=geography), layer, nodes)
    if result is Result.ALL:
        assert "Sort" not in {node["Node Type"] for node in nodes}, "the first must not wait for the last"


@pytest.mark.parametrize("resumed", [False, True], ids=["first", "resumed"])
@pytest.mark.parametrize("layer", COLUMNS)
def test_a_resumable_stream_of_a_whole_layer_walks_its_key(cursor: Cursor, layer: str, resumed: bool) -> None:
    asked = Shape(Kind.ALL, layer, Output(), constant=True, result=Result.ALL_BY_KEY, resumed=resumed)
    nodes = explained(cursor, asked, *((5,) if resumed else ()))

    assert_through(f"pk_{COLUMNS[layer][0]}", layer, nodes)
    assert not {"Sort", "Incremental Sort"} & {node["Node Type"] for node in nodes}


@pytest.mark.parametrize("stream", STREAMS)
@pytest.mark.parametrize("layer", COLUMNS)
def test_a_grid_of_what_a_search_finds(cursor: Cursor, layer: str, stream: str) -> None:
    asked, given, geography = STREAMS[stream]
    asked = replace(asked, layer=layer, output=Output(()), constant=True, result=Result.PLACES)
    statement = GridStatement(STATEMENTS[asked], Grid(GridShape.HEXAGON, 0.1, 4326, extent=1e100))
    cursor.execute(f"EXPLAIN (FORMAT JSON) {statement.sql}", statement.parameters(given))
    row = cursor.fetchone()
    assert row is not None
    nodes = [*plan_nodes(row[0][0]["Plan"])]

    assert_through(gist(layer, geography=geography), layer, nodes)
    assert "Nested Loop" not in {node["Node Type"] for node in nodes}, "the probe is a constant"


@pytest.mark.parametrize("keys", ["{7}", "{1,2,3,4,5}"])
@pytest.mark.parametrize("layer", COLUMNS)
def test_lookup(cursor: Cursor, layer: str, keys: str) -> None:
    nodes = explained(cursor, Shape(Kind.LOOKUP, layer), keys)

    assert_through(f"pk_{COLUMNS[layer][0]}", layer, nodes)


def test_a_parcels_district_is_looked_up_by_its_key(cursor: Cursor) -> None:
    nodes = explained(cursor, Shape(Kind.LOOKUP, "parcels"), "{1,2,3}")

    assert [node.get("Index Name") for node in nodes if node.get("Relation Name") == "districts"] == ["pk_districts"]


@pytest.mark.parametrize("act", [Act.CREATE, Act.UPDATE], ids=lambda act: act.value)
def test_what_a_changed_parcel_would_lie_on(cursor: Cursor, act: Act) -> None:
    edit = Edit(act, "parcels", key=7, geometry=Placed(BOX, 4326))
    cursor.execute(f"EXPLAIN (FORMAT JSON) {EditStatements(CATALOG)[edit].statement.sql}", arguments_of(edit))
    row = cursor.fetchone()
    assert row is not None
    nodes = [node for node in plan_nodes(row[0][0]["Plan"]) if node.get("Alias") == "spatial_other"]

    assert_through("ix_parcels_boundary_gist", "parcels", nodes)


def test_what_parcels_that_were_written_lie_on(cursor: Cursor) -> None:
    keys = "{" + ",".join(map(str, range(1, 500))) + "}"
    cursor.execute(f"EXPLAIN (FORMAT JSON) {compiled(overlapping(CATALOG['parcels']))}", {"keys": keys})
    row = cursor.fetchone()
    assert row is not None
    nodes = [node for node in plan_nodes(row[0][0]["Plan"]) if node.get("Alias") == "spatial_other"]

    assert_through("ix_parcels_boundary_gist", "parcels", nodes)


def test_the_check_would_notice_a_scan(cursor: Cursor) -> None:
    cursor.execute("EXPLAIN (FORMAT JSON) SELECT count(*) FROM zones WHERE ST_Area(boundary) > 1")
    row = cursor.fetchone()
    assert row is not None
    with pytest.raises(AssertionError):
        assert_through("ix_zones_boundary_gist", "zones", [*plan_nodes(row[0][0]["Plan"])])
