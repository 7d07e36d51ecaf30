"""The composition root: every part of the server is made here, once, in order, and given what it needs."""

import asyncio
import platform
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from importlib.metadata import version

import grpc
from grpc_health.v1 import health_pb2_grpc
from grpc_health.v1.health import SERVICE_NAME as HEALTH
from grpc_health.v1.health import aio as health_aio
from prometheus_client import CollectorRegistry, PlatformCollector, ProcessCollector

from service import __version__
from service.catalog import Catalog, shipped_layers
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
from service.db.engine import bulk_pool, control_engine, read_pool, write_pool
from service.db.errands import Errands
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
from service.health import Readiness
from service.interceptors.chain import Registrar
from service.interceptors.errors import status_of
from service.interceptors.logs import CallLog
from service.interceptors.metrics import CallMetrics
from service.interceptors.request_id import RequestIds
from service.interceptors.running import RunningCalls
from service.observability.http import StatusServer
from service.observability.metrics import Metrics
from service.reflected import LayerSource, read_wanted
from service.reflection import add_reflection
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

# Calls still running so shortly before the end of the grace period are going to be cut off by it.
CUT_SECONDS = 0.05


@dataclass(frozen=True)
class Server:
    """A server that is listening. `stop` says whether every call could finish."""

    port: int
    metrics_port: int
    catalog: Catalog
    metrics: Metrics
    _grpc: grpc.aio.Server
    _readiness: Readiness
    _running: RunningCalls

    @property
    def problem(self) -> str | None:
        """Why the server is not ready, if it is not."""
        return self._readiness.problem

    async def stop(self, grace: float) -> bool:
        await self._readiness.drain()
        deadline = asyncio.get_running_loop().time() + grace - CUT_SECONDS
        stopping = asyncio.create_task(self._grpc.stop(grace))
        finished = await self._running.finish(deadline)
        # What may run for ever, a watch of health for one, need not be waited for.
        await self._grpc.stop(None)
        await stopping
        return finished


class CannotListen(Exception):
    """An address is taken, or not ours."""


@contextmanager
def listening_on(address: str) -> Iterator[None]:
    try:
        yield
    except (OSError, OverflowError, RuntimeError, ValueError) as error:
        raise CannotListen(f"cannot listen on {address}: {error}") from error


