"""The questions, each defined once for both clients: what is asked, how, and what its answer means.

A function here takes what a caller gives and returns the call to make; the clients make it.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Generic, TypeVar, Unpack

from google.protobuf import wrappers_pb2

from spatial.v1 import query_pb2
from spatial_client._attempts import is_shed
from spatial_client._channels import HEALTH, SERVICE
from spatial_client._errors import SpatialError
from spatial_client._geometry import Probe, Shape
from spatial_client._queries import (
    DistanceModel,
    Output,
    Predicate,
    Shaping,
    View,
    intersects_query,
    nearest_query,
    radius_query,
)
from spatial_client._values import Feature, Layer, Lookup, Page, features_of, layer_of

T_co = TypeVar("T_co", covariant=True)

SERVING = 1


@dataclass(frozen=True, slots=True)
class Unary(Generic[T_co]):
    """A call with one answer. `timeout` None takes the client's; `passes` says after which errors to try again."""

    method: str
    request: Any
    parse: Callable[[Any], T_co]
    timeout: float | None = None
    passes: Callable[[SpatialError], bool] = is_shed

    def after(self, page: Page) -> "Unary[T_co] | None":
        """The same for the page after this one; None after the last."""
        if not page.next_page_token:
            return None
        request = type(self.request)()
        request.CopyFrom(self.request)
        request.page_token = page.next_page_token
        return replace(self, request=request)


def is_serving(*, timeout: float | None = None) -> Unary[bool]:
    """Whether the service says that it is ready; raises `Unavailable` where it cannot be reached."""
    request = wrappers_pb2.StringValue(value=SERVICE.full_name)
    return Unary(HEALTH, request, lambda status: status.value == SERVING, timeout)


def list_layers(*, timeout: float | None = None) -> Unary[list[Layer]]:
    """The layers served, in order of their names."""
    request = query_pb2.ListLayersRequest()
    return Unary("ListLayers", request, lambda answer: [layer_of(each) for each in answer.layers], timeout)


def refresh_layers(*, timeout: float | None = None) -> Unary[list[Layer]]:
    """Has the server read its database's catalog again, and gives the layers that it serves from then on."""
    request = query_pb2.RefreshLayersRequest()
    return Unary("RefreshLayers", request, lambda answer: [layer_of(each) for each in answer.layers], timeout)


def get_layer(name: str, *, timeout: float | None = None) -> Unary[Layer]:
    """One layer: its geometry type, SRID, properties, extent and indexes. Raises `NotFound`."""
    return Unary("GetLayer", query_pb2.GetLayerRequest(name=name), layer_of, timeout)


def get_feature(
    layer: str,
    id: str | int,  # noqa: A002 - the contract's name
    *,
    properties: Sequence[str] | None = None,
    view: View = "full",
    freshness_token: str = "",
    timeout: float | None = None,
    **shaping: Unpack[Shaping],
) -> Unary[Feature]:
    """One feature by its key. Raises `NotFound`.

    `properties` names those wanted (None: all that are stored; []: none). `view` says how much geometry: "full",
    "none", "centroid" or "bbox"; `srid` in which CRS; `simplify_tolerance` by how much, in units of the layer's CRS,
    lines and polygons may be simplified; and `decimal_digits` how many digits of the coordinates count: in binary,
    zeros take the place of the others, which compress well. `freshness_token`, from a write, asks for an answer that
    knows of that write.
    """
    request = query_pb2.GetFeatureRequest(
        layer=layer,
        id=str(id),
        output=Output(properties, view, **shaping).message(),
        freshness_token=freshness_token,
    )
    return Unary("GetFeature", request, Feature, timeout)


def get_features(
    layer: str,
    ids: Iterable[str | int],
    *,
    properties: Sequence[str] | None = None,
    view: View = "full",
    freshness_token: str = "",
    timeout: float | None = None,
    **shaping: Unpack[Shaping],
) -> Unary[Lookup]:
    """Up to 1,000 features by their keys, in the order asked; keys without a feature come back in `missing_ids`."""
    request = query_pb2.BatchGetFeaturesRequest(
        layer=layer,
        ids=[str(each) for each in ids],
        output=Output(properties, view, **shaping).message(),
        freshness_token=freshness_token,
    )
    return Unary("BatchGetFeatures", request, _lookup, timeout)


