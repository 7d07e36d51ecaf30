"""From the requests of FeatureService to changes of one feature."""

from collections.abc import Iterable

from google.protobuf import struct_pb2

from service.catalog import Catalog, Layer
from service.changes import EVERYTHING, Act, Edit, Placed
from service.codec import fields
from service.codec.arriving.changed import Changed, given_properties, read_mask
from service.codec.arriving.geometries import ArrivalReader
from service.codec.arriving.promises import promise_of, writable_layer
from service.codec.arriving.texts import text_of
from service.codec.fields import at
from service.domain import Key, Output
from service.errors import InvalidArgument, Reason, SpatialError
from spatial.v1 import feature_pb2, write_pb2

_ALL_OF_IT = Output(etags=True)
_NULL = struct_pb2.Value(null_value=struct_pb2.NULL_VALUE)


class EditReader:
    """A geometry that is to become null is among an edit's `values`, by its column's name."""

    def __init__(self, catalog: Catalog, arrivals: ArrivalReader) -> None:
        self._catalog = catalog
        self._arrivals = arrivals

    def create(self, request: write_pb2.CreateFeatureRequest) -> Edit:
        layer = writable_layer(self._catalog, request.layer)
        feature: feature_pb2.Feature = fields.required(request, "feature")
        try:
            _check_unset(feature, "etag", "distance_meters")
            key = _key(layer, feature.id) if feature.id else None
            changed = Changed(feature.HasField("geometry"), given_properties(layer, feature.properties.fields))
        except SpatialError as error:
            raise error.at("feature") from error.__cause__
        return self._edit(Act.CREATE, layer, request, changed, key)

    def update(self, request: write_pb2.UpdateFeatureRequest) -> Edit:
        layer = writable_layer(self._catalog, request.layer)
        feature: feature_pb2.Feature = fields.required(request, "feature")
        with at("feature"):
            _check_unset(feature, "distance_meters")
            key = _required_key(layer, feature.id)
        if request.HasField("update_mask"):
            changed = read_mask(layer, feature, request.update_mask.paths)
        else:
            with at("feature"):
                changed = Changed(feature.HasField("geometry"), given_properties(layer, feature.properties.fields))
        if not any(changed):
            raise InvalidArgument(Reason.REQUIRED, "there is nothing to change", field="feature")
        return self._edit(Act.UPDATE, layer, request, changed, key)

    def delete(self, request: write_pb2.DeleteFeatureRequest) -> Edit:
        layer = writable_layer(self._catalog, request.layer)
        return Edit(
            Act.DELETE,
            layer.name,
            _required_key(layer, request.id),
            etag=_etag(request.etag),
            validate_only=request.validate_only,
            promise=promise_of(request),
            revision=layer.revision,
        )

    def _edit(
        self,
        act: Act,
        layer: Layer,
        request: write_pb2.CreateFeatureRequest | write_pb2.UpdateFeatureRequest,
        changed: Changed,
        key: Key | None,
    ) -> Edit:
        feature = request.feature
        try:
            values = _values(layer, feature, changed.properties)
            geometry = self._geometry(request, layer) if changed.geometry else None
        except SpatialError as error:
            raise error.at("feature") from error.__cause__
        if changed.geometry and geometry is None:
            values = (*values, (layer.geometry_name, None))
        return Edit(
            act,
            layer.name,
            key,
            values,
            changed.defaults,
            geometry,
            etag=_etag(feature.etag),
            output=self.output(request, layer),
            validate_only=request.validate_only,
            promise=promise_of(request),
            revision=layer.revision,
        )

    def output(self, request: write_pb2.CreateFeatureRequest | write_pb2.UpdateFeatureRequest, layer: Layer) -> Output:
        """What is to be answered."""
        if not request.HasField("output"):
            return everything(layer)
        return fields.output(layer, request.output, self._arrivals.systems, etags=True)

    def _geometry(
        self, request: write_pb2.CreateFeatureRequest | write_pb2.UpdateFeatureRequest, layer: Layer
    ) -> Placed | None:
        """None where it is to be null."""
        if not request.feature.HasField("geometry"):
            return None
        try:
            return self._arrivals.read(
                request.feature.geometry, layer, repair=request.repair, own_srid_only=request.require_layer_srid
            )
        except SpatialError as error:
            raise error.at("geometry") from error.__cause__


def everything(layer: Layer) -> Output:
    """What is answered where nothing is said about it."""
    return _ALL_OF_IT if layer.versioned else EVERYTHING


def _values(layer: Layer, feature: feature_pb2.Feature, names: Iterable[str]) -> tuple[tuple[str, str | None], ...]:
    """A property that the feature does not have becomes null."""
    values, given, name = [], feature.properties.fields, ""
    try:
        for name in names:
            values.append((name, text_of(layer, layer.properties[name], given.get(name, _NULL))))
    except SpatialError as error:
        raise error.at(f"properties.{name}") from error.__cause__
    return tuple(values)


def _etag(text: str) -> str:
    """As PostgreSQL can compare it: one with a NUL is nobody's, and stays so."""
    return text.replace("\0", "?")


def _key(layer: Layer, text: str) -> Key:
    with at("id"):
        return layer.parse_key(text)


def _required_key(layer: Layer, text: str) -> Key:
    """Of keys that are texts, the empty one is one, too."""
    if not text and layer.integer_key:
        raise InvalidArgument(Reason.REQUIRED, "id must be set", field="id")
    return _key(layer, text)


def _check_unset(feature: feature_pb2.Feature, *names: str) -> None:
    for name in names:
        if feature.HasField(name) if name == "distance_meters" else getattr(feature, name):
            raise InvalidArgument(Reason.UNEXPECTED_FIELD, f"{name} cannot be written", field=name)
