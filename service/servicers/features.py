"""FeatureService: changing one feature."""

from collections.abc import Callable
from typing import TypeVar

from google.protobuf.message import Message

from service.changes import Edit
from service.codec.arriving.creates import CreateReader
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
    """Each RPC parses, writes and renders. The answer's bytes are those that the transaction answered with. `readers`
    make of what is sent to a method what it is given."""

    SERVICE = write_pb2.DESCRIPTOR.services_by_name["FeatureService"]

    def __init__(
        self, references: References, reader: EditReader, creates: CreateReader, edits: Edits, writer: Writer
    ) -> None:
        self.readers = {"CreateFeature": creates.read}
        self._references = references
        self._reader = reader
        self._edits = edits
        self._writer = writer

    async def CreateFeature(self, arrived: Edit | write_pb2.CreateFeatureRequest, context: Context) -> bytes:
        edit = arrived if isinstance(arrived, Edit) else await self._read(self._reader.create, arrived)
        return with_freshness(write_pb2.CreateFeatureResponse, *await self._written(edit))

    async def UpdateFeature(self, request: write_pb2.UpdateFeatureRequest, context: Context) -> bytes:
        edit = await self._read(self._reader.update, request)
        return with_freshness(write_pb2.UpdateFeatureResponse, *await self._written(edit))

    async def DeleteFeature(self, request: write_pb2.DeleteFeatureRequest, context: Context) -> bytes:
        edit = await self._read(self._reader.delete, request)
        return with_freshness(write_pb2.DeleteFeatureResponse, *await self._written(edit))

    async def _read(self, reader: Callable[[R], Edit], request: R) -> Edit:
        return await self._references.read(lambda request, stored: reader(request), request)

    async def _written(self, edit: Edit) -> Written:
        try:
            return await self._writer.write(self._edits.change(edit))
        except SpatialError as error:
            if error.field in (None, "request_id"):
                raise
            raise error.at("feature") from error.__cause__
