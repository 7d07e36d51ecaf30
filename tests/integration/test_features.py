"""GetFeature, BatchGetFeatures, ListLayers and GetLayer."""

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import Any

import grpc
import psycopg2
import pytest
import shapely

from service.embedded import EmbeddedPostgres
from spatial.v1 import query_pb2 as query
from tests.oracle import fetch
from tests.servers import Served, refusal, serving

LAYERS = {
    "districts": ("MULTIPOLYGON", 5),
    "facilities": ("POINT", 16_081),
    "parcels": ("POLYGON", 353),
    "zone_centroids": ("POINT", 241),
    "zones": ("MULTIPOLYGON", 241),
}


@pytest.fixture(scope="module")
def demo(demo_database: str) -> Iterator[Served]:
    with serving(demo_database) as served:
        yield served


def get(demo: Served, layer: str, key: str, **output: Any) -> Any:
    request = query.GetFeatureRequest(layer=layer, id=key, output=query.Output(**output))
    return demo.stub.GetFeature(request, timeout=10)


def get_all(demo: Served, layer: str, keys: list[str], **output: Any) -> Any:
    request = query.BatchGetFeaturesRequest(layer=layer, ids=keys, output=query.Output(**output))
    return demo.stub.BatchGetFeatures(request, timeout=10)


@pytest.mark.parametrize("layer", LAYERS)
def test_a_feature_by_its_key(demo: Served, demo_database: str, layer: str) -> None:
    table, column = ("zones", "centroid") if layer == "zone_centroids" else (layer, "boundary")
    column = "location" if layer == "facilities" else column
    ((data, name),) = fetch(demo_database, f"SELECT ST_AsBinary({column}, 'NDR'), name FROM {table} WHERE id = 3")

    feature = get(demo, layer, "3")

    assert feature.id == "3"
    assert feature.geometry.wkb == bytes(data)
    assert feature.geometry.srid == 4326
    assert feature.properties["name"] == name
    assert not feature.HasField("distance_meters")


@pytest.mark.parametrize(
    ("layer", "key", "code", "reason", "fields"),
    [
        ("", "1", "INVALID_ARGUMENT", "REQUIRED", ("layer",)),
        ("planets", "1", "NOT_FOUND", "LAYER_NOT_FOUND", ("layer",)),
        ("zones", "0", "NOT_FOUND", "FEATURE_NOT_FOUND", ()),
        ("zones", str(2**63 - 1), "NOT_FOUND", "FEATURE_NOT_FOUND", ()),
        ("zones", str(2**63), "INVALID_ARGUMENT", "INVALID_ID", ("id",)),
        ("zones", "", "INVALID_ARGUMENT", "INVALID_ID", ("id",)),
        ("zones", "one", "INVALID_ARGUMENT", "INVALID_ID", ("id",)),
        ("zones", "1.0", "INVALID_ARGUMENT", "INVALID_ID", ("id",)),
        ("zones", " 1", "INVALID_ARGUMENT", "INVALID_ID", ("id",)),
        ("zones", "01", "INVALID_ARGUMENT", "INVALID_ID", ("id",)),
        ("zones", "1_0", "INVALID_ARGUMENT", "INVALID_ID", ("id",)),
        ("zones", "9" * 5000, "INVALID_ARGUMENT", "INVALID_ID", ("id",)),
        ("zones", "1}', '{2", "INVALID_ARGUMENT", "INVALID_ID", ("id",)),
        ("zones", "\u0661", "INVALID_ARGUMENT", "INVALID_ID", ("id",)),
    ],
)
def test_a_feature_that_is_not_there(
    demo: Served, layer: str, key: str, code: str, reason: str, fields: tuple[str, ...]
) -> None:
    with pytest.raises(grpc.RpcError) as raised:
        get(demo, layer, key)

    refused = refusal(raised.value)
    assert (refused.code, refused.reason, refused.fields) == (code, reason, fields)


def test_a_batch_comes_in_the_order_of_its_ids_each_once(demo: Served) -> None:
    answer = get_all(demo, "zones", ["5", "100000", "2", "5", "-7", "1", "100000"], properties=["code"])

    assert [feature.id for feature in answer.features] == ["5", "2", "1"]
    assert [*answer.missing_ids] == ["100000", "-7"]


def test_a_batch_of_none_that_exist_is_no_error(demo: Served) -> None:
    answer = get_all(demo, "zones", ["100000"])

    assert [*answer.features] == []
    assert [*answer.missing_ids] == ["100000"]


def test_a_batch_says_of_each_what_getting_it_alone_says(demo: Served) -> None:
    keys = [str(key) for key in range(1, 20)]

    assert [*get_all(demo, "parcels", keys).features] == [get(demo, "parcels", key) for key in keys]


@pytest.mark.parametrize(
    ("keys", "reason", "field"),
    [
        ([], "REQUIRED", "ids"),
        ([str(key) for key in range(1001)], "TOO_MANY_ELEMENTS", "ids"),
        (["1", "2", "three"], "INVALID_ID", "ids[2]"),
    ],
)
def test_a_batch_that_is_refused(demo: Served, keys: list[str], reason: str, field: str) -> None:
    with pytest.raises(grpc.RpcError) as raised:
        get_all(demo, "zones", keys)

    refused = refusal(raised.value)
    assert (refused.code, refused.reason, refused.fields) == ("INVALID_ARGUMENT", reason, (field,))


