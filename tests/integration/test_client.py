"""What the clients ask and answer, against the real server. Every test is for both."""

from collections.abc import Iterator
from typing import Any

import pytest
import shapely

from spatial_client import (
    Box,
    DeadlineExceeded,
    InvalidArgument,
    NotFound,
    SpatialClient,
    SpatialError,
    Unavailable,
)
from tests.clients import Blocking
from tests.servers import Served, serving

NEW_YORK = (-74.006, 40.7128)
MIDTOWN = (-73.9857, 40.7484)


@pytest.fixture(scope="module")
def served(demo_database: str) -> Iterator[Served]:
    with serving(demo_database) as running:
        yield running


def test_the_service_says_that_it_is_ready(client: Any) -> None:
    assert client.is_serving() is True


def test_layers_are_listed_with_what_they_hold(client: Any) -> None:
    layers = {layer.name: layer for layer in client.list_layers()}

    assert client.get_layer("zones") == layers["zones"]
    assert (layers["zones"].geometry_type, layers["zones"].srid) == ("MULTIPOLYGON", 4326)
    assert isinstance(layers["zones"].extent, Box)
    assert {each.name: each.type for each in layers["facilities"].properties}["population"] == "integer"
    assert all(index.valid for index in layers["facilities"].indexes)


@pytest.mark.parametrize("key", [1, "1"])
def test_a_feature_by_its_key(client: Any, key: int | str) -> None:
    shanghai = client.get_feature("facilities", key, properties=["name", "population"])

    assert shanghai.id == "1"
    assert shanghai.properties == {"name": "Shanghai", "population": 24874500}
    assert shanghai.geometry.distance(shapely.Point(121.45, 31.22)) < 0.1


def test_several_features_by_their_keys(client: Any) -> None:
    found = client.get_features("facilities", [3, 10**9, "1"], properties=["name"], view="none")

    assert [feature.id for feature in found] == ["3", "1"]
    assert found.missing_ids == ["1000000000"]
    assert [feature.geometry for feature in found] == [None, None]


def test_a_page_of_what_is_near_is_nearest_first(client: Any) -> None:
    page = client.search_radius("facilities", NEW_YORK, 20_000, page_size=5)

    distances = [feature.distance_meters for feature in page]
    assert len(page) == 5
    assert distances == sorted(distances)
    following = client.search_radius("facilities", NEW_YORK, 20_000, page_size=5, page_token=page.next_page_token)
    assert following.features[0].distance_meters >= distances[-1]


@pytest.mark.parametrize("page_size", [7, 1000])
def test_pages_follow_one_another_to_the_last(client: Any, page_size: int) -> None:
    found = list(client.iterate_radius("facilities", NEW_YORK, 30_000, page_size=page_size, view="none"))

    assert len({feature.id for feature in found}) == len(found) == client.count_radius("facilities", NEW_YORK, 30_000)
    assert [each.distance_meters for each in found] == sorted(each.distance_meters for each in found)


def test_pages_are_fetched_as_they_are_needed(client: Any, served: Served) -> None:
    started = 'grpc_server_started_total{grpc_method="SearchIntersects",grpc_service="spatial.v1.SpatialService",'
    sample = started + 'grpc_type="unary"}'
    before = served.metric(sample)

    features = client.iterate_intersects("facilities", (-180, -90, 180, 90), page_size=10)
    first = [next(features).id for _ in range(15)]
    features.close()

    assert first == [str(key) for key in range(1, 16)]
    assert served.metric(sample) - before == 2


@pytest.mark.parametrize(
    "center", [NEW_YORK, "POINT(-74.006 40.7128)", shapely.Point(NEW_YORK), shapely.Point(NEW_YORK).wkb], ids=type
)
def test_a_place_can_be_said_in_several_ways(client: Any, center: Any) -> None:
    (nearest,) = client.search_nearest("facilities", center, 1, properties=["name"])

    assert nearest.properties == {"name": "New York City"}
    assert nearest.distance_meters == pytest.approx(163.26, abs=0.1)