@asynccontextmanager
async def running_server(settings: Settings, url: str) -> AsyncIterator[Server]:
    """A server over the database at `url`, on the running event loop; stopped at once on the way out, if not before."""
    async with AsyncExitStack() as stack:
        metrics = _metrics()
        wanted = read_wanted(settings.layers)
        models = shipped_layers() if wanted.models else ()
        catalog = Catalog(models)
        pool = read_pool(settings, url, metrics)
        stack.callback(pool.engine.dispose)
        bulk = bulk_pool(settings, url, metrics)
        stack.callback(bulk.engine.dispose)
        write = write_pool(settings, url, metrics)
        stack.callback(write.engine.dispose)
        control = control_engine(settings, url)
        stack.callback(control.dispose)
        source = LayerSource(wanted, models, control, catalog)
        await source.start(settings.layers_refresh)
        stack.push_async_callback(source.close)
        statements = Statements(catalog)
        canceller = Canceller(control, metrics)
        stack.callback(canceller.close)
        features = FeatureReader()
        plans = PlanGuards(catalog, settings.max_plan_cost, settings.refuse_seq_scan)
        lanes = Lanes(pool, canceller, statements, settings, metrics, features, plans)
        stack.push_async_callback(lanes.close)
        matching = match_lanes(bulk, canceller, statements, settings, metrics, plans)
        stack.push_async_callback(matching.close)
        streams = Streams(bulk, canceller, settings.max_streams, metrics)
        stack.push_async_callback(streams.close)
        errands = Errands(bulk, canceller, metrics)
        stack.push_async_callback(errands.close)
        writer = Writer(write, canceller, settings, metrics)
        stack.push_async_callback(writer.close)
        forgetting = Forgetting(errands, settings.request_memory)
        await forgetting.start()
        stack.push_async_callback(forgetting.close)

        limits = GeometryLimits(settings.max_request_bytes, settings.max_vertices, settings.max_geometry_depth)
        systems = KnownSystems()
        references = References(catalog, lanes, systems)
        questions = QuestionReader(catalog, ProbeReader(limits, systems), settings.max_radius)
        requests = RequestReader(questions)
        responses = ResponseWriter(settings.max_response_bytes)
        spatial = SpatialServicer(references, catalog, lanes, requests, responses, source.refresh)

        joins = JoinReader(questions, settings.max_radius)
        counts = CountServicer(references, catalog, statements, lanes, requests, joins, responses, plans)
        streaming = StreamServicer(
            references, catalog, statements, streams, ExportReader(questions), joins, settings.stream_connections, plans
        )
        grids = GridServicer(references, statements, streams, GridReader(questions), plans)
        matches = MatchServicer(
            references,
            matching,
            MatchReader(questions),
            MatchWriter(settings.max_response_bytes, status_of),
            settings.match_connections,
        )

        arrivals = ArrivalReader(limits, systems)
        edits = Edits(catalog, features)
        changing = FeatureServicer(references, EditReader(catalog, arrivals), edits, writer)
        deletions = Deletions(statements, plans, deletions_response)
        removing = DeletionServicer(references, DeletionReader(questions), deletions, writer)
        importing = ImportServicer(
            references,
            catalog,
            lanes,
            canceller,
            Importer(bulk, settings, metrics),
            ImportReader(catalog, arrivals),
            settings.stall_timeout,
        )
        stack.push_async_callback(importing.close)

        admin = AdminServicer(references, catalog, statements, lanes, ExplainReader(questions, requests, joins), plans)

        engines = {each.name: each.engine for each in (pool, bulk, write)} | {"control": control}
        diagnosis = DiagnosisServicer(
            catalog, lanes, errands, occupancies(engines), lambda: source.refusals, connections_wanted(settings)
        )

        # Ids first, so that all that follows can name the call; what is running last, so that it counts only calls
        # that were let in; logs after metrics on the way out, so that a slow disk is not in the latency.
        ours = (spatial.SERVICE.full_name, changing.SERVICE.full_name, admin.SERVICE.full_name)
        running = RunningCalls(*ours)
        call_metrics = CallMetrics(metrics)
        observers = (RequestIds(), CallLog(), call_metrics, running)

        server = grpc.aio.server(options=_options(settings))
        registrar = Registrar(server, observers, settings.stall_timeout)
        health = health_aio.HealthServicer()
        registrar.add(spatial.SERVICE, spatial, counts, streaming, matches, grids)
        registrar.add(changing.SERVICE, changing, removing, importing)
        registrar.add(admin.SERVICE, admin, diagnosis)
        health_pb2_grpc.add_HealthServicer_to_server(health, registrar)
        add_reflection(registrar, [*ours, HEALTH])
        for method in registrar.methods:
            call_metrics.expect(method)

        readiness = Readiness(
            health,
            ours,
            control,
            settings.health_interval,
            "migrated" if wanted.models else "postgis",
            lambda: source.problem,
            writing=(changing.SERVICE.full_name,),
            writable=lambda: any(layer.writable for layer in catalog),
        )
        await readiness.start()
        stack.push_async_callback(readiness.close)
        with listening_on(settings.listen):
            port = server.add_insecure_port(settings.listen)
        await server.start()
        stack.push_async_callback(server.stop, None)
        stack.push_async_callback(readiness.drain)
        with listening_on(settings.metrics_listen):
            pages = StatusServer(settings.metrics_listen, metrics.registry, _status(catalog, readiness))
        status = stack.enter_context(pages)
        yield Server(port, status.port, catalog, metrics, server, readiness, running)


def _metrics() -> Metrics:
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    metrics = Metrics(registry)
    metrics.build.info(
        {
            "version": __version__,
            "python": platform.python_version(),
            "grpcio": version("grpcio"),
            "psycopg2": version("psycopg2-binary"),
        }
    )
    return metrics


def _status(catalog: Catalog, readiness: Readiness) -> Callable[[], dict[str, str]]:
    def status() -> dict[str, str]:
        return {
            "version": __version__,
            "ready": readiness.problem or "yes",
            "layers": ", ".join(layer.name for layer in catalog),
        }

    return status


def _options(settings: Settings) -> list[tuple[str, int]]:
    return [
        ("grpc.max_receive_message_length", settings.max_request_bytes),
        ("grpc.max_send_message_length", -1),
        # Two servers must not share a port by accident.
        ("grpc.so_reuseport", 0),
        # A peer that vanished is noticed, and its calls cancelled, within half a minute.
        ("grpc.keepalive_time_ms", 20_000),
        ("grpc.keepalive_timeout_ms", 10_000),
        ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
    ]
