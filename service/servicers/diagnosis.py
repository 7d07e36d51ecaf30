"""AdminService: the doctor, and what keeps tables in shape."""

from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import replace
from functools import partial
from time import perf_counter

from service.catalog import Catalog
from service.codec.diagnoses import analyzed_layer, diagnosis, layers_named
from service.db.errands import Errands
from service.db.lanes import Lanes
from service.db.occupancy import Occupancy, Wanted
from service.doctor.examination import examine, examine_thoroughly
from service.doctor.findings import worst_first
from service.doctor.maintenance import perform, steps
from service.doctor.pools import full_pools
from service.doctor.refusals import not_served
from service.interceptors.call import Context
from service.reflected.selection import Refusal
from spatial.v1 import admin_pb2


class DiagnosisServicer:
    """A glance runs where slow calls wait for one another; what may take minutes, where nobody waits for it."""

    def __init__(
        self,
        catalog: Catalog,
        lanes: Lanes,
        errands: Errands,
        pools: Callable[[], Sequence[Occupancy]],
        refusals: Callable[[], Sequence[Refusal]],
        connections: Wanted,
    ) -> None:
        """`pools` are those of this process, `refusals` the tables that it does not serve, at the moment;
        `connections` is how many the service may open."""
        self._catalog = catalog
        self._lanes = lanes
        self._errands = errands
        self._pools = pools
        self._refusals = refusals
        self._connections = connections

    async def Diagnose(self, request: admin_pb2.DiagnoseRequest, context: Context) -> admin_pb2.DiagnoseResponse:
        layers = layers_named(self._catalog, request.layers)
        pools = self._pools()
        examination = await self._lanes.run(partial(examine, layers=layers, connections=self._connections))
        findings = [*examination.findings, *full_pools(pools)]
        if not request.layers:
            findings += not_served(self._refusals())
        if request.thorough:
            findings += await self._errands.run(partial(examine_thoroughly, layers=layers))
        return diagnosis(replace(examination, findings=worst_first(findings)), pools)

    async def AnalyzeLayer(
        self, request: admin_pb2.AnalyzeLayerRequest, context: Context
    ) -> AsyncGenerator[admin_pb2.AnalyzeLayerResponse]:
        layer = analyzed_layer(self._catalog, request)
        planned = await self._errands.run(partial(steps, layer=layer, reindex=request.reindex))
        for done, step in enumerate(planned, 1):
            started = perf_counter()
            await self._errands.run(partial(perform, step=step))
            seconds = perf_counter() - started
            yield admin_pb2.AnalyzeLayerResponse(step=step, done=done, total=len(planned), seconds=seconds)
