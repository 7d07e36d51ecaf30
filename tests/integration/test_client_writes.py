"""What the clients change, against the real server. Every test is for both, and has a part of the world to itself."""

from collections.abc import AsyncIterator, Callable, Iterator
from datetime import UTC, datetime
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import geopandas
import pyarrow as pa
import pytest
import shapely

from service import migrations
from spatial_client import (
    Aborted,
    AlreadyExists,
    AsyncSpatialClient,
    FailedPrecondition,
    InvalidArgument,
    NewFeature,
    NotFound,
    Output,
    Retry,
    SpatialClient,
    _aio_imports,
    _packing,
)
from tests.clients import Blocking
from tests.clusters import POSTGIS
from tests.conftest import NewDatabase
from tests.proxy import proxied
from tests.servers import Served, serving
from tests.situations import fetch

BOTH = pytest.mark.parametrize("kind", [SpatialClient, Blocking], ids=["threads", "asyncio"])
_numbers = count()


@pytest.fixture(scope="module")
def served(filled: str) -> Iterator[Served]:
    with serving(filled) as running:
        yield running


@pytest.fixture
def kind_of() -> str:
    """A kind of facility that no other test has."""
    return f"kind {next(_numbers)}"


def facility(kind: str, **properties: Any) -> dict[str, Any]:
    return {"name": "New", "kind": kind, **properties}


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


@BOTH
def test_a_database_without_a_ledger_says_so_and_takes_changes_that_are_not_remembered(
    kind: Any, database: str, kind_of: str
) -> None:
    fetch(database, "DROP TABLE spatial_requests, spatial_imports")
    with serving(database) as served, kind(served.address) as client:
        with pytest.raises(FailedPrecondition) as caught:
            client.create_feature("facilities", (1, 2), facility(kind_of))
        assert caught.value.reason == "LEDGER_MISSING"
        with pytest.raises(FailedPrecondition) as caught:
            client.import_features([((1, 2), facility(kind_of))], "facilities")
        assert caught.value.reason == "LEDGER_MISSING"
        assert client.count_features("facilities") == 0
        assert client.create_feature("facilities", (1, 2), facility(kind_of), request_id="").feature.id
        assert client.create_feature("facilities", (1, 2), facility(kind_of), validate_only=True).feature.id


SIGNS = """
CREATE TABLE signs (code text PRIMARY KEY, height float8, place geometry(Point, 4326));
CREATE INDEX ON signs USING gist (place);
CREATE TABLE plain (id int PRIMARY KEY, place geometry(Point, 4326));
CREATE INDEX ON plain USING gist (place);
"""


@BOTH
def test_tables_of_one_s_own_take_changes_where_their_layer_says_so(
    kind: Any, new_database: NewDatabase, tmp_path: Path
) -> None:
    path = tmp_path / "layers.yaml"
    path.write_text("layers: [{table: signs, writable: true}, {table: plain}]")
    with new_database(template=POSTGIS) as url:
        fetch(url, SIGNS)
        migrations.upgrade_ledger(url)
        with serving(url, layers=str(path)) as served, kind(served.address) as client:
            assert client.get_layer("signs").key_type == "string"
            client.create_feature("signs", (1, 2), {"height": float("inf")}, id="stop")
            client.update_feature("signs", "stop", geometry=None)
            rows = pa.table({"id": ["stop", "7"], "height": [1.5, None]})
            done = client.import_features(rows, "signs", mode="upsert")
            assert (done.updated, done.inserted) == (1, 1)
            found = client.get_features("signs", ["stop", "7"])
            assert [(each.id, each.properties["height"], each.wkb) for each in found] == [
                ("stop", 1.5, None),
                ("7", None, None),
            ]
            with pytest.raises(FailedPrecondition) as caught:
                client.create_feature("plain", (1, 2))
            assert (caught.value.reason, caught.value.field) == ("LAYER_READ_ONLY", "layer")


# Imports.

ROWS = 500


def features(kind: str, rows: int = ROWS) -> list[NewFeature]:
    return [
        NewFeature((row * 0.01, 10.0), facility(kind, name=f"Row {row}", population=row or None)) for row in range(rows)
    ]


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


PATIENT = Retry(attempts=30, first_pause=0.02, longest_pause=0.1)
OPTIONS = [("grpc.initial_reconnect_backoff_ms", 20), ("grpc.min_reconnect_backoff_ms", 20)]


@BOTH
@pytest.mark.parametrize("once", [True, False], ids=["read once", "read again"])
def test_an_import_over_a_connection_that_breaks_loses_and_doubles_nothing(
    kind: Any, served: Served, kind_of: str, once: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_packing, "BATCH_BYTES", 4000)
    monkeypatch.setattr(_aio_imports, "CAREFUL_SECONDS", 0.02)
    given = features(kind_of, 4000)
    with (
        proxied(f"tcp://a:b@{served.address}") as proxy,
        kind(f"127.0.0.1:{proxy.port}", retry=PATIENT, options=OPTIONS) as client,
    ):
        cuts = {1000, 2000, 3900}

        def cut(sent: int) -> None:
            for passed in [each for each in cuts if sent >= each]:
                cuts.remove(passed)
                proxy.cut_all()

        done = client.import_features(iter(given) if once else given, "facilities", on_progress=cut)
        assert proxy.accepted > 1
    assert (done.rows, done.inserted, done.rejected) == (4000, 4000, 0)
    with SpatialClient(served.address) as other:
        stored = other.stream_features("facilities", filter=f"kind = '{kind_of}'", resumable=True, properties=["name"])
        assert [each.properties["name"] for each in stored] == [f"Row {row}" for row in range(4000)]


@BOTH
def test_a_change_over_a_connection_that_breaks_is_made_once(kind: Any, served: Served, kind_of: str) -> None:
    with (
        proxied(f"tcp://a:b@{served.address}") as proxy,
        kind(f"127.0.0.1:{proxy.port}", retry=PATIENT, options=OPTIONS) as client,
    ):
        for number in range(20):
            client.create_feature("facilities", (1, 2), facility(kind_of, name=str(number)))
            if number % 4 == 0:
                proxy.cut_all()
        names = [each.properties["name"] for each in client.stream_features("facilities", filter=f"kind = '{kind_of}'")]
    assert sorted(names, key=int) == [str(number) for number in range(20)]
