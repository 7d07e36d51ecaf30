"""What of each feature an answer carries: properties, views, encodings."""

from collections.abc import Callable, Iterator
from typing import Any

import grpc
import pytest
import shapely
from google.protobuf.json_format import MessageToDict
from shapely.geometry.base import BaseGeometry

from spatial.v1 import query_pb2 as query
from tests.oracle import fetch, geometries
from tests.searches import intersects, nearest, point, radius
from tests.servers import refusal, serving

VIEWS: dict[str, Callable[[Any], Any]] = {
    "UNSPECIFIED": lambda g: g,
    "FULL": lambda g: g,
    "CENTROID": shapely.centroid,
    "BBOX": shapely.envelope,
}
COLUMNS = {"facilities": "location", "zones": "boundary", "districts": "boundary", "parcels": "boundary"}
STORED = {
    "facilities": "name kind country population tags active attributes created_at updated_at",
    "zones": "code name category attributes created_at updated_at",
    "zone_centroids": "code name category attributes created_at updated_at",
    "districts": "name attributes created_at updated_at",
    "parcels": "number name land_use district_id attributes created_at updated_at district_name",
}


@pytest.fixture(scope="module")
def stub(demo_database: str) -> Iterator[Any]:
    with serving(demo_database) as served:
        yield served.stub


def get(stub: Any, layer: str, key: int, **output: Any) -> Any:
    return stub.GetFeature(query.GetFeatureRequest(layer=layer, id=str(key), output=query.Output(**output)), timeout=10)


def decoded(geometry: Any) -> Any:
    encoding = geometry.WhichOneof("encoding")
    if encoding == "geojson":
        return shapely.geometry.shape(MessageToDict(geometry.geojson))
    return shapely.from_wkb(geometry.wkb) if encoding == "wkb" else shapely.from_wkt(geometry.wkt)


@pytest.fixture(scope="module")
def boundaries(demo_database: str) -> dict[str, dict[int, BaseGeometry]]:
    return {layer: geometries(demo_database, layer, column) for layer, column in COLUMNS.items()}


@pytest.mark.parametrize("encoding", ["WKB", "WKT", "GEOJSON"])
@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("layer", COLUMNS)
def test_a_view_in_an_encoding(
    stub: Any, boundaries: dict[str, dict[int, BaseGeometry]], layer: str, view: str, encoding: str
) -> None:
    stored = boundaries[layer]
    smallest = min(stored, key=lambda key: shapely.get_num_coordinates(stored[key]))
    for key in {smallest, 1, 2, 3}:
        asked = {"view": f"GEOMETRY_VIEW_{view}", "encoding": f"GEOMETRY_ENCODING_{encoding}"}
        geometry = get(stub, layer, key, **asked).geometry

        assert geometry.WhichOneof("encoding") == encoding.lower()
        assert geometry.srid == 4326
        expected = VIEWS[view](stored[key])
        assert decoded(geometry).geom_type == expected.geom_type
        assert shapely.equals_exact(decoded(geometry).normalize(), expected.normalize(), tolerance=1e-9)


def test_wkb_is_little_endian_iso_and_the_default(stub: Any, demo_database: str) -> None:
    ((data,),) = fetch(demo_database, "SELECT ST_AsBinary(boundary, 'NDR') FROM zones WHERE id = 1")

    assert get(stub, "zones", 1).geometry.wkb == bytes(data)
    assert get(stub, "zones", 1, view="GEOMETRY_VIEW_BBOX").geometry.wkb[0] == 1


def test_no_view_is_no_geometry(stub: Any) -> None:
    for encoding in ("WKB", "WKT", "GEOJSON"):
        feature = get(stub, "zones", 1, view="GEOMETRY_VIEW_NONE", encoding=f"GEOMETRY_ENCODING_{encoding}")
        assert not feature.HasField("geometry")
        assert feature.properties["name"]


@pytest.mark.parametrize("layer", STORED)
def test_all_that_is_stored_comes_unless_asked_otherwise(stub: Any, layer: str) -> None:
    assert sorted(get(stub, layer, 1).properties) == sorted(STORED[layer].split())


def test_what_is_named_comes_and_nothing_else(stub: Any) -> None:
    feature = get(stub, "parcels", 1, properties=["vertex_count", "number", "vertex_count"])

    assert sorted(feature.properties) == ["number", "vertex_count"]


def test_computed_properties_are_right(stub: Any, demo_database: str) -> None:
    rows = fetch(
        demo_database, "SELECT id, ST_NPoints(boundary), ST_Area(geography(boundary)) FROM zones ORDER BY id LIMIT 5"
    )
    for key, vertices, area in rows:
        properties = get(stub, "zones", key, properties=["vertex_count", "area_square_meters"]).properties
        assert (properties["vertex_count"], properties["area_square_meters"]) == (vertices, area)
    place = get(stub, "facilities", 1, properties=["longitude", "latitude"])
    position = shapely.from_wkb(place.geometry.wkb)
    assert (place.properties["longitude"], place.properties["latitude"]) == (position.x, position.y)


