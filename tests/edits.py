"""Changes of single features made short."""

from typing import Any

import grpc
import shapely
from google.protobuf.field_mask_pb2 import FieldMask
from shapely.geometry.base import BaseGeometry

from spatial.v1 import feature_pb2 as feature
from spatial.v1 import geometry_pb2 as geometry
from spatial.v1 import query_pb2 as query
from spatial.v1 import write_pb2 as write
from spatial.v1 import write_pb2_grpc
from tests.servers import Refusal, Served, refusal

SQUARE = shapely.box(0, 0, 1, 1)


def made(
    place: BaseGeometry | str | None = None, *, key: str = "", etag: str = "", **properties: Any
) -> feature.Feature:
    """A feature; WKT or a geometry in WGS 84."""
    built = feature.Feature(id=key, etag=etag)
    if isinstance(place, str):
        built.geometry.wkt = place
    elif place is not None:
        built.geometry.wkb = shapely.to_wkb(place)
    if properties:
        built.properties.update(properties)
    return built


def facility(place: BaseGeometry | str | None = "POINT (5 50)", **properties: Any) -> feature.Feature:
    return made(place, **{"name": "Facility", "kind": "test", **properties})


def parcel(number: str, boundary: BaseGeometry = SQUARE, **properties: Any) -> feature.Feature:
    """In the district that there is."""
    return made(boundary, **{"number": number, "name": "Parcel", "land_use": "test", "district_id": 1, **properties})


class Editor:
    """Calls made short, of a running server."""

    def __init__(self, served: Served) -> None:
        self.served = served
        self.stub: Any = write_pb2_grpc.FeatureServiceStub(served.channel)

    def create(self, layer: str, asked: feature.Feature, **fields: Any) -> write.CreateFeatureResponse:
        request = write.CreateFeatureRequest(layer=layer, feature=asked, **fields)
        answer: write.CreateFeatureResponse = self.stub.CreateFeature(request, timeout=20)
        return answer

    def update(self, layer: str, asked: feature.Feature, *paths: str, **fields: Any) -> write.UpdateFeatureResponse:
        mask = FieldMask(paths=paths) if paths else None
        request = write.UpdateFeatureRequest(layer=layer, feature=asked, update_mask=mask, **fields)
        answer: write.UpdateFeatureResponse = self.stub.UpdateFeature(request, timeout=20)
        return answer

    def delete(self, layer: str, key: str, **fields: Any) -> write.DeleteFeatureResponse:
        request = write.DeleteFeatureRequest(layer=layer, id=key, **fields)
        answer: write.DeleteFeatureResponse = self.stub.DeleteFeature(request, timeout=20)
        return answer

    def get(self, layer: str, key: str, **fields: Any) -> feature.Feature:
        answer: feature.Feature = self.served.stub.GetFeature(
            query.GetFeatureRequest(layer=layer, id=key, **fields), timeout=20
        )
        return answer


def attempted(call: Any, *arguments: Any, **fields: Any) -> Any:
    """What a call answers, or its refusal."""
    try:
        return call(*arguments, **fields)
    except grpc.RpcError as error:
        return refusal(error)


def reason(outcome: Any) -> str:
    """Why it was refused; `done` where it was not."""
    return outcome.reason if isinstance(outcome, Refusal) else "done"


__all__ = ["SQUARE", "Editor", "attempted", "facility", "geometry", "made", "parcel", "reason"]
