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

from service import __version__, contract, parts
from service.catalog import Catalog, shipped_layers
from service.doors import Doors
from service.health import Readiness
from service.heap import give_back
from service.interceptors.authentication import Authentication
from service.interceptors.backlog import Backlog, servers
from service.interceptors.call import Observer
from service.interceptors.chain import Registrar
from service.interceptors.limits import CallLimits
from service.interceptors.logs import CallLog
from service.interceptors.metrics import CallMetrics
from service.interceptors.presence import Presence
from service.interceptors.request_id import RequestIds
from service.interceptors.running import RunningCalls
from service.interceptors.slow import Plan, SlowCalls
from service.interceptors.straight import StraightCalls
from service.interceptors.tracing import Traces
from service.interceptors.trails import Trails
from service.leaving import Leaving
from service.limits.memory import MemoryGuard, Pressure
from service.limits.used import memory_reader
from service.observability.http import Status, StatusServer
from service.observability.metrics import Metrics
from service.observability.tracing import Tracing, TracingUnavailable
from service.reflected import ConfigurationError, LayerSource, read_wanted
from service.reflection import add_reflection
from service.security.entrance import Entrance
from service.security.errors import SecurityProblem
from service.servicers.admin import AdminServicer
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
    status: Status
    refresh: Callable[[], None]
    doors: Doors
    leaving: Leaving
    _grpc: grpc.aio.Server
    _readiness: Readiness
    _running: RunningCalls

    @property
    def problem(self) -> str | None:
        """Why the server is not ready, if it is not."""
        return self._readiness.problem

    async def stop(self, grace: float) -> bool:
        await self._readiness.drain()
        clock = asyncio.get_running_loop().time
        deadline = clock() + grace - CUT_SECONDS
        await self.leaving.hurry(deadline)
        stopping = asyncio.create_task(self._grpc.stop(max(0.0, deadline + CUT_SECONDS - clock())))
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
async def running_server(
    settings: Settings, url: str, tell_others: Callable[[], None] | None = None
) -> AsyncIterator[Server]:
    """A server over the database at `url`, on the running event loop; stopped at once on the way out, if not before.

    One of several at the same port is given what tells the others to read the layers again; its metrics and status are
    for whoever started it to show."""
    async with AsyncExitStack() as stack:
        metrics = _metrics()
        entrance = await _entrance(stack, settings, metrics)
        wanted = read_wanted(settings.layers)
        models = shipped_layers() if wanted.models else ()
        catalog = Catalog(models, guarded=entrance.authenticator is not None)
        database = await parts.database(stack, settings, url, metrics)
        source = LayerSource(wanted, models, database.control, catalog, database.standing_in)
        await source.start(settings.layers_refresh)
        stack.push_async_callback(source.close)
        known = parts.knowledge(settings, catalog, source, tell_others)
        memory = _memory(stack, settings)
        presence = Presence()
        run = parts.readers(
            stack, settings, metrics, database, known, lambda: memory.pressure > Pressure.NONE, presence.felt
        )
        read = parts.reading(settings, catalog, run)
        spatial = contract.spatial_service(settings, known, read, run)
        feature = await contract.feature_service(stack, settings, metrics, database, known, read, run)
        administration = (contract.admin_service(settings, database, known, read, run),) if settings.admin else ()

        services = (spatial, feature, *administration)
        names = [service.descriptor.full_name for service in services]
        call_metrics, running = CallMetrics(metrics), RunningCalls(*names)
        others = servers()
        server = grpc.aio.server(options=_options(settings, shared=tell_others is not None))
        watching = _watching(stack, settings, names, contract.planner(known, run))
        entering = _entering(entrance, metrics)
        straight = StraightCalls.of(server)
        limits = CallLimits(_limited(services), settings, metrics, memory, Backlog(others, straight).waiting)
        observers = _observers(call_metrics, watching, entering, limits, presence, running)
        registrar = Registrar(server, observers, settings.stall_timeout, straight)
        for service in services:
            registrar.add(service.descriptor, *service.servicers)
        health = health_aio.HealthServicer()
        health_pb2_grpc.add_HealthServicer_to_server(health, registrar)
        if settings.reflection:
            add_reflection(registrar, [*names, HEALTH])
        for method in registrar.methods:
            call_metrics.expect(method)
            for each in entering:
                each.expect(method)

        led = [each.descriptor.full_name for each in (feature, *administration)]  # all that reading does without
        readiness = _readiness(
            settings,
            database,
            known,
            entrance,
            health,
            names,
            writing=(feature.descriptor.full_name,),
            leading=led,
        )
        metrics.ready.set_function(lambda: readiness.problem is None)
        await readiness.start()
        stack.push_async_callback(readiness.close)
        port = await _listen(stack, server, settings, entrance, straight)
        besides = await _serve_health(stack, settings, health, shared=tell_others is not None)
        stack.push_async_callback(readiness.drain)
        status = _status(catalog, readiness)
        metrics_port = 0 if tell_others else _show(stack, settings, metrics, status)
        doors = Doors(port, *besides)
        leaving = Leaving(doors, running, settings.max_connection_age)
        yield Server(
            port, metrics_port, catalog, metrics, status, source.refresh, doors, leaving, server, readiness, running
        )


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


