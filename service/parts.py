"""The parts of a server in their groups: each made once, with what it needs, and closed in the reverse order."""

from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from operator import attrgetter

from sqlalchemy import Engine

from service.catalog import Catalog
from service.codec.arriving.geometries import ArrivalReader
from service.codec.geometry import GeometryLimits, ProbeReader
from service.codec.joins import JoinReader
from service.codec.matches import match_packing
from service.codec.packed import packing
from service.codec.questions import QuestionReader
from service.codec.requests import RequestReader
from service.codec.rows import FeatureReader
from service.codec.systems import KnownSystems
from service.db.canceller import Canceller
from service.db.engine import Pool, bulk_pool, control_engine, read_pool, write_pool
from service.db.errands import Errands
from service.db.guards import PlanGuards
from service.db.lanes import Lanes, match_lanes
from service.db.packed import Packed
from service.db.packed_copies import PackedCopies
from service.db.patience import patient
from service.db.pooler import Hearing
from service.db.queries import Statements
from service.db.replication.nodes import Node, Nodes
from service.db.replication.once_more import LanesOnceMore, StreamsOnceMore
from service.db.replication.renewal import Renewal
from service.db.replication.replica import Replica
from service.db.replication.replicas import ReplicaPools, replica_pools, watcher
from service.db.replication.routed import Reads, RoutedLanes, RoutedStreams, StreamReads
from service.db.replication.sight import Sight
from service.db.replication.watching import Watcher
from service.db.stream import Streams
from service.heap import give_back
from service.observability.metrics import Metrics
from service.reflected import LayerSource
from service.servicers.references import References
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
    awaited: Callable[[], bool],
) -> Readers:
    """`tight` says whether memory is short, `awaited` whether callers wait for an answer just now."""
    primary = _node(stack, settings, metrics, on, known, tight, awaited)
    errands = Errands(on.bulk, on.canceller, metrics)
    stack.push_async_callback(errands.close)
    run = Readers(primary.lanes, primary.matching, primary.streams, errands, primary.lanes)
    if on.watcher is not None:
        replicas = [_node(stack, settings, metrics, each, known, tight, awaited, each.state) for each in on.replicas]
        run = _routed(run, Nodes(primary, replicas, on.watcher, settings.replica_wait, metrics))
    return run if settings.pooler == "none" else _once_more(run)


def _routed(run: Readers, nodes: Nodes) -> Readers:
    lanes, matching = RoutedLanes(nodes, attrgetter("lanes")), RoutedLanes(nodes, attrgetter("matching"))
    return replace(run, lanes=lanes, matching=matching, streams=RoutedStreams(nodes))


def _once_more(run: Readers) -> Readers:
    lanes, matching = LanesOnceMore(run.lanes), LanesOnceMore(run.matching)
    return replace(run, lanes=lanes, matching=matching, streams=StreamsOnceMore(run.streams))


def _node(
    stack: AsyncExitStack,
    settings: Settings,
    metrics: Metrics,
    on: Database | ReplicaPools,
    known: Knowledge,
    tight: Callable[[], bool],
    awaited: Callable[[], bool],
    replica: Replica | None = None,
) -> Node:
    patience = patient(settings, metrics, tight)
    # A pooler lends another session for each statement, where nothing is prepared.
    packed = Packed(packing) if settings.pooler == "none" else None
    lanes = Lanes(
        on.read, on.canceller, known.statements, settings, metrics, known.features, known.plans, patience, packed
    )
    stack.push_async_callback(lanes.close)
    written = PackedCopies(match_packing)
    matching = match_lanes(on.bulk, on.canceller, known.statements, settings, metrics, known.plans, written)
    stack.push_async_callback(matching.close)
    # Streams leave the memory that they had behind in pieces, of which the C library keeps what it has.
    streams = Streams(on.bulk, on.canceller, settings.max_streams, metrics, give_back, awaited)
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
