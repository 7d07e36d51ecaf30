"""FeatureService: changing one feature."""

from collections.abc import Callable
from typing import TypeVar

from google.protobuf.message import Message

from service.changes import Edit
from service.codec.arriving.edits import EditReader
from service.codec.written import with_freshness
from service.db.writing.editing import Edits
from service.db.writing.jobs import Written
from service.db.writing.writer import Writer
from service.errors import SpatialError
from service.interceptors.call import Context
from service.servicers.references import References
from spatial.v1 import write_pb2

R = TypeVar("R", bound=Message)


class FeatureServicer:
    """Each RPC parses, writes and renders. The answer's bytes are those that the transaction answered with."""

    SERVICE = write_pb2.DESCRIPTOR.services_by_name["FeatureService"]

    def __init__(self, references: References, reader: EditReader, edits: Edits, writer: Writer) -> None:
        self._references = references
        self._reader = reader
        self._edits = edits
        self._writer = writer

    async def CreateFeature(self, request: write_pb2.CreateFeatureRequest, context: Context) -> bytes:
        return with_freshness(write_pb2.CreateFeatureResponse, *await self._written(self._reader.create, request))

    async def UpdateFeature(self, request: write_pb2.UpdateFeatureRequest, context: Context) -> bytes:
        return with_freshness(write_pb2.UpdateFeatureResponse, *await self._written(self._reader.update, request))

    async def DeleteFeature(self, request: write_pb2.DeleteFeatureRequest, context: Context) -> bytes:
        return with_freshness(write_pb2.DeleteFeatureResponse, *await self._written(self._reader.delete, request))

    async def _written(self, reader: Callable[[R], Edit], request: R) -> Written:
        edit = await self._references.read(lambda request, stored: reader(request), request)
        try:
            return await self._writer.write(self._edits.change(edit))
        except SpatialError as error:
            if error.field in (None, "request_id"):
                raise
            raise error.at("feature") from error.__cause__