def test_a_batch_of_1000_is_answered_whole(demo: Served) -> None:
    keys = [str(key) for key in range(1000, 0, -1)]

    assert [feature.id for feature in get_all(demo, "facilities", keys).features] == keys


def test_100_parcels_and_their_districts_take_one_statement(postgres: EmbeddedPostgres, demo_database: str) -> None:
    names = dict(
        fetch(demo_database, "SELECT p.id, d.name FROM parcels p JOIN districts d ON d.id = p.district_id LIMIT 100")
    )
    with logging_statements(postgres, demo_database) as log, serving(demo_database) as served:
        get_all(served, "parcels", ["1"])  # what a new connection asks is behind us
        before = len(log())
        answer = get_all(served, "parcels", [*map(str, names)])
        statements = [line for line in log()[before:] if PING not in line]

    assert {int(feature.id): feature.properties["district_name"] for feature in answer.features} == names
    assert len(statements) == 1, statements


PING = "statement: SELECT 1"


@contextmanager
def logging_statements(postgres: EmbeddedPostgres, url: str) -> Iterator[Callable[[], list[str]]]:
    """PostgreSQL logs every statement of new sessions; gives the lines of those that read for the service."""
    database = url.rpartition("/")[2]

    def lines() -> list[str]:
        log = postgres.home.joinpath("log").read_text()
        return [line for line in log.splitlines() if "spatial-service/read " in line and "statement: " in line]

    fetch(postgres.url_of("postgres"), f"ALTER DATABASE {database} SET log_statement = 'all'")
    try:
        yield lines
    finally:
        fetch(postgres.url_of("postgres"), f"ALTER DATABASE {database} RESET log_statement")


def test_the_layers_in_order_of_their_names(demo: Served) -> None:
    layers = demo.stub.ListLayers(query.ListLayersRequest(), timeout=10).layers

    assert [layer.name for layer in layers] == [*LAYERS]
    for layer in layers:
        assert layer == demo.stub.GetLayer(query.GetLayerRequest(name=layer.name), timeout=10)


@pytest.mark.parametrize("name", LAYERS)
def test_a_layer_describes_itself(demo: Served, demo_database: str, name: str) -> None:
    geometry_type, rows = LAYERS[name]
    layer = demo.stub.GetLayer(query.GetLayerRequest(name=name), timeout=10)

    assert (layer.geometry_type, layer.srid, layer.estimated_rows) == (geometry_type, 4326, rows)
    assert layer.description
    assert all(index.valid and index.name in index.definition for index in layer.indexes)
    assert [index.name for index in layer.indexes] == sorted(index.name for index in layer.indexes)
    assert sum("gist" in index.name for index in layer.indexes) >= 2


@pytest.mark.parametrize("name", LAYERS)
def test_a_layers_extent_is_that_of_its_geometries(demo: Served, demo_database: str, name: str) -> None:
    layer = demo.stub.GetLayer(query.GetLayerRequest(name=name), timeout=10)
    table, column = ("zones", "centroid") if name == "zone_centroids" else (name, "boundary")
    column = "location" if name == "facilities" else column
    ((data,),) = fetch(demo_database, f"SELECT ST_AsBinary(ST_Extent({column})) FROM {table}")
    west, south, east, north = shapely.from_wkb(bytes(data)).bounds

    extent = layer.extent
    assert [extent.west, extent.south, extent.east, extent.north] == pytest.approx([west, south, east, north], abs=2)


def test_a_layers_properties_have_types(demo: Served) -> None:
    layer = demo.stub.GetLayer(query.GetLayerRequest(name="parcels"), timeout=10)

    described = {
        each.name: (query.PropertyType.Name(each.type), each.nullable, each.computed) for each in layer.properties
    }
    assert described == {
        "number": ("PROPERTY_TYPE_STRING", False, False),
        "name": ("PROPERTY_TYPE_STRING", False, False),
        "land_use": ("PROPERTY_TYPE_STRING", False, False),
        "district_id": ("PROPERTY_TYPE_INTEGER", False, False),
        "attributes": ("PROPERTY_TYPE_JSON", False, False),
        "created_at": ("PROPERTY_TYPE_TIMESTAMP", False, False),
        "updated_at": ("PROPERTY_TYPE_TIMESTAMP", False, False),
        "district_name": ("PROPERTY_TYPE_STRING", False, False),
        "area_square_meters": ("PROPERTY_TYPE_NUMBER", False, True),
        "vertex_count": ("PROPERTY_TYPE_INTEGER", False, True),
    }


def test_an_empty_layer_has_no_extent(database: str) -> None:
    with serving(database) as served:
        layer = served.stub.GetLayer(query.GetLayerRequest(name="zones"), timeout=10)
        assert not layer.HasField("extent")
        assert not layer.HasField("estimated_rows")

        with closing(psycopg2.connect(database)) as connection, connection, connection.cursor() as cursor:
            cursor.execute("ANALYZE zones")
        assert not served.stub.GetLayer(query.GetLayerRequest(name="zones"), timeout=10).HasField("extent")


@pytest.mark.parametrize(("name", "reason"), [("", "REQUIRED"), ("Zones", "LAYER_NOT_FOUND")])
def test_a_layer_that_is_not_served(demo: Served, name: str, reason: str) -> None:
    with pytest.raises(grpc.RpcError) as raised:
        demo.stub.GetLayer(query.GetLayerRequest(name=name), timeout=10)

    assert (refusal(raised.value).reason, refusal(raised.value).fields) == (reason, ("name",))
