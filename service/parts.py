"""The parts of a server in their groups: each made once, with what it needs, and closed in the reverse order."""

from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import NamedTuple

from google.protobuf.descriptor import ServiceDescriptor
from sqlalchemy import Engine

from service.catalog import Catalog
from service.codec.arriving.deletions import DeletionReader, deletions_response
from service.codec.arriving.edits import EditReader
from service.codec.arriving.geometries import ArrivalReader
from service.codec.arriving.imports import ImportReader
from service.codec.explains import ExplainReader
from service.codec.exports import ExportReader
from service.codec.geometry import GeometryLimits, ProbeReader
from service.codec.grids import GridReader
from service.codec.joins import JoinReader
from service.codec.matches import MatchReader, MatchWriter
from service.codec.questions import QuestionReader
from service.codec.requests import RequestReader
from service.codec.responses import ResponseWriter
from service.codec.rows import FeatureReader
from service.codec.systems import KnownSystems
from service.db.canceller import Canceller
from service.db.engine import Pool, bulk_pool, control_engine, read_pool, write_pool
from service.db.errands import Errands
from service.db.explain import asked_search
from service.db.guards import PlanGuards
from service.db.imports.importer import Importer
from service.db.lanes import Lanes, match_lanes
from service.db.occupancy import connections_wanted, occupancies
from service.db.queries import Statements
from service.db.stream import Streams
from service.db.writing.deletions import Deletions
from service.db.writing.editing import Edits
from service.db.writing.forgetting import Forgetting
from service.db.writing.writer import Writer
from service.domain import Search
from service.interceptors.errors import status_of
from service.observability.metrics import Metrics
from service.reflected import LayerSource
from service.servicers.admin import AdminServicer
from service.servicers.counts import CountServicer
from service.servicers.deletions import DeletionServicer
from service.servicers.diagnosis import DiagnosisServicer
from service.servicers.features import FeatureServicer
from service.servicers.grids import GridServicer
from service.servicers.imports import ImportServicer
from service.servicers.matches import MatchServicer
from service.servicers.references import References
from service.servicers.spatial import SpatialServicer
from service.servicers.streams import StreamServicer
from service.settings import Settings


@dataclass(frozen=True, slots=True)
class Database:
    """The pools over one database, and what cancels its statements."""

    read: Pool
    bulk: Pool
    write: Pool
    control: Engine
    canceller: Canceller

    @property
    def engines(self) -> dict[str, Engine]:
        """By the names of their pools."""
        return {each.name: each.engine for each in (self.read, self.bulk, self.write)} | {"control": self.control}


@dataclass(frozen=True, slots=True)
class Knowledge:
    """What all that asks the database shares: the layers, their statements, what those may cost, how rows are read."""

    catalog: Catalog
    source: LayerSource
    statements: Statements
    plans: PlanGuards
    features: FeatureReader


@dataclass(frozen=True, slots=True)
class Readers:
    """What runs reads."""

    lanes: Lanes
    matching: Lanes
    streams: Streams
    errands: Errands


@dataclass(frozen=True, slots=True)
class Reading:
    """What reads requests: the same checks for questions and for what is to be written."""

    questions: QuestionReader
    joins: JoinReader
    requests: RequestReader
    arrivals: ArrivalReader
    references: References


class Service(NamedTuple):
    """A service of the contract, and the servicers that its methods are looked up in."""

    descriptor: ServiceDescriptor
    servicers: tuple[object, ...]


def database(stack: AsyncExitStack, settings: Settings, url: str, metrics: Metrics) -> Database:
    read, bulk, write = (make(settings, url, metrics) for make in (read_pool, bulk_pool, write_pool))
    control = control_engine(settings, url)
    for engine in (read.engine, bulk.engine, write.engine, control):
        stack.callback(engine.dispose)
    canceller = Canceller(control, metrics)
    stack.callback(canceller.close)
    return Database(read, bulk, write, control, canceller)


def knowledge(settings: Settings, catalog: Catalog, source: LayerSource) -> Knowledge:
    plans = PlanGuards(catalog, settings.max_plan_cost, settings.refuse_seq_scan)
    return Knowledge(catalog, source, Statements(catalog), plans, FeatureReader())


def readers(stack: AsyncExitStack, settings: Settings, metrics: Metrics, on: Database, known: Knowledge) -> Readers:
    lanes = Lanes(on.read, on.canceller, known.statements, settings, metrics, known.features, known.plans)
    stack.push_async_callback(lanes.close)
    matching = match_lanes(on.bulk, on.canceller, known.statements, settings, metrics, known.plans)
    stack.push_async_callback(matching.close)
    streams = Streams(on.bulk, on.canceller, settings.max_streams, metrics)
    stack.push_async_callback(streams.close)
    errands = Errands(on.bulk, on.canceller, metrics)
    stack.push_async_callback(errands.close)
    return Readers(lanes, matching, streams, errands)


def reading(settings: Settings, catalog: Catalog, run: Readers) -> Reading:
    limits = GeometryLimits(settings.max_request_bytes, settings.max_vertices, settings.max_geometry_depth)
    systems = KnownSystems()
    questions = QuestionReader(catalog, ProbeReader(limits, systems), settings.max_radius)
    return Reading(
        questions,
        JoinReader(questions, settings.max_radius),
        RequestReader(questions),
        ArrivalReader(limits, systems),
        References(catalog, run.lanes, systems),
    )


def spatial_service(settings: Settings, known: Knowledge, read: Reading, run: Readers) -> Service:
    responses = ResponseWriter(settings.max_response_bytes)
    exports, grids, matches = ExportReader(read.questions), GridReader(read.questions), MatchReader(read.questions)
    matched = MatchWriter(settings.max_response_bytes, status_of)
    catalog, statements, plans, lanes, streams = known.catalog, known.statements, known.plans, run.lanes, run.streams
    references = read.references
    return Service(
        SpatialServicer.SERVICE,
        (
            SpatialServicer(references, catalog, lanes, read.requests, responses, known.source.refresh),
            CountServicer(references, catalog, statements, lanes, read.requests, read.joins, responses, plans),
            StreamServicer(
                references, catalog, statements, streams, exports, read.joins, settings.stream_connections, plans
            ),
            MatchServicer(references, run.matching, matches, matched, settings.match_connections),
            GridServicer(references, statements, streams, grids, plans),
        ),
    )


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
        read.references, known.catalog, run.lanes, on.canceller, importer, imports, settings.stall_timeout
    )
    stack.push_async_callback(importing.close)
    edits = EditReader(known.catalog, read.arrivals)
    deletions = Deletions(known.statements, known.plans, deletions_response)
    return Service(
        FeatureServicer.SERVICE,
        (
            FeatureServicer(read.references, edits, Edits(known.catalog, known.features), writer),
            DeletionServicer(read.references, DeletionReader(read.questions), deletions, writer),
            importing,
        ),
    )


def admin_service(settings: Settings, on: Database, known: Knowledge, read: Reading, run: Readers) -> Service:
    explains = ExplainReader(read.questions, read.requests, read.joins)
    return Service(
        AdminServicer.SERVICE,
        (
            AdminServicer(read.references, known.catalog, known.statements, run.lanes, explains, known.plans),
            DiagnosisServicer(
                known.catalog,
                run.lanes,
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
