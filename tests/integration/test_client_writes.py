"""What the clients change, against the real server. Every test is for both, and has a part of the world to itself."""

from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest
import shapely

from spatial_client import Aborted, AlreadyExists, FailedPrecondition, InvalidArgument, NotFound, Output
from tests.client_writes import facility
from tests.servers import Served, serving


@pytest.fixture(scope="module")
def served(filled: str) -> Iterator[Served]:
    with serving(filled) as running:
        yield running


def test_a_feature_is_created_as_it_will_be_read(client: Any, kind_of: str) -> None:
    given = facility(kind_of, population=2**40, tags=["a", "b"], attributes={"deep": {"a": [1, None]}}, active=False)
    written = client.create_feature("facilities", (13.4, 52.5), given)

    read = client.get_feature("facilities", written.feature.id, freshness_token=written.freshness_token)
    assert read == written.feature
    assert read.geometry == shapely.Point(13.4, 52.5)
    assert given.items() <= read.properties.items()
    assert read.etag


@pytest.mark.parametrize(
    "geometry",
    [
        pytest.param((1.5, 2.5), id="longitude, latitude"),
        pytest.param(shapely.Point(1.5, 2.5), id="shapely"),
        pytest.param("POINT(1.5 2.5)", id="WKT"),
        pytest.param(shapely.to_wkb(shapely.Point(1.5, 2.5)), id="WKB"),
        pytest.param({"type": "Point", "coordinates": [1.5, 2.5]}, id="GeoJSON"),
    ],
)
def test_a_geometry_can_be_said_in_several_ways(client: Any, kind_of: str, geometry: Any) -> None:
    assert client.create_feature("facilities", geometry, facility(kind_of)).feature.geometry.coords[0] == (1.5, 2.5)


def test_a_geometry_in_another_crs_is_transformed_or_refused(client: Any, kind_of: str) -> None:
    place = shapely.set_srid(shapely.Point(111_319.49079, 0), 3857)

    stored = client.create_feature("facilities", place, facility(kind_of)).feature.geometry
    assert stored.x == pytest.approx(1, abs=1e-6)
    with pytest.raises(InvalidArgument) as caught:
        client.create_feature("facilities", place, facility(kind_of), require_layer_srid=True)
    assert caught.value.reason == "SRID_MISMATCH"


def test_an_answer_is_as_large_as_it_is_asked_to_be(client: Any, kind_of: str) -> None:
    feature = client.create_feature("facilities", (1, 2), facility(kind_of), output=Output(["name"], "none")).feature

    assert (feature.properties, feature.wkb) == ({"name": "New"}, None)
    assert feature.etag


def test_an_update_changes_what_it_names(client: Any, kind_of: str) -> None:
    before = client.create_feature("facilities", (1, 2), facility(kind_of, population=5, country="DE")).feature
    after = client.update_feature("facilities", before.id, properties={"population": 6, "country": None}).feature

    assert after.geometry == before.geometry
    changed = {name for name, value in after.properties.items() if before.properties[name] != value}
    assert changed == {"population", "country", "updated_at"}
    assert (after.properties["population"], after.properties["country"]) == (6, None)
    moved = client.update_feature("facilities", before.id, geometry=(3, 4)).feature
    assert (moved.geometry, moved.properties["population"]) == (shapely.Point(3, 4), 6)


def test_a_mask_says_otherwise(client: Any, kind_of: str) -> None:
    before = client.create_feature("facilities", (1, 2), facility(kind_of, population=5)).feature
    after = client.update_feature(
        "facilities", before.id, properties=facility(kind_of, name="Newer"), update_mask=["properties"]
    ).feature

    assert (after.properties["name"], after.properties["population"]) == ("Newer", None)
    assert after.geometry == before.geometry


def test_a_geometry_that_must_be_there_cannot_be_removed(client: Any, kind_of: str) -> None:
    feature = client.create_feature("facilities", (1, 2), facility(kind_of)).feature

    with pytest.raises(InvalidArgument) as caught:
        client.update_feature("facilities", feature.id, geometry=None)
    assert (caught.value.reason, caught.value.field) == ("REQUIRED", "feature.geometry")


def test_an_etag_lets_nobody_get_in_between(client: Any, kind_of: str) -> None:
    first = client.create_feature("facilities", (1, 2), facility(kind_of)).feature
    second = client.update_feature("facilities", first.id, properties={"name": "Newer"}, etag=first.etag).feature

    for change in (partial(client.update_feature, properties={"name": "Newest"}), client.delete_feature):
        with pytest.raises(Aborted) as caught:
            change("facilities", first.id, etag=first.etag)
        assert caught.value.reason == "ETAG_MISMATCH"
    assert client.delete_feature("facilities", first.id, etag=second.etag).count == 1
    with pytest.raises(NotFound):
        client.get_feature("facilities", first.id)


