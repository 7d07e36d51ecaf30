"""FeatureService: removing what a query finds."""

from service.codec.arriving.deletions import DeletionReader
from service.codec.written import with_freshness
from service.db.writing.deletions import Deletions
from service.db.writing.writer import Writer
from service.interceptors.call import Context
from service.servicers.references import References
from spatial.v1 import write_pb2


class DeletionServicer:
    def __init__(self, references: References, reader: DeletionReader, deletions: Deletions, writer: Writer) -> None:
        self._references = references
        self._reader = reader
        self._deletions = deletions
        self._writer = writer

    async def DeleteFeatures(self, request: write_pb2.DeleteFeaturesRequest, context: Context) -> bytes:
        deletion = await self._references.read(self._reader.deletion, request)
        written = await self._writer.write(self._deletions.change(deletion))
        return with_freshness(write_pb2.DeleteFeaturesResponse, *written)
