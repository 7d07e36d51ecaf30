"""AdminService: plans."""

from service.catalog import Catalog
from service.codec.explains import ExplainReader, explain_response
from service.db.explain import Ask, asked_join, asked_search
from service.db.guards import PlanGuards
from service.db.joins import join_statement
from service.db.lanes import Lanes
from service.db.queries import Statements
from service.domain import Join, Search
from service.interceptors.call import Context
from service.servicers.references import References
from spatial.v1 import admin_pb2


class AdminServicer:
    """Its RPCs work for people: what they run goes where slow calls wait for one another."""

    SERVICE = admin_pb2.DESCRIPTOR.services_by_name["AdminService"]

    def __init__(
        self,
        references: References,
        catalog: Catalog,
        statements: Statements,
        lanes: Lanes,
        reader: ExplainReader,
        plans: PlanGuards,
    ) -> None:
        self._references = references
        self._catalog = catalog
        self._statements = statements
        self._lanes = lanes
        self._reader = reader
        self._plans = plans

    async def Explain(self, request: admin_pb2.ExplainRequest, context: Context) -> admin_pb2.ExplainResponse:
        asked = await self._references.read(self._reader.asked, request)
        explained = await self._lanes.run(self._plans.explaining(self._ask(asked), analyze=request.analyze))
        return explain_response(*explained)

    def _ask(self, asked: Search | Join) -> Ask:
        if isinstance(asked, Join):
            return asked_join(join_statement(self._catalog, asked.shape), asked.arguments)
        return asked_search(self._statements[asked.shape], asked.arguments)
