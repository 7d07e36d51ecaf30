import asyncio
import logging
import os
import signal
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import click
import uvloop

from service import demo as demo_data
from service.cli.settings import database_url, load
from service.doctor.budget import warn_of_connections
from service.embedded import EmbeddedPostgres
from service.errors import SpatialError
from service.heap import few_arenas
from service.observability import logs
from service.reflected import ConfigurationError
from service.server import CannotListen, Server, running_server
from service.settings import Settings
from service.workers.number import with_workers
from service.workers.supervisor import WorkersFailed, supervise
from service.workers.worker import counting, settle

log = logging.getLogger("spatial.serve")


@click.command()
@click.option(
    "--embedded",
    "directory",
    type=click.Path(file_okay=False, path_type=Path),
    help="Run a private PostGIS cluster in this directory, unless SPATIAL_DATABASE_URL names another database.",
)
@click.option("--demo", is_flag=True, help="Migrate, and load the demo data into layers that are empty.")
@click.option(
    "--workers",
    type=click.IntRange(min=1),
    help="Processes side by side, rather than SPATIAL_WORKERS: one in a container, one for each core elsewhere.",
)
def serve(directory: Path | None, demo: bool, workers: int | None) -> None:
    """Serve gRPC until told to stop.

    SIGTERM and SIGINT let running calls finish for SPATIAL_GRACE_SECONDS. The exit code is 0 if all of them could,
    and 1 if some were cut off. SIGHUP puts new workers in the place of the old, one after another, without a failed
    call; one process alone reads the layers again.
    """
    settings = load()
    settings = with_workers(settings.model_copy(update={"workers": workers}) if workers else settings)
    logs.configure(settings)
    few_arenas()
    with ExitStack() as stack:
        if directory is not None and settings.database_url is None:
            url = stack.enter_context(EmbeddedPostgres(directory)).url
        else:
            url = database_url(settings)
        if demo:
            from service import migrations  # Alembic, which nothing else here needs

            migrations.upgrade(url)
            demo_data.load(url)
        # A supervisor is forked from: it has neither threads nor another loop than Python's own.
        factory = uvloop.new_event_loop if settings.workers == 1 else None
        with asyncio.Runner(loop_factory=factory) as runner:
            serving = _serve(settings, url, demo) if settings.workers == 1 else _supervise(settings, url, demo)
            try:
                finished = runner.run(serving)
            except (CannotListen, ConfigurationError, WorkersFailed) as error:
                raise click.ClickException(str(error)) from None
    sys.exit(0 if finished else 1)


async def _supervise(settings: Settings, url: str, demo: bool) -> bool:
    def welcome(settings: Settings, metrics_port: int, layers: Sequence[Sequence[str]]) -> None:
        if demo:
            click.echo(_welcome(settings, int(settings.listen.rpartition(":")[2]), metrics_port, layers))

    return await supervise(settings, url, welcome)


async def _serve(settings: Settings, url: str, demo: bool) -> bool:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with running_server(settings, url) as server:
        settle()
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, _refresh, server)
        ports = {"port": server.port, "metrics_port": server.metrics_port}
        log.info("serving", extra={"fields": {"listen": settings.listen, **ports, "pid": os.getpid()}})
        if demo:
            layers = [(layer.name, layer.geometry_type, layer.description) for layer in server.catalog]
            click.echo(_welcome(settings, server.port, server.metrics_port, layers))
        lacking = await asyncio.to_thread(warn_of_connections, *counting(settings, url))
        server.metrics.connections_lacking.set(lacking)
        await stop.wait()
        log.info("stopping")
        finished = await server.stop(settings.grace_seconds)
    log.info("stopped", extra={"fields": {"finished": finished}})
    return finished


def _refresh(server: Server) -> None:
    """On SIGHUP. What files say of callers and certificates is read again by itself; a database that is away is told
    of by readiness."""

    def read() -> None:
        try:
            server.refresh()
        except SpatialError as error:
            log.warning("the layers could not be read: %s", error.message, exc_info=error)

    asyncio.get_running_loop().run_in_executor(None, read)


def _welcome(settings: Settings, port: int, metrics_port: int, layers: Sequence[Sequence[str]]) -> str:
    host = settings.listen.rpartition(":")[0]
    metrics_host = settings.metrics_listen.rpartition(":")[0]
    lines = "\n".join(f"  {name:16} {kind:13} {description}" for name, kind, description in layers)
    return f"""
spatial-service is up.

  gRPC      {host}:{port}
  metrics   http://{metrics_host}:{metrics_port}/metrics
  status    http://{metrics_host}:{metrics_port}/

Layers:
{lines}

Try (.local/bin/grpcurl is there if Go is; `make query` does without):

  grpcurl -plaintext -d '{{
      "query": {{"layer": "facilities", "center": {{"point": {{"latitude": 40.7128, "longitude": -74.006}}}},
                "radius_meters": 2000}},
      "output": {{"properties": ["name", "kind"], "encoding": "GEOMETRY_ENCODING_WKT"}}
    }}' {host}:{port} spatial.v1.SpatialService/SearchRadius

Stop with Ctrl-C.
"""
