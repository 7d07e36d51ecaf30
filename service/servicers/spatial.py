"""SpatialService: reading."""

import asyncio
from collections.abc import Callable

from service.catalog import Catalog
from service.codec.familiar import Asked, FamiliarSearches
from service.codec.requests import RequestReader, bound_to
from service.codec.responses import ResponseWriter, layer_message
from service.db.describe import describe
from service.db.replication.freshness import FRESHEST, WANTED_POSITION
from service.db.replication.routed import Reads
from service.interceptors.call import Context
from service.servicers.references import References
from spatial.v1 import query_pb2


class SpatialServicer:
    """Each RPC parses, asks and renders. Those that answer with features return the response's bytes. `readers` make of
    what is sent to an RPC what it takes, where that is not the message."""

    SERVICE = query_pb2.DESCRIPTOR.services_by_name["SpatialService"]

    def __init__(
        self,
        references: References,
        catalog: Catalog,
        lanes: Reads,
        requests: RequestReader,
        responses: ResponseWriter,
        refresh: Callable[[], None],
    ) -> None:
        """`refresh` brings the catalog up to date; it blocks."""
        self._references = references
        self._catalog = catalog
        self._lanes = lanes
        self._requests = requests
        self._responses = responses
        self._refresh = refresh
        self._familiar = FamiliarSearches(requests)
        self.readers = {"SearchRadius": self._familiar.read}

    async def ListLayers(self, request: query_pb2.ListLayersRequest, context: Context) -> query_pb2.ListLayersResponse:
        return query_pb2.ListLayersResponse(layers=await self._described())

    async def RefreshLayers(
        self, request: query_pb2.RefreshLayersRequest, context: Context
    ) -> query_pb2.RefreshLayersResponse:
        await asyncio.to_thread(self._refresh)
        WANTED_POSITION.set(FRESHEST)  # what was found there
        return query_pb2.RefreshLayersResponse(layers=await self._described())

    async def _described(self) -> list[query_pb2.Layer]:
        layers = list(self._catalog)  # which may change meanwhile
        descriptions = await self._lanes.run(describe(layers))
        return [layer_message(*pair) for pair in zip(layers, descriptions, strict=True)]

    async def GetLayer(self, request: query_pb2.GetLayerRequest, context: Context) -> query_pb2.Layer:
        layer = self._requests.layer(request)
        (description,) = await self._lanes.run(describe([layer]))
        return layer_message(layer, description)

    async def GetFeature(self, request: query_pb2.GetFeatureRequest, context: Context) -> bytes:
        answer = await self._lanes.answer(await self._references.read(self._requests.feature, request))
        return self._responses.one(request.layer, request.id, answer)

    async def BatchGetFeatures(self, request: query_pb2.BatchGetFeaturesRequest, context: Context) -> bytes:
        answer = await self._lanes.answer(await self._references.read(self._requests.features, request))
        return self._responses.batch(request.ids, answer)

    async def SearchRadius(self, asked: Asked, context: Context) -> bytes:
        page = asked.page
        if asked.message is not None:
            page = await self._references.read(self._requests.radius, asked.message)
            self._familiar.learn(asked, page)
        assert page is not None
        answer = await self._lanes.answer(page.search)
        return self._responses.page(page, answer, lambda: bound_to(asked.request))

    async def SearchNearest(self, request: query_pb2.SearchNearestRequest, context: Context) -> bytes:
        answer = await self._lanes.answer(await self._references.read(self._requests.nearest, request))
        return self._responses.all(answer)

    async def SearchIntersects(self, request: query_pb2.SearchIntersectsRequest, context: Context) -> bytes:
        page = await self._references.read(self._requests.intersects, request)
        answer = await self._lanes.answer(page.search)
        return self._responses.page(page, answer, lambda: bound_to(request))
