"""Which scope each RPC needs, in one table. What is not in it cannot be served by a server that authenticates."""

from collections.abc import Mapping

from service.access import Scope

READ, WRITE, ADMIN = Scope

_REFLECTION: Mapping[str, Scope | None] = {"ServerReflectionInfo": None}

# None: needs no credentials. Health is asked by what starts and stops servers; reflection shows the contract alone.
NEEDED: Mapping[str, Mapping[str, Scope | None]] = {
    "spatial.v1.SpatialService": {
        "ListLayers": READ,  # those that the caller may read
        "GetLayer": READ,
        "GetFeature": READ,
        "BatchGetFeatures": READ,
        "SearchRadius": READ,
        "SearchNearest": READ,
        "SearchIntersects": READ,
        "CountFeatures": READ,
        "StreamRadius": READ,
        "StreamIntersects": READ,
        "StreamFeatures": READ,
        "StreamJoin": READ,
        "AggregateGrid": READ,
        "MatchFeatures": READ,
        "RefreshLayers": ADMIN,  # it changes what all callers are served
    },
    "spatial.v1.FeatureService": {
        "CreateFeature": WRITE,
        "UpdateFeature": WRITE,
        "DeleteFeature": WRITE,
        "DeleteFeatures": WRITE,
        "ImportFeatures": WRITE,
        "GetImport": WRITE,
    },
    "spatial.v1.AdminService": {
        "Explain": ADMIN,  # plans tell of data, and to measure one can be dear
        "Diagnose": ADMIN,
        "AnalyzeLayer": ADMIN,
    },
    "grpc.health.v1.Health": {"Check": None, "List": None, "Watch": None},
    "grpc.reflection.v1.ServerReflection": _REFLECTION,
    "grpc.reflection.v1alpha.ServerReflection": _REFLECTION,
}


def needed(service: str, method: str) -> Scope | None:
    """Raises KeyError for an RPC that the table does not know."""
    return NEEDED[service][method]
