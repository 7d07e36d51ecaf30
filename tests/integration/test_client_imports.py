"""What the clients import, against the real server. Every test is for both, and has a part of the world to itself."""

from collections.abc import AsyncIterator, Callable, Iterator
from datetime import UTC, datetime
from itertools import count
from typing import Any

import geopandas
import pyarrow as pa
import pytest
import shapely

from spatial_client import AsyncSpatialClient, NewFeature, NotFound
from tests.client_writes import ROWS, facility, features
from tests.servers import Served, serving

_numbers = count()


@pytest.fixture(scope="module")
def served(filled: str) -> Iterator[Served]:
    with serving(filled) as running:
        yield running


def frame(kind: str) -> geopandas.GeoDataFrame:
    given = features(kind)
    return geopandas.GeoDataFrame(
        [each.properties for each in given], geometry=[shapely.Point(row * 0.01, 10) for row in range(ROWS)], crs=4326
    )


def table(kind: str) -> pa.Table:
    return pa.table(frame(kind).to_arrow(index=False, geometry_encoding="WKB"))


SOURCES: dict[str, Callable[[str], Any]] = {
    "features": features,
    "a generator": lambda kind: iter(features(kind)),
    "a frame": frame,
    "a frame in metres": lambda kind: frame(kind).to_crs(3857),
    "a table": table,
    "a stream of batches": lambda kind: table(kind).to_reader(max_chunksize=100),
}


@pytest.mark.parametrize("source", SOURCES.values(), ids=SOURCES)
def test_whatever_holds_features_can_be_imported(client: Any, kind_of: str, source: Callable[[str], Any]) -> None:
    done = client.import_features(source(kind_of), "facilities")

    assert (done.rows, done.inserted, done.updated, done.rejected) == (ROWS, ROWS, 0, 0)
    assert (done.complete, done.layer, done.rejections) == (True, "facilities", [])
    stored = client.stream_features(
        "facilities", filter=f"kind = '{kind_of}'", resumable=True, freshness_token=done.freshness_token
    )
    for row, feature in enumerate(stored):
        assert feature.properties["name"] == f"Row {row}"
        assert feature.properties["population"] == (row or None)
        assert feature.geometry.distance(shapely.Point(row * 0.01, 10)) < 1e-9
    assert row == ROWS - 1


def test_properties_of_every_type_arrive(client: Any, kind_of: str) -> None:
    moment = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
    given = {"population": 2**62, "active": False, "tags": ["a"], "attributes": {"a": None}, "created_at": moment}
    client.import_features([((1, 2), facility(kind_of, **given))], "facilities")

    (read,) = client.stream_features("facilities", filter=f"kind = '{kind_of}'")
    assert read.properties["population"] == str(2**62)
    assert (read.properties["active"], read.properties["tags"]) == (False, ["a"])
    assert read.properties["attributes"] == {"a": None}


def test_rows_that_are_refused_are_told_and_the_others_are_in(client: Any, kind_of: str) -> None:
    bowtie = shapely.Polygon([(0, 40), (1, 41), (1, 40), (0, 41)])
    square = shapely.box(10, 40, 11, 41)
    zone = {"name": "New", "category": kind_of}
    code = f"{kind_of} {type(client).__name__}"
    done = client.import_features(
        [
            (square, zone | {"code": code}),
            (bowtie, zone | {"code": "b"}),
            (square, zone | {"code": "Z1"}, 7777),
            ("no WKT", zone | {"code": "c"}),
            (square, zone | {"code": "d", "height": 5}),
            (square, zone | {"code": 5}),
        ],
        "zones",
        max_rejections=4,
    )

    assert (done.rows, done.inserted, done.rejected) == (6, 1, 5)
    assert [(each.row, each.reason) for each in done.rejections] == [
        (1, "INVALID_GEOMETRY"),
        (2, "NOT_UNIQUE"),
        (3, "INVALID_ENCODING"),
        (4, "UNKNOWN_PROPERTY"),
    ]
    assert done.rejections[0].location == (0.5, 40.5)
    assert (done.rejections[1].id, done.rejections[1].field) == ("7777", "properties.code")
    client.delete_features("zones", 1, filter=f"category = '{kind_of}'")


def test_invalid_geometries_are_repaired_where_that_is_asked_for(client: Any, kind_of: str) -> None:
    bowtie = shapely.Polygon([(0, 40), (1, 41), (1, 40), (0, 41)])
    row = (bowtie, {"name": "New", "category": kind_of, "code": f"{kind_of} {type(client).__name__}"})
    done = client.import_features([row], "zones", repair=True)

    (zone,) = client.stream_features("zones", filter=f"category = '{kind_of}'")
    assert done.inserted == 1
    assert zone.geometry.is_valid
    client.delete_feature("zones", zone.id)


