"""Tables that were there before: what of them becomes a layer, and that each answers like any other."""

import logging
from collections.abc import Iterator
from math import inf, isnan
from typing import Any

import duckdb
import grpc
import pytest
import shapely
from shapely.geometry.base import BaseGeometry

from service.catalog import Layer
from spatial.v1 import geometry_pb2
from spatial.v1 import query_pb2 as query
from spatial_client import SpatialClient
from tests.awkward import LAYERS, STRANGE, everything, found, ids
from tests.searches import box, intersects, nearest, point, radius
from tests.servers import Served, refusal, serving
from tests.situations import fetch
from tests.streams import LAYOUTS

CONFIGURATION = """
layers:
  - table: public.seen
    key: ident
    description: The first half.
  - {table: public.kept, key: ident, name: kept snapshot}
  - {table: public.outer_seen, key: id}
  - {table: public.keyed_by_two, key: a}
  - {table: public.far, key: id}
  - {table: public.unindexed, unindexed: true}
  - {table: public.anything, name: tall, type: GEOMETRY, srid: 4326}
  - {table: public.two_geometries, geometry: middle, name: middles}
  - {table: public.kinds, name: few, properties: [c_text, c_integer], hidden: [c_integer]}
  - {table: public.kinds, name: fewer, hidden: [c_bytea]}
"""


@pytest.fixture(scope="module")
def served(awkward_database: str) -> Iterator[Served]:
    with serving(awkward_database, layers=LAYERS) as served:
        yield served


