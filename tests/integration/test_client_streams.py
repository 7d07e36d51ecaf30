"""Streams as the clients read them, against the real server. Every test is for both."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import shapely

from spatial_client import DeadlineExceeded, NotFound, Output
from tests.servers import Served, serving

NEW_YORK = (-74.006, 40.7128)
GERMANY = (5.9, 47.3, 15.0, 55.1)
FACILITIES = 16_081
READ: dict[str, Callable[[Any], list[int]]] = {
    "iterated": lambda stream: [int(feature.id) for feature in stream],
    "batches": lambda stream: [int(feature.id) for batch in stream.batches() for feature in batch],
    "columns": lambda stream: [key for columns in stream.columns() for key in columns.ids],
    "arrow": lambda stream: [key for batch in stream.arrow() for key in batch["id"].to_pylist()],
    "to_arrow": lambda stream: stream.to_arrow()["id"].to_pylist(),
    "to_geopandas": lambda stream: stream.to_geopandas()["id"].tolist(),
}


@pytest.fixture(scope="module")
def served(demo_database: str) -> Iterator[Served]:
    with serving(demo_database) as running:
        yield running


@pytest.mark.parametrize("way", READ)
@pytest.mark.parametrize("resumable", [False, True], ids=["as it comes", "resumable"])
def test_every_way_of_reading_delivers_each_feature_once(client: Any, way: str, resumable: bool) -> None:
    ids = READ[way](client.stream_features("facilities", resumable=resumable, properties=["name"]))

    assert sorted(ids) == list(range(1, FACILITIES + 1))
    assert ids == sorted(ids) or not resumable


@pytest.mark.parametrize("way", READ)
def test_a_stream_finds_what_a_search_finds(client: Any, way: str) -> None:
    searched = [int(each.id) for each in client.iterate_radius("facilities", NEW_YORK, 50_000, view="none")]

    assert sorted(READ[way](client.stream_radius("facilities", NEW_YORK, 50_000))) == sorted(searched)


@pytest.mark.parametrize(
    "ask",
    [
        lambda client: client.stream_intersects("facilities", GERMANY, predicate="within"),
        lambda client: client.stream_features("facilities", bbox=GERMANY),
    ],
    ids=["intersects", "features in a box"],
)
def test_a_stream_of_a_box(client: Any, ask: Any) -> None:
    found = [feature.id for feature in ask(client)]

    assert len(found) == len(set(found)) == client.count_features("facilities", bbox=GERMANY)


def test_nothing_is_asked_before_a_stream_is_read(client: Any) -> None:
    stream = client.stream_features("nowhere")

    with pytest.raises(NotFound) as caught:
        list(stream)
    assert caught.value.reason == "LAYER_NOT_FOUND"


def test_a_stream_can_be_read_again(client: Any) -> None:
    stream = client.stream_features("districts")

    assert sorted(each.id for each in stream) == sorted(each.id for each in stream) != []


@pytest.mark.parametrize("way", READ)
def test_a_stream_may_deliver_nothing(client: Any, way: str) -> None:
    stream = client.stream_radius("facilities", (0, -85), 1)

    if way == "to_geopandas":
        assert stream.to_geopandas().empty
    elif way == "to_arrow":
        assert stream.to_arrow().num_rows == 0
    else:
        assert READ[way](stream) == []


def test_columns_say_the_same_as_rows(client: Any) -> None:
    wanted = ["name", "population", "active", "attributes", "tags"]
    stream = client.stream_radius("facilities", NEW_YORK, 20_000, properties=wanted)
    rows = {feature.id: feature for feature in stream}

    seen = set()
    for columns in stream.columns():
        assert list(columns.properties) == wanted
        for row, key in enumerate(columns.ids):
            feature = rows[str(key)]
            assert columns.wkb[row] == feature.wkb
            assert columns.distance_meters[row] == feature.distance_meters
            assert {name: values[row] for name, values in columns.properties.items()} == feature.properties
            seen.add(str(key))
    assert seen == set(rows) != set()


def test_a_frame_has_geometries_and_their_crs(client: Any) -> None:
    frame = client.stream_features("zones", properties=["name"]).to_geopandas()

    assert frame.crs.to_epsg() == 4326
    assert frame.geometry.geom_type.unique().tolist() == ["MultiPolygon"]
    zone = client.get_feature("zones", int(frame["id"][0]))
    assert shapely.equals(frame.geometry[0], zone.geometry)
    assert frame["name"][0] == zone.properties["name"]


def test_a_frame_without_geometries_is_a_frame_nevertheless(client: Any) -> None:
    frame = client.stream_features("zones", view="none", properties=["name"]).to_geopandas()

    assert sorted(frame.columns) == ["id", "name"]
    assert len(frame) == 241


def test_a_token_goes_on_where_another_stream_stopped(client: Any) -> None:
    stream = client.stream_features("facilities", resumable=True)
    batches = stream.batches()
    first = next(batches)
    batches.close()

    rest = client.stream_features("facilities", resume_token=stream.resume_token).batches()

    assert [int(each.id) for batch in [first, *rest] for each in batch] == list(range(1, FACILITIES + 1))


def test_a_timeout_ends_all_of_a_stream(client: Any) -> None:
    with pytest.raises(DeadlineExceeded):
        list(client.stream_features("facilities", timeout=1e-6))


def test_a_reader_that_leaves_early_frees_the_service(client: Any, served: Served) -> None:
    for _ in range(20):  # more than may run at a time
        features = iter(client.stream_features("facilities"))
        next(features)
        features.close()

    assert len(list(client.stream_features("districts"))) == 5


def test_a_join_pairs_what_meets(client: Any) -> None:
    pairs = list(client.stream_join("districts", "parcels", predicate="contains"))

    parcel = client.search_intersects("parcels", NEW_YORK).features[0].id
    (pair,) = [pair for pair in pairs if pair.right_id == parcel]
    assert (pair.left, pair.right, pair.distance_meters) == (None, None, None)
    assert len({(each.left_id, each.right_id) for each in pairs}) == len(pairs) > 5


def test_a_join_by_distance_with_the_features_asked_for(client: Any) -> None:
    nearby = Output(["name"], "none")
    pairs = [
        pair
        for batch in client.stream_join("zone_centroids", "facilities", distance_meters=5000, right=nearby).batches()
        for pair in batch
    ]

    assert pairs
    for pair in pairs:
        assert pair.distance_meters <= 5000
        assert pair.left is None
        assert pair.right.id == pair.right_id
        assert set(pair.right.properties) == {"name"}


def test_a_join_that_is_resumable_goes_on_from_its_token(client: Any) -> None:
    stream = client.stream_join("zones", "facilities", resumable=True)
    everything = [(pair.left_id, pair.right_id) for batch in stream.batches() for pair in batch]
    batches = stream.batches()
    first = next(batches)
    batches.close()

    rest = client.stream_join("zones", "facilities", resume_token=stream.resume_token).batches()

    assert [(pair.left_id, pair.right_id) for batch in [first, *rest] for pair in batch] == everything
