import asyncio
import ctypes
import gc
import logging
import os
import signal
import sys
from contextlib import ExitStack, suppress
from pathlib import Path

import click
import uvloop

from service import demo as demo_data
from service import migrations
from service.cli.settings import database_url, load
from service.embedded import EmbeddedPostgres
from service.observability import logs
from service.reflected import ConfigurationError
from service.server import CannotListen, Server, running_server
from service.settings import Settings

log = logging.getLogger("spatial.serve")

GC_THRESHOLD = 20_000
M_ARENA_MAX, ARENAS = -8, 2


@click.command()
@click.option(
    "--embedded",
    "directory",
    type=click.Path(file_okay=False, path_type=Path),
    help="Run a private PostGIS cluster in this directory, unless SPATIAL_DATABASE_URL names another database.",
)
@click.option("--demo", is_flag=True, help="Migrate, and load the demo data into layers that are empty.")
def serve(directory: Path | None, demo: bool) -> None:
    """Serve gRPC until told to stop.

    SIGTERM and SIGINT let running calls finish for SPATIAL_GRACE_SECONDS. The exit code is 0 if all of them could,
    and 1 if some were cut off.
    """
    settings = load()
    logs.configure(settings)
    _few_arenas()
    with ExitStack() as stack:
        if directory is not None and settings.database_url is None:
            url = stack.enter_context(EmbeddedPostgres(directory)).url
        else:
            url = database_url(settings)
        if demo:
            migrations.upgrade(url)
            demo_data.load(url)
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            try:
                finished = runner.run(_serve(settings, url, welcome=demo))
            except (CannotListen, ConfigurationError) as error:
                raise click.ClickException(str(error)) from None
    sys.exit(0 if finished else 1)


def _few_arenas() -> None:
    """glibc gives threads arenas of their own and keeps in each what was freed there, which adds up where each
    stream has a thread. Other C libraries have no such thing."""
    with suppress(AttributeError):
        ctypes.CDLL(None).mallopt(M_ARENA_MAX, ARENAS)


async def _serve(settings: Settings, url: str, *, welcome: bool) -> bool:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with running_server(settings, url) as server:
        # What was made until now lives as long as the server, and a call leaves no cycles: the collector need not look
        # at the one again and again, nor for the other every few calls.
        gc.collect()
        gc.freeze()
        gc.set_threshold(GC_THRESHOLD)
        log.info("serving", extra={"fields": {"listen": settings.listen, "port": server.port, "pid": os.getpid()}})
        if welcome:
            click.echo(_welcome(settings, server))
        await stop.wait()
        log.info("stopping")
        finished = await server.stop(settings.grace_seconds)
    log.info("stopped", extra={"fields": {"finished": finished}})
    return finished


def _welcome(settings: Settings, server: Server) -> str:
    host = settings.listen.rpartition(":")[0]
    metrics_host = settings.metrics_listen.rpartition(":")[0]
    layers = "\n".join(f"  {layer.name:16} {layer.geometry_type:13} {layer.description}" for layer in server.catalog)
    return f"""
spatial-service is up.

  gRPC      {host}:{server.port}
  metrics   http://{metrics_host}:{server.metrics_port}/metrics
  status    http://{metrics_host}:{server.metrics_port}/

Layers:
{layers}

Try (.local/bin/grpcurl is there if Go is; `make query` does without):

  grpcurl -plaintext -d '{{
      "query": {{"layer": "facilities", "center": {{"point": {{"latitude": 40.7128, "longitude": -74.006}}}},
                "radius_meters": 2000}},
      "output": {{"properties": ["name", "kind"], "encoding": "GEOMETRY_ENCODING_WKT"}}
    }}' {host}:{server.port} spatial.v1.SpatialService/SearchRadius

Stop with Ctrl-C.
"""
