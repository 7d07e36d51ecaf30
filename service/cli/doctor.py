"""`spatial doctor`: what is wrong with a database, and what to do about it."""

import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from textwrap import fill
from typing import Any, NoReturn

import click
import grpc
import psycopg2
from google.protobuf.json_format import MessageToDict

from service.catalog import Catalog, shipped_layers
from service.cli.channels import channel
from service.cli.credentials import Credentials, connecting
from service.cli.settings import database_url, load
from service.codec.diagnoses import diagnosis, layers_named
from service.db.direct import direct_connection
from service.db.engine import control_engine
from service.db.occupancy import connections_wanted
from service.doctor.examination import examine, examine_thoroughly
from service.doctor.findings import Severity, worst_first
from service.doctor.refusals import not_served
from service.errors import SpatialError
from service.reflected.selection import Refusal
from service.reflected.source import LayerSource
from service.reflected.wanted import ConfigurationError, read_wanted
from service.settings import Settings
from service.workers.number import with_workers
from spatial.v1 import admin_pb2, admin_pb2_grpc

NOT_EXAMINED = 3
_COLORS = {Severity.ERROR: "red", Severity.WARNING: "yellow", Severity.INFO: "blue"}
_EXIT_CODES = {Severity.ERROR: 2, Severity.WARNING: 1, Severity.INFO: 0}


@click.command()
@click.option("--layer", "layers", multiple=True, help="A layer to look at, again for more; all unless given.")
@click.option("--thorough", is_flag=True, help="Also read whole tables, for what is wrong with geometries.")
@click.option("--json", "as_json", is_flag=True, help="For programs: the fields of DiagnoseResponse.")
@click.option("--target", help="Ask a running server, as HOST:PORT, rather than the database.")
@click.option("--timeout", default=600.0, show_default=True, help="Seconds to wait for a server's answer.")
@connecting
def doctor(
    layers: Sequence[str],
    thorough: bool,
    as_json: bool,
    target: str | None,
    timeout: float,
    credentials: Credentials,
) -> None:
    """Find what is, or may soon be, wrong, and say how to mend it.

    The worst comes first, each with the statement that mends it, to be pasted into psql. Nothing is changed. It asks
    the database at SPATIAL_DATABASE_URL, whether or not the service runs; a role that may only SELECT will do.

    \b
    spatial doctor
    spatial doctor --layer facilities --thorough
    spatial doctor --json | jq '.findings[].statement'
    spatial doctor --target localhost:50051     also how full the server's pools are

    \b
    Exit code:
      0   nothing is wrong; there may be notes
      1   warnings: slower, or more at risk, than need be
      2   errors: wrong answers, failing calls, searches without an index
      3   nothing could be looked at
    """
    request = admin_pb2.DiagnoseRequest(layers=layers, thorough=thorough)
    found = _asked(request, target, timeout, credentials) if target else _examined(request)
    if as_json:
        click.echo(json.dumps(_fields(found), ensure_ascii=False, indent=1))
    else:
        for line in _lines(found):
            click.echo(line)
    sys.exit(_EXIT_CODES[max((Severity(finding.severity) for finding in found.findings), default=Severity.INFO)])


def _asked(
    request: admin_pb2.DiagnoseRequest, target: str, timeout: float, credentials: Credentials
) -> admin_pb2.DiagnoseResponse:
    with channel(target, credentials, [("grpc.max_receive_message_length", -1)]) as opened:
        try:
            answer: admin_pb2.DiagnoseResponse = admin_pb2_grpc.AdminServiceStub(opened).Diagnose(
                request, timeout=timeout
            )
            return answer
        except grpc.RpcError as error:
            _give_up(f"{target}: {error.code().name}: {error.details()}")


def _examined(request: admin_pb2.DiagnoseRequest) -> admin_pb2.DiagnoseResponse:
    """On a connection of our own, set up as the service sets up its own."""
    try:
        settings = load()
        with closing(direct_connection(settings, database_url(settings), "doctor")) as connection:
            catalog, refusals = _served(settings)
            layers = layers_named(catalog, request.layers)
            with connection.cursor() as cursor:
                found = examine(cursor, layers, connections_wanted(with_workers(settings)))
                if not request.layers:
                    found = replace(found, findings=worst_first([*found.findings, *not_served(refusals)]))
        if request.thorough:
            endless = {"statement_timeout": "0"}
            opened = direct_connection(settings, database_url(settings), "doctor", endless)
            with closing(opened) as connection, connection.cursor() as cursor:
                findings = [*found.findings, *examine_thoroughly(cursor, layers)]
            found = replace(found, findings=worst_first(findings))
        return diagnosis(found, [])
    except psycopg2.Error as error:
        _give_up(str(error).partition("\n")[0])
    except (SpatialError, click.ClickException) as error:
        _give_up(error.message)


def _served(settings: Settings) -> tuple[Catalog, Sequence[Refusal]]:
    """The layers that a server with these settings would have, and the tables that it would refuse."""
    try:
        wanted = read_wanted(settings.layers)
    except ConfigurationError as error:
        raise click.ClickException(str(error)) from None
    models = shipped_layers() if wanted.models else ()
    catalog = Catalog(models)
    control = control_engine(settings, database_url(settings))
    try:
        source = LayerSource(wanted, models, control, catalog)
        source.refresh()
        return catalog, source.refusals
    finally:
        control.dispose()


def _give_up(reason: str) -> NoReturn:
    click.echo(f"Error: {reason}", err=True)
    sys.exit(NOT_EXAMINED)


def _fields(found: admin_pb2.DiagnoseResponse) -> dict[str, Any]:
    """All of them, also those that are empty: who reads them should not have to ask first."""
    fields: dict[str, Any] = MessageToDict(
        found, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )
    return fields


def _lines(found: admin_pb2.DiagnoseResponse) -> Iterator[str]:
    for finding in found.findings:
        yield from _finding(finding)
    yield ", ".join(f"{name} {version}" for name, version in sorted(found.versions.items()) if version)
    for timing in found.timings:
        through = f"through {timing.index}" if timing.index else "without an index: the table is small"
        yield f"{timing.layer}: a small search took {timing.milliseconds:.1f} ms, {through}"
    yield _summary([Severity(finding.severity) for finding in found.findings])


def _finding(finding: admin_pb2.Finding) -> Iterator[str]:
    severity = Severity(finding.severity)
    about = f"  {finding.layer}" if finding.layer else ""
    yield f"{click.style(f'{severity.name:7}', fg=_COLORS[severity])}  {finding.kind}{about}"
    yield fill(finding.message, 100, initial_indent="  ", subsequent_indent="  ", break_long_words=False)
    if finding.statement:
        yield f"  {finding.statement};"
    yield ""


def _summary(severities: Sequence[Severity]) -> str:
    words = {Severity.ERROR: "error", Severity.WARNING: "warning", Severity.INFO: "note"}
    counts = [(severities.count(severity), word) for severity, word in words.items()]
    return ", ".join(f"{count} {word}{'' if count == 1 else 's'}" for count, word in counts)