@pytest.fixture(scope="module")
def configured(awkward_database: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    path = tmp_path_factory.mktemp("layers") / "layers.yaml"
    path.write_text(CONFIGURATION)
    with serving(awkward_database, layers=str(path)) as served:
        yield served


def described(served: Served, name: str) -> query.Layer:
    layer: query.Layer = served.stub.GetLayer(query.GetLayerRequest(name=name), timeout=10)
    return layer


def layer(served: Served, name: str) -> Layer:
    return served.server.catalog[name]


def feature(served: Served, name: str, key: object, **output: Any) -> Any:
    asked = query.GetFeatureRequest(layer=name, id=str(key), output=query.Output(**output))
    return served.stub.GetFeature(asked, timeout=10)


def shape(found: Any) -> BaseGeometry:
    made: BaseGeometry = shapely.from_wkb(found.geometry.wkb)
    return made


def test_the_server_is_ready_without_any_migration(served: Served) -> None:
    assert served.health() == "SERVING"


def test_a_pattern_serves_what_it_finds_and_nothing_of_postgis(served: Served) -> None:
    names = {each.name for each in served.stub.ListLayers(query.ListLayersRequest(), timeout=10).layers}

    assert names == {
        *("keyed_smallint", "keyed_integer", "keyed_bigint", "keyed_uuid", "keyed_text", "keyed_varchar"),
        *("keyed_domain", "keyed_unique", "measured", "tracks", "anything", "curves", "flat", "projected"),
        *("two_geometries", "two_geometries.middle", "of_domain", "probe", "reach", "places"),
        *("partitioned", "kinds", "towns", "regions"),
        *("gis.roads", "gis.keyed_integer", STRANGE),
    }


def test_what_is_not_served_is_logged_with_the_reason(awkward_database: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, "spatial.layers")
    with serving(awkward_database, layers="public.*"):
        pass
    told = "\n".join(record.message for record in caplog.records)

    for line in (
        "table public.keyed_by_two is not served: its primary key has 2 columns (a, b), and ids are single values",
        "table public.keyed_by_none is not served: it has no key of a single column",
        "table public.keyed_numeric is not served: its key 'id' is of type numeric",
        "table public.seen is not served: a view has no key of its own",
        "table public.mixed is not served: the geometries in 'geom' have several SRIDs: 3857, 4326",
        "table public.unindexed is not served: it has no spatial index: create one, or serve it with `unindexed: true`",
        "`: CREATE INDEX CONCURRENTLY ON public.unindexed USING gist (geom);",
        "layer 'curves': distances in metres read the whole table: there is no index on geography(geom): CREATE INDEX",
    ):
        assert line in told


@pytest.mark.parametrize(
    ("name", "expected"),
    {
        "keyed_integer": ("POINT", 4326, "public.keyed_integer", "id", "geom", False, []),
        "keyed_unique": (
            *("POINT", 4326, "public.keyed_unique", "id", "geom", False),
            ["CREATE INDEX CONCURRENTLY ON public.keyed_unique USING gist (geography(geom));"],
        ),
        STRANGE: (
            *("POINT", 4326, '"Straße 1.a"."100% ""Größe"""', "Schlüssel %s", "geo metrie %", False),
            ['CREATE INDEX CONCURRENTLY ON "Straße 1.a"."100% ""Größe""" USING gist (geography("geo metrie %"));'],
        ),
        "partitioned": (
            *("POINT", 4326, "public.partitioned", "id", "geom", False),
            ["CREATE INDEX ON public.partitioned USING gist (geography(geom));"],
        ),
        "flat": ("POLYGON", 0, "public.flat", "id", "geom", False, []),
        "projected": ("POINT", 3857, "public.projected", "id", "geom", False, []),
        "towns": ("POINT", 4326, "public.towns", "id", "place", True, []),
        "regions": (
            *("POLYGON", 4326, "public.regions", "id", "area", True),
            ["CREATE INDEX CONCURRENTLY ON public.regions USING gist (geometry(area));"],
        ),
        "measured": ("POINTZM", 4326, "public.measured", "id", "geom", False, None),
        "tracks": ("LINESTRINGM", 4326, "public.tracks", "id", "geom", False, None),
        "anything": ("GEOMETRY", 4326, "public.anything", "id", "geom", False, None),
        "of_domain": ("POINT", 4326, "public.of_domain", "id", "geom", False, None),
    }.items(),
)
def test_a_layer_is_described(served: Served, name: str, expected: tuple[object, ...]) -> None:
    known = described(served, name)
    facts = (known.geometry_type, known.srid, known.source, known.key, known.geometry_column, known.geography)

    assert facts == expected[:6]
    if expected[6] is not None:
        assert [problem.statement for problem in known.problems] == expected[6]


def test_the_statement_of_a_problem_mends_it(database: str) -> None:
    fetch(database, "CREATE TABLE spots (id int PRIMARY KEY, geom geometry(Point, 4326))")
    fetch(database, "CREATE INDEX ON spots USING gist (geom)")
    with serving(database, layers="spots") as served:
        (problem,) = described(served, "spots").problems
        fetch(database, problem.statement)
        assert not described(served, "spots").problems


# Properties.


def test_every_type_travels_as_what_it_is(served: Served) -> None:
    values = {name: _plain(value) for name, value in feature(served, "kinds", 1).properties.fields.items()}

    assert values == {
        "c_smallint": -7,
        "c_integer": 1073741823,
        "c_bigint": "9007199254740993",
        "c_numeric": 123456.789,
        "c_real": 1.5,
        "c_double": 0.1,
        "c_boolean": True,
        "c_timestamptz": "2024-02-29T10:34:56.789000Z",
        "c_timestamp": "2024-02-29T12:34:56",
        "c_date": "2024-02-29",
        "c_time": "12:34:56",
        "c_timetz": "12:34:56+02",
        "c_interval": "P1DT2H3M4S",
        "c_uuid": "11111111-2222-3333-4444-555555555555",
        "c_enum": "Glücklich",
        "c_inet": "10.0.0.1/32",
        "c_cidr": "10.0.0.0/8",
        "c_range": "[1,5)",
        "c_tsrange": '["2024-01-01 00:00:00","2024-02-01 00:00:00")',
        "c_xml": "<a>b</a>",
        "c_text": "Text",
        "c_varchar": "short",
        "c_char": "ab",
        "c_money": "$12.50",
        "c_bits": "101",
        "c_tsvector": "'a' 'b'",
        "c_json": {"a": "\0", "b": [1.5]},
        "c_jsonb": {"a": {"b": None}},
        "c_integers": [1, None, 3],
        "c_texts": ["a", "b c"],
        "c_moods": ["sad", "ok"],
        "c_hstore": {"x": "1"},
        "c_composite": {"a": 5, "b": "five"},
        "c_bytea": "AP8Q",
        "c_domain": 12.5,
        "c_generated": 2147483646,
    }


def _plain(value: Any) -> Any:
    kind = value.WhichOneof("kind")
    if kind == "struct_value":
        return {name: _plain(each) for name, each in value.struct_value.fields.items()}
    if kind == "list_value":
        return [_plain(each) for each in value.list_value.values]
    return None if kind == "null_value" else getattr(value, kind)


@pytest.mark.parametrize("style", ["SQL, DMY", "German", "Postgres, MDY"])
def test_times_are_in_iso_form_whatever_the_database_has_for_a_style(
    awkward_database: str, served: Served, style: str
) -> None:
    name = awkward_database.rpartition("/")[2]
    fetch(awkward_database, f"ALTER DATABASE {name} SET DateStyle = '{style}'")
    fetch(awkward_database, f"ALTER DATABASE {name} SET IntervalStyle = 'sql_standard'")
    times = ["c_timestamp", "c_date", "c_interval", "c_tsrange"]
    try:
        with serving(awkward_database, layers="public.kinds") as fresh:
            (shown, same) = (feature(each, "kinds", 1, properties=times).properties for each in (fresh, served))
    finally:
        fetch(awkward_database, f"ALTER DATABASE {name} RESET ALL")

    assert shown == same


def test_what_is_not_finite_or_not_there_is_said_in_words(served: Served) -> None:
    kinds = [feature(served, "kinds", key).properties for key in range(1, 5)]
    values = [{name: _plain(value) for name, value in each.fields.items()} for each in kinds]

    assert [values[1][name] for name in ("c_numeric", "c_real", "c_double")] == ["NaN", "Infinity", "NaN"]
    assert [each["c_timestamptz"] for each in values[1:]] == ["infinity", "-infinity", "out of range"]
    assert (values[1]["c_timestamp"], values[1]["c_date"], values[3]["c_date"]) == (
        "-infinity",
        "infinity",
        "0044-03-15 BC",
    )


@pytest.mark.parametrize("layout", ["COLUMNS", "ARROW"])
def test_what_is_not_finite_or_not_there_is_in_columns(served: Served, layout: str) -> None:
    values = {each.id: each.properties for each in everything(served.stub, layer(served, "kinds"), layout)}

    assert sorted(values) == ["1", "2", "3", "4"]
    assert isnan(values["2"]["c_numeric"])
    assert values["2"]["c_real"] == inf
    assert values["3"]["c_numeric"] == -inf
    assert [values[key]["c_bytea"] for key in "123"] == [b"\0\xff\x10", b"", None]
    assert [values[key]["c_bigint"] for key in "12"] == [9007199254740993, None]
    assert values["1"]["c_json"] == {"a": "\0", "b": [1.5]}


def test_columns_that_may_be_seen_are_chosen_by_the_configuration(configured: Served) -> None:
    assert [each.name for each in described(configured, "few").properties] == ["c_text"]
    names = [each.name for each in described(configured, "fewer").properties]
    assert "c_bytea" not in names
    assert "c_text" in names
    assert dict(feature(configured, "few", 1).properties) == {"c_text": "Text"}


# Geometries.


def test_heights_and_measures_travel_untouched(served: Served) -> None:
    assert feature(served, "measured", 1, encoding="GEOMETRY_ENCODING_WKT").geometry.wkt == "POINT ZM (1 2 3 4)"
    assert shapely.get_coordinates(shape(feature(served, "measured", 1)), include_z=True).tolist() == [[1, 2, 3]]
    wkt = feature(served, "tracks", 1, encoding="GEOMETRY_ENCODING_WKT").geometry.wkt
    assert wkt == "LINESTRING M (0 0 10,1 1 20)"
    assert not feature(served, "measured", 2).HasField("geometry")
    assert ids(served.stub, intersects("measured", box(0, 0, 5, 5))) == ["1"]


def test_curves_are_found_and_sent(served: Served) -> None:
    assert ids(served.stub, intersects("curves", point(1, 0.9))) == ["1"]
    assert ids(served.stub, intersects("curves", point(0.02, 0.9))) == []
    wkt = feature(served, "curves", 1, encoding="GEOMETRY_ENCODING_WKT").geometry.wkt
    assert wkt == "CURVEPOLYGON(CIRCULARSTRING(0 0,1 1,2 0,1 -1,0 0))"


def test_of_curves_there_are_only_planar_distances(served: Served) -> None:
    assert ids(served.stub, radius("curves", point(0, 0), 1, "PLANAR")) == ["1"]
    with pytest.raises(grpc.RpcError) as refused:
        ids(served.stub, radius("curves", point(0, 0), 1))
    details = refusal(refused.value)
    assert (details.code, details.reason) == ("FAILED_PRECONDITION", "UNSUPPORTED_DISTANCE_MODEL")


def test_geometries_of_several_types_are_one_layer(served: Served) -> None:
    assert ids(served.stub, intersects("anything", box(3.5, 0, 9, 9))) == ["3", "4"]


def test_each_geometry_column_is_a_layer(served: Served) -> None:
    assert shape(feature(served, "two_geometries", 3)).equals(shapely.box(3, 0, 3.5, 0.5))
    assert shape(feature(served, "two_geometries.middle", 3)).equals(shapely.Point(3.25, 0.25))
    assert ids(served.stub, intersects("two_geometries.middle", box(2, 0, 4.3, 1))) == ["2", "3", "4"]


def test_a_geometry_column_can_have_a_name_of_its_own(configured: Served) -> None:
    assert described(configured, "middles").geometry_column == "middle"
    assert shape(feature(configured, "middles", 0)).equals(shapely.Point(0.25, 0.25))


@pytest.mark.parametrize("model", ["UNSPECIFIED", "SPHERE"])
def test_without_a_crs_there_are_only_planar_distances(served: Served, model: str) -> None:
    probe = geometry_pb2.Probe(geometry=geometry_pb2.Geometry(wkt="POINT (22 2)", srid=0))
    (only,) = found(served.stub, radius("flat", probe, 4, "PLANAR"))
    assert (only.id, only.distance_meters) == ("2", 0.0)
    with pytest.raises(grpc.RpcError) as refused:
        found(served.stub, radius("flat", probe, 4, model))
    details = refusal(refused.value)
    assert (details.code, details.reason) == ("FAILED_PRECONDITION", "UNSUPPORTED_DISTANCE_MODEL")


# Names.


def test_names_with_anything_in_them_are_names(served: Served) -> None:
    (only,) = found(served.stub, nearest(STRANGE, point(3, 3)), limit=1)
    assert (only.id, dict(only.properties)) == ("3", {"Höhe %(x)s": 1.5, "select": "Wert 3"})
    assert ids(served.stub, intersects(STRANGE, box(2, 2, 4, 4))) == ["2", "3", "4"]


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", [STRANGE, "probe", "reach", "places", "gis.roads", "partitioned", "of_domain"])
def test_every_relation_streams_in_every_layout(awkward_database: str, served: Served, name: str, layout: str) -> None:
    known = layer(served, name)
    (count,) = fetch(awkward_database, f"SELECT count(*) FROM {known.qualified_name}")[0]
    streamed = everything(served.stub, known, layout)

    assert len({each.id for each in streamed}) == len(streamed) == count
    assert all(each.geometry for each in streamed)


@pytest.mark.parametrize("name", ["probe", "reach", "places"])
def test_a_table_may_be_called_what_statements_call_something(served: Served, name: str) -> None:
    assert ids(served.stub, intersects(name, box(2, 2, 4, 4))) == ["2", "3", "4"]
    assert ids(served.stub, nearest(name, point(7, 7)), limit=2) == ["7", "8"]
    assert ids(served.stub, radius(name, point(5, 5), 1000)) == ["5"]


def test_tables_of_one_name_are_told_apart_by_their_schema(served: Served) -> None:
    assert described(served, "gis.keyed_integer").source == "gis.keyed_integer"
    assert described(served, "keyed_integer").source == "public.keyed_integer"


# Views.


def test_a_view_is_a_layer_once_its_key_is_named(configured: Served) -> None:
    view = described(configured, "seen")
    assert (view.description, view.key, view.estimated_rows > 0) == ("The first half.", "ident", True)
    assert not view.HasField("extent")
    assert not view.problems
    assert [each.id for each in everything(configured.stub, layer(configured, "seen"), resumable=True)][:2] == [
        "0",
        "20000003",
    ]
    assert ids(configured.stub, intersects("seen", box(0, -1, 0.015, 1))) == ["0", "20000003"]


def test_a_materialized_view_is_a_layer_once_its_key_is_named(configured: Served) -> None:
    view = described(configured, "kept snapshot")
    assert view.estimated_rows == 100
    assert view.extent.east == pytest.approx(0.99, abs=0.01)
    assert feature(configured, "kept snapshot", 20000003).properties["n"] == 1


@pytest.mark.parametrize("layout", LAYOUTS)
def test_rows_of_a_view_without_a_key_are_no_features(configured: Served, layout: str) -> None:
    keys = [int(each.id) for each in everything(configured.stub, layer(configured, "outer_seen"), layout)]
    assert sorted(keys) == list(range(100))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_foreign_table_is_a_layer_once_its_key_is_named(configured: Served, layout: str) -> None:
    assert ids(configured.stub, intersects("far", box(1.5, 1.5, 3.5, 3.5))) == ["2", "3"]
    assert ids(configured.stub, nearest("far", point(5, 5)), limit=1) == ["5"]
    assert sorted(each.id for each in everything(configured.stub, layer(configured, "far"), layout)) == [*"12345"]
    assert not described(configured, "far").problems


def test_bytes_reach_frames_and_tables(served: Served) -> None:
    with SpatialClient(served.address) as client:
        asked = client.stream_features("kinds", properties=["c_bytea", "c_text"])
        frame, arrow = asked.to_geopandas(), asked.to_arrow()
        (some,) = asked.columns()
        columns = dict(zip(some.ids, some.properties["c_bytea"], strict=True))
    expected = {1: b"\0\xff\x10", 2: b"", 3: None, 4: None}

    assert dict(zip(frame["id"], frame["c_bytea"], strict=True)) == expected
    assert dict(duckdb.from_arrow(arrow).project("id, c_bytea").fetchall()) == expected
    assert columns == expected


def test_a_table_without_an_index_is_served_where_that_is_wanted(configured: Served) -> None:
    assert ids(configured.stub, intersects("unindexed", box(1.5, 1.5, 3.5, 3.5))) == ["2", "3"]
    assert described(configured, "unindexed").problems[0].statement == (
        "CREATE INDEX CONCURRENTLY ON public.unindexed USING gist (geom);"
    )