def test_an_upsert_replaces_what_it_brings_and_adds_the_rest(client: Any, kind_of: str) -> None:
    client.import_features(features(kind_of, 3), "facilities")
    mine = f"kind = '{kind_of}'"
    read = client.stream_features("facilities", filter=mine, properties=["name", "kind"]).to_geopandas()
    read["name"] = read["name"].str.upper()
    added = geopandas.GeoDataFrame(
        {"id": [10_000_000 + next(_numbers)], "name": ["ROW 3"], "kind": [kind_of]},
        geometry=[shapely.Point(0, 0)],
        crs=4326,
    )

    done = client.import_features(pa.concat_tables([arrow(read), arrow(added)]), "facilities", mode="upsert")
    assert (done.updated, done.inserted) == (3, 1)
    stored = {each.properties["name"]: each.properties for each in client.stream_features("facilities", filter=mine)}
    assert stored.keys() == {"ROW 0", "ROW 1", "ROW 2", "ROW 3"}
    assert stored["ROW 2"]["population"] == 2


def arrow(given: geopandas.GeoDataFrame) -> pa.Table:
    return pa.table(given[["id", "name", "kind", "geometry"]].to_arrow(index=False, geometry_encoding="WKB"))


def test_features_that_were_read_can_be_written_again(client: Any, kind_of: str) -> None:
    client.import_features(features(kind_of, 20), "facilities")
    mine = f"kind = '{kind_of}'"

    read = list(client.stream_features("facilities", filter=mine))
    done = client.import_features(read, "facilities", mode="upsert")
    assert (done.updated, done.rejections) == (20, [])


def test_a_property_can_tell_which_feature_a_row_is(client: Any) -> None:
    rows = [(None, {"code": f"Z{number}", "name": "Renamed"}) for number in (3, 4)]

    assert client.import_features(rows, "zones", mode="upsert", match="code").updated == 2
    assert [each.properties["name"] for each in client.get_features("zones", [4, 5])] == ["Renamed"] * 2


def test_an_import_can_be_tried_without_writing(client: Any, kind_of: str) -> None:
    done = client.import_features([*features(kind_of), ("POINT(0 95)", {})], "facilities", validate_only=True)

    assert (done.rows, done.inserted, done.rejected, done.complete) == (ROWS + 1, ROWS, 1, False)
    assert client.count_features("facilities", filter=f"kind = '{kind_of}'") == 0


def test_the_service_knows_how_far_an_import_is(client: Any, kind_of: str) -> None:
    done = client.import_features(features(kind_of), "facilities")
    state = client.get_import(done.import_id)

    assert (state.layer, state.rows, state.inserted, state.complete) == ("facilities", ROWS, ROWS, True)
    with pytest.raises(NotFound):
        client.get_import("never")


def test_an_import_whose_source_failed_is_gone_on_with(client: Any, kind_of: str) -> None:
    def failing() -> Iterator[NewFeature]:
        yield from features(kind_of)[:300]
        raise OSError("the disk is gone")

    id_ = f"{kind_of} {type(client).__name__}"
    with pytest.raises(OSError, match="the disk is gone"):
        client.import_features(failing(), "facilities", import_id=id_)
    done = client.import_features(features(kind_of), "facilities", import_id=id_)

    assert (done.rows, done.inserted) == (ROWS, ROWS)
    assert client.count_features("facilities", filter=f"kind = '{kind_of}'") == ROWS


def test_a_finished_import_does_nothing_when_it_comes_again(client: Any, kind_of: str) -> None:
    id_ = f"{kind_of} {type(client).__name__}"
    first = client.import_features(features(kind_of), "facilities", import_id=id_)
    again = client.import_features(iter(features(kind_of)), "facilities", import_id=id_)

    assert (again.rows, again.inserted) == (first.rows, first.inserted)
    assert client.count_features("facilities", filter=f"kind = '{kind_of}'") == ROWS


async def test_features_may_come_asynchronously(served: Served, kind_of: str) -> None:
    async def coming() -> AsyncIterator[NewFeature]:
        for feature in features(kind_of):
            yield feature

    async with AsyncSpatialClient(served.address) as client:
        assert (await client.import_features(coming(), "facilities")).inserted == ROWS
