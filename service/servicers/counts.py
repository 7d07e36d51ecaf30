"""SpatialService: counting."""

from service.catalog import Catalog
from service.codec.freshness import wanted_position
from service.codec.joins import JoinReader
from service.codec.requests import RequestReader, estimated
from service.codec.responses import ResponseWriter
from service.db.describe import estimate
from service.db.guards import PlanGuards
from service.db.joins import count_pairs, estimate_pairs, join_statement
from service.db.queries import Statements
from service.db.replication.freshness import WANTED_POSITION
from service.db.replication.routed import Reads
from service.interceptors.call import Context
from service.servicers.references import References
from spatial.v1.query_pb2 import CountFeaturesRequest, CountFeaturesResponse


class CountServicer:
    def __init__(
        self,
        references: References,
        catalog: Catalog,
        statements: Statements,
        lanes: Reads,
        requests: RequestReader,
        joins: JoinReader,
        responses: ResponseWriter,
        plans: PlanGuards,
    ) -> None:
        self._references = references
        self._catalog = catalog
        self._statements = statements
        self._lanes = lanes
        self._requests = requests
        self._joins = joins
        self._responses = responses
        self._plans = plans

    async def CountFeatures(self, request: CountFeaturesRequest, context: Context) -> CountFeaturesResponse:
        count = self._pairs if request.query.WhichOneof("kind") == "join" else self._features
        rows = await count(request)
        mode = CountFeaturesRequest.MODE_ESTIMATED if estimated(request) else CountFeaturesRequest.MODE_EXACT
        return CountFeaturesResponse(count=rows, mode=mode)

    async def _features(self, request: CountFeaturesRequest) -> int:
        count = await self._references.read(self._requests.count, request)
        if count.estimated:
            return await self._lanes.run(estimate(self._statements[count.search.shape], count.search.arguments))
        return self._responses.count(await self._lanes.answer(count.search))

    async def _pairs(self, request: CountFeaturesRequest) -> int:
        WANTED_POSITION.set(wanted_position(request))
        join = self._joins.counted(request)
        statement = join_statement(self._catalog, join.shape)
        if estimated(request):
            return await self._lanes.run(estimate_pairs(statement, join.arguments))
        return await self._lanes.run(count_pairs(statement, join.arguments, self._plans.admit_join))
