"""The client of the spatial service: radius, nearest and intersects searches, streams, joins, matches and changes over
gRPC.

    from spatial_client import SpatialClient

    with SpatialClient("127.0.0.1:50051") as client:
        for feature in client.search_nearest("facilities", (13.4, 52.5), 3):
            print(feature.id, feature.distance_meters, feature.geometry)

`AsyncSpatialClient` has the same methods for asyncio. Geometry goes in as (longitude, latitude), a box, WKB, WKT or a
shapely geometry. gRPC and protobuf are all that is needed; `pip install 'spatial-service[client]'` brings shapely,
pyarrow and geopandas for `Feature.geometry`, `to_arrow` and `to_geopandas`.
"""

from spatial_client._attempts import Retry
from spatial_client._channels import TLS
from spatial_client._columns import Columns
from spatial_client._errors import (
    Aborted,
    AlreadyExists,
    Cancelled,
    DeadlineExceeded,
    FailedPrecondition,
    InternalError,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    ResourceExhausted,
    SpatialError,
    Unauthenticated,
    Unavailable,
    Unimplemented,
)
from spatial_client._features import NewFeature
from spatial_client._geometry import Box, FeatureRef, Probe
from spatial_client._grids import GridCell
from spatial_client._importing import ImportState, Rejection
from spatial_client._queries import Output
from spatial_client._values import Feature, Index, Layer, LayerProblem, Lookup, Match, Page, Pair, Property
from spatial_client._writes import Deleted, Written
from spatial_client.aio import AsyncFeatureStream, AsyncSpatialClient, AsyncStream
from spatial_client.client import FeatureStream, SpatialClient, Stream

__all__ = [
    "TLS",
    "Aborted",
    "AlreadyExists",
    "AsyncFeatureStream",
    "AsyncSpatialClient",
    "AsyncStream",
    "Box",
    "Cancelled",
    "Columns",
    "DeadlineExceeded",
    "Deleted",
    "FailedPrecondition",
    "Feature",
    "FeatureRef",
    "FeatureStream",
    "GridCell",
    "ImportState",
    "Index",
    "InternalError",
    "InvalidArgument",
    "Layer",
    "LayerProblem",
    "Lookup",
    "Match",
    "NewFeature",
    "NotFound",
    "Output",
    "Page",
    "Pair",
    "PermissionDenied",
    "Probe",
    "Property",
    "Rejection",
    "ResourceExhausted",
    "Retry",
    "SpatialClient",
    "SpatialError",
    "Stream",
    "Unauthenticated",
    "Unavailable",
    "Unimplemented",
    "Written",
]
