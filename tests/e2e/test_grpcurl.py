"""What a person with grpcurl sees."""

import json
import subprocess
from collections.abc import Callable
from typing import Any

import pytest

from tests.servers import Served

MANHATTAN = {"point": {"latitude": 40.7128, "longitude": -74.006}}
SQUARE = [[[-74.02, 40.70], [-73.99, 40.70], [-73.99, 40.72], [-74.02, 40.72], [-74.02, 40.70]]]
Grpcurl = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def grpcurl(tool: Callable[[str], str], demo_server: Served) -> Grpcurl:
    """Runs grpcurl against the server: `options`, then its words after the address; `data` is the request."""
    program = tool("grpcurl")

    def run(*words: str, data: dict[str, Any] | None = None, options: tuple[str, ...] = ()) -> Any:
        request = () if data is None else ("-d", json.dumps(data))
        command = [program, "-plaintext", *options, *request, demo_server.address, *words]
        return subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)

    return run


def answer(ended: subprocess.CompletedProcess[str]) -> Any:
    assert ended.returncode == 0, ended.stderr
    return json.loads(ended.stdout)


def answers(text: str) -> list[Any]:
    """The messages of a stream, one after the other."""
    found = []
    while text := text.lstrip():
        message, end = json.JSONDecoder().raw_decode(text)
        found.append(message)
        text = text[end:]
    return found


def test_list_names_every_service(grpcurl: Grpcurl) -> None:
    assert grpcurl("list").stdout.split() == [
        "grpc.health.v1.Health",
        "grpc.reflection.v1.ServerReflection",
        "grpc.reflection.v1alpha.ServerReflection",
        "spatial.v1.AdminService",
        "spatial.v1.FeatureService",
        "spatial.v1.SpatialService",
    ]


def test_list_names_every_method(grpcurl: Grpcurl) -> None:
    changing = grpcurl("list", "spatial.v1.FeatureService").stdout.split()
    assert [name.rpartition(".")[2] for name in changing] == [
        "CreateFeature",
        "DeleteFeature",
        "DeleteFeatures",
        "GetImport",
        "ImportFeatures",
        "UpdateFeature",
    ]
    methods = grpcurl("list", "spatial.v1.SpatialService").stdout.split()
    assert methods == [
        f"spatial.v1.SpatialService.{name}"
        for name in (
            "AggregateGrid",
            "BatchGetFeatures",
            "CountFeatures",
            "GetFeature",
            "GetLayer",
            "ListLayers",
            "MatchFeatures",
            "RefreshLayers",
            "SearchIntersects",
            "SearchNearest",
            "SearchRadius",
            "StreamFeatures",
            "StreamIntersects",
            "StreamJoin",
            "StreamRadius",
        )
    ]


@pytest.mark.parametrize(
    ("symbol", "declares"),
    [
        ("spatial.v1.SpatialService", "rpc SearchRadius ( .spatial.v1.SearchRadiusRequest )"),
        ("spatial.v1.SpatialService.SearchNearest", "returns ( .spatial.v1.SearchNearestResponse )"),
        ("spatial.v1.Probe", ".google.type.LatLng point = 1;"),
        ("spatial.v1.Predicate", "PREDICATE_COVERED_BY = 5;"),
        ("spatial.v1.ErrorReason", "ERROR_REASON_POOL_EXHAUSTED = 80;"),
        ("grpc.health.v1.Health", "rpc Watch ("),
        ("grpc.reflection.v1.ServerReflection", "rpc ServerReflectionInfo"),
        ("grpc.reflection.v1alpha.ServerReflection", "rpc ServerReflectionInfo"),
        ("grpc.reflection.v1.ServerReflectionRequest", "string file_containing_symbol"),
        ("google.rpc.ErrorInfo", "string reason = 1;"),
        ("google.rpc.BadRequest", "field_violations = 1;"),
        ("google.rpc.RetryInfo", "retry_delay = 1;"),
    ],
)
def test_describe(grpcurl: Grpcurl, symbol: str, declares: str) -> None:
    described = grpcurl("describe", symbol)
    assert described.returncode == 0, described.stderr
    assert declares in described.stdout


def test_a_radius_search_with_wkt_output(grpcurl: Grpcurl) -> None:
    request = {
        "query": {"layer": "facilities", "center": MANHATTAN, "radius_meters": 2000},
        "output": {"properties": ["name", "kind"], "encoding": "GEOMETRY_ENCODING_WKT"},
    }
    features = answer(grpcurl("spatial.v1.SpatialService/SearchRadius", data=request))["features"]
    assert features
    for feature in features:
        assert feature["geometry"]["wkt"].startswith("POINT(-7")
        assert feature["geometry"]["srid"] == 4326
        assert set(feature["properties"]) == {"name", "kind"}
    distances = [feature["distance_meters"] for feature in features]
    assert distances == sorted(distances)
    assert distances[-1] <= 2000


def test_an_intersects_search_with_a_geojson_probe(grpcurl: Grpcurl) -> None:
    request = {
        "query": {
            "layer": "districts",
            "probe": {"geometry": {"geojson": {"type": "Polygon", "coordinates": SQUARE}}},
            "predicate": "PREDICATE_INTERSECTS",
        },
        "output": {"properties": ["name"], "view": "GEOMETRY_VIEW_CENTROID", "encoding": "GEOMETRY_ENCODING_GEOJSON"},
    }
    features = answer(grpcurl("spatial.v1.SpatialService/SearchIntersects", data=request))["features"]
    assert "Manhattan" in [feature["properties"]["name"] for feature in features]
    assert {feature["geometry"]["geojson"]["type"] for feature in features} == {"Point"}


