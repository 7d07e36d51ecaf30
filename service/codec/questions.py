"""From query messages to questions: layer, probe and distances checked, and judged by what they may cost."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from google.protobuf.message import Message

from service.catalog import Catalog, Layer
from service.codec import fields
from service.codec.fields import at
from service.codec.geometry import ProbeGeometry, ProbeReader
from service.domain import DistanceModel, Kind, Predicate, Question
from service.errors import FailedPrecondition, InvalidArgument, Reason
from spatial.v1 import geometry_pb2, query_pb2

# Beyond these a search may be slow. What they miss, the lanes notice while it runs.
HEAVY_METERS = 100_000.0
HEAVY_DEGREES = 1.0
BIG_VERTICES = 64


@dataclass(frozen=True, slots=True)
class Inquiry:
    """A question that is checked but for its probe, of which there may be many. `heavy` whatever the probe."""

    probes: ProbeReader
    kind: Kind
    layer: Layer
    variant: DistanceModel | Predicate
    arguments: tuple[float | None, ...] = ()
    heavy: bool = False

    def about(self, message: geometry_pb2.Probe) -> Question:
        geodetic = self.variant in (DistanceModel.SPHEROID, DistanceModel.SPHERE)
        probe = self.probes.read(message, srid=self.layer.srid, geodetic=geodetic)
        heavy = self.heavy
        if self.kind is Kind.INTERSECTS:
            self._check_relation(probe)
            heavy = probe.extent > HEAVY_DEGREES
        return _question(self.kind, self.layer, self.variant, probe, *self.arguments, heavy=heavy)

    def _check_relation(self, probe: ProbeGeometry) -> None:
        if probe.kind == "GEOMETRYCOLLECTION" and self.variant is not Predicate.INTERSECTS:
            raise InvalidArgument(
                Reason.UNSUPPORTED_GEOMETRY_TYPE,
                f"a geometry collection can be asked about with INTERSECTS, not with {self.variant.name}",
                field="geometry",
            )


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
        return self._about(self.radius_inquiry(query), query, "center")

    def nearest(self, query: query_pb2.NearestQuery) -> Question:
        return self._about(self.nearest_inquiry(query), query, "center")

    def intersects(self, query: query_pb2.IntersectsQuery) -> Question:
        return self._about(self.intersects_inquiry(query), query, "probe")

    def radius_inquiry(self, query: query_pb2.RadiusQuery) -> Inquiry:
        layer = self.layer(query.layer)
        model = distance_model(layer, query.distance_model)
        radius = fields.distance(query.radius_meters, self._max_radius, "radius_meters")
        heavy = radius > (HEAVY_DEGREES if model is DistanceModel.PLANAR else HEAVY_METERS)
        return Inquiry(self._probes, Kind.RADIUS, layer, model, (radius,), heavy)

    def nearest_inquiry(self, query: query_pb2.NearestQuery) -> Inquiry:
        layer = self.layer(query.layer)
        model = distance_model(layer, query.distance_model)
        farthest = None
        if query.HasField("max_distance_meters"):
            farthest = fields.distance(query.max_distance_meters, self._max_radius, "max_distance_meters")
        return Inquiry(self._probes, Kind.NEAREST, layer, model, (farthest,))

    def intersects_inquiry(self, query: query_pb2.IntersectsQuery) -> Inquiry:
        layer = self.layer(query.layer)
        predicate = fields.enumerated(Predicate, query.predicate, Predicate.INTERSECTS, "predicate")
        return Inquiry(self._probes, Kind.INTERSECTS, layer, predicate)

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

    @staticmethod
    def _about(inquiry: Inquiry, query: Message, field: str) -> Question:
        probe = fields.required(query, field)
        with at(field):
            return inquiry.about(probe)


def distance_model(layer: Layer, number: int) -> DistanceModel:
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
