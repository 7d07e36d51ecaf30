"""The contract's words for a question, and its queries as messages."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, TypedDict

from spatial.v1 import query_pb2
from spatial_client._geometry import Probe, Shape, box_message, probe_message, shape_message

Predicate: TypeAlias = Literal[
    "intersects", "within", "contains", "covers", "covered_by", "touches", "crosses", "overlaps", "equals"
]
DistanceModel: TypeAlias = Literal["spheroid", "sphere", "planar"]
View: TypeAlias = Literal["full", "none", "centroid", "bbox"]
BoundingBox: TypeAlias = tuple[float, float, float, float]


class Shaping(TypedDict, total=False):
    """What answers do to geometries: the CRS that they are transformed to, by how much (in the layer's units) lines and
    polygons may be simplified, and how many decimal digits of coordinates count; and whether features carry etags."""

    srid: int | None
    simplify_tolerance: float | None
    decimal_digits: int | None
    etags: bool | None


@dataclass(frozen=True, slots=True)
class Output:
    """What of each feature an answer carries: these properties (None: all that are stored; []: none), this much
    geometry, what is done to that, and whether it has an etag: see `Shaping`."""

    properties: Sequence[str] | None = None
    view: View = "full"
    srid: int | None = None
    simplify_tolerance: float | None = None
    decimal_digits: int | None = None
    etags: bool | None = None

    def message(self) -> query_pb2.Output:
        if isinstance(self.properties, str):
            raise TypeError(f"properties are a list of names, not {self.properties!r}")
        return query_pb2.Output(
            properties=self.properties,
            no_properties=self.properties is not None and not self.properties,
            view=enum("GEOMETRY_VIEW", self.view),
            srid=self.srid,
            simplify_tolerance=self.simplify_tolerance,
            decimal_digits=self.decimal_digits,
            etags=self.etags,
        )


def enum(prefix: str, name: str) -> Any:
    """As protobuf's constructors take it; they refuse a name that does not exist."""
    return f"{prefix}_{name.upper()}"


def radius_query(
    layer: str, center: Probe, radius_meters: float, model: DistanceModel, filtered: str = ""
) -> query_pb2.RadiusQuery:
    return query_pb2.RadiusQuery(
        layer=layer,
        center=probe_message(center),
        radius_meters=radius_meters,
        distance_model=enum("DISTANCE_MODEL", model),
        filter=filtered,
    )


def intersects_query(layer: str, probe: Probe, predicate: Predicate, filtered: str = "") -> query_pb2.IntersectsQuery:
    return query_pb2.IntersectsQuery(
        layer=layer, probe=probe_message(probe), predicate=enum("PREDICATE", predicate), filter=filtered
    )


def nearest_query(
    layer: str,
    center: Probe,
    farthest: float | None,
    model: DistanceModel,
    within: Shape | None = None,
    filtered: str = "",
) -> query_pb2.NearestQuery:
    return query_pb2.NearestQuery(
        layer=layer,
        center=probe_message(center),
        max_distance_meters=farthest,
        distance_model=enum("DISTANCE_MODEL", model),
        within=None if within is None else shape_message(within),
        filter=filtered,
    )


def layer_query(layer: str, bbox: BoundingBox | None, filtered: str = "") -> query_pb2.LayerQuery:
    return query_pb2.LayerQuery(layer=layer, bbox=None if bbox is None else box_message(bbox), filter=filtered)


def features_query(
    layer: str,
    center: Probe | None,
    radius_meters: float | None,
    model: DistanceModel,
    probe: Probe | None,
    predicate: Predicate,
    bbox: BoundingBox | None,
    filtered: str,
) -> query_pb2.Query:
    """The query that these options mean: one of them, or none for all of the layer."""
    if sum(each is not None for each in (center, probe, bbox)) > 1:
        raise ValueError("one of a center, a probe and a box can be asked about, not several of them")
    if (center is None) != (radius_meters is None):
        raise ValueError("center and radius_meters go together")
    if center is not None and radius_meters is not None:
        return query_pb2.Query(radius=radius_query(layer, center, radius_meters, model, filtered))
    if probe is not None:
        return query_pb2.Query(intersects=intersects_query(layer, probe, predicate, filtered))
    return query_pb2.Query(layer=layer_query(layer, bbox, filtered))
