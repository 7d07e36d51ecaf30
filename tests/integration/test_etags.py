"""Etags: which version of its row a feature is, wherever that is asked for, and in lookups always."""

from collections.abc import Callable, Iterator
from typing import Any

import grpc
import pytest

from spatial.v1 import feature_pb2
from spatial.v1 import query_pb2 as query
from tests.clusters import POSTGIS
from tests.searches import box, intersects, nearest, point, radius
from tests.servers import Served, refusal, serving
from tests.situations import fetch

TABLES = """
CREATE SCHEMA gis;
CREATE TABLE gis."100% Spots" (id int PRIMARY KEY, name text, geom geometry(Point, 4326) NOT NULL);
CREATE INDEX ON gis."100% Spots" USING gist (geom);
INSERT INTO gis."100% Spots" SELECT n, 'Spot ' || n, ST_Point(n, 0, 4326) FROM generate_series(1, 5) n;
CREATE TABLE parts (id int PRIMARY KEY, geom geometry(Point, 4326) NOT NULL) PARTITION BY RANGE (id);
CREATE TABLE parts_low PARTITION OF parts FOR VALUES FROM (0) TO (3);
CREATE TABLE parts_high PARTITION OF parts FOR VALUES FROM (3) TO (9);
CREATE INDEX ON parts USING gist (geom);
INSERT INTO parts SELECT n, ST_Point(n, 0, 4326) FROM generate_series(1, 5) n;
CREATE VIEW seen AS SELECT * FROM gis."100% Spots";
CREATE MATERIALIZED VIEW kept AS SELECT * FROM gis."100% Spots";
CREATE UNIQUE INDEX ON kept (id);
CREATE INDEX ON kept USING gist (geom);
"""
LAYERS = """
layers:
  - {table: 'gis."100% Spots"', name: spots}
  - {table: public.parts}
  - {table: public.seen, key: id}
  - {table: public.kept, key: id}
"""
XMIN = {
    "spots": 'SELECT xmin::text FROM gis."100%% Spots" WHERE id = %s',
    "parts": "SELECT xmin::text FROM parts WHERE id = %s",
}
ALL = box(0.5, -1, 5.5, 1)
BARE = query.Output(view="GEOMETRY_VIEW_NONE", no_properties=True, etags=True)


@pytest.fixture(scope="module")
def url(new_database: Any) -> Iterator[str]:
    with new_database(template=POSTGIS) as url:
        fetch(url, TABLES)
        yield url


