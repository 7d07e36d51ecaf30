"""SpatialService: reading."""

import asyncio
from collections.abc import Callable
from typing import TypeVar

from google.protobuf.message import Message

from service.catalog import Catalog
from service.codec.requests import RequestReader, bound_to
from service.codec.responses import ResponseWriter, layer_message
from service.db.describe import describe, estimate
from service.db.lanes import Lanes
from service.db.queries import Statements
from service.interceptors.call import Context
from spatial.v1 import query_pb2
from spatial.v1.query_pb2 import CountFeaturesRequest

BIG_REQUEST_BYTES = 64 * 1024

R = TypeVar("R", bound=Message)
T = TypeVar("T")


async def read(reader: Callable[[R], T], request: R) -> T:
    """What `reader` makes of the request: elsewhere, if checking its geometry would hold up the event loop."""
    if request.ByteSize() < BIG_REQUEST_BYTES:
        return reader(request)
    return await asyncio.to_thread(reader, request)


class SpatialServicer:
    """Each RPC parses, asks and renders. Those that answer with features return the response's bytes."""

    SERVICE = query_pb2.DESCRIPTOR.services_by_name["SpatialService"]

    def __init__(
        self,
        catalog: Catalog,
        statements: Statements,
        lanes: Lanes,
        requests: RequestReader,
        responses: ResponseWriter,
    ) -> None:
        self._catalog = catalog
        self._statements = statements
        self._lanes = lanes
        self._requests = requests
        self._responses = responses

    async def ListLayers(self, request: query_pb2.ListLayersRequest, context: Context) -> query_pb2.ListLayersResponse:
        descriptions = await self._lanes.run(describe(self._catalog))
        layers = [layer_message(*pair) for pair in zip(self._catalog, descriptions, strict=True)]
        return query_pb2.ListLayersResponse(layers=layers)

    async def GetLayer(self, request: query_pb2.GetLayerRequest, context: Context) -> query_pb2.Layer:
        layer = self._requests.layer(request)
        (description,) = await self._lanes.run(describe([layer]))
        return layer_message(layer, description)

    async def GetFeature(self, request: query_pb2.GetFeatureRequest, context: Context) -> bytes:
        answer = await self._lanes.answer(self._requests.feature(request))
        return self._responses.one(request.layer, request.id, answer)

    async def BatchGetFeatures(self, request: query_pb2.BatchGetFeaturesRequest, context: Context) -> bytes:
        answer = await self._lanes.answer(self._requests.features(request))
        return self._responses.batch(request.ids, answer)

    async def SearchRadius(self, request: query_pb2.SearchRadiusRequest, context: Context) -> bytes:
        page = await read(self._requests.radius, request)
        answer = await self._lanes.answer(page.search)
        return self._responses.page(page, answer, lambda: bound_to(request))

    async def SearchNearest(self, request: query_pb2.SearchNearestRequest, context: Context) -> bytes:
        answer = await self._lanes.answer(await read(self._requests.nearest, request))
        return self._responses.all(answer)

    async def SearchIntersects(self, request: query_pb2.SearchIntersectsRequest, context: Context) -> bytes:
        page = await read(self._requests.intersects, request)
        answer = await self._lanes.answer(page.search)
        return self._responses.page(page, answer, lambda: bound_to(request))

    async def CountFeatures(self, request: CountFeaturesRequest, context: Context) -> query_pb2.CountFeaturesResponse:
        count = await read(self._requests.count, request)
        if count.estimated:
            statement = self._statements[count.search.shape]
            rows = await self._lanes.run(estimate(statement, count.search.arguments))
            return query_pb2.CountFeaturesResponse(count=rows, mode=CountFeaturesRequest.MODE_ESTIMATED)
        rows = self._responses.count(await self._lanes.answer(count.search))
        return query_pb2.CountFeaturesResponse(count=rows, mode=CountFeaturesRequest.MODE_EXACT)
