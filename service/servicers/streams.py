"""SpatialService: streaming what a question finds."""

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from typing import TypeVar

from google.protobuf.message import Message

from service.catalog import Catalog, Layer
from service.codec.arrow import ArrowWriter
from service.codec.batches import BatchWriter, batch_writer
from service.codec.exports import ExportReader
from service.codec.geometry import Stored
from service.codec.joins import JoinReader, JoinWriter
from service.db.assembled import Assembled, AssembledReading, can_be_assembled
from service.db.guards import PlanGuards
from service.db.joins import join_statement
from service.db.queries import Statements
from service.db.snapshot import Snapshot
from service.db.stream import CopyReading, Reading, Streams
from service.domain import Export, Layout
from service.interceptors.call import Context
from service.servicers.references import References
from spatial.v1 import query_pb2

R = TypeVar("R", bound=Message)


class StreamServicer:
    """Each RPC gives what its stream sends, as the messages' bytes."""

    def __init__(
        self,
        references: References,
        catalog: Catalog,
        statements: Statements,
        streams: Streams,
        exports: ExportReader,
        joins: JoinReader,
        connections: int,
        plans: PlanGuards,
    ) -> None:
        """`connections` is with how many a whole layer may be read at once."""
        self._references = references
        self._catalog = catalog
        self._statements = statements
        self._streams = streams
        self._exports = exports
        self._joins = joins
        self._connections = connections
        self._plans = plans

    def StreamRadius(self, request: query_pb2.StreamRadiusRequest, context: Context) -> AsyncGenerator[bytes]:
        return self._features("StreamRadius", self._exports.radius, request)

    def StreamIntersects(self, request: query_pb2.StreamIntersectsRequest, context: Context) -> AsyncGenerator[bytes]:
        return self._features("StreamIntersects", self._exports.intersects, request)

    def StreamFeatures(self, request: query_pb2.StreamFeaturesRequest, context: Context) -> AsyncGenerator[bytes]:
        return self._features("StreamFeatures", self._exports.features, request)

    async def StreamJoin(self, request: query_pb2.StreamJoinRequest, context: Context) -> AsyncGenerator[bytes]:
        with self._streams.admitted():
            join = await self._references.read(self._joins.join, request)
            statement = join_statement(self._catalog, join.shape)
            writer = JoinWriter(statement, join.bound_to)
            reading = CopyReading(lambda cursor: statement.bound(cursor, join.arguments), writer.batches)
            readings = self._plans.around_join([reading], statement, join.arguments)
            async with aclosing(self._streams.read("StreamJoin", Layout.ROWS, readings)) as messages:
                async for message in messages:
                    yield message

    async def _features(
        self, method: str, reader: Callable[[R, Stored | None], Export], request: R
    ) -> AsyncGenerator[bytes]:
        with self._streams.admitted():
            export = await self._references.read(reader, request)
            shape = export.search.shape
            layer = self._statements[shape].layer
            writer = batch_writer(self._statements[shape], layer, export.layout, export.bound_to)
            found = False
            readings = self._plans.around_search(
                self._readings(export, layer, writer), self._statements[shape], export.search.arguments
            )
            async with aclosing(self._streams.read(method, export.layout, readings)) as messages:
                async for message in messages:
                    yield message
                    found = True
            # Who reads Arrow wants columns also where they are empty.
            if isinstance(writer, ArrowWriter) and not (found or shape.resumed):
                yield writer.nothing()

    def _readings(self, export: Export, layer: Layer, writer: BatchWriter) -> Sequence[Reading]:
        shape = export.search.shape
        statement = self._statements[shape]
        arguments = statement.parameters(export.search.arguments)

        def rows() -> CopyReading:
            return CopyReading(lambda cursor: cursor.mogrify(statement.copy, arguments), writer.batches)

        if isinstance(writer, ArrowWriter) and can_be_assembled(shape):
            assembled = Assembled(statement, layer)
            count = min(self._connections, self._streams.connections_free)
            snapshot = Snapshot(count) if count > 1 else None
            return [AssembledReading(assembled, writer.of_columns, rows(), snapshot) for _ in range(max(1, count))]
        return [rows()]
