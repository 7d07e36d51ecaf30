import sys

import click
import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from service.cli.settings import load


@click.command()
@click.option("--address", help="Where the server listens; SPATIAL_LISTEN unless given.")
@click.option("--service", default="", help="The name asked for: empty for all, `liveness` for the process alone.")
@click.option("--timeout", default=2.0, show_default=True, help="Seconds to wait for the answer.")
def health(address: str | None, service: str, timeout: float) -> None:
    """Ask a running server whether it is ready; exit code 0 if it is."""
    target = (address or load().listen).replace("0.0.0.0:", "127.0.0.1:").replace("[::]:", "127.0.0.1:")
    with grpc.insecure_channel(target) as channel:
        try:
            answer = health_pb2_grpc.HealthStub(channel).Check(
                health_pb2.HealthCheckRequest(service=service), timeout=timeout, wait_for_ready=True
            )
        except grpc.RpcError as error:
            click.echo(f"{target}: {error.code().name}", err=True)
            sys.exit(2)
    status = health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status)
    click.echo(status)
    sys.exit(0 if answer.status == health_pb2.HealthCheckResponse.SERVING else 1)
