"""What the service itself sends to PostgreSQL first for a stream, made by the parts that it makes it with."""

from collections.abc import Callable, Mapping
from typing import Any

from benchmarks.streams import Asked
from service.catalog import Catalog, shipped_layers
from service.codec.exports import ExportReader
from service.codec.geometry import GeometryLimits, ProbeReader
from service.codec.questions import QuestionReader
from service.db.assembled import Assembled, can_be_assembled
from service.db.queries import build
from service.domain import Export
from service.settings import Settings
from spatial.v1 import query_pb2


def first_statement(asked: Asked) -> tuple[str, Mapping[str, Any]]:
    """A COPY of a stream in columns, and the values for its places."""
    catalog, settings = Catalog(shipped_layers()), Settings()
    limits = GeometryLimits(settings.max_request_bytes, settings.max_vertices, settings.max_geometry_depth)
    reader = ExportReader(QuestionReader(catalog, ProbeReader(limits), settings.max_radius))
    (request,) = map(bytes.fromhex, asked.requests)
    search = _READERS[asked.method](reader, request).search
    statement = build(catalog[search.shape.layer], search.shape)
    if can_be_assembled(search.shape):
        return Assembled(statement, statement.layer).first_block, {}
    return statement.copy, statement.parameters(search.arguments)


_READERS: Mapping[str, Callable[[ExportReader, bytes], Export]] = {
    "StreamFeatures": lambda reader, sent: reader.features(query_pb2.StreamFeaturesRequest.FromString(sent)),
    "StreamRadius": lambda reader, sent: reader.radius(query_pb2.StreamRadiusRequest.FromString(sent)),
}
