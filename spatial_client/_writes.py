"""The changes, each defined once for both clients.

What makes trying again safe is a request id: the service remembers what became of it, and does nothing twice.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, TypeVar
from uuid import uuid4

from google.protobuf import field_mask_pb2

from spatial.v1 import write_pb2
from spatial_client._attempts import is_never, is_unsettled
from spatial_client._calls import Unary
from spatial_client._features import NewFeature, Place, Properties, feature_message
from spatial_client._geometry import Probe
from spatial_client._queries import BoundingBox, DistanceModel, Output, Predicate, features_query
from spatial_client._values import Feature

T = TypeVar("T")


class Keep(Enum):
    KEEP = "KEEP"

    def __repr__(self) -> str:
        return self.value


KEEP = Keep.KEEP


@dataclass(frozen=True, slots=True)
class Written:
    """A feature as it is stored now, with its key and its etag."""

    feature: Feature
    freshness_token: str
    """For reads that must see this change; empty where nothing was to change."""


@dataclass(frozen=True, slots=True)
class Deleted:
    """What a deletion did."""

    count: int
    """How many features went, or would go."""
    freshness_token: str
    """For reads that must see this change; empty where nothing was to change."""


def create_feature(
    layer: str,
    geometry: Place | None = None,
    properties: Properties | None = None,
    *,
    id: str | int | None = None,  # noqa: A002 - the contract's name
    repair: bool = False,
    require_layer_srid: bool = False,
    output: Output | None = None,
    validate_only: bool = False,
    request_id: str | None = None,
    timeout: float | None = None,
) -> Unary[Written]:
    """Adds a feature to a layer that is writable, and gives it as it is stored.

    `geometry` is (longitude, latitude), WKB, WKT, GeoJSON or a shapely geometry, in any CRS that it says; EPSG:4326
    where it says none. Without an `id` the database makes the key; properties that are not named get their default.
    `repair` makes an invalid geometry valid; `require_layer_srid` refuses one in another CRS rather than transform it.
    `output` says what of the feature to answer with; `validate_only` does all but commit.

    The service remembers `request_id` (None: a new UUID), so that the call may be tried again within its timeout
    whatever became of it, and takes effect once. A caller who wants to try again later, or in another process, chooses
    it. A database that has no place to remember it refuses with LEDGER_MISSING (`spatial migrate --ledger` makes one);
    `request_id=""` does without, and then a call that fails is not tried again.
    """
    feature = feature_message(NewFeature(geometry, properties or {}, id))
    request = write_pb2.CreateFeatureRequest(
        layer=layer,
        feature=feature,
        repair=repair,
        require_layer_srid=require_layer_srid,
        output=output.message() if output else None,
        validate_only=validate_only,
    )
    return _once("CreateFeature", request, request_id, _written, timeout)


def update_feature(
    layer: str,
    id: str | int,  # noqa: A002 - the contract's name
    *,
    geometry: Place | Keep | None = KEEP,
    properties: Properties | None = None,
    etag: str = "",
    update_mask: Sequence[str] | None = None,
    repair: bool = False,
    require_layer_srid: bool = False,
    output: Output | None = None,
    validate_only: bool = False,
    request_id: str | None = None,
    timeout: float | None = None,
) -> Unary[Written]:
    """Changes what is named of a feature, and gives it as it is stored then. Raises `NotFound`.

    None as the `geometry`, or as a property's value, removes it. `etag`, as the feature came with it, has the change
    refused (`Aborted`, ETAG_MISMATCH) if the feature has changed since. `update_mask` says otherwise what to change:
    "geometry", "properties.NAME", "properties" for all of them (those that are not named get their default), or "*"
    for everything. The rest is as for `create_feature`.
    """
    given = NewFeature(None if geometry is KEEP else geometry, properties or {}, id)
    feature = feature_message(given)
    feature.etag = etag
    if update_mask is None and geometry is None:
        # A geometry that is to go is not in the message: it has to be said.
        update_mask = ["geometry", *(f"properties.{name}" for name in given.properties)]
    request = write_pb2.UpdateFeatureRequest(
        layer=layer,
        feature=feature,
        update_mask=None if update_mask is None else field_mask_pb2.FieldMask(paths=update_mask),
        repair=repair,
        require_layer_srid=require_layer_srid,
        output=output.message() if output else None,
        validate_only=validate_only,
    )
    return _once("UpdateFeature", request, request_id, _written, timeout)


def delete_feature(
    layer: str,
    id: str | int,  # noqa: A002 - the contract's name
    *,
    etag: str = "",
    validate_only: bool = False,
    request_id: str | None = None,
    timeout: float | None = None,
) -> Unary[Deleted]:
    """Removes a feature. Raises `NotFound`. `etag` is as for `update_feature`, the rest as for `create_feature`."""
    request = write_pb2.DeleteFeatureRequest(layer=layer, id=str(id), etag=etag, validate_only=validate_only)
    return _once("DeleteFeature", request, request_id, lambda answer: Deleted(1, answer.freshness_token), timeout)


def delete_features(
    layer: str,
    max_features: int,
    *,
    center: Probe | None = None,
    radius_meters: float | None = None,
    distance_model: DistanceModel = "spheroid",
    probe: Probe | None = None,
    predicate: Predicate = "intersects",
    bbox: BoundingBox | None = None,
    filter: str = "",  # noqa: A002 - the contract's name
    validate_only: bool = False,
    request_id: str | None = None,
    timeout: float | None = None,
) -> Unary[Deleted]:
    """Removes every feature that a search finds, in one transaction: what lies within `radius_meters` of a `center`,
    what stands in the relation `predicate` to a `probe`, what meets `bbox`, or all of the layer; of that, what meets
    `filter`, in CQL2 text.

    Where that is more than `max_features`, none goes: `FailedPrecondition`, TOO_MANY_MATCHES. `validate_only` counts
    them. The rest is as for `create_feature`.
    """
    query = features_query(layer, center, radius_meters, distance_model, probe, predicate, bbox, filter)
    request = write_pb2.DeleteFeaturesRequest(query=query, max_features=max_features, validate_only=validate_only)
    return _once("DeleteFeatures", request, request_id, _deleted, timeout)


def _once(method: str, request: Any, request_id: str | None, parse: Any, timeout: float | None) -> Unary[Any]:
    """A call that takes effect once however often it is made; one that changes nothing needs no id for that."""
    if request_id is None and not request.validate_only:
        request_id = str(uuid4())
    request.request_id = request_id or ""
    again = request.request_id or request.validate_only
    return Unary(method, request, parse, timeout, is_unsettled if again else is_never)


def _written(answer: Any) -> Written:
    return Written(Feature(answer.feature), answer.freshness_token)


def _deleted(answer: write_pb2.DeleteFeaturesResponse) -> Deleted:
    return Deleted(answer.deleted, answer.freshness_token)
