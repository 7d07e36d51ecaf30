"""The services of the contract, put together from a server's parts, and the servicers that serve them."""

from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import NamedTuple

from google.protobuf.descriptor import ServiceDescriptor

from service.codec.arriving.creates import CreateReader
from service.codec.arriving.deletions import DeletionReader, deletions_response
from service.codec.arriving.edits import EditReader
from service.codec.arriving.imports import ImportReader
from service.codec.explains import ExplainReader
from service.codec.exports import ExportReader
from service.codec.familiar_exports import FamiliarExports
from service.codec.grids import GridReader
from service.codec.matches import MatchReader, MatchWriter
from service.codec.responses import ResponseWriter
from service.db.explain import asked_search
from service.db.imports.importer import Importer
from service.db.occupancy import connections_wanted, occupancies
from service.db.writing.deletions import Deletions
from service.db.writing.editing import Edits
from service.db.writing.forgetting import Forgetting
from service.db.writing.writer import Writer
from service.domain import Search
from service.interceptors.errors import status_of
from service.observability.metrics import Metrics
from service.parts import Database, Knowledge, Readers, Reading
from service.servicers.admin import AdminServicer
from service.servicers.counts import CountServicer
from service.servicers.deletions import DeletionServicer
from service.servicers.diagnosis import DiagnosisServicer
from service.servicers.features import FeatureServicer
from service.servicers.grids import GridServicer
from service.servicers.imports import ImportServicer
from service.servicers.matches import MatchServicer
from service.servicers.spatial import SpatialServicer
from service.servicers.streams import StreamServicer
from service.settings import Settings


class Service(NamedTuple):
    """A service of the contract, and the servicers that its methods are looked up in."""

    descriptor: ServiceDescriptor
    servicers: tuple[object, ...]


def spatial_service(settings: Settings, known: Knowledge, read: Reading, run: Readers) -> Service:
    responses = ResponseWriter(settings.max_response_bytes)
    exports, grids = ExportReader(read.questions), GridReader(read.questions)
    matches = MatchReader(read.questions, settings.max_page_size)
    matched = MatchWriter(settings.max_response_bytes, status_of)
    catalog, statements, plans, lanes, streams = known.catalog, known.statements, known.plans, run.lanes, run.streams
    references = read.references
    return Service(
        SpatialServicer.SERVICE,
        (
            SpatialServicer(references, catalog, lanes, read.requests, responses, known.refresh),
            CountServicer(references, catalog, statements, lanes, read.requests, read.joins, responses, plans),
            StreamServicer(
                references,
                catalog,
                statements,
                streams,
                exports,
                FamiliarExports(read.questions),
                read.joins,
                _connections(settings),
                plans,
            ),
            MatchServicer(references, run.matching, matches, matched, settings.match_connections),
            GridServicer(references, statements, streams, grids, plans),
        ),
    )


def _connections(settings: Settings) -> int:
    """Of a stream. Behind a pooler a second one might wait for a session as long as others have theirs, and the stream
    for it."""
    return settings.stream_connections if settings.pooler == "none" else 1


async def feature_service(
    stack: AsyncExitStack,
    settings: Settings,
    metrics: Metrics,
    on: Database,
    known: Knowledge,
    read: Reading,
    run: Readers,
) -> Service:
    writer = Writer(on.write, on.canceller, settings, metrics)
    stack.push_async_callback(writer.close)
    forgetting = Forgetting(run.errands, settings.request_memory)
    await forgetting.start()
    stack.push_async_callback(forgetting.close)
    importer = Importer(on.bulk, settings, metrics)
    imports = ImportReader(known.catalog, read.arrivals)
    importing = ImportServicer(
        read.certain_references, known.catalog, run.on_primary, on.canceller, importer, imports, settings.stall_timeout
    )
    stack.push_async_callback(importing.close)
    edits = EditReader(known.catalog, read.arrivals)
    creates = CreateReader(known.catalog, read.arrivals, edits)
    deletions = Deletions(known.statements, known.plans, deletions_response)
    return Service(
        FeatureServicer.SERVICE,
        (
            FeatureServicer(read.certain_references, edits, creates, Edits(known.catalog, known.features), writer),
            DeletionServicer(read.certain_references, DeletionReader(read.questions), deletions, writer),
            importing,
        ),
    )


def admin_service(settings: Settings, on: Database, known: Knowledge, read: Reading, run: Readers) -> Service:
    explains = ExplainReader(read.questions, read.requests, read.joins)
    return Service(
        AdminServicer.SERVICE,
        (
            AdminServicer(
                read.certain_references, known.catalog, known.statements, run.on_primary, explains, known.plans
            ),
            DiagnosisServicer(
                known.catalog,
                run.on_primary,
                run.errands,
                occupancies(on.engines),
                lambda: known.source.refusals,
                connections_wanted(settings),
            ),
        ),
    )


def planner(known: Knowledge, run: Readers) -> Callable[[Search], Awaitable[str]]:
    """What asks PostgreSQL how it would go about a search."""

    async def plan(search: Search) -> str:
        asked = asked_search(known.statements[search.shape], search.arguments)
        explanation, *_ = await run.lanes.run(known.plans.explaining(asked, analyze=False))
        return explanation.text

    return plan
