"""How many features a search finds, defined once for both clients."""

from spatial.v1 import query_pb2
from spatial_client._calls import Unary
from spatial_client._geometry import Probe, Shape
from spatial_client._queries import (
    BoundingBox,
    DistanceModel,
    Predicate,
    enum,
    intersects_query,
    layer_query,
    nearest_query,
    radius_query,
)


def count_radius(
    layer: str,
    center: Probe,
    radius_meters: float,
    *,
    distance_model: DistanceModel = "spheroid",
    filter: str = "",  # noqa: A002 - the contract's name
    estimated: bool = False,
    freshness_token: str = "",
    timeout: float | None = None,
) -> Unary[int]:
    """How many features lie within a distance of a probe; `estimated` asks the planner, which is instant."""
    query = query_pb2.Query(radius=radius_query(layer, center, radius_meters, distance_model, filter))
    return _count(query, estimated, freshness_token, timeout)


def count_nearest(
    layer: str,
    center: Probe,
    *,
    max_distance_meters: float | None = None,
    within: Shape | None = None,
    distance_model: DistanceModel = "spheroid",
    filter: str = "",  # noqa: A002 - the contract's name
    estimated: bool = False,
    freshness_token: str = "",
    timeout: float | None = None,
) -> Unary[int]:
    """How many features could be ranked: those within the distance, or all that have a geometry."""
    query = query_pb2.Query(nearest=nearest_query(layer, center, max_distance_meters, distance_model, within, filter))
    return _count(query, estimated, freshness_token, timeout)


def count_intersects(
    layer: str,
    probe: Probe,
    *,
    predicate: Predicate = "intersects",
    filter: str = "",  # noqa: A002 - the contract's name
    estimated: bool = False,
    freshness_token: str = "",
    timeout: float | None = None,
) -> Unary[int]:
    """How many features stand in a relation to a probe."""
    query = query_pb2.Query(intersects=intersects_query(layer, probe, predicate, filter))
    return _count(query, estimated, freshness_token, timeout)


def count_features(
    layer: str,
    *,
    bbox: BoundingBox | None = None,
    filter: str = "",  # noqa: A002 - the contract's name
    estimated: bool = False,
    freshness_token: str = "",
    timeout: float | None = None,
) -> Unary[int]:
    """How many features a layer has, or how many have a bounding box that meets `bbox`."""
    query = query_pb2.Query(layer=layer_query(layer, bbox, filter))
    return _count(query, estimated, freshness_token, timeout)


def _count(query: query_pb2.Query, estimated: bool, fresh: str, timeout: float | None) -> Unary[int]:
    mode = enum("MODE", "estimated" if estimated else "exact")
    request = query_pb2.CountFeaturesRequest(query=query, mode=mode, freshness_token=fresh)
    return Unary("CountFeatures", request, lambda answer: int(answer.count), timeout)
