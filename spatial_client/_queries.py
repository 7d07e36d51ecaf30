"""The contract's words for a question, and its queries as messages."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from spatial.v1 import query_pb2
from spatial_client._geometry import Probe, box_message, probe_message

Predicate: TypeAlias = Literal[
    "intersects", "within", "contains", "covers", "covered_by", "touches", "crosses", "overlaps", "equals"
]
DistanceModel: TypeAlias = Literal["spheroid", "sphere", "planar"]
View: TypeAlias = Literal["full", "none", "centroid", "bbox"]
BoundingBox: TypeAlias = tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class Output:
    """What of each feature an answer carries: these properties (None: all that are stored) and this much geometry."""

    properties: Sequence[str] | None = None
    view: View = "full"

    def message(self) -> query_pb2.Output:
        if isinstance(self.properties, str):
            raise TypeError(f"properties are a list of names, not {self.properties!r}")
        return query_pb2.Output(properties=self.properties, view=enum("GEOMETRY_VIEW", self.view))


def enum(prefix: str, name: str) -> Any:
    """As protobuf's constructors take it; they refuse a name that does not exist."""
    return f"{prefix}_{name.upper()}"


def radius_query(layer: str, center: Probe, radius_meters: float, model: DistanceModel) -> query_pb2.RadiusQuery:
    return query_pb2.RadiusQuery(
        layer=layer,
        center=probe_message(center),
        radius_meters=radius_meters,
        distance_model=enum("DISTANCE_MODEL", model),
    )


def intersects_query(layer: str, probe: Probe, predicate: Predicate) -> query_pb2.IntersectsQuery:
    return query_pb2.IntersectsQuery(layer=layer, probe=probe_message(probe), predicate=enum("PREDICATE", predicate))


def nearest_query(layer: str, center: Probe, farthest: float | None, model: DistanceModel) -> query_pb2.NearestQuery:
    return query_pb2.NearestQuery(
        layer=layer,
        center=probe_message(center),
        max_distance_meters=farthest,
        distance_model=enum("DISTANCE_MODEL", model),
    )


def layer_query(layer: str, bbox: BoundingBox | None) -> query_pb2.LayerQuery:
    return query_pb2.LayerQuery(layer=layer, bbox=None if bbox is None else box_message(bbox))
