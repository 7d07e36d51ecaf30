"""`spatial explain`: how the database would answer a query."""

import json
from collections.abc import Callable
from typing import Any

import click
import grpc

from service.cli.channels import channel
from service.cli.credentials import Credentials, connecting
from service.cli.query import area, bounds, numbers, predicate, probe
from spatial.v1 import admin_pb2, admin_pb2_grpc, geometry_pb2, query_pb2


@click.group()
def explain() -> None:
    """Show the plan by which a running server answers a query.

    \b
    The same words as for `spatial query`:
      spatial explain radius facilities --at 40.7128,-74.006 --radius 2000
      spatial explain nearest zones --at 0,-30 --analyze
      spatial explain nearest facilities --feature zones/77
      spatial explain intersects parcels --bbox -74.02,40.70,-73.99,40.72 --stream
    And of what only streams answer:
      spatial explain layer zones --filter "category = 'country'"
      spatial explain join districts facilities --predicate contains

    After the plan come the indexes that it uses, the tables that it reads from end to end, and why this server would
    refuse it, if it would. A table that is read so without need lacks an index, or `ANALYZE`.
    """


def common(command: Callable[..., None]) -> Callable[..., None]:
    """The options that every explanation has."""
    command = connecting(command)
    for option in (
        click.option("--analyze", is_flag=True, help="Run it, and show what was measured."),
        click.option("--json", "as_json", is_flag=True, help="The plan as JSON alone, for programs that draw it."),
        click.option("--filter", "condition", default="", metavar="CQL2", help="Only features of which this holds."),
        click.option(
            "--target", default="127.0.0.1:50051", envvar="SPATIAL_TARGET", show_default=True, help="The server."
        ),
        click.option("--timeout", default=30.0, show_default=True, help="Seconds to wait; then the statement ends."),
    ):
        command = option(command)
    return command


def output(command: Callable[..., None]) -> Callable[..., None]:
    """What the features are answered with."""
    return click.option(
        "--property", "properties", multiple=True, help="A property to answer with, again for more; all unless given."
    )(command)


stream = click.option("--stream", is_flag=True, help="Of the stream of all it finds, not of a first page of 100.")


@explain.command()
@click.argument("layer")
@probe
@click.option("--radius", required=True, type=float, help="Metres.")
@stream
@output
@common
def radius(
    layer: str, probe: geometry_pb2.Probe, radius: float, condition: str, properties: list[str], **options: Any
) -> None:
    """Features within a distance.

    \b
    spatial explain radius facilities --at 40.7128,-74.006 --radius 2000
    """
    asked = query_pb2.RadiusQuery(layer=layer, center=probe, radius_meters=radius, filter=condition)
    _run(query_pb2.Query(radius=asked), properties, **options)


@explain.command()
@click.argument("layer")
@probe
@bounds
@output
@common
def nearest(
    layer: str,
    probe: geometry_pb2.Probe,
    farthest: float | None,
    inside: str | None,
    condition: str,
    properties: list[str],
    **options: Any,
) -> None:
    """The nearest features.

    \b
    spatial explain nearest zones --at 0,-30 --analyze
    """
    asked = query_pb2.NearestQuery(
        layer=layer, center=probe, max_distance_meters=farthest, within=area(inside), filter=condition
    )
    _run(query_pb2.Query(nearest=asked), properties, **options)


@explain.command()
@click.argument("layer")
@probe
@predicate
@stream
@output
@common
def intersects(
    layer: str, probe: geometry_pb2.Probe, predicate: str, condition: str, properties: list[str], **options: Any
) -> None:
    """Features that stand in a relation to a geometry.

    \b
    spatial explain intersects parcels --bbox -74.02,40.70,-73.99,40.72 --json
    """
    asked = query_pb2.IntersectsQuery(
        layer=layer, probe=probe, predicate=f"PREDICATE_{predicate.upper()}", filter=condition
    )
    _run(query_pb2.Query(intersects=asked), properties, **options)


@explain.command(name="layer")
@click.argument("layer")
@click.option("--bbox", metavar="WEST,SOUTH,EAST,NORTH", help="Only what meets a box.")
@output
@common
def whole_layer(layer: str, bbox: str | None, condition: str, properties: list[str], **options: Any) -> None:
    """The stream of a layer, or of what meets a box.

    \b
    spatial explain layer zones --bbox 5,45,15,55
    """
    asked = query_pb2.LayerQuery(layer=layer, filter=condition)
    if bbox is not None:
        west, south, east, north = numbers(bbox, 4, "--bbox")
        asked.bbox.CopyFrom(geometry_pb2.BoundingBox(west=west, south=south, east=east, north=north))
    _run(query_pb2.Query(layer=asked), properties, **options)


@explain.command()
@click.argument("left")
@click.argument("right")
@predicate
@click.option("--distance", type=float, help="Metres that pairs are apart at most, in place of a predicate.")
@common
def join(left: str, right: str, predicate: str, distance: float | None, condition: str, **options: Any) -> None:
    """The stream of the pairs of two layers. --filter is about the left one.

    \b
    spatial explain join districts facilities --predicate contains
    """
    asked = query_pb2.JoinQuery(left_layer=left, right_layer=right, left_filter=condition)
    if distance is None:
        asked.MergeFrom(query_pb2.JoinQuery(predicate=f"PREDICATE_{predicate.upper()}"))
    else:
        asked.distance_meters = distance
    _run(query_pb2.Query(join=asked), None, **options)


def _run(
    query: query_pb2.Query,
    properties: list[str] | None,
    *,
    analyze: bool,
    as_json: bool,
    target: str,
    timeout: float,
    credentials: Credentials,
    stream: bool = False,
) -> None:
    request = admin_pb2.ExplainRequest(query=query, analyze=analyze, stream=stream)
    if properties is not None:
        request.output.properties.extend(properties)
    with channel(target, credentials) as opened:
        try:
            explained = admin_pb2_grpc.AdminServiceStub(opened).Explain(request, timeout=timeout)
        except grpc.RpcError as error:
            raise click.ClickException(f"{error.code().name}: {error.details()}") from None
    if as_json:
        click.echo(json.dumps(json.loads(explained.json), ensure_ascii=False, indent=1))
    else:
        _print(explained)


def _print(explained: admin_pb2.ExplainResponse) -> None:
    click.echo(explained.text)
    click.echo()
    click.echo(f"indexes: {', '.join(explained.indexes) or 'none'}")
    click.echo(f"read from end to end: {', '.join(explained.sequential_scans) or 'no table'}")
    if explained.refusal:
        click.echo(f"refused: {explained.refusal}")
