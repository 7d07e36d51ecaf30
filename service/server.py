"""The composition root: every part of the server is made here, once, in order, and given what it needs."""

import asyncio
import platform
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from importlib.metadata import version

import grpc
from grpc_health.v1 import health_pb2_grpc
from grpc_health.v1.health import SERVICE_NAME as HEALTH
from grpc_health.v1.health import aio as health_aio
from prometheus_client import CollectorRegistry, PlatformCollector, ProcessCollector

from service import __version__, parts
from service.catalog import Catalog, shipped_layers
from service.health import Readiness
from service.interceptors.call import Observer
from service.interceptors.chain import Registrar
from service.interceptors.logs import CallLog
from service.interceptors.metrics import CallMetrics
from service.interceptors.request_id import RequestIds
from service.interceptors.running import RunningCalls
from service.interceptors.slow import Plan, SlowCalls
from service.interceptors.tracing import Traces
from service.interceptors.trails import Trails
from service.observability.http import StatusServer
from service.observability.metrics import Metrics
from service.observability.tracing import Tracing, TracingUnavailable
from service.reflected import ConfigurationError, LayerSource, read_wanted
from service.reflection import add_reflection
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
        database = parts.database(stack, settings, url, metrics)
        source = LayerSource(wanted, models, database.control, catalog)
        await source.start(settings.layers_refresh)
        stack.push_async_callback(source.close)
        known = parts.knowledge(settings, catalog, source)
        run = parts.readers(stack, settings, metrics, database, known)
        read = parts.reading(settings, catalog, run)
        spatial = parts.spatial_service(settings, known, read, run)
        feature = await parts.feature_service(stack, settings, metrics, database, known, read, run)
        admin = parts.admin_service(settings, database, known, read, run)

        services = (spatial, feature, admin)
        names = [service.descriptor.full_name for service in services]
        call_metrics, running = CallMetrics(metrics), RunningCalls(*names)
        server = grpc.aio.server(options=_options(settings))
        watching = _watching(stack, settings, names, parts.planner(known, run))
        registrar = Registrar(server, _observers(call_metrics, watching, running), settings.stall_timeout)
        for service in services:
            registrar.add(service.descriptor, *service.servicers)
        health = health_aio.HealthServicer()
        health_pb2_grpc.add_HealthServicer_to_server(health, registrar)
        add_reflection(registrar, [*names, HEALTH])
        for method in registrar.methods:
            call_metrics.expect(method)

        readiness = Readiness(
            health,
            names,
            database.control,
            settings.health_interval,
            "migrated" if wanted.models else "postgis",
            lambda: source.problem,
            writing=(feature.descriptor.full_name,),
            writable=lambda: any(layer.writable for layer in catalog),
        )
        await readiness.start()
        stack.push_async_callback(readiness.close)
        port = _listen(server, settings)
        await server.start()
        stack.push_async_callback(server.stop, None)
        stack.push_async_callback(readiness.drain)
        with listening_on(settings.metrics_listen):
            pages = StatusServer(settings.metrics_listen, metrics.registry, _status(catalog, readiness))
        status = stack.enter_context(pages)
        yield Server(port, status.port, catalog, metrics, server, readiness, running)


def _watching(stack: AsyncExitStack, settings: Settings, services: Sequence[str], plan: Plan) -> tuple[Observer, ...]:
    """Those who look at where a call's time goes, as far as anybody asked."""
    watching: list[Observer] = []
    if settings.trace_endpoint:
        try:
            tracing = Tracing(settings.trace_endpoint, settings.trace_sample, settings.application_name)
        except TracingUnavailable as error:
            raise ConfigurationError(str(error)) from None
        stack.push_async_callback(asyncio.to_thread, tracing.close)
        watching.append(Traces(tracing, services))
    if settings.slow_call:
        watching.append(SlowCalls(settings.slow_call, plan if settings.slow_call_plans else None))
    return (Trails(), *watching) if watching else ()


def _observers(
    call_metrics: CallMetrics, watching: tuple[Observer, ...], running: RunningCalls
) -> tuple[Observer, ...]:
    """Ids first, so that all that follows can name the call; what is running last, so that it counts only calls that
    were let in; logs after metrics on the way out, so that a slow disk is not in the latency."""
    return (RequestIds(), *watching, CallLog(), call_metrics, running)


def _listen(server: grpc.aio.Server, settings: Settings) -> int:
    with listening_on(settings.listen):
        port: int = server.add_insecure_port(settings.listen)
        return port


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
