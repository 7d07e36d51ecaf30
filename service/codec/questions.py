"""From query messages to questions: layer, probe and distances checked, and judged by what they may cost."""

from collections.abc import Callable, Mapping
from typing import Any

from google.protobuf.message import Message

from service.catalog import Catalog, Layer
from service.codec import fields
from service.codec.fields import at
from service.codec.geometry import ProbeGeometry, ProbeReader
from service.domain import DistanceModel, Kind, Predicate, Question
from service.errors import FailedPrecondition, InvalidArgument, Reason
from spatial.v1 import query_pb2

# Beyond these a search may be slow. What they miss, the lanes notice while it runs.
HEAVY_METERS = 100_000.0
HEAVY_DEGREES = 1.0
BIG_VERTICES = 64


class QuestionReader:
    """Reads the queries of the contract against a catalog."""

    def __init__(self, catalog: Catalog, probes: ProbeReader, max_radius: float) -> None:
        self._catalog = catalog
        self._probes = probes
        self._max_radius = max_radius

    def layer(self, name: str, field: str = "layer") -> Layer:
        if not name:
            raise InvalidArgument(Reason.REQUIRED, f"{field} must be set", field=field)
        with at(field):
            return self._catalog[name]

    def radius(self, query: query_pb2.RadiusQuery) -> Question:
        layer = self.layer(query.layer)
        model = _distance_model(layer, query.distance_model)
        probe = self._center(layer, query, model)
        radius = fields.distance(query.radius_meters, self._max_radius, "radius_meters")
        heavy = radius > (HEAVY_DEGREES if model is DistanceModel.PLANAR else HEAVY_METERS)
        return _question(Kind.RADIUS, layer, model, probe, radius, heavy=heavy)

    def nearest(self, query: query_pb2.NearestQuery) -> Question:
        layer = self.layer(query.layer)
        model = _distance_model(layer, query.distance_model)
        probe = self._center(layer, query, model)
        farthest = None
        if query.HasField("max_distance_meters"):
            farthest = fields.distance(query.max_distance_meters, self._max_radius, "max_distance_meters")
        return _question(Kind.NEAREST, layer, model, probe, farthest)

    def intersects(self, query: query_pb2.IntersectsQuery) -> Question:
        layer = self.layer(query.layer)
        message = fields.required(query, "probe")
        with at("probe"):
            probe = self._probes.read(message, srid=layer.srid, geodetic=False)
        predicate = fields.enumerated(Predicate, query.predicate, Predicate.INTERSECTS, "predicate")
        if probe.kind == "GEOMETRYCOLLECTION" and predicate is not Predicate.INTERSECTS:
            raise InvalidArgument(
                Reason.UNSUPPORTED_GEOMETRY_TYPE,
                f"a geometry collection can be asked about with INTERSECTS, not with {predicate.name}",
                field="probe.geometry",
            )
        return _question(Kind.INTERSECTS, layer, predicate, probe, heavy=probe.extent > HEAVY_DEGREES)

    def window(self, query: query_pb2.LayerQuery) -> Question:
        layer = self.layer(query.layer)
        if not query.HasField("bbox"):
            return Question(Kind.ALL, layer.name, heavy=True)
        with at("bbox"):
            probe = self._probes.read_box(query.bbox, srid=layer.srid, geodetic=False)
        return _question(Kind.WINDOW, layer, None, probe, heavy=True)

    def any(self, query: query_pb2.Query) -> Question:
        kind = query.WhichOneof("kind")
        if kind is None:
            raise InvalidArgument(
                Reason.REQUIRED, "one of radius, nearest, intersects, layer must be set", field="kind"
            )
        readers: Mapping[str, Callable[[Any], Question]] = {
            "radius": self.radius,
            "nearest": self.nearest,
            "intersects": self.intersects,
            "layer": self.window,
        }
        with at(kind):
            return readers[kind](getattr(query, kind))

    def _center(self, layer: Layer, query: Message, model: DistanceModel) -> ProbeGeometry:
        message = fields.required(query, "center")
        with at("center"):
            return self._probes.read(message, srid=layer.srid, geodetic=model is not DistanceModel.PLANAR)


def _distance_model(layer: Layer, number: int) -> DistanceModel:
    model = fields.enumerated(DistanceModel, number, DistanceModel.SPHEROID, "distance_model")
    if model is not DistanceModel.PLANAR and not layer.geodetic:
        raise FailedPrecondition(
            Reason.UNSUPPORTED_DISTANCE_MODEL,
            f"layer {layer.name!r} has SRID {layer.srid}: only PLANAR distances can be measured in it",
            field="distance_model",
        )
    return model


def _question(
    kind: Kind,
    layer: Layer,
    variant: DistanceModel | Predicate | None,
    probe: ProbeGeometry,
    *arguments: float | None,
    heavy: bool = False,
) -> Question:
    big = probe.vertices > BIG_VERTICES
    return Question(kind, layer.name, variant, (probe.hexewkb, *arguments), big=big, heavy=heavy or big)
