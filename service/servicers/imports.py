"""FeatureService: importing many, and how far that has come."""

from collections.abc import AsyncIterator
from functools import partial

from service.catalog import Catalog
from service.changes import ImportPlan
from service.codec.arriving.imports import ImportReader
from service.codec.arriving.promises import checked_id
from service.codec.imported import finished, so_far
from service.db.canceller import Canceller
from service.db.imports import entries
from service.db.imports.importer import Importer
from service.db.lanes import Lanes
from service.errors import InvalidArgument, NotFound, Reason, SpatialError
from service.interceptors.call import Context
from service.servicers.feed import Feed
from service.servicers.references import References
from spatial.v1 import write_pb2


class ImportServicer:
    """`importer` works on threads: one for each import that reads rows, and one that writes them."""

    def __init__(
        self,
        references: References,
        catalog: Catalog,
        lanes: Lanes,
        canceller: Canceller,
        importer: Importer,
        reader: ImportReader,
        stall_seconds: float,
    ) -> None:
        self._references = references
        self._catalog = catalog
        self._lanes = lanes
        self._canceller = canceller
        self._importer = importer
        self._reader = reader
        self._stall_seconds = stall_seconds
        self._feeds: set[Feed] = set()

    async def ImportFeatures(
        self, requests: AsyncIterator[write_pb2.ImportFeaturesRequest], context: Context
    ) -> write_pb2.ImportFeaturesResponse:
        first = await anext(requests, None)
        if first is None or not first.HasField("plan"):
            raise InvalidArgument(Reason.REQUIRED, "the first message must say what the import is about", field="plan")
        plan = self._plan(first)
        with self._importer.admitted():  # before the feed, which has a thread from the beginning
            feed = Feed(self._references, self._importer, self._reader, plan, self._stall_seconds)
            self._feeds.add(feed)
            try:
                outcome = await feed.run(self._catalog.at(plan.layer, plan.revision), first, requests)
            finally:
                await feed.leave(self._canceller)
                self._feeds.discard(feed)
        totals, rejections, analyzed, position = outcome
        return finished(
            plan.id, totals, rejections, self._srid(plan.layer, plan.srid), analyzed=analyzed, position=position
        )

    async def GetImport(self, request: write_pb2.GetImportRequest, context: Context) -> write_pb2.GetImportResponse:
        if not request.import_id:
            raise InvalidArgument(Reason.REQUIRED, "an id is needed", field="import_id")
        found = await self._lanes.run(partial(entries.find, id_=checked_id(request.import_id, "import_id")))
        srid = self._srid(found.layer, 0)
        return so_far(found.layer, found.totals, found.rejections, srid, complete=found.complete)

    async def close(self) -> None:
        """Waits for the threads, whose callers have gone."""
        for feed in list(self._feeds):
            await feed.leave(self._canceller)

    def _plan(self, request: write_pb2.ImportFeaturesRequest) -> ImportPlan:
        try:
            return self._reader.plan(request.plan)
        except SpatialError as error:
            raise error.at("plan") from error.__cause__

    def _srid(self, layer: str, given: int) -> int:
        """That of rows which do not say theirs."""
        try:
            return given or self._catalog[layer].srid
        except NotFound:  # served no more
            return 0
