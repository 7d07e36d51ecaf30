"""What is right, or wrong in a known way, for each of the codecs: where mutants begin."""

from collections.abc import Iterator
from typing import Any

from spatial.v1 import feature_pb2, geometry_pb2
from spatial.v1.admin_pb2 import AnalyzeLayerRequest, DiagnoseRequest, ExplainRequest
from spatial.v1.query_pb2 import (
    AggregateGridRequest,
    CountFeaturesRequest,
    JoinQuery,
    LayerQuery,
    MatchProbe,
    MatchRequest,
    Query,
)
from tests import write_refusals
from tests.fuzz.codecs import CODECS
from tests.fuzz.contract import rpcs
from tests.fuzz.filters import ARRAYS, INTERVALS, MOMENTS, NUMBERS, PLACES, SPATIAL, STRINGS, TEMPORAL
from tests.fuzz.geometries import BAD_WKB, BAD_WKT, ODD_TEXTS, WKB, WKT, geojson_seeds
from tests.fuzz.goldens import known_calls
from tests.matching import keyed, opening
from tests.questions import facility, intersects, point, radius, wkt
from tests.write_refusals import creating, updating


def seeds() -> Iterator[tuple[str, bytes]]:
    """Codecs, and bytes for them."""
    for data in (*WKB[::4], *BAD_WKB):
        if len(data) < 1000:
            yield "wkb", data
            yield "stored geometry", data
            yield "geometry", feature_pb2.Feature(geometry=geometry_pb2.Geometry(wkb=data)).SerializeToString()
    for text in (*WKT, *BAD_WKT, *ODD_TEXTS):
        yield "wkt", text.encode()
    for data in geojson_seeds():
        yield "geojson", data
    for west, south, east, north in ((0, 0, 1, 1), (170, -90, -170, 90), (0, 0, 5e-324, 1), (-180, 0, 180, 0)):
        yield "box", geometry_pb2.BoundingBox(west=west, south=south, east=east, north=north).SerializeToString()
    for text in _filters():
        yield "filter", text.encode()
    yield "page token", b"WzEsMV0"
    yield "freshness token", b"AQAAAAAAAAAAAAAA"
    yield from _requests()


def _requests() -> Iterator[tuple[str, bytes]]:
    for rpc in rpcs():
        if (codec := f"{rpc.name} request") in CODECS and rpc.ours:
            yield from ((codec, message) for call in known_calls(rpc, {}) for message in call)
    yield from (("CreateFeature request", creating(layer).SerializeToString()) for layer in ("facilities", "zones"))
    yield "UpdateFeature request", updating(name="a", mask=["properties.name"]).SerializeToString()
    for kind, asked in _queries().items():
        query = Query(**{kind: asked})
        yield "Explain request", ExplainRequest(query=query, stream=kind == "layer").SerializeToString()
        yield "AggregateGrid request", AggregateGridRequest(query=query, zoom=3).SerializeToString()
        yield "CountFeatures request", CountFeaturesRequest(query=query).SerializeToString()
    for asked in (radius().query, facility(1).query, intersects("POINT (1 1)").query):
        yield "MatchFeatures request", _at_once(opening(asked), keyed([point(), wkt("POINT (1 1)")]))
    yield "Diagnose request", DiagnoseRequest(layers=["zones"]).SerializeToString()
    yield "AnalyzeLayer request", AnalyzeLayerRequest(layer="zones").SerializeToString()
    for messages, *_ in write_refusals.IMPORTS.values():  # plan and rows in one message
        yield "ImportFeatures request", b"".join(each.SerializeToString() for each in messages)


def _queries() -> dict[str, Any]:
    return {
        "radius": radius().query,
        "nearest": facility(1).query,
        "intersects": intersects("POLYGON ((0 0, 1 0, 1 1, 0 0))").query,
        "layer": LayerQuery(layer="zones", bbox=geometry_pb2.BoundingBox(east=1, north=1), filter="name = 'a'"),
        "join": JoinQuery(left_layer="zones", right_layer="facilities", distance_meters=1),
    }


def _at_once(first: MatchRequest, probes: list[MatchProbe]) -> bytes:
    return first.SerializeToString() + MatchRequest(probes=probes).SerializeToString()


def _filters() -> Iterator[str]:
    for value in (*NUMBERS, *STRINGS, *MOMENTS):
        yield f"population > {value} OR name = {value}"
    for function in TEMPORAL:
        yield from (f"{function}(created_at, {interval})" for interval in (INTERVALS[0], INTERVALS[1], MOMENTS[0]))
    yield from (f"{function}(location, {PLACES[0]})" for function in SPATIAL)
    yield from (f"S_INTERSECTS(location, {place})" for place in PLACES)
    yield from (f"{function}(attributes.tags, ('a', 1, TRUE))" for function in ARRAYS)
    yield "NOT (name LIKE 'a%' AND population BETWEEN 1 AND 2) OR kind IN ('a', 'b') OR CASEI(name) = 'x'"
    yield "attributes.a.0 = 1 + 2 * population / 3 DIV 2 ^ 2"
