"""Requests that are refused, with the reason and the field that the refusal must name."""

import struct
from typing import Any, cast

from google.protobuf.message import Message

from service.codec.tokens import DIGEST_BYTES, fingerprint, write_token
from spatial.v1 import geometry_pb2
from spatial.v1.query_pb2 import (
    AggregateGridRequest,
    BatchGetFeaturesRequest,
    CountFeaturesRequest,
    GetFeatureRequest,
    GetLayerRequest,
    IntersectsQuery,
    JoinQuery,
    LayerQuery,
    NearestQuery,
    Output,
    Query,
    RadiusQuery,
    SearchIntersectsRequest,
    SearchNearestRequest,
    SearchRadiusRequest,
    StreamFeaturesRequest,
    StreamIntersectsRequest,
    StreamJoinRequest,
    StreamRadiusRequest,
)
from tests.questions import facility, intersects, point, radius, wkt

SQUARE = "POLYGON ((0 0, 1 0, 1 1, 0 1, 0 0))"
BOWTIE = "POLYGON ((0 0, 1 1, 1 0, 0 1, 0 0))"
MIXED = "GEOMETRYCOLLECTION (POINT (0 0), LINESTRING (0 0, 1 1))"
DEEP = "GEOMETRYCOLLECTION (" * 9 + "POINT (0 0)" + ")" * 9
LONG = "LINESTRING (" + ", ".join(f"{n / 100} 0" for n in range(101)) + ")"
NAN = struct.pack("<BIdd", 1, 1, float("nan"), 1.0)


def search_radius(query: RadiusQuery | None = None, **fields: Any) -> SearchRadiusRequest:
    return SearchRadiusRequest(query=query or radius().query, **fields)


def around(probe: geometry_pb2.Probe | None = None, **fields: Any) -> SearchRadiusRequest:
    return search_radius(
        RadiusQuery(**{"layer": "facilities", "center": probe or point(), "radius_meters": 1, **fields})
    )


def nearest_to(probe: geometry_pb2.Probe | None = None, **fields: Any) -> SearchNearestRequest:
    return SearchNearestRequest(query=NearestQuery(**{"layer": "zones", "center": probe or point(), **fields}))


def meeting(probe: geometry_pb2.Probe | None = None, **fields: Any) -> SearchIntersectsRequest:
    return SearchIntersectsRequest(query=IntersectsQuery(**{"layer": "zones", "probe": probe or point(), **fields}))


def streaming(layer: str = "zones", **fields: Any) -> StreamFeaturesRequest:
    return StreamFeaturesRequest(query=LayerQuery(layer=layer), **fields)


def counting(**fields: Any) -> CountFeaturesRequest:
    return CountFeaturesRequest(query=Query(**fields))


def box(west: float, south: float, east: float, north: float) -> geometry_pb2.Probe:
    return geometry_pb2.Probe(bbox=geometry_pb2.BoundingBox(west=west, south=south, east=east, north=north))


def wkb(data: bytes) -> geometry_pb2.Probe:
    return geometry_pb2.Probe(geometry=geometry_pb2.Geometry(wkb=data))


def geojson(**fields: Any) -> geometry_pb2.Probe:
    probe = geometry_pb2.Probe()
    probe.geometry.geojson.update(fields)
    return probe


