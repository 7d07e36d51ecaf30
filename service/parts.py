"""The parts of a server in their groups: each made once, with what it needs, and closed in the reverse order."""

from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from operator import attrgetter
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
from service.db.patience import patient
from service.db.pooler import Hearing
from service.db.queries import Statements
from service.db.replication.nodes import Node, Nodes
from service.db.replication.renewal import Renewal
from service.db.replication.replica import Replica
from service.db.replication.replicas import ReplicaPools, replica_pools, watcher
from service.db.replication.routed import Reads, RoutedLanes, RoutedStreams, StreamReads
from service.db.replication.sight import Sight
from service.db.replication.watching import Watcher
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
    """The pools over the primary and what cancels its statements; `renewal` lets them begin anew. The same over its
    replicas, and what keeps an eye on these, if there are any."""

    read: Pool
    bulk: Pool
    write: Pool
    control: Engine
    canceller: Canceller
    renewal: Renewal
    hearing: Hearing
    replicas: Sequence[ReplicaPools]
    watcher: Watcher | None

    @property
    def engines(self) -> dict[str, Engine]:
        """By the names of their pools."""
        own = {each.name: each.engine for each in (self.read, self.bulk, self.write)} | {"control": self.control}
        return own | {name: engine for each in self.replicas for name, engine in each.engines.items()}

    def standing_in(self) -> Sequence[Engine]:
        """What leads to the replicas that may be read, where the primary is away."""
        return self.watcher.engines if self.watcher is not None else []


@dataclass(frozen=True, slots=True)
class Knowledge:
    """What all that asks the database shares: the layers, their statements, what those may cost, how rows are read."""

    catalog: Catalog
    source: LayerSource
    refresh: Callable[[], None]
    statements: Statements
    plans: PlanGuards
    features: FeatureReader


@dataclass(frozen=True, slots=True)
class Readers:
    """What runs reads: wherever the data are fresh enough, or on the primary."""

    lanes: Reads
    matching: Reads
    streams: StreamReads
    errands: Errands
    on_primary: Lanes


@dataclass(frozen=True, slots=True)
class Reading:
    """What reads requests: the same checks for questions and for what is to be written, which looks up what it needs
    to know on the primary."""

    questions: QuestionReader
    joins: JoinReader
    requests: RequestReader
    arrivals: ArrivalReader
    references: References
    certain_references: References


class Service(NamedTuple):
    """A service of the contract, and the servicers that its methods are looked up in."""

    descriptor: ServiceDescriptor
    servicers: tuple[object, ...]


async def database(stack: AsyncExitStack, settings: Settings, url: str, metrics: Metrics) -> Database:
    read, bulk, write = (make(settings, url, metrics) for make in (read_pool, bulk_pool, write_pool))
    control = control_engine(settings, url)
    for engine in (read.engine, bulk.engine, write.engine, control):
        stack.callback(engine.dispose)
    canceller = Canceller(control, metrics)
    stack.callback(canceller.close)
    engines = (read.engine, bulk.engine, write.engine, control)
    renewal, hearing = Renewal(engines), Hearing(engines)
    replicas = replica_pools(settings, metrics)
    for each in replicas:
        stack.callback(each.close)
    watching = watcher(settings, Sight("primary", control, hearing), replicas, metrics) if replicas else None
    if watching is not None:
        stack.push_async_callback(watching.close)
        await watching.start()
    return Database(read, bulk, write, control, canceller, renewal, hearing, replicas, watching)


def knowledge(
    settings: Settings, catalog: Catalog, source: LayerSource, tell_others: Callable[[], None] | None = None
) -> Knowledge:
    def refresh() -> None:
        source.refresh()
        if tell_others is not None:
            tell_others()

    plans = PlanGuards(catalog, settings.max_plan_cost, settings.refuse_seq_scan)
    return Knowledge(catalog, source, refresh, Statements(catalog), plans, FeatureReader())


def readers(
    stack: AsyncExitStack,
    settings: Settings,
    metrics: Metrics,
    on: Database,
    known: Knowledge,
    tight: Callable[[], bool],
) -> Readers:
    """`tight` says whether memory is short."""
    primary = _node(stack, settings, metrics, on, known, tight)
    errands = Errands(on.bulk, on.canceller, metrics)
    stack.push_async_callback(errands.close)
    if on.watcher is None:
        return Readers(primary.lanes, primary.matching, primary.streams, errands, primary.lanes)
    replicas = [_node(stack, settings, metrics, each, known, tight, each.state) for each in on.replicas]
    nodes = Nodes(primary, replicas, on.watcher, settings.replica_wait, metrics)
    lanes, matching = RoutedLanes(nodes, attrgetter("lanes")), RoutedLanes(nodes, attrgetter("matching"))
    return Readers(lanes, matching, RoutedStreams(nodes), errands, primary.lanes)


def _node(
    stack: AsyncExitStack,
    settings: Settings,
    metrics: Metrics,
    on: Database | ReplicaPools,
    known: Knowledge,
    tight: Callable[[], bool],
    replica: Replica | None = None,
) -> Node:
    patience = patient(settings, metrics, tight)
    lanes = Lanes(on.read, on.canceller, known.statements, settings, metrics, known.features, known.plans, patience)
    stack.push_async_callback(lanes.close)
    matching = match_lanes(on.bulk, on.canceller, known.statements, settings, metrics, known.plans)
    stack.push_async_callback(matching.close)
    streams = Streams(on.bulk, on.canceller, settings.max_streams, metrics)
    stack.push_async_callback(streams.close)
    return Node(lanes, matching, streams, replica)


def reading(settings: Settings, catalog: Catalog, run: Readers) -> Reading:
    limits = GeometryLimits(settings.max_request_bytes, settings.max_vertices, settings.max_geometry_depth)
    systems = KnownSystems()
    questions = QuestionReader(catalog, ProbeReader(limits, systems), settings.max_radius)
    return Reading(
        questions,
        JoinReader(questions, settings.max_radius),
        RequestReader(questions, settings.max_page_size),
        ArrivalReader(limits, systems),
        References(catalog, run.lanes, systems),
        References(catalog, run.on_primary, systems),
    )


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
                references, catalog, statements, streams, exports, read.joins, _connections(settings), plans
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
    deletions = Deletions(known.statements, known.plans, deletions_response)
    return Service(
        FeatureServicer.SERVICE,
        (
            FeatureServicer(read.certain_references, edits, Edits(known.catalog, known.features), writer),
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
