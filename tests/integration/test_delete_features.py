"""DeleteFeatures: all that a query finds goes in one transaction, or nothing does."""

from collections.abc import Callable, Iterator
from threading import Thread
from typing import Any

import grpc
import psycopg2
import pytest

from service import migrations
from service.codec.freshness import position_of
from spatial.v1 import geometry_pb2 as geometry
from spatial.v1 import query_pb2 as query
from spatial.v1 import write_pb2 as write
from spatial.v1 import write_pb2_grpc
from tests.clusters import POSTGIS
from tests.conftest import NewDatabase
from tests.searches import box, intersects, nearest, point, radius
from tests.servers import Refusal, Served, refusal, serving
from tests.situations import blocked, eventually, fetch, locked

TABLES = """
CREATE SCHEMA gis;
CREATE TABLE spots (id int PRIMARY KEY, name text, geom geometry(Point, 4326) NOT NULL);
CREATE INDEX ON spots USING gist (geom);
CREATE INDEX ON spots USING gist (geography(geom));
CREATE TABLE notes (spot int CONSTRAINT noted REFERENCES spots DEFERRABLE INITIALLY DEFERRED);
CREATE TABLE gis."100% Größe" ("Schlüssel %s" uuid PRIMARY KEY, n int, geom geometry(Point, 4326) NOT NULL);
CREATE INDEX ON gis."100% Größe" USING gist (geom);
CREATE TABLE named (id varchar(8) PRIMARY KEY, geom geometry(Point, 4326) NOT NULL);
CREATE INDEX ON named USING gist (geom);
CREATE TABLE parts (id bigint PRIMARY KEY, geom geometry(Point, 4326) NOT NULL) PARTITION BY RANGE (id);
CREATE TABLE parts_low PARTITION OF parts FOR VALUES FROM (0) TO (5);
CREATE TABLE parts_high PARTITION OF parts FOR VALUES FROM (5) TO (100);
CREATE INDEX ON parts USING gist (geom);
CREATE FUNCTION keep() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
"""
FILL = """
TRUNCATE spots, notes, gis."100% Größe", named, parts;
INSERT INTO spots SELECT n, 'Spot ' || n, ST_Point(n, 0, 4326) FROM generate_series(1, 9) n;
INSERT INTO gis."100% Größe" SELECT md5(n::text)::uuid, n, ST_Point(n, 0, 4326) FROM generate_series(1, 9) n;
INSERT INTO named SELECT 'k ' || n, ST_Point(n, 0, 4326) FROM generate_series(1, 9) n;
INSERT INTO parts SELECT n, ST_Point(n, 0, 4326) FROM generate_series(1, 9) n;
"""
LAYERS = """
layers:
  - {table: public.spots, writable: true}
  - {table: 'gis."100% Größe"', name: strange, writable: true}
  - {table: public.named, writable: true}
  - {table: public.parts, writable: true}
  - {table: public.spots, name: shown}
"""
THREE = box(2.5, -1, 5.5, 1)  # 3, 4 and 5


@pytest.fixture(scope="module")
def url(new_database: NewDatabase) -> Iterator[str]:
    with new_database(template=POSTGIS) as url:
        fetch(url, TABLES)
        yield url