def test_a_nearest_search(grpcurl: Grpcurl) -> None:
    request = {
        "query": {"layer": "facilities", "center": MANHATTAN},
        "output": {"properties": ["name"], "view": "GEOMETRY_VIEW_NONE"},
        "limit": 3,
    }
    features = answer(grpcurl("spatial.v1.SpatialService/SearchNearest", data=request))["features"]
    assert len(features) == 3
    assert all("geometry" not in feature for feature in features)


def test_a_stream_of_rows_with_wkt(grpcurl: Grpcurl) -> None:
    request = {
        "query": {"layer": "zones", "bbox": {"west": -10, "south": 35, "east": 30, "north": 60}},
        "output": {"properties": ["name"], "view": "GEOMETRY_VIEW_CENTROID", "encoding": "GEOMETRY_ENCODING_WKT"},
        "resumable": True,
    }
    (batch,) = answers(grpcurl("spatial.v1.SpatialService/StreamFeatures", data=request).stdout)
    features = batch["rows"]["features"]
    assert {"France", "Germany"} <= {feature["properties"]["name"] for feature in features}
    assert all(feature["geometry"]["wkt"].startswith("POINT(") for feature in features)
    assert [int(feature["id"]) for feature in features] == sorted(int(feature["id"]) for feature in features)
    rest = grpcurl("spatial.v1.SpatialService/StreamFeatures", data=request | {"resume_token": batch["resume_token"]})
    assert (rest.returncode, rest.stdout) == (0, "")


def test_a_plan_is_explained(grpcurl: Grpcurl) -> None:
    request = {"query": {"radius": {"layer": "facilities", "center": MANHATTAN, "radius_meters": 2000}}}
    explained = answer(grpcurl("spatial.v1.AdminService/Explain", data=request))
    assert explained["indexes"] == ["ix_facilities_location_gist"]
    assert "ix_facilities_location_gist on facilities" in explained["text"]
    assert "sequential_scans" not in explained
    assert json.loads(explained["json"])[0]["Plan"]["Total Cost"] == explained["total_cost"]


@pytest.mark.parametrize("version", ["v1", "v1alpha"])
def test_each_version_of_reflection_serves_alone(grpcurl: Grpcurl, version: str) -> None:
    """Asked by hand, since grpcurl takes v1 wherever there is v1."""
    request = {"list_services": "*"}
    method = f"grpc.reflection.{version}.ServerReflection/ServerReflectionInfo"
    services = answer(grpcurl(method, data=request))["list_services_response"]["service"]
    assert {"name": "spatial.v1.SpatialService"} in services
    assert {"name": f"grpc.reflection.{version}.ServerReflection"} in services


def test_an_error_comes_with_its_details(grpcurl: Grpcurl) -> None:
    request = {"query": {"layer": "facilities", "center": MANHATTAN, "radius_meters": -1}}
    options = ("-format-error", "-rpc-header", "x-request-id: by-hand")
    ended = grpcurl("spatial.v1.SpatialService/SearchRadius", data=request, options=options)
    assert ended.returncode == 64 + 3
    error = json.loads(ended.stderr)
    assert error["code"] == 3
    assert error["message"].startswith("query.radius_meters: ")
    info, bad_request = error["details"]
    assert (info["@type"], info["reason"], info["domain"]) == (
        "type.googleapis.com/google.rpc.ErrorInfo",
        "OUT_OF_RANGE",
        "spatial.v1",
    )
    assert bad_request["@type"] == "type.googleapis.com/google.rpc.BadRequest"
    assert [violation["field"] for violation in bad_request["field_violations"]] == ["query.radius_meters"]


def test_an_error_is_readable_as_text(grpcurl: Grpcurl) -> None:
    ended = grpcurl("spatial.v1.SpatialService/GetLayer", data={"name": "rivers"})
    assert ended.returncode == 64 + 5
    for part in ("Code: NotFound", "no layer is called 'rivers'", '"reason": "LAYER_NOT_FOUND"', '"layer": "rivers"'):
        assert part in ended.stderr


def test_the_request_id_comes_back(grpcurl: Grpcurl) -> None:
    ended = grpcurl("spatial.v1.SpatialService/ListLayers", options=("-v", "-rpc-header", "x-request-id: by-hand"))
    assert ended.returncode == 0
    assert "x-request-id: by-hand" in ended.stdout.partition("Response trailers received:")[2]


@pytest.mark.parametrize("service", ["", "spatial.v1.SpatialService", "spatial.v1.FeatureService", "liveness"])
def test_a_health_check(grpcurl: Grpcurl, service: str) -> None:
    assert answer(grpcurl("grpc.health.v1.Health/Check", data={"service": service})) == {"status": "SERVING"}


def test_a_watch_of_health_answers_at_once_and_stays_open(grpcurl: Grpcurl) -> None:
    ended = grpcurl("grpc.health.v1.Health/Watch", options=("-max-time", "1"))
    assert json.loads(ended.stdout) == {"status": "SERVING"}
    assert "DeadlineExceeded" in ended.stderr