INVALID, MISSING = "INVALID_ARGUMENT", "NOT_FOUND"
Case = tuple[Message, str, str, str]
CASES: dict[str, Case] = {
    "AggregateGrid about pairs": (
        AggregateGridRequest(query=Query(join=JoinQuery(left_layer="zones", right_layer="zones")), cell_size=1),
        INVALID,
        "UNEXPECTED_FIELD",
        "query.join",
    ),
    "GetLayer without a name": (GetLayerRequest(), INVALID, "REQUIRED", "name"),
    "GetLayer of no layer": (GetLayerRequest(name="rivers"), MISSING, "LAYER_NOT_FOUND", "name"),
    "GetFeature without a layer": (GetFeatureRequest(id="1"), INVALID, "REQUIRED", "layer"),
    "GetFeature of no layer": (GetFeatureRequest(layer="x", id="1"), MISSING, "LAYER_NOT_FOUND", "layer"),
    "GetFeature without an id": (GetFeatureRequest(layer="zones"), INVALID, "INVALID_ID", "id"),
    "GetFeature of a word": (GetFeatureRequest(layer="zones", id="one"), INVALID, "INVALID_ID", "id"),
    "GetFeature of +1": (GetFeatureRequest(layer="zones", id="+1"), INVALID, "INVALID_ID", "id"),
    "GetFeature of 2^63": (GetFeatureRequest(layer="zones", id=str(2**63)), INVALID, "INVALID_ID", "id"),
    "GetFeature that is not there": (GetFeatureRequest(layer="zones", id="11"), MISSING, "FEATURE_NOT_FOUND", ""),
    "GetFeature with an unknown property": (
        GetFeatureRequest(layer="zones", id="1", output=Output(properties=["name", "height"])),
        INVALID,
        "UNKNOWN_PROPERTY",
        "output.properties[1]",
    ),
    "GetFeature with an unknown view": (
        GetFeatureRequest(layer="zones", id="1", output=Output(view=cast("Any", 9))),
        INVALID,
        "UNKNOWN_ENUM_VALUE",
        "output.view",
    ),
    "GetFeature with a freshness token that is none": (
        GetFeatureRequest(layer="zones", id="1", freshness_token="0/16B3748"),
        INVALID,
        "INVALID_FRESHNESS_TOKEN",
        "freshness_token",
    ),
    "StreamFeatures in columns with etags": (
        streaming(layout="BATCH_LAYOUT_COLUMNS", output=Output(etags=True)),
        INVALID,
        "UNEXPECTED_FIELD",
        "output.etags",
    ),
    "StreamJoin with etags": (
        StreamJoinRequest(query=JoinQuery(left_layer="zones", right_layer="zones"), right_output=Output(etags=True)),
        INVALID,
        "UNEXPECTED_FIELD",
        "right_output.etags",
    ),
    "BatchGetFeatures without ids": (BatchGetFeaturesRequest(layer="zones"), INVALID, "REQUIRED", "ids"),
    "BatchGetFeatures of a word": (
        BatchGetFeaturesRequest(layer="zones", ids=["1", "one"]),
        INVALID,
        "INVALID_ID",
        "ids[1]",
    ),
    "BatchGetFeatures of too many": (
        BatchGetFeaturesRequest(layer="zones", ids=["1"] * 1001),
        INVALID,
        "TOO_MANY_ELEMENTS",
        "ids",
    ),
    "BatchGetFeatures of no layer": (
        BatchGetFeaturesRequest(layer="x", ids=["1"]),
        MISSING,
        "LAYER_NOT_FOUND",
        "layer",
    ),
    "SearchRadius without a query": (SearchRadiusRequest(), INVALID, "REQUIRED", "query"),
    "SearchRadius without a layer": (around(layer=""), INVALID, "REQUIRED", "query.layer"),
    "SearchRadius in no layer": (around(layer="x"), MISSING, "LAYER_NOT_FOUND", "query.layer"),
    "SearchRadius without a center": (
        search_radius(RadiusQuery(layer="zones", radius_meters=1)),
        INVALID,
        "REQUIRED",
        "query.center",
    ),
    "SearchRadius around an empty probe": (around(geometry_pb2.Probe()), INVALID, "REQUIRED", "query.center"),
    "SearchRadius of -1": (around(radius_meters=-1), INVALID, "OUT_OF_RANGE", "query.radius_meters"),
    "SearchRadius of NaN": (around(radius_meters=float("nan")), INVALID, "OUT_OF_RANGE", "query.radius_meters"),
    "SearchRadius of infinity": (around(radius_meters=float("inf")), INVALID, "OUT_OF_RANGE", "query.radius_meters"),
    "SearchRadius around the world": (around(radius_meters=20_100_001), INVALID, "OUT_OF_RANGE", "query.radius_meters"),
    "SearchRadius by an unknown model": (
        around(distance_model=9),
        INVALID,
        "UNKNOWN_ENUM_VALUE",
        "query.distance_model",
    ),
    "SearchRadius at latitude 91": (
        around(point(0, 91)),
        INVALID,
        "COORDINATE_OUT_OF_RANGE",
        "query.center.point.latitude",
    ),
    "SearchRadius at longitude NaN": (
        around(point(float("nan"))),
        INVALID,
        "NON_FINITE_COORDINATE",
        "query.center.point.longitude",
    ),
    "SearchRadius around WKB with NaN": (
        around(wkb(NAN)),
        INVALID,
        "NON_FINITE_COORDINATE",
        "query.center.geometry.wkb",
    ),
    "SearchRadius with a negative page": (search_radius(page_size=-1), INVALID, "OUT_OF_RANGE", "page_size"),
    "SearchRadius with a torn token": (search_radius(page_token="?"), INVALID, "INVALID_PAGE_TOKEN", "page_token"),
    "SearchRadius with an unknown encoding": (
        search_radius(output=Output(encoding=cast("Any", 7))),
        INVALID,
        "UNKNOWN_ENUM_VALUE",
        "output.encoding",
    ),
    "SearchNearest without a query": (SearchNearestRequest(), INVALID, "REQUIRED", "query"),
    "SearchNearest with a negative limit": (
        SearchNearestRequest(query=facility(1).query, limit=-1),
        INVALID,
        "OUT_OF_RANGE",
        "limit",
    ),
    "SearchNearest within -1": (
        nearest_to(max_distance_meters=-1),
        INVALID,
        "OUT_OF_RANGE",
        "query.max_distance_meters",
    ),
    "SearchNearest to an empty WKT": (
        nearest_to(wkt("POINT EMPTY")),
        INVALID,
        "EMPTY_GEOMETRY",
        "query.center.geometry.wkt",
    ),
    "SearchNearest in no known CRS": (
        nearest_to(wkt("POINT (0 0)", srid=999_000)),
        INVALID,
        "UNKNOWN_SRID",
        "query.center.geometry.srid",
    ),
    "SearchIntersects without a probe": (
        SearchIntersectsRequest(query=IntersectsQuery(layer="zones")),
        INVALID,
        "REQUIRED",
        "query.probe",
    ),
    "SearchIntersects by an unknown predicate": (
        meeting(predicate=10),
        INVALID,
        "UNKNOWN_ENUM_VALUE",
        "query.predicate",
    ),
    "SearchIntersects of a collection by WITHIN": (
        meeting(wkt(MIXED), predicate="PREDICATE_WITHIN"),
        INVALID,
        "UNSUPPORTED_GEOMETRY_TYPE",
        "query.probe.geometry",
    ),
    "SearchIntersects of members apart by COVERS": (
        meeting(wkt("GEOMETRYCOLLECTION (POINT (9 9), LINESTRING (0 0, 1 1))"), predicate="PREDICATE_COVERS"),
        INVALID,
        "UNSUPPORTED_GEOMETRY_TYPE",
        "query.probe.geometry",
    ),
    "SearchIntersects with a torn WKB": (
        meeting(wkb(NAN[:-1])),
        INVALID,
        "INVALID_ENCODING",
        "query.probe.geometry.wkb",
    ),
    "SearchIntersects with a torn WKT": (
        meeting(wkt("POINT (0")),
        INVALID,
        "INVALID_ENCODING",
        "query.probe.geometry.wkt",
    ),
    "SearchIntersects with half a GeoJSON": (
        meeting(geojson(type="Point")),
        INVALID,
        "INVALID_ENCODING",
        "query.probe.geometry.geojson.coordinates",
    ),
    "SearchIntersects with a contradicting SRID": (
        meeting(wkt("SRID=3857;POINT (0 0)", srid=4326)),
        INVALID,
        "SRID_MISMATCH",
        "query.probe.geometry.srid",
    ),
    "SearchIntersects with an invalid polygon": (
        meeting(wkt(BOWTIE)),
        INVALID,
        "INVALID_GEOMETRY",
        "query.probe.geometry.wkt",
    ),
    "SearchIntersects with too many vertices": (
        meeting(wkt(LONG)),
        INVALID,
        "GEOMETRY_TOO_LARGE",
        "query.probe.geometry.wkt",
    ),
    "SearchIntersects with a nest": (meeting(wkt(DEEP)), INVALID, "GEOMETRY_TOO_DEEP", "query.probe.geometry.wkt"),
    "SearchIntersects with a curve": (
        meeting(wkt("CIRCULARSTRING (0 0, 1 1, 2 0)")),
        INVALID,
        "UNSUPPORTED_GEOMETRY_TYPE",
        "query.probe.geometry.wkt",
    ),
    "SearchIntersects with a box upside down": (
        meeting(box(0, 1, 1, 0)),
        INVALID,
        "OUT_OF_RANGE",
        "query.probe.bbox.south",
    ),
    "SearchIntersects with a torn token": (
        SearchIntersectsRequest(query=intersects(SQUARE).query, page_token="x"),
        INVALID,
        "INVALID_PAGE_TOKEN",
        "page_token",
    ),
    "CountFeatures without a query": (CountFeaturesRequest(), INVALID, "REQUIRED", "query"),
    "CountFeatures of an empty query": (CountFeaturesRequest(query=Query()), INVALID, "REQUIRED", "query.kind"),
    "CountFeatures in no layer": (
        counting(layer=LayerQuery(layer="x")),
        MISSING,
        "LAYER_NOT_FOUND",
        "query.layer.layer",
    ),
    "CountFeatures in a box beyond the Earth": (
        counting(layer=LayerQuery(layer="zones", bbox=geometry_pb2.BoundingBox(east=181))),
        INVALID,
        "COORDINATE_OUT_OF_RANGE",
        "query.layer.bbox.east",
    ),
    "CountFeatures within -1": (
        counting(radius=RadiusQuery(layer="zones", center=point(), radius_meters=-1)),
        INVALID,
        "OUT_OF_RANGE",
        "query.radius.radius_meters",
    ),
    "CountFeatures in an unknown way": (
        CountFeaturesRequest(query=Query(layer=LayerQuery(layer="zones")), mode=cast("Any", 5)),
        INVALID,
        "UNKNOWN_ENUM_VALUE",
        "mode",
    ),
    "StreamRadius without a query": (StreamRadiusRequest(), INVALID, "REQUIRED", "query"),
    "StreamRadius without a layer": (
        StreamRadiusRequest(query=RadiusQuery(center=point(), radius_meters=1)),
        INVALID,
        "REQUIRED",
        "query.layer",
    ),
    "StreamRadius without a center": (
        StreamRadiusRequest(query=RadiusQuery(layer="zones", radius_meters=1)),
        INVALID,
        "REQUIRED",
        "query.center",
    ),
    "StreamRadius of -1": (
        StreamRadiusRequest(query=RadiusQuery(layer="zones", center=point(), radius_meters=-1)),
        INVALID,
        "OUT_OF_RANGE",
        "query.radius_meters",
    ),
    "StreamRadius by an unknown model": (
        StreamRadiusRequest(query=RadiusQuery(layer="zones", center=point(), distance_model=cast("Any", 9))),
        INVALID,
        "UNKNOWN_ENUM_VALUE",
        "query.distance_model",
    ),
    "StreamIntersects without a query": (StreamIntersectsRequest(), INVALID, "REQUIRED", "query"),
    "StreamIntersects with an invalid polygon": (
        StreamIntersectsRequest(query=meeting(wkt(BOWTIE)).query),
        INVALID,
        "INVALID_GEOMETRY",
        "query.probe.geometry.wkt",
    ),
    "StreamIntersects of a collection by WITHIN": (
        StreamIntersectsRequest(query=meeting(wkt(MIXED), predicate="PREDICATE_WITHIN").query),
        INVALID,
        "UNSUPPORTED_GEOMETRY_TYPE",
        "query.probe.geometry",
    ),
    "StreamFeatures without a query": (StreamFeaturesRequest(), INVALID, "REQUIRED", "query"),
    "StreamFeatures of no layer": (streaming("x"), MISSING, "LAYER_NOT_FOUND", "query.layer"),
    "StreamFeatures in a box beyond the Earth": (
        StreamFeaturesRequest(query=LayerQuery(layer="zones", bbox=geometry_pb2.BoundingBox(east=181))),
        INVALID,
        "COORDINATE_OUT_OF_RANGE",
        "query.bbox.east",
    ),
    "StreamFeatures with an unknown property": (
        streaming(output=Output(properties=["name", "height"])),
        INVALID,
        "UNKNOWN_PROPERTY",
        "output.properties[1]",
    ),
    "StreamFeatures in an unknown layout": (
        streaming(layout=cast("Any", 4)),
        INVALID,
        "UNKNOWN_ENUM_VALUE",
        "layout",
    ),
    "StreamFeatures in COLUMNS of WKT": (
        streaming(layout="BATCH_LAYOUT_COLUMNS", output=Output(encoding="GEOMETRY_ENCODING_WKT")),
        INVALID,
        "UNSUPPORTED_ENCODING",
        "output.encoding",
    ),
    "StreamFeatures in ARROW of GeoJSON": (
        streaming(layout="BATCH_LAYOUT_ARROW", output=Output(encoding="GEOMETRY_ENCODING_GEOJSON")),
        INVALID,
        "UNSUPPORTED_ENCODING",
        "output.encoding",
    ),
    "StreamFeatures with a torn token": (
        streaming(resumable=True, resume_token="?"),
        INVALID,
        "INVALID_RESUME_TOKEN",
        "resume_token",
    ),
    "StreamFeatures with a token of another request": (
        streaming(resumable=True, resume_token=write_token(bytes(DIGEST_BYTES), 1)),
        INVALID,
        "INVALID_RESUME_TOKEN",
        "resume_token",
    ),
    "StreamFeatures gone on with that was not resumable": (
        streaming(resume_token=write_token(fingerprint(streaming()), 1)),
        INVALID,
        "INVALID_RESUME_TOKEN",
        "resume_token",
    ),
    "StreamFeatures with a token whose key is none": (
        streaming(resumable=True, resume_token=write_token(fingerprint(streaming(resumable=True)), 2**63)),
        INVALID,
        "INVALID_RESUME_TOKEN",
        "resume_token",
    ),
    "StreamJoin without a query": (StreamJoinRequest(), INVALID, "REQUIRED", "query"),
    "StreamJoin with no layer": (
        StreamJoinRequest(query=JoinQuery(left_layer="zones", right_layer="x")),
        MISSING,
        "LAYER_NOT_FOUND",
        "query.right_layer",
    ),
    "StreamJoin within -1": (
        StreamJoinRequest(query=JoinQuery(left_layer="zones", right_layer="zones", distance_meters=-1)),
        INVALID,
        "OUT_OF_RANGE",
        "query.distance_meters",
    ),
    "StreamJoin with a torn token": (
        StreamJoinRequest(query=JoinQuery(left_layer="zones", right_layer="zones"), resumable=True, resume_token="?"),
        INVALID,
        "INVALID_RESUME_TOKEN",
        "resume_token",
    ),
}
