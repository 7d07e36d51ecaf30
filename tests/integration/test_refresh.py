"""New tables appear, and others change or go, while the server runs."""

import logging
from collections.abc import Iterator
from contextlib import closing

import grpc
import psycopg2
import pytest

from service.reflected.relations import read_relations
from spatial.v1 import query_pb2 as query
from spatial_client import SpatialClient
from tests.awkward import everything, ids
from tests.clusters import POSTGIS
from tests.conftest import NewDatabase
from tests.proxy import proxied
from tests.searches import box, intersects
from tests.servers import Served, refusal, serving
from tests.situations import eventually, fetch
from tests.streams import features, stream, whole

SPOTS = """
CREATE TABLE spots (id int PRIMARY KEY, name text, geom geometry(Point, 4326) NOT NULL);
INSERT INTO spots SELECT n, 'Spot ' || n, ST_Point(n, 0, 4326) FROM generate_series(1, 50) n;
CREATE INDEX ON spots USING gist (geom);
"""
OTHERS = SPOTS.replace("spots", "others")
AREA = box(0.5, -1, 2.5, 1)


@pytest.fixture
def served(database: str) -> Iterator[Served]:
    fetch(database, SPOTS)
    with serving(database, layers="public.*") as served:
        yield served


def refreshed(served: Served) -> list[str]:
    answer = served.stub.RefreshLayers(query.RefreshLayersRequest(), timeout=10)
    return [layer.name for layer in answer.layers]


def refused(served: Served, layer: str) -> tuple[str, str]:
    with pytest.raises(grpc.RpcError) as error:
        ids(served.stub, intersects(layer, AREA))
    details = refusal(error.value)
    return details.code, details.reason


def test_a_new_table_is_served_after_a_refresh(served: Served, database: str) -> None:
    fetch(database, OTHERS)
    assert refused(served, "others") == ("NOT_FOUND", "LAYER_NOT_FOUND")
    assert "others" in refreshed(served)
    assert ids(served.stub, intersects("others", AREA)) == ["1", "2"]


def test_a_table_that_went_is_not_found_before_and_after_a_refresh(served: Served, database: str) -> None:
    assert ids(served.stub, intersects("spots", AREA)) == ["1", "2"]
    fetch(database, "DROP TABLE spots")
    assert refused(served, "spots") == ("NOT_FOUND", "LAYER_NOT_FOUND")
    assert served.stub.GetLayer(query.GetLayerRequest(name="spots"), timeout=10).name == "spots"
    assert "spots" not in refreshed(served)
    assert refused(served, "spots") == ("NOT_FOUND", "LAYER_NOT_FOUND")


def test_a_stream_of_a_table_that_went_is_not_found(served: Served, database: str) -> None:
    fetch(database, "DROP TABLE spots")
    for layout in ("ROWS", *["ARROW"] * 10):  # on two connections, either of which may be the first to find out
        with pytest.raises(grpc.RpcError) as error:
            list(stream(served.stub, whole("spots", layout=layout)))
        assert (refusal(error.value).code, refusal(error.value).reason) == ("NOT_FOUND", "LAYER_NOT_FOUND")


def test_columns_that_come_and_go_are_those_that_are_there(served: Served, database: str) -> None:
    asked = query.GetFeatureRequest(layer="spots", id="7")
    assert dict(served.stub.GetFeature(asked, timeout=10).properties) == {"name": "Spot 7"}
    fetch(database, "ALTER TABLE spots ADD height int DEFAULT 3")
    assert dict(served.stub.GetFeature(asked, timeout=10).properties) == {"name": "Spot 7"}
    refreshed(served)
    assert dict(served.stub.GetFeature(asked, timeout=10).properties) == {"name": "Spot 7", "height": 3}
    fetch(database, "ALTER TABLE spots DROP name")
    with pytest.raises(grpc.RpcError) as error:
        served.stub.GetFeature(asked, timeout=10)
    assert refusal(error.value).code == "NOT_FOUND"
    refreshed(served)
    assert dict(served.stub.GetFeature(asked, timeout=10).properties) == {"height": 3}


def test_everything_that_is_kept_of_a_layer_is_forgotten_with_it(served: Served, database: str) -> None:
    """Another key, another CRS, another type: nothing of the old one may be left anywhere."""
    before = everything(served.stub, served.server.catalog["spots"], "COLUMNS")
    fetch(
        database,
        "DROP TABLE spots;"
        "CREATE TABLE spots (id text PRIMARY KEY, name int, geom geometry(Polygon, 3857) NOT NULL);"
        "INSERT INTO spots SELECT 'a' || n, n, ST_Buffer(ST_Point(n * 1000, 0, 3857), 1) FROM generate_series(1, 3) n;"
        "CREATE INDEX ON spots USING gist (geom)",
    )
    refreshed(served)
    layer = served.server.catalog["spots"]
    for layout in ("ROWS", "COLUMNS", "ARROW"):
        after = everything(served.stub, layer, layout)
        assert [(each.id, each.properties) for each in after] == [(f"a{n}", {"name": n}) for n in (1, 2, 3)]
    (batch,) = stream(served.stub, whole("spots", layout="COLUMNS"))
    assert batch.srid == 3857
    (found,) = served.stub.BatchGetFeatures(
        query.BatchGetFeaturesRequest(layer="spots", ids=["a2"]), timeout=10
    ).features
    assert (found.geometry.srid, found.properties["name"]) == (3857, 2)
    assert len(before) == 50


def test_a_layer_that_did_not_change_stays_what_it_is(served: Served, database: str) -> None:
    before = served.server.catalog["spots"]
    fetch(database, OTHERS)
    refreshed(served)
    assert served.server.catalog["spots"] is before