@pytest.fixture(scope="module")
def server(url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    migrations.upgrade_ledger(url)
    path = tmp_path_factory.mktemp("layers") / "layers.yaml"
    path.write_text(LAYERS)
    with serving(url, layers=str(path)) as served:
        yield served


@pytest.fixture
def served(server: Served, url: str) -> Served:
    """With nine features in each layer."""
    fetch(url, FILL)
    fetch(url, "DROP TRIGGER IF EXISTS keeps ON spots")
    return server


def request(most: int = 100, *, validate_only: bool = False, request_id: str = "", **kind: Any) -> Any:
    return write.DeleteFeaturesRequest(
        query=query.Query(**kind), max_features=most, validate_only=validate_only, request_id=request_id
    )


def delete(served: Served, asked: Any, timeout: float = 20) -> Any:
    return write_pb2_grpc.FeatureServiceStub(served.channel).DeleteFeatures(asked, timeout=timeout)


def refused(served: Served, asked: Any) -> Refusal:
    with pytest.raises(grpc.RpcError) as error:
        delete(served, asked)
    return refusal(error.value)


def left(url: str) -> list[int]:
    return [key for (key,) in fetch(url, "SELECT id FROM spots ORDER BY id")]


def window(west: float, east: float, text: str = "") -> query.LayerQuery:
    bounds = geometry.BoundingBox(west=west, south=-1, east=east, north=1)
    return query.LayerQuery(layer="spots", bbox=bounds, filter=text)


def filtered(asked: Any, text: str) -> Any:
    asked.filter = text
    return asked


def neighbour(key: int) -> geometry.Probe:
    return geometry.Probe(feature=geometry.FeatureRef(layer="spots", id=str(key)))


@pytest.mark.parametrize(
    ("kind", "gone"),
    {
        "radius": ({"radius": radius("spots", point(4, 0), 150_000)}, {3, 4, 5}),
        "radius in the plane": ({"radius": radius("spots", point(4, 0), 1, "PLANAR")}, {3, 4, 5}),
        "around a feature": ({"radius": radius("spots", neighbour(9), 150_000)}, {8, 9}),
        "filtered": ({"radius": filtered(radius("spots", point(4, 0), 150_000), "name = 'Spot 5' OR id = 4")}, {4, 5}),
        "intersects": ({"intersects": intersects("spots", THREE)}, {3, 4, 5}),
        "a window": ({"layer": window(2.5, 5.5)}, {3, 4, 5}),
        "a filtered window": ({"layer": window(2.5, 5.5, "name <> 'Spot 4'")}, {3, 5}),
        "all that a filter finds": ({"layer": query.LayerQuery(layer="spots", filter="name LIKE '%8'")}, {8}),
        "the whole layer": ({"layer": query.LayerQuery(layer="spots")}, set(range(1, 10))),
        "nothing": ({"layer": window(50, 51)}, set()),
    }.values(),
)
def test_what_the_query_finds_goes_and_nothing_else(
    served: Served, url: str, kind: dict[str, Any], gone: set[int]
) -> None:
    assert delete(served, request(**kind)).deleted == len(gone)
    assert left(url) == [key for key in range(1, 10) if key not in gone]


@pytest.mark.parametrize("layer", ["strange", "named", "parts"])
def test_keys_names_and_partitions_make_no_difference(served: Served, url: str, layer: str) -> None:
    assert delete(served, request(intersects=intersects(layer, THREE))).deleted == 3

    table = 'gis."100%% Größe"' if layer == "strange" else layer
    assert fetch(url, f"SELECT round(ST_X(geom))::int FROM {table} ORDER BY 1", None) == [
        (key,) for key in (1, 2, 6, 7, 8, 9)
    ]


def test_as_many_as_expected_may_go(served: Served, url: str) -> None:
    assert delete(served, request(3, intersects=intersects("spots", THREE))).deleted == 3


@pytest.mark.parametrize("most", [2, 1])
def test_where_more_are_found_than_expected_none_goes(served: Served, url: str, most: int) -> None:
    told = refused(served, request(most, intersects=intersects("spots", THREE)))

    assert (told.code, told.reason, told.fields) == ("FAILED_PRECONDITION", "TOO_MANY_MATCHES", ("max_features",))
    assert told.metadata == {"limit": str(most)}
    assert left(url) == list(range(1, 10))


def test_any_number_may_be_expected(served: Served) -> None:
    assert delete(served, request(2**63 - 1, intersects=intersects("spots", THREE))).deleted == 3


def test_only_looking_deletes_nothing_and_promises_nothing(served: Served, url: str) -> None:
    asked = request(intersects=intersects("spots", THREE), validate_only=True, request_id="looked")

    assert [delete(served, asked) for _ in range(2)] == [write.DeleteFeaturesResponse(deleted=3)] * 2
    assert left(url) == list(range(1, 10))


def test_a_request_that_is_sent_again_takes_effect_once(served: Served, url: str) -> None:
    asked = request(intersects=intersects("spots", THREE), request_id="once")
    first = delete(served, asked)
    fetch(url, "INSERT INTO spots VALUES (4, 'again', 'SRID=4326;POINT(4 0)')")
    again = delete(served, asked)

    assert (first.deleted, again.deleted) == (3, 3)
    assert 4 in left(url)
    other = request(7, intersects=intersects("spots", THREE), request_id="once")
    told = refused(served, other)
    assert (told.code, told.reason, told.fields) == ("INVALID_ARGUMENT", "REQUEST_ID_REUSED", ("request_id",))


def test_the_token_of_the_answer_is_one_that_reads_accept(served: Served) -> None:
    token = delete(served, request(intersects=intersects("spots", THREE))).freshness_token

    assert position_of(token) > 0
    asked = query.CountFeaturesRequest(query=query.Query(layer=query.LayerQuery(layer="spots")), freshness_token=token)
    assert served.stub.CountFeatures(asked, timeout=10).count == 6


@pytest.mark.parametrize(
    ("asked", "reason", "field"),
    {
        "no query": (write.DeleteFeaturesRequest(max_features=1), "REQUIRED", "query"),
        "an empty query": (request(), "REQUIRED", "query.kind"),
        "no layer": (request(layer=query.LayerQuery()), "REQUIRED", "query.layer.layer"),
        "nothing expected": (request(0, layer=window(1, 2)), "REQUIRED", "max_features"),
        "less than nothing": (request(-1, layer=window(1, 2)), "OUT_OF_RANGE", "max_features"),
        "the nearest": (request(nearest=nearest("spots", point(0, 0))), "UNEXPECTED_FIELD", "query.nearest"),
        "pairs": (
            request(join=query.JoinQuery(left_layer="spots", right_layer="spots")),
            *("UNEXPECTED_FIELD", "query.join"),
        ),
        "a filter": (request(layer=window(1, 2, "height > 1")), "UNKNOWN_PROPERTY", "query.layer.filter"),
        "a radius": (
            request(radius=radius("spots", point(0, 0), -1)),
            *("OUT_OF_RANGE", "query.radius.radius_meters"),
        ),
        "a long id": (request(layer=window(1, 2), request_id="x" * 129), "OUT_OF_RANGE", "request_id"),
        "an id that cannot be printed": (request(layer=window(1, 2), request_id="a\nb"), "OUT_OF_RANGE", "request_id"),
    }.values(),
)
def test_what_cannot_be_asked_is_refused_with_its_field(served: Served, asked: Any, reason: str, field: str) -> None:
    told = refused(served, asked)

    assert (told.code, told.reason, told.fields) == ("INVALID_ARGUMENT", reason, (field,))


def test_a_layer_that_is_not_writable_loses_nothing(served: Served, url: str) -> None:
    told = refused(served, request(layer=query.LayerQuery(layer="shown")))

    assert (told.code, told.reason, told.fields) == ("FAILED_PRECONDITION", "LAYER_READ_ONLY", ("query.layer.layer",))
    assert told.metadata == {"layer": "shown"}
    assert left(url) == list(range(1, 10))


def test_a_probe_that_is_not_there_is_not_found(served: Served) -> None:
    told = refused(served, request(radius=radius("spots", neighbour(77), 1)))

    assert (told.code, told.reason) == ("NOT_FOUND", "FEATURE_NOT_FOUND")
    assert told.fields == ("query.radius.center.feature.id",)


@pytest.mark.parametrize("validate_only", [False, True])
def test_what_others_refer_to_keeps_everything(served: Served, url: str, validate_only: bool) -> None:
    """Though the constraint is checked at the end of a transaction only."""
    fetch(url, "INSERT INTO notes VALUES (4)")
    told = refused(served, request(intersects=intersects("spots", THREE), validate_only=validate_only))

    assert (told.code, told.reason, told.fields) == ("FAILED_PRECONDITION", "REFERENCE_VIOLATED", ())
    assert told.metadata == {"layer": "spots", "constraint": "noted"}
    assert left(url) == list(range(1, 10))


def test_what_a_trigger_keeps_keeps_everything(served: Served, url: str) -> None:
    fetch(url, "CREATE TRIGGER keeps BEFORE DELETE ON spots FOR EACH ROW WHEN (OLD.id = 4) EXECUTE FUNCTION keep()")
    told = refused(served, request(intersects=intersects("spots", THREE)))

    assert (told.code, told.reason, told.fields) == ("FAILED_PRECONDITION", "CONSTRAINT_VIOLATED", ())
    assert left(url) == list(range(1, 10))


@pytest.mark.parametrize(
    ("change", "kept"),
    {
        "one that leaves": ("UPDATE spots SET geom = 'SRID=4326;POINT(50 0)' WHERE id = 4", [1, 2, 4, 6, 7, 8, 9]),
        "one that only changes": ("UPDATE spots SET name = 'other' WHERE id = 4", [1, 2, 6, 7, 8, 9]),
        "one that goes": ("DELETE FROM spots WHERE id = 4", [1, 2, 6, 7, 8, 9]),
    }.values(),
)
def test_what_changes_meanwhile_goes_only_if_the_query_still_finds_it(
    served: Served, url: str, change: str, kept: list[int]
) -> None:
    while_waiting(url, change, lambda: delete(served, request(intersects=intersects("spots", THREE))))

    assert left(url) == kept


def while_waiting(url: str, change: str, call: Callable[[], object]) -> None:
    """Makes the change while the call waits for it to be committed."""
    connection = psycopg2.connect(url)
    try:
        with connection.cursor() as cursor:
            cursor.execute(change)
        caller = Thread(target=call)
        caller.start()
        eventually(blocked(url))
        connection.commit()
        caller.join(timeout=20)
        assert not caller.is_alive()
    finally:
        connection.close()


def test_a_deadline_ends_it_and_nothing_is_gone(served: Served, url: str) -> None:
    with locked(url, "spots"):
        with pytest.raises(grpc.RpcError) as error:
            delete(served, request(intersects=intersects("spots", THREE)), timeout=0.3)
        # Its caller knows sooner than the server does; until then it may still get what it waits for.
        eventually(lambda: not fetch(url, "SELECT FROM pg_locks JOIN pg_stat_activity USING (pid) WHERE NOT granted"))
    assert error.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert left(url) == list(range(1, 10))


def test_a_plan_that_costs_too_much_is_not_run(url: str, tmp_path: Any) -> None:
    fetch(url, FILL)
    path = tmp_path / "layers.yaml"
    path.write_text(LAYERS)
    with serving(url, layers=str(path), max_plan_cost=0.5) as served:
        told = refused(served, request(layer=query.LayerQuery(layer="spots", filter="name LIKE '%8'")))
    assert (told.code, told.reason) == ("FAILED_PRECONDITION", "PLAN_TOO_EXPENSIVE")
    assert left(url) == list(range(1, 10))