def test_every_type_of_property_travels_as_the_contract_says(database: str) -> None:
    attributes = '{"a": [1, 2.5, null, true, {"b": "ü\\u0001"}], "big": 9007199254740993, "": {}, "e": []}'
    fetch(
        database,
        "INSERT INTO facilities (name, kind, country, population, location, tags, active, attributes, created_at)"
        " VALUES ('Zürich ☃', '', NULL, 9007199254740993, 'SRID=4326;POINT(8.5 47.4)', '{a,NULL,\"b \\\"c\"}', false,"
        " %s, '2024-02-29 23:59:59.000001+01'),"
        " ('x', 'x', 'CH', 7, 'SRID=4326;POINT(1 1)', '{}', true, '{}', 'infinity'),"
        " ('x', 'x', 'CH', -9007199254740993, 'SRID=4326;POINT(1 1)', '{}', true, '{}', '0001-01-01 00:00:00+00')",
        attributes,
    )
    with serving(database) as served:
        first, second, third = (MessageToDict(get(served.stub, "facilities", key).properties) for key in (1, 2, 3))

    del first["updated_at"]
    assert first == {
        "name": "Zürich ☃",
        "kind": "",
        "country": None,
        "population": "9007199254740993",
        "tags": ["a", None, 'b "c'],
        "active": False,
        "attributes": {"a": [1, 2.5, None, True, {"b": "ü\x01"}], "big": "9007199254740993", "": {}, "e": []},
        "created_at": "2024-02-29T22:59:59.000001Z",
    }
    assert (second["population"], second["active"], second["created_at"]) == (7, True, "infinity")
    assert (third["population"], third["created_at"]) == ("-9007199254740993", "0001-01-01T00:00:00Z")


@pytest.mark.parametrize(
    "attributes",
    [
        '{"numbers": [1e400, -1e400, 1e400.5]}'.replace("1e400.5", "1" + "0" * 400 + ".5"),
        '{"digits": 1e5000}',
        '{"deep": ' + "[" * 60 + "]" * 60 + "}",
    ],
    ids=["numbers beyond a double", "more digits than Python reads", "deep"],
)
def test_any_json_that_a_row_holds_can_be_read(database: str, attributes: str) -> None:
    fetch(
        database,
        "INSERT INTO facilities (name, kind, location, attributes) VALUES ('x', 'x', 'SRID=4326;POINT(1 1)', %s)",
        attributes,
    )
    with serving(database) as served:
        feature = get(served.stub, "facilities", 1)

    assert MessageToDict(feature.properties)["name"] == "x"


def test_an_unknown_property_is_named(stub: Any) -> None:
    output = query.Output(properties=["name", "colour", "smell"])
    calls = [
        (stub.GetFeature, query.GetFeatureRequest(layer="zones", id="1", output=output)),
        (stub.BatchGetFeatures, query.BatchGetFeaturesRequest(layer="zones", ids=["1"], output=output)),
        (stub.SearchRadius, query.SearchRadiusRequest(query=radius("zones", point(0, 0), 1), output=output)),
        (stub.SearchNearest, query.SearchNearestRequest(query=nearest("zones", point(0, 0)), output=output)),
        (stub.SearchIntersects, query.SearchIntersectsRequest(query=intersects("zones", point(0, 0)), output=output)),
    ]
    for call, request in calls:
        with pytest.raises(grpc.RpcError) as raised:
            call(request, timeout=10)
        refused = refusal(raised.value)
        assert (refused.code, refused.reason) == ("INVALID_ARGUMENT", "UNKNOWN_PROPERTY")
        assert refused.fields == ("output.properties[1]",)


@pytest.mark.parametrize("field", ["view", "encoding"])
def test_an_unknown_enum_value_is_refused(stub: Any, field: str) -> None:
    with pytest.raises(grpc.RpcError) as raised:
        get(stub, "zones", 1, **{field: 99})

    refused = refusal(raised.value)
    assert (refused.reason, refused.fields) == ("UNKNOWN_ENUM_VALUE", (f"output.{field}",))


def test_every_search_carries_the_same_feature(stub: Any) -> None:
    """But for the distance, which only radius and nearest have."""
    output = query.Output(view="GEOMETRY_VIEW_BBOX", encoding="GEOMETRY_ENCODING_WKT", etags=True)
    center = point(13.4, 52.5)
    expected = None
    for call, request in [
        (stub.SearchRadius, query.SearchRadiusRequest(query=radius("zones", center, 0), output=output)),
        (stub.SearchNearest, query.SearchNearestRequest(query=nearest("zones", center), output=output, limit=1)),
        (stub.SearchIntersects, query.SearchIntersectsRequest(query=intersects("zones", center), output=output)),
    ]:
        (feature,) = call(request, timeout=10).features
        assert feature.HasField("distance_meters") == (call is not stub.SearchIntersects)
        feature.ClearField("distance_meters")
        assert feature == get(stub, "zones", int(feature.id), view=2 + 2, encoding=2)
        assert expected in (None, feature)
        expected = feature
