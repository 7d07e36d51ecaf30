"""From the messages of ImportFeatures to rows on their way into a layer."""

from collections.abc import Container
from uuid import uuid4

from service.catalog import Catalog, Layer
from service.changes import Importing, ImportPlan, Incoming
from service.codec import fields
from service.codec.arriving.columns import ColumnsReader
from service.codec.arriving.geometries import ArrivalReader
from service.codec.arriving.promises import checked_id, writable_layer
from service.codec.arriving.rows import RowsReader
from service.codec.fields import at
from service.codec.geometry import other_crs
from service.codec.tokens import fingerprint
from service.errors import InvalidArgument, Reason
from spatial.v1 import write_pb2

DEFAULT_REJECTIONS = 100
MOST_REJECTIONS = 10_000


class ImportReader:
    def __init__(self, catalog: Catalog, arrivals: ArrivalReader) -> None:
        self._catalog = catalog
        self._arrivals = arrivals

    def plan(self, message: write_pb2.ImportPlan) -> ImportPlan:
        """Refusals name the field relative to the plan. Whether `match_property` is unique only the database knows."""
        layer = writable_layer(self._catalog, message.layer)
        mode = fields.enumerated(Importing, message.mode, Importing.INSERT, "mode")
        if message.match_property:
            _check_match(layer, message.match_property, mode)
        if message.HasField("srid"):
            _check_srid(layer, message.srid, own_srid_only=message.require_layer_srid)
        return ImportPlan(
            layer.name,
            checked_id(message.import_id, "import_id") or str(uuid4()),
            fingerprint(message, "import_id"),
            mode,
            message.match_property or None,
            message.repair,
            message.require_layer_srid,
            message.srid,
            fields.size(message.max_rejections, DEFAULT_REJECTIONS, MOST_REJECTIONS, "max_rejections"),
            message.validate_only,
            layer.revision,
        )

    def rows(
        self, plan: ImportPlan, request: write_pb2.ImportFeaturesRequest, first: int, missing: Container[int] = ()
    ) -> list[Incoming]:
        """The rows of one message, whose first has the number `first`, in the order of their numbers: more than one
        Incoming where rows that follow one another do not bring the same columns.

        Raises what is wrong with the message as a whole, its field relative to the request, and UNKNOWN_SRID for a CRS
        that nobody has asked the database about: ask (`References.learned`), and read the message again, with the code
        in `missing` if there is none; then its rows are rejected.
        """
        layer = self._catalog.at(plan.layer, plan.revision)
        if request.HasField("rows"):
            return RowsReader(plan, layer, self._arrivals, missing).read(request.rows.features, first)
        if request.HasField("columns"):
            with at("columns"):
                return [ColumnsReader(plan, layer, self._arrivals, missing).read(request.columns, first)]
        return []


def _check_match(layer: Layer, name: str, mode: Importing) -> None:
    prop = layer.properties.get(name)
    metadata = {"layer": layer.name, "property": name[:80]}
    if mode is not Importing.UPSERT:
        problem = "only where rows replace others is it asked which they match"
        raise InvalidArgument(Reason.UNEXPECTED_FIELD, problem, field="match_property")
    if prop is None:
        problem = f"layer {layer.name!r} has no property {name[:80]!r}"
        raise InvalidArgument(Reason.UNKNOWN_PROPERTY, problem, field="match_property", metadata=metadata)
    if not prop.writable:
        problem = f"property {name!r} is computed, or kept by the database"
        raise InvalidArgument(Reason.READ_ONLY_PROPERTY, problem, field="match_property", metadata=metadata)


def _check_srid(layer: Layer, srid: int, *, own_srid_only: bool) -> None:
    if srid != layer.srid and (own_srid_only or not (srid and layer.srid)):
        raise other_crs(srid, layer.srid, "srid")