def test_every_way_of_reading_rows_gives_etags_where_they_are_asked_for(client: Any, kind_of: str) -> None:
    made = client.create_feature("facilities", (100, 50), facility(kind_of)).feature
    where = f"kind = '{kind_of}'"
    found = [
        client.get_feature("facilities", made.id),
        *client.get_features("facilities", [made.id]),
        *client.search_radius("facilities", (100, 50), 1, filter=where, etags=True),
        *client.search_nearest("facilities", (100, 50), 1, filter=where, etags=True),
        *client.search_intersects("facilities", (100, 50), filter=where, etags=True),
        *client.stream_features("facilities", filter=where, etags=True),
    ]

    assert [feature.etag for feature in found] == [made.etag] * 6
    assert [feature.etag for feature in client.search_radius("facilities", (100, 50), 1, filter=where)] == [""]


def test_every_read_takes_a_freshness_token(client: Any, kind_of: str) -> None:
    token = client.create_feature("facilities", (101, 51), facility(kind_of)).freshness_token
    where, place = f"kind = '{kind_of}'", (101, 51)
    asked = {"filter": where, "freshness_token": token}

    assert len(client.search_radius("facilities", place, 1, **asked)) == 1
    assert len(list(client.iterate_intersects("facilities", place, **asked))) == 1
    assert client.count_radius("facilities", place, 1, **asked) == 1
    assert client.count_features("facilities", **asked) == 1
    assert len(list(client.stream_features("facilities", resumable=True, **asked))) == 1
    pairs = client.stream_join("facilities", "facilities", left_filter=where, right_filter=where, freshness_token=token)
    assert len(list(pairs)) == 1
    assert sum(cell.count for cell in client.aggregate_grid("facilities", cell_size=1, **asked)) == 1
    assert [len(match) for match in client.match_radius([(0, place)], "facilities", 1, **asked)] == [1]
    with pytest.raises(InvalidArgument) as caught:
        client.count_features("facilities", freshness_token="none")
    assert (caught.value.reason, caught.value.field) == ("INVALID_FRESHNESS_TOKEN", "freshness_token")


def test_what_is_there_already_is_said(client: Any, kind_of: str) -> None:
    with pytest.raises(AlreadyExists) as caught:
        client.create_feature("facilities", (1, 2), facility(kind_of), id=1)

    assert (caught.value.reason, caught.value.field) == ("FEATURE_EXISTS", "feature.id")


def test_the_same_request_takes_effect_once(client: Any, kind_of: str) -> None:
    asked = {"request_id": f"once {kind_of} {type(client).__name__}"}
    first = client.create_feature("facilities", (1, 2), facility(kind_of), **asked)

    again = client.create_feature("facilities", (1, 2), facility(kind_of), **asked)
    assert again.feature == first.feature
    assert client.count_features("facilities", filter=f"kind = '{kind_of}'") == 1
    with pytest.raises(InvalidArgument) as caught:
        client.create_feature("facilities", (1, 3), facility(kind_of), **asked)
    assert caught.value.reason == "REQUEST_ID_REUSED"


def test_what_only_validates_changes_nothing(client: Any, kind_of: str) -> None:
    made = client.create_feature("facilities", (1, 2), facility(kind_of), validate_only=True)

    assert (made.feature.properties["name"], made.freshness_token) == ("New", "")
    assert client.count_features("facilities", filter=f"kind = '{kind_of}'") == 0


@pytest.mark.parametrize(
    "where",
    [
        pytest.param({}, id="by a filter"),
        pytest.param({"bbox": (-31, -1, -29, 1)}, id="in a box"),
        pytest.param({"center": (-30, 0), "radius_meters": 10_000}, id="within a distance"),
        pytest.param({"probe": "POLYGON((-31 -1, -29 -1, -29 1, -31 1, -31 -1))"}, id="in a polygon"),
    ],
)
def test_many_are_deleted_unless_they_are_more_than_expected(client: Any, kind_of: str, where: dict[str, Any]) -> None:
    client.import_features([((-30, 0.01 * number), facility(kind_of)) for number in range(3)], "facilities")
    asked = {"filter": f"kind = '{kind_of}'", **where}

    with pytest.raises(FailedPrecondition) as caught:
        client.delete_features("facilities", 2, **asked)
    assert caught.value.reason == "TOO_MANY_MATCHES"
    counted = client.delete_features("facilities", 3, validate_only=True, **asked)
    assert (counted.count, counted.freshness_token) == (3, "")
    gone = client.delete_features("facilities", 3, **asked)
    assert gone.count == 3
    assert client.count_features("facilities", filter=asked["filter"], freshness_token=gone.freshness_token) == 0
