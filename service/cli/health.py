import sys
from dataclasses import replace
from pathlib import Path

import click
import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from service.cli.channels import channel
from service.cli.credentials import Credentials, connecting, contents
from service.cli.settings import load
from service.settings import Settings


@click.command()
@click.option("--address", help="Where the server listens; SPATIAL_HEALTH_LISTEN or SPATIAL_LISTEN unless given.")
@click.option("--service", default="", help="The name asked for: empty for all, `liveness` for the process alone.")
@click.option("--timeout", default=2.0, show_default=True, help="Seconds to wait for the answer.")
@connecting
def health(address: str | None, service: str, timeout: float, credentials: Credentials) -> None:
    """Ask a running server whether it is ready; exit code 0 if it is.

    Beside the server and with its settings nothing need be said: it is asked over TLS if it has a certificate, which is
    then the one that is trusted; where it wants one of its clients, too, it is shown its own.
    """
    if address is None:
        address, credentials = _own(load(), credentials)
    target = address.replace("0.0.0.0:", "127.0.0.1:").replace("[::]:", "127.0.0.1:")
    with channel(target, credentials) as opened:
        try:
            answer = health_pb2_grpc.HealthStub(opened).Check(
                health_pb2.HealthCheckRequest(service=service), timeout=timeout, wait_for_ready=True
            )
        except grpc.RpcError as error:
            click.echo(f"{target}: {error.code().name}", err=True)
            sys.exit(2)
    status = health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status)
    click.echo(status)
    sys.exit(0 if answer.status == health_pb2.HealthCheckResponse.SERVING else 1)


def _own(settings: Settings, given: Credentials) -> tuple[str, Credentials]:
    """The address of the server with these settings, and what it takes to be answered there."""
    if settings.health_listen is not None:
        return settings.health_listen, Credentials()
    if settings.tls_certificate is None or settings.tls_key is None or given.encrypted:
        return settings.listen, given
    certificate = Path(settings.tls_certificate)
    trusting = replace(given, ca=certificate, name=_name(contents(certificate)))
    if settings.tls_client_ca is not None:
        trusting = replace(trusting, certificate=certificate, key=Path(settings.tls_key))
    return settings.listen, trusting


def _name(pem: bytes) -> str | None:
    """One that the certificate is for."""
    from cryptography import x509  # takes its time, and most need it not

    try:
        certificate = x509.load_pem_x509_certificate(pem)
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (ValueError, x509.ExtensionNotFound):
        return None
    dns = [name.replace("*", "health", 1) for name in names.get_values_for_type(x509.DNSName)]
    return next(iter([*dns, *map(str, names.get_values_for_type(x509.IPAddress))]), None)