async def _entrance(stack: AsyncExitStack, settings: Settings, metrics: Metrics) -> Entrance:
    """First of all: with settings that are not safe, nothing else is begun."""
    try:
        entrance = Entrance(settings, metrics)
    except SecurityProblem as problem:
        raise ConfigurationError(str(problem)) from None
    stack.callback(entrance.close)
    await entrance.start()
    return entrance


def _entering(entrance: Entrance, metrics: Metrics) -> tuple[Authentication, ...]:
    return () if entrance.authenticator is None else (Authentication(entrance.authenticator, metrics),)


def _observers(
    call_metrics: CallMetrics,
    watching: tuple[Observer, ...],
    entering: tuple[Observer, ...],
    limits: CallLimits,
    presence: Presence,
    running: RunningCalls,
) -> tuple[Observer, ...]:
    """Ids first, so that all that follows can name the call; who waits and what is running last, so that they count
    only calls that were let in; logs after metrics on the way out, so that a slow disk is not in the latency. Who is
    refused at the entrance is counted and logged, too."""
    return (RequestIds(), *watching, CallLog(), call_metrics, *entering, limits, presence, running)


def _limited(services: Sequence[contract.Service]) -> list[str]:
    """Who looks after the server is let in even where nobody else is."""
    return [each.descriptor.full_name for each in services if each.descriptor != AdminServicer.SERVICE]


def _memory(stack: AsyncExitStack, settings: Settings) -> MemoryGuard:
    """Looks at the memory as long as the server runs, where there is a limit to it."""
    guard = MemoryGuard(give_back)
    read = memory_reader(settings.memory_limit, settings.workers or 1)
    if read is not None:
        watching = asyncio.create_task(guard.watch(read), name="memory")
        stack.callback(watching.cancel)
    return guard


def _readiness(
    settings: Settings,
    database: parts.Database,
    known: parts.Knowledge,
    entrance: Entrance,
    health: health_aio.HealthServicer,
    services: Sequence[str],
    *,
    writing: Sequence[str],
    leading: Sequence[str],
) -> Readiness:
    """Of the services those that are `writing` need the ledger, and those that are `leading` the primary."""
    return Readiness(
        health,
        services,
        database.control,
        settings.health_interval,
        "migrated" if read_wanted(settings.layers).models else "postgis",
        lambda: known.source.problem or entrance.problem,
        writing=writing,
        writable=lambda: any(layer.writable for layer in known.catalog),
        silence=lambda: database.hearing.seconds,
        leading=leading,
        standing_in=database.standing_in,
        renew=database.renewal.renew,
    )


async def _listen(
    stack: AsyncExitStack,
    server: grpc.aio.Server,
    settings: Settings,
    entrance: Entrance,
    straight: StraightCalls | None,
) -> int:
    """Serves from now on, until the way out; the port."""
    with listening_on(settings.listen):
        port = entrance.listen(server)
    await server.start()
    if straight is not None:
        straight.begin()
        stack.push_async_callback(straight.close)
    stack.push_async_callback(server.stop, None)
    return port


async def _serve_health(
    stack: AsyncExitStack, settings: Settings, health: health_aio.HealthServicer, *, shared: bool
) -> list[int]:
    """Once more, at an address of its own, for probes that can neither speak TLS nor show a certificate; its port."""
    if settings.health_listen is None:
        return []
    server = grpc.aio.server(options=_options(settings, shared=shared))
    health_pb2_grpc.add_HealthServicer_to_server(health, server)
    with listening_on(settings.health_listen):
        port: int = server.add_insecure_port(settings.health_listen)
    await server.start()
    stack.push_async_callback(server.stop, None)
    return [port]


def _show(stack: AsyncExitStack, settings: Settings, metrics: Metrics, status: Status) -> int:
    with listening_on(settings.metrics_listen):
        pages = StatusServer(settings.metrics_listen, metrics.registry, status)
    return stack.enter_context(pages).port


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


def _status(catalog: Catalog, readiness: Readiness) -> Status:
    def status() -> dict[str, str]:
        return {
            "version": __version__,
            "ready": readiness.problem or "yes",
            "layers": ", ".join(layer.name for layer in catalog),
        }

    return status


def _options(settings: Settings, *, shared: bool) -> list[tuple[str, int]]:
    options = [
        ("grpc.max_receive_message_length", settings.max_request_bytes),
        ("grpc.max_send_message_length", -1),
        # A token may have 12 KiB. Above the first number calls are refused by chance, above the second always.
        ("grpc.max_metadata_size", 16 * 1024),
        ("grpc.absolute_max_metadata_size", 32 * 1024),
        # Two servers must not share a port by accident; workers share theirs, which their supervisor keeps for them.
        ("grpc.so_reuseport", int(shared)),
        # A peer that vanished is noticed, and its calls cancelled, within half a minute.
        ("grpc.keepalive_time_ms", 20_000),
        ("grpc.keepalive_timeout_ms", 10_000),
        ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
    ]
    if settings.max_connection_age:
        # No grace: a connection that has reached its age takes no further calls, but ends with its last.
        options.append(("grpc.max_connection_age_ms", round(settings.max_connection_age * 1000)))
    return options
