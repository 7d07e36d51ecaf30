"""Probes that are features: which ones a request speaks of, and what an answer says of their geometries."""

from collections.abc import Mapping
from typing import Any

from service.catalog import Catalog, Layer
from service.codec import wire
from service.codec.fields import at
from service.codec.geometry import Stored
from service.db.batch import Answer
from service.domain import Key
from service.errors import FailedPrecondition, InvalidArgument, NotFound, Reason
from spatial.v1 import feature_pb2, geometry_pb2, query_pb2

_PROBES: Mapping[type, str] = {
    query_pb2.RadiusQuery: "center",
    query_pb2.NearestQuery: "center",
    query_pb2.IntersectsQuery: "probe",
}


def referenced(request: Any) -> tuple[str, geometry_pb2.FeatureRef] | None:
    """The feature that a request asks about, and the path of its field; None where it asks about something else."""
    query, path = getattr(request, "query", None), "query"
    if type(query) is query_pb2.Query and (kind := query.WhichOneof("kind")):
        query, path = getattr(query, kind), f"{path}.{kind}"
    name = _PROBES.get(type(query))
    if name is None:
        return None
    probe = getattr(query, name)
    return (f"{path}.{name}.feature", probe.feature) if probe.WhichOneof("source") == "feature" else None


def read_reference(catalog: Catalog, reference: geometry_pb2.FeatureRef) -> tuple[Layer, Key]:
    """The layer and the key. Refusals name the field relative to the reference."""
    if not reference.layer:
        raise InvalidArgument(Reason.REQUIRED, "layer must be set", field="layer")
    with at("layer"):
        layer = catalog.readable(reference.layer)
    with at("id"):
        return layer, layer.parse_key(reference.id)


def geometries(answer: Answer) -> dict[str, Stored | None]:
    """What the features of an answer have, by their ids; None where that is nothing."""
    features = (feature_pb2.Feature.FromString(wire.content(row[-1])) for row in answer.rows)
    return {
        feature.id: Stored(feature.geometry.wkb, feature.geometry.srid) if feature.HasField("geometry") else None
        for feature in features
    }


def not_found(layer: Layer, key: Key) -> NotFound:
    return NotFound(
        Reason.FEATURE_NOT_FOUND,
        f"layer {layer.name!r} has no feature {str(key)!r}",
        field="id",
        metadata={"layer": layer.name, "id": str(key)},
    )


def without_geometry(layer: Layer, key: Key) -> FailedPrecondition:
    return FailedPrecondition(
        Reason.NO_GEOMETRY,
        f"feature {str(key)!r} of layer {layer.name!r} has no geometry to ask about",
        metadata={"layer": layer.name, "id": str(key)},
    )