@pytest.mark.parametrize(("limit", "found"), [(3, 3), (1000, 5)])
def test_the_nearest_within_a_distance(client: Any, limit: int, found: int) -> None:
    farthest = None if limit == 3 else 1000
    assert len(client.search_nearest("facilities", NEW_YORK, limit, max_distance_meters=farthest)) == found


def test_what_a_probe_lies_in(client: Any) -> None:
    page = client.search_intersects("parcels", MIDTOWN, predicate="contains", properties=["name"])

    assert [feature.properties["name"] for feature in page] == ["Midtown South"]


def test_a_feature_s_geometry_can_be_asked_with_again(client: Any) -> None:
    (midtown,) = client.search_intersects("parcels", MIDTOWN)

    assert midtown.id in [feature.id for feature in client.search_intersects("parcels", midtown.geometry)]


def test_counts_agree_with_what_is_found(client: Any) -> None:
    germany = (5.9, 47.3, 15.0, 55.1)

    assert client.count_features("districts") == 5
    assert client.count_features("facilities", bbox=germany) == len(
        list(client.iterate_intersects("facilities", germany, view="none"))
    )
    assert client.count_intersects("parcels", MIDTOWN, predicate="contains") == 1
    assert client.count_nearest("facilities", NEW_YORK, max_distance_meters=1000) == 5
    assert client.count_features("facilities", estimated=True) == pytest.approx(16081, rel=0.2)


@pytest.mark.parametrize("view", ["full", "centroid", "bbox"])
def test_a_view_says_how_much_geometry(client: Any, view: str) -> None:
    kinds = {"full": "MultiPolygon", "centroid": "Point", "bbox": "Polygon"}

    assert client.get_feature("zones", 1, view=view).geometry.geom_type == kinds[view]


@pytest.mark.parametrize(
    ("ask", "kind", "reason", "field"),
    [
        pytest.param(
            lambda client: client.search_radius("nowhere", NEW_YORK, 1),
            NotFound,
            "LAYER_NOT_FOUND",
            "query.layer",
            id="layer",
        ),
        pytest.param(lambda client: client.get_feature("zones", 10**9), NotFound, "FEATURE_NOT_FOUND", None, id="id"),
        pytest.param(
            lambda client: client.search_radius("zones", NEW_YORK, -1),
            InvalidArgument,
            "OUT_OF_RANGE",
            "query.radius_meters",
            id="radius",
        ),
        pytest.param(
            lambda client: client.get_feature("zones", 1, properties=["no"]),
            InvalidArgument,
            "UNKNOWN_PROPERTY",
            "output.properties[0]",
            id="property",
        ),
        pytest.param(
            lambda client: client.search_nearest("zones", "POINT(1"),
            InvalidArgument,
            "INVALID_ENCODING",
            "query.center.geometry.wkt",
            id="WKT",
        ),
    ],
)
def test_a_refusal_says_what_and_where(
    client: Any, ask: Any, kind: type[SpatialError], reason: str, field: str | None
) -> None:
    with pytest.raises(kind) as caught:
        ask(client)

    assert type(caught.value) is kind
    assert (caught.value.reason, caught.value.field) == (reason, field)
    assert caught.value.request_id


def test_what_cannot_be_meant_is_not_even_sent(client: Any) -> None:
    with pytest.raises(ValueError, match="GEOMETRY_VIEW_MOST"):
        client.get_feature("zones", 1, view="most")
    with pytest.raises(TypeError, match="list of names"):
        client.get_feature("zones", 1, properties="name")
    with pytest.raises(ValueError, match="not both"):
        client.stream_join("zones", "parcels", predicate="within", distance_meters=5)


def test_a_timeout_of_the_call_wins_over_the_client_s(client: Any) -> None:
    with pytest.raises(DeadlineExceeded) as caught:
        client.list_layers(timeout=1e-6)

    assert caught.value.reason is None


@pytest.mark.parametrize("kind", [SpatialClient, Blocking], ids=["threads", "asyncio"])
def test_a_service_that_is_not_there_is_unavailable_after_some_attempts(kind: Any, unused_tcp_port: int) -> None:
    with kind(f"127.0.0.1:{unused_tcp_port}", timeout=5) as client, pytest.raises(Unavailable):
        client.is_serving()
