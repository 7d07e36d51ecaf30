"""From query messages to questions: layer, probe and distances checked, and judged by what they may cost."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from google.protobuf.message import Message

from service.catalog import Catalog, Layer
from service.codec import fields
from service.codec.fields import at
from service.codec.filters import FilterReader
from service.codec.geometry import ProbeGeometry, ProbeReader, Stored
from service.codec.systems import in_degrees
from service.db.boxes import has_box
from service.domain import Argument, DistanceModel, Filter, Kind, Output, Predicate, Question, Shape
from service.errors import FailedPrecondition, InvalidArgument, Reason, SpatialError
from spatial.v1 import geometry_pb2, query_pb2

# Beyond these a search may be slow. What they miss, the lanes notice while it runs. All that is not in degrees counts
# as in metres: feet are not so much shorter.
HEAVY_METERS = 100_000.0
HEAVY_DEGREES = 1.0
BIG_VERTICES = 64
AREAS = ("POLYGON", "MULTIPOLYGON")


class Inquiry(NamedTuple):
    """A question that is checked but for its probe, of which there may be many. `heavy` whatever the probe. `within`
    says that an area is the last of the arguments."""

    probes: ProbeReader
    kind: Kind
    layer: Layer
    variant: DistanceModel | Predicate
    arguments: tuple[Argument, ...] = ()
    heavy: bool = False
    within: bool = False
    filter: Filter | None = None

    def about(self, message: geometry_pb2.Probe, stored: Stored | None = None) -> Question:
        """`stored` is what the database has for a probe that is a feature."""
        geodetic = self.variant is DistanceModel.SPHEROID or self.variant is DistanceModel.SPHERE
        probe = self.probes.read(message, srid=self.layer.srid, geodetic=geodetic, stored=stored)
        heavy = self.heavy
        if self.kind is Kind.INTERSECTS:
            self._check_relation(probe, message.WhichOneof("source"))
            heavy = probe.extent > _far(probe.srid)
        asked = _question(
            self.kind, self.layer, self.variant, probe, *self.arguments, heavy=heavy, filtered=self.filter
        )
        # The planner should see the area: it says whether to look there or around the probe.
        return asked._replace(within=True, big=True, heavy=True) if self.within else asked

    def _check_relation(self, probe: ProbeGeometry, source: str | None) -> None:
        if probe.kind == "GEOMETRYCOLLECTION" and self.variant is not Predicate.INTERSECTS:
            raise InvalidArgument(
                Reason.UNSUPPORTED_GEOMETRY_TYPE,
                f"a geometry collection can be asked about with INTERSECTS, not with {self.variant.name}",
                field=source,
            )


class QuestionReader:
    """Reads the queries of the contract against a catalog."""

    def __init__(self, catalog: Catalog, probes: ProbeReader, max_radius: float) -> None:
        self._catalog = catalog
        self._probes = probes
        self.max_radius = max_radius
        self._filters = FilterReader(probes)

    def layer(self, name: str, field: str = "layer") -> Layer:
        if not name:
            raise InvalidArgument(Reason.REQUIRED, f"{field} must be set", field=field)
        with at(field):
            return self._catalog[name]

    def shows(self, layer: Layer) -> bool:
        """Whether the caller may see it, and it is still the same."""
        try:
            return self.layer(layer.name) is layer
        except SpatialError:
            return False

    def filter(self, layer: Layer, text: str, field: str = "filter") -> Filter | None:
        return self._filters.read(layer, text, field)

    def layer_of(self, asked: Question | Shape) -> Layer:
        """The layer that is asked about, as it was when the question was read."""
        return self._catalog.at(asked.layer, asked.revision)

    def output(self, layer: Layer, message: query_pb2.Output, field: str = "output", *, etags: bool = False) -> Output:
        """`etags` whether they are wanted, even if the message does not ask for them."""
        return fields.output(layer, message, self._probes.systems, field, etags=etags)

    def radius(self, query: query_pb2.RadiusQuery, stored: Stored | None = None) -> Question:
        return self._about(self.radius_inquiry(query), query, "center", stored)

    def nearest(self, query: query_pb2.NearestQuery, stored: Stored | None = None) -> Question:
        return self._about(self.nearest_inquiry(query), query, "center", stored)

    def intersects(self, query: query_pb2.IntersectsQuery, stored: Stored | None = None) -> Question:
        return self._about(self.intersects_inquiry(query), query, "probe", stored)

    def radius_inquiry(self, query: query_pb2.RadiusQuery) -> Inquiry:
        layer = self.layer(query.layer)
        model = distance_model(layer, query.distance_model)
        radius = fields.distance(query.radius_meters, self.max_radius, "radius_meters")
        heavy = radius > far_radius(layer, model)
        filtered = self.filter(layer, query.filter)
        return Inquiry(self._probes, Kind.RADIUS, layer, model, (radius,), heavy, filter=filtered)

    def nearest_inquiry(self, query: query_pb2.NearestQuery) -> Inquiry:
        layer = self.layer(query.layer)
        model = distance_model(layer, query.distance_model)
        farthest = None
        if query.HasField("max_distance_meters"):
            farthest = fields.distance(query.max_distance_meters, self.max_radius, "max_distance_meters")
        area = self._area(query, layer)
        filtered = self.filter(layer, query.filter)
        arguments = (farthest, *area)
        return Inquiry(self._probes, Kind.NEAREST, layer, model, arguments, within=bool(area), filter=filtered)

    def _area(self, query: query_pb2.NearestQuery, layer: Layer) -> tuple[Argument, ...]:
        if not query.HasField("within"):
            return ()
        with at("within"):
            area = self._probes.read_geometry(query.within, srid=layer.srid, geodetic=False)
            if area.kind not in AREAS:
                raise InvalidArgument(
                    Reason.UNSUPPORTED_GEOMETRY_TYPE,
                    f"an area is a polygon or several, not a {area.kind}",
                    metadata={"actual": area.kind},
                )
        return (area.hexewkb,)

    def intersects_inquiry(self, query: query_pb2.IntersectsQuery) -> Inquiry:
        layer = self.layer(query.layer)
        predicate = fields.enumerated(Predicate, query.predicate, Predicate.INTERSECTS, "predicate")
        filtered = self.filter(layer, query.filter)
        return Inquiry(self._probes, Kind.INTERSECTS, layer, predicate, filter=filtered)

    def window(self, query: query_pb2.LayerQuery, stored: Stored | None = None) -> Question:
        """A box is not a feature: nothing is `stored`."""
        layer = self.layer(query.layer)
        filtered = self.filter(layer, query.filter)
        if not query.HasField("bbox"):
            return Question(Kind.ALL, layer.name, heavy=True, filter=filtered, revision=layer.revision)
        with at("bbox"):
            probe = self._probes.read_box(query.bbox, srid=layer.srid, geodetic=False)
        return _question(Kind.WINDOW, layer, None, probe, heavy=True, filtered=filtered)

    def any(self, query: query_pb2.Query, stored: Stored | None = None) -> Question:
        kind = query.WhichOneof("kind")
        if kind is None:
            raise InvalidArgument(
                Reason.REQUIRED, "one of radius, nearest, intersects, layer must be set", field="kind"
            )
        readers: Mapping[str, Callable[[Any, Stored | None], Question]] = {
            "radius": self.radius,
            "nearest": self.nearest,
            "intersects": self.intersects,
            "layer": self.window,
        }
        if kind not in readers:
            raise InvalidArgument(Reason.UNEXPECTED_FIELD, "this asks about one layer, not about pairs", field=kind)
        with at(kind):
            return readers[kind](getattr(query, kind), stored)

    @staticmethod
    def _about(inquiry: Inquiry, query: Message, field: str, stored: Stored | None) -> Question:
        probe = fields.required(query, field)
        with at(field):
            return inquiry.about(probe, stored)


def far_radius(layer: Layer, model: DistanceModel | Predicate | None) -> float:
    """A larger one is heavy."""
    return _far(layer.srid) if model is DistanceModel.PLANAR else HEAVY_METERS


def _far(srid: int) -> float:
    return HEAVY_DEGREES if in_degrees(srid) else HEAVY_METERS


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
    *arguments: Argument,
    heavy: bool = False,
    filtered: Filter | None = None,
) -> Question:
    big = probe.vertices > BIG_VERTICES
    arguments = (probe.hexewkb, *arguments)
    return Question(
        kind,
        layer.name,
        variant,
        arguments,
        big=big,
        heavy=heavy or big,
        filter=filtered,
        boxed=has_box(layer, kind, variant, arguments),
        revision=layer.revision,
    )
