"""SpatialService: counting by the cells of a grid."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

from service.codec.grids import GridReader, GridWriter
from service.db.grid import GridStatement
from service.db.guards import PlanGuards
from service.db.queries import Statements
from service.db.replication.routed import StreamReads
from service.db.stream import CopyReading, Reading
from service.domain import Layout
from service.interceptors.call import Context
from service.servicers.references import References
from spatial.v1 import query_pb2


class GridServicer:
    """Gives the stream's messages as bytes."""

    def __init__(
        self, references: References, statements: Statements, streams: StreamReads, grids: GridReader, plans: PlanGuards
    ) -> None:
        self._references = references
        self._statements = statements
        self._streams = streams
        self._grids = grids
        self._plans = plans

    async def AggregateGrid(self, request: query_pb2.AggregateGridRequest, context: Context) -> AsyncGenerator[bytes]:
        with self._streams.admitted():
            asked = await self._references.read(self._grids.aggregation, request)
            statement = GridStatement(self._statements[asked.search.shape], asked.grid)

            def readings(connections: int) -> Sequence[Reading]:
                writer = GridWriter(statement)
                reading = CopyReading(lambda cursor: statement.bound(cursor, asked.search.arguments), writer.batches)
                return self._plans.around_search([reading], statement.places, asked.search.arguments)

            async with aclosing(self._streams.read("AggregateGrid", Layout.ROWS, readings)) as messages:
                async for message in messages:
                    yield message
