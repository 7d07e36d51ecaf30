"""The columns of an export that finds nothing, from the layer's description: its file has them all the same."""

import json
from typing import Any

from service.cli.export.packages import needed
from service.cli.export.question import Question
from spatial.v1 import query_pb2

GEOMETRY = "geometry"
TYPES = ("Point", "LineString", "Polygon", "MultiPoint", "MultiLineString", "MultiPolygon", "GeometryCollection")


def described(layer: query_pb2.Layer, question: Question) -> Any:
    """What a batch of the answer would have. The description does not tell the type of the keys: integers, mostly."""
    arrow = needed("pyarrow")
    types = {
        query_pb2.PROPERTY_TYPE_INTEGER: arrow.int64(),
        query_pb2.PROPERTY_TYPE_NUMBER: arrow.float64(),
        query_pb2.PROPERTY_TYPE_BOOLEAN: arrow.bool_(),
        query_pb2.PROPERTY_TYPE_TIMESTAMP: arrow.timestamp("us", tz="UTC"),
        query_pb2.PROPERTY_TYPE_JSON: arrow.json_(),
        query_pb2.PROPERTY_TYPE_BYTES: arrow.binary(),
    }
    fields = [arrow.field("id", arrow.int64()), arrow.field(GEOMETRY, arrow.binary(), metadata=_geoarrow(layer.srid))]
    if question.method == "StreamRadius":
        fields.insert(1, arrow.field("distance_meters", arrow.float64()))
    taken = {"id", GEOMETRY, "distance_meters"}
    for prop in _asked_for(layer, question):
        name = f"{prop.name}_property" if prop.name in taken else prop.name
        fields.append(arrow.field(name, types.get(prop.type, arrow.utf8())))
    return arrow.schema(fields)


def crs_of(schema: Any) -> Any:
    """The CRS of the geometries as PROJJSON; None where it is not known."""
    metadata = schema.field(GEOMETRY).metadata or {}
    return json.loads(metadata.get(b"ARROW:extension:metadata", b"{}")).get("crs")


def _asked_for(layer: query_pb2.Layer, question: Question) -> list[query_pb2.Property]:
    names = list(question.request.output.properties)
    if not names:
        return [prop for prop in layer.properties if not prop.computed]
    by_name = {prop.name: prop for prop in layer.properties}
    return [by_name[name] for name in names]


def _geoarrow(srid: int) -> dict[str, str]:
    crs = needed("pyproj").CRS.from_epsg(srid).to_json_dict() if srid else None
    return {"ARROW:extension:name": "geoarrow.wkb", "ARROW:extension:metadata": json.dumps({"crs": crs})}
