"""SpatialService: streaming what a question finds."""

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from typing import Any

from service.catalog import Catalog
from service.codec.arrow import ArrowWriter
from service.codec.batches import BatchWriter, BatchWriters
from service.codec.columns import ColumnsWriter
from service.codec.exports import ExportReader
from service.codec.familiar_exports import AskedExport, FamiliarExports
from service.codec.geometry import Stored
from service.codec.joins import JoinReader, JoinWriter
from service.db.assembled import Assemblies, can_be_assembled
from service.db.assembled_reading import AssembledReading
from service.db.guards import PlanGuards
from service.db.joins import join_statement
from service.db.queries import Statement, Statements
from service.db.replication.routed import StreamReads
from service.db.snapshot import Snapshot
from service.db.stream import CopyReading, Reading
from service.domain import Export, Layout, Search
from service.interceptors.call import Context
from service.servicers.references import References
from spatial.v1 import query_pb2


class StreamServicer:
    """Each RPC gives what its stream sends, as the messages' bytes. `readers` are as SpatialServicer's."""

    def __init__(
        self,
        references: References,
        catalog: Catalog,
        statements: Statements,
        streams: StreamReads,
        exports: ExportReader,
        familiar: FamiliarExports,
        joins: JoinReader,
        connections: int,
        plans: PlanGuards,
    ) -> None:
        """`connections` is with how many a whole layer may be read at once."""
        self._references = references
        self._catalog = catalog
        self._statements = statements
        self._assemblies = Assemblies()
        self._writers = BatchWriters()
        self._streams = streams
        self._exports = exports
        self._familiar = familiar
        self.readers = {
            "StreamRadius": familiar.reader(query_pb2.StreamRadiusRequest),
            "StreamIntersects": familiar.reader(query_pb2.StreamIntersectsRequest),
            "StreamFeatures": familiar.reader(query_pb2.StreamFeaturesRequest),
        }
        self._joins = joins
        self._connections = connections
        self._plans = plans

    def StreamRadius(self, asked: AskedExport, context: Context) -> AsyncGenerator[bytes]:
        return self._features("StreamRadius", self._exports.radius, asked)

    def StreamIntersects(self, asked: AskedExport, context: Context) -> AsyncGenerator[bytes]:
        return self._features("StreamIntersects", self._exports.intersects, asked)

    def StreamFeatures(self, asked: AskedExport, context: Context) -> AsyncGenerator[bytes]:
        return self._features("StreamFeatures", self._exports.features, asked)

    async def StreamJoin(self, request: query_pb2.StreamJoinRequest, context: Context) -> AsyncGenerator[bytes]:
        with self._streams.admitted():
            join = await self._references.read(self._joins.join, request)
            statement = join_statement(self._catalog, join.shape)

            def readings(connections: int) -> Sequence[Reading]:
                writer = JoinWriter(statement, join.bound_to)
                reading = CopyReading(lambda cursor: statement.bound(cursor, join.arguments), writer.batches)
                return self._plans.around_join([reading], statement, join.arguments)

            async with aclosing(self._streams.read("StreamJoin", Layout.ROWS, readings)) as messages:
                async for message in messages:
                    yield message

    async def _features(
        self, method: str, reader: Callable[[Any, Stored | None], Export], asked: AskedExport
    ) -> AsyncGenerator[bytes]:
        with self._streams.admitted():
            export = asked.export
            if export is None:
                export = await self._references.read(reader, asked.message)
                self._familiar.learn(asked, export)
            statement = self._statements[export.search.shape]
            writer = self._writers.of(statement, export.layout, export.bound_to)
            found = False

            def readings(connections: int) -> Sequence[Reading]:
                read = self._readings(export.search, statement, writer, min(self._connections, connections))
                return self._plans.around_search(read, statement, export.search.arguments)

            async with aclosing(self._streams.read(method, export.layout, readings)) as messages:
                async for message in messages:
                    yield message
                    found = True
            # Who reads Arrow wants columns also where they are empty.
            if isinstance(writer, ArrowWriter) and not (found or export.search.shape.resumed):
                yield writer.nothing()

    def _readings(
        self, search: Search, statement: Statement, writer: BatchWriter, connections: int
    ) -> Sequence[Reading]:
        arguments = statement.parameters(search.arguments)

        def rows() -> CopyReading:
            return CopyReading(lambda cursor: cursor.mogrify(statement.copy, arguments), writer.batches)

        if isinstance(writer, ArrowWriter | ColumnsWriter) and can_be_assembled(search.shape):
            assembled = self._assemblies.of(statement, room=isinstance(writer, ColumnsWriter))
            count = max(1, connections)
            snapshot = Snapshot(count)
            return [AssembledReading(assembled, writer.of_columns, rows(), snapshot) for _ in range(count)]
        return [rows()]