def test_a_stream_ends_with_the_layer_that_it_began_with(database: str) -> None:
    fetch(database, SPOTS)
    fetch(
        database, "INSERT INTO spots SELECT n, repeat('x', 999), ST_Point(0, 0, 4326) FROM generate_series(51, 9000) n"
    )
    with serving(database, layers="spots") as served:
        layer = served.server.catalog["spots"]
        call = stream(served.stub, whole("spots", resumable=True))
        first = features(next(call), layer)
        fetch(database, "CREATE INDEX ON spots (name)")
        refreshed(served)
        rest = [each for batch in call for each in features(batch, layer)]
        assert len(first) + len(rest) == 9000


def test_the_database_is_looked_through_from_time_to_time(database: str) -> None:
    with serving(database, layers="public.*", layers_refresh=0.1) as served:
        fetch(database, SPOTS)
        eventually(lambda: "spots" in [layer.name for layer in served.server.catalog], within=10)
        fetch(database, "DROP TABLE spots")
        eventually(lambda: "spots" not in [layer.name for layer in served.server.catalog], within=10)


def test_layers_that_could_not_be_read_at_first_are_read_once_the_database_is_there(
    database: str, caplog: pytest.LogCaptureFixture
) -> None:
    fetch(database, SPOTS)
    caplog.set_level(logging.WARNING, "spatial.layers")
    with proxied(database) as proxy:
        proxy.mode = "forget"
        with serving(proxy.url, layers="spots", connect_timeout=1) as served:
            assert served.health() == "NOT_SERVING"
            assert "the layers could not be read" in caplog.text
            proxy.mode = "relay"
            eventually(lambda: served.health() == "SERVING", within=15)
            assert ids(served.stub, intersects("spots", AREA)) == ["1", "2"]


def test_a_refresh_without_the_database_keeps_what_there_is(database: str) -> None:
    fetch(database, SPOTS)
    with proxied(database) as proxy, serving(proxy.url, layers="spots") as served:
        proxy.mode = "forget"
        with pytest.raises(grpc.RpcError) as error:
            served.stub.RefreshLayers(query.RefreshLayersRequest(), timeout=20)
        assert refusal(error.value).code == "UNAVAILABLE"
        assert [layer.name for layer in served.server.catalog] == ["spots"]
        proxy.mode = "relay"


def test_a_client_refreshes(served: Served, database: str) -> None:
    fetch(database, OTHERS)
    with SpatialClient(served.address) as client:
        names = {layer.name: layer for layer in client.refresh_layers()}
    assert {"spots", "others"} <= names.keys()
    assert (names["others"].key, names["others"].source) == ("id", "public.others")
    assert "geography(geom)" in names["others"].problems[0].statement


def test_models_and_tables_are_served_side_by_side(database: str) -> None:
    fetch(database, SPOTS)
    with serving(database, layers="models,public.*") as served:
        names = [layer.name for layer in served.server.catalog]
        assert names == ["districts", "facilities", "parcels", "spots", "zone_centroids", "zones"]
        assert served.health() == "SERVING"


def test_a_database_without_postgis_is_not_ready_until_it_has_it(new_database: NewDatabase) -> None:
    with new_database(template="template1") as url, serving(url, layers="public.*") as served:
        assert served.health() == "NOT_SERVING"
        assert "the database has no PostGIS" in str(served.server.problem)
        fetch(url, "CREATE EXTENSION postgis")
        eventually(lambda: served.health() == "SERVING")


def test_a_table_that_is_named_and_not_there_is_said_to_be_missing(
    database: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "spatial.layers")
    with serving(database, layers="public.nowhere"):
        pass
    assert "table public.nowhere is not served: there is no such table or view with a geometry column" in caplog.text


def test_what_the_role_may_not_read_is_no_layer(database: str, caplog: pytest.LogCaptureFixture) -> None:
    """Of columns that it may not read, the rest is; of a table whose geometry or key it may not read, nothing."""
    caplog.set_level(logging.WARNING, "spatial.layers")
    fetch(database, SPOTS + OTHERS)
    fetch(
        database,
        "CREATE ROLE half_blind LOGIN PASSWORD 'for-this-test'; GRANT SELECT (id, geom) ON spots TO half_blind",
    )
    url = f"postgresql://half_blind:for-this-test@{database.rpartition('@')[2]}"
    try:
        with serving(url, layers="public.spots,public.others") as served:
            layer = served.server.catalog["spots"]
            for layout in ("ROWS", "COLUMNS", "ARROW"):
                streamed = everything(served.stub, layer, layout)
                assert [len(streamed), streamed[0].properties] == [50, {}]
            assert [layer.name for layer in served.server.catalog] == ["spots"]
            assert "table public.others is not served: the service's role may not read column 'geom'" in caplog.text
    finally:
        fetch(database, "DROP OWNED BY half_blind; DROP ROLE half_blind")


MANY_TABLES = """
DO $$ BEGIN
  FOR n IN 1..300 LOOP
    EXECUTE format('CREATE TABLE t%s (id int PRIMARY KEY, code int UNIQUE, geom geometry(Point, 4326))', n);
    EXECUTE format('CREATE INDEX ON t%s USING gist (geom)', n);
  END LOOP;
END $$
"""


def test_hundreds_of_tables_that_are_new_to_the_planner_are_read_in_a_moment(new_database: NewDatabase) -> None:
    with new_database(template=POSTGIS) as url, closing(psycopg2.connect(url)) as connection:
        fetch(url, MANY_TABLES)
        with connection.cursor() as cursor:
            cursor.execute("SET statement_timeout = '1500ms'")  # three quarters of what there is for it
            assert len(read_relations(cursor)) == 300