def search_radius(
    layer: str,
    center: Probe,
    radius_meters: float,
    *,
    distance_model: DistanceModel = "spheroid",
    filter: str = "",  # noqa: A002 - the contract's name
    properties: Sequence[str] | None = None,
    view: View = "full",
    page_size: int = 0,
    page_token: str = "",
    freshness_token: str = "",
    timeout: float | None = None,
    **shaping: Unpack[Shaping],
) -> Unary[Page]:
    """One page of the features within a distance of a probe, nearest first, each with its `distance_meters`.

    `center` is (longitude, latitude), a box (west, south, east, north), WKB, WKT or a shapely geometry in any CRS, or a
    `FeatureRef`. `page_size` 0 means 100, and 1,000 is the most. `iterate_radius` fetches the pages one after the
    other, `stream_radius` delivers everything at once, in no order. `filter` is CQL2 text over the layer's properties:
    `"kind = 'hospital' AND population > 1000"`. `etags` has the features come with theirs.
    """
    request = query_pb2.SearchRadiusRequest(
        query=radius_query(layer, center, radius_meters, distance_model, filter),
        output=Output(properties, view, **shaping).message(),
        page_size=page_size,
        page_token=page_token,
        freshness_token=freshness_token,
    )
    return Unary("SearchRadius", request, _page, timeout)


def search_nearest(
    layer: str,
    center: Probe,
    limit: int = 10,
    *,
    max_distance_meters: float | None = None,
    within: Shape | None = None,
    distance_model: DistanceModel = "spheroid",
    filter: str = "",  # noqa: A002 - the contract's name
    properties: Sequence[str] | None = None,
    view: View = "full",
    freshness_token: str = "",
    timeout: float | None = None,
    **shaping: Unpack[Shaping],
) -> Unary[list[Feature]]:
    """The `limit` (at most 1,000) features nearest to a probe by true distance, each with its `distance_meters`.

    `within` is a polygon or multipolygon, in any CRS, that they must meet.
    """
    request = query_pb2.SearchNearestRequest(
        query=nearest_query(layer, center, max_distance_meters, distance_model, within, filter),
        output=Output(properties, view, **shaping).message(),
        limit=limit,
        freshness_token=freshness_token,
    )
    return Unary("SearchNearest", request, features_of, timeout)


def search_intersects(
    layer: str,
    probe: Probe,
    *,
    predicate: Predicate = "intersects",
    filter: str = "",  # noqa: A002 - the contract's name
    properties: Sequence[str] | None = None,
    view: View = "full",
    page_size: int = 0,
    page_token: str = "",
    freshness_token: str = "",
    timeout: float | None = None,
    **shaping: Unpack[Shaping],
) -> Unary[Page]:
    """One page of the features that stand in a relation to a probe, in order of their keys.

    `predicate` reads as *feature PREDICATE probe*: "within" finds what lies in the probe, "contains" what the probe
    lies in. Probe and pages are as for `search_radius`.
    """
    request = query_pb2.SearchIntersectsRequest(
        query=intersects_query(layer, probe, predicate, filter),
        output=Output(properties, view, **shaping).message(),
        page_size=page_size,
        page_token=page_token,
        freshness_token=freshness_token,
    )
    return Unary("SearchIntersects", request, _page, timeout)


def iterate_radius(
    layer: str,
    center: Probe,
    radius_meters: float,
    *,
    distance_model: DistanceModel = "spheroid",
    filter: str = "",  # noqa: A002 - the contract's name
    properties: Sequence[str] | None = None,
    view: View = "full",
    page_size: int = 1000,
    freshness_token: str = "",
    timeout: float | None = None,
    **shaping: Unpack[Shaping],
) -> Unary[Page]:
    """All features within a distance of a probe, nearest first: pages are fetched as they are needed.

    `timeout` is for each page. What is nearest is there first, so stop whenever there is enough.
    """
    return search_radius(
        layer,
        center,
        radius_meters,
        distance_model=distance_model,
        filter=filter,
        properties=properties,
        view=view,
        page_size=page_size,
        freshness_token=freshness_token,
        timeout=timeout,
        **shaping,
    )


def iterate_intersects(
    layer: str,
    probe: Probe,
    *,
    predicate: Predicate = "intersects",
    filter: str = "",  # noqa: A002 - the contract's name
    properties: Sequence[str] | None = None,
    view: View = "full",
    page_size: int = 1000,
    freshness_token: str = "",
    timeout: float | None = None,
    **shaping: Unpack[Shaping],
) -> Unary[Page]:
    """All features that stand in a relation to a probe, in order of their keys; see `iterate_radius`."""
    return search_intersects(
        layer,
        probe,
        predicate=predicate,
        filter=filter,
        properties=properties,
        view=view,
        page_size=page_size,
        freshness_token=freshness_token,
        timeout=timeout,
        **shaping,
    )


def _page(answer: Any) -> Page:
    return Page(features_of(answer), answer.next_page_token)


def _lookup(answer: query_pb2.BatchGetFeaturesResponse) -> Lookup:
    return Lookup(features_of(answer), list(answer.missing_ids))