@pytest.fixture(scope="module")
def served(url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    path = tmp_path_factory.mktemp("layers") / "layers.yaml"
    path.write_text(LAYERS)
    with serving(url, layers=str(path)) as served:
        yield served


def version(url: str, layer: str, key: int) -> str:
    ((found,),) = fetch(url, XMIN[layer], key)
    return str(found)


def got(served: Served, layer: str, key: int, **output: Any) -> feature_pb2.Feature:
    asked = query.GetFeatureRequest(layer=layer, id=str(key), output=query.Output(**output))
    feature: feature_pb2.Feature = served.stub.GetFeature(asked, timeout=10)
    return feature


Find = Callable[[Any, str, query.Output], list[feature_pb2.Feature]]


def _batches(batches: Any) -> list[feature_pb2.Feature]:
    return [feature for batch in batches for feature in batch.rows.features]


def _matched(stub: Any, layer: str, output: query.Output) -> list[feature_pb2.Feature]:
    asked = query.Query(intersects=query.IntersectsQuery(layer=layer))
    request = query.MatchRequest(query=asked, output=output, probes=[query.MatchProbe(key="a", probe=ALL)])
    return [
        each
        for answer in stub.MatchFeatures(iter([request]), timeout=10)
        for match in answer.matches
        for each in match.features
    ]


FINDS: dict[str, Find] = {
    "SearchRadius": lambda stub, layer, output: (
        stub.SearchRadius(
            query.SearchRadiusRequest(query=radius(layer, point(3, 0), 1e6), output=output), timeout=10
        ).features
    ),
    "SearchNearest": lambda stub, layer, output: (
        stub.SearchNearest(
            query.SearchNearestRequest(query=nearest(layer, point(3, 0)), output=output), timeout=10
        ).features
    ),
    "SearchIntersects": lambda stub, layer, output: (
        stub.SearchIntersects(
            query.SearchIntersectsRequest(query=intersects(layer, ALL), output=output), timeout=10
        ).features
    ),
    "StreamRadius": lambda stub, layer, output: _batches(
        stub.StreamRadius(query.StreamRadiusRequest(query=radius(layer, point(3, 0), 1e6), output=output), timeout=10)
    ),
    "StreamIntersects": lambda stub, layer, output: _batches(
        stub.StreamIntersects(query.StreamIntersectsRequest(query=intersects(layer, ALL), output=output), timeout=10)
    ),
    "StreamFeatures": lambda stub, layer, output: _batches(
        stub.StreamFeatures(
            query.StreamFeaturesRequest(query=query.LayerQuery(layer=layer), output=output, resumable=True), timeout=10
        )
    ),
    "MatchFeatures": _matched,
    "BatchGetFeatures": lambda stub, layer, output: (
        stub.BatchGetFeatures(
            query.BatchGetFeaturesRequest(layer=layer, ids=list("12345"), output=output), timeout=10
        ).features
    ),
}


@pytest.mark.parametrize("layer", ["spots", "parts"])
@pytest.mark.parametrize("find", FINDS.values(), ids=FINDS)
def test_every_feature_that_is_found_says_which_version_it_is(served: Served, url: str, find: Find, layer: str) -> None:
    found = {int(feature.id): feature.etag for feature in find(served.stub, layer, BARE)}

    assert found == {key: version(url, layer, key) for key in range(1, 6)}


@pytest.mark.parametrize("find", [FINDS[name] for name in FINDS if name != "BatchGetFeatures"])
def test_searches_say_it_only_where_they_are_asked(served: Served, find: Find) -> None:
    found = find(served.stub, "spots", query.Output())

    assert len(found) == 5
    assert not any(feature.etag for feature in found)


@pytest.mark.parametrize("output", [{}, {"etags": True}, {"no_properties": True, "view": "GEOMETRY_VIEW_NONE"}])
def test_lookups_say_it_always(served: Served, url: str, output: dict[str, Any]) -> None:
    assert got(served, "spots", 2, **output).etag == version(url, "spots", 2)


def test_the_rest_of_a_feature_is_as_it_was_without(served: Served) -> None:
    (plain,) = [each for each in FINDS["SearchIntersects"](served.stub, "spots", query.Output()) if each.id == "2"]
    versioned = got(served, "spots", 2)
    versioned.etag = ""

    assert versioned == plain


def test_a_change_is_another_version_and_no_change_is_the_same(served: Served, url: str) -> None:
    before = got(served, "spots", 1).etag
    assert got(served, "spots", 1).etag == before

    fetch(url, 'UPDATE gis."100% Spots" SET name = name WHERE id = 1')

    assert got(served, "spots", 1).etag != before


def test_a_row_that_moves_to_another_partition_is_another_version(served: Served, url: str) -> None:
    fetch(url, "INSERT INTO parts VALUES (0, 'SRID=4326;POINT(50 50)')")
    before = got(served, "parts", 0).etag
    fetch(url, "UPDATE parts SET id = 7 WHERE id = 0")
    try:
        assert got(served, "parts", 7).etag not in ("", before)
    finally:
        fetch(url, "DELETE FROM parts WHERE id = 7")


@pytest.mark.parametrize("layer", ["seen", "kept"])
@pytest.mark.parametrize("find", FINDS.values(), ids=FINDS)
def test_the_rows_of_views_have_none(served: Served, find: Find, layer: str) -> None:
    found = find(served.stub, layer, query.Output(etags=True))

    assert [feature.etag for feature in found] == [""] * 5


@pytest.mark.parametrize("layout", ["COLUMNS", "ARROW"])
def test_columns_cannot_carry_them(served: Served, layout: str) -> None:
    asked = query.StreamFeaturesRequest(
        query=query.LayerQuery(layer="spots"), layout=f"BATCH_LAYOUT_{layout}", output=query.Output(etags=True)
    )
    with pytest.raises(grpc.RpcError) as error:
        list(served.stub.StreamFeatures(asked, timeout=10))
    refused = refusal(error.value)
    assert (refused.code, refused.reason, refused.fields) == ("INVALID_ARGUMENT", "UNEXPECTED_FIELD", ("output.etags",))


@pytest.mark.parametrize("side", ["left_output", "right_output"])
def test_pairs_cannot_carry_them(served: Served, side: str) -> None:
    output: Any = {side: query.Output(etags=True)}
    asked = query.StreamJoinRequest(query=query.JoinQuery(left_layer="spots", right_layer="parts"), **output)
    with pytest.raises(grpc.RpcError) as error:
        list(served.stub.StreamJoin(asked, timeout=10))
    refused = refusal(error.value)
    assert (refused.code, refused.reason) == ("INVALID_ARGUMENT", "UNEXPECTED_FIELD")
    assert refused.fields == (f"{side}.etags",)
