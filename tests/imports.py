"""Imports for tests: plans and rows, given to an importer without gRPC around it."""

import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from uuid import uuid4

from prometheus_client import CollectorRegistry

from service.catalog import Layer, shipped_layers
from service.changes import Importing, ImportPlan, Incoming
from service.db.engine import bulk_pool
from service.db.imports.importer import Importer, ImportOutcome
from service.observability.metrics import Metrics
from service.settings import Settings

LAYERS = {layer.name: layer for layer in shipped_layers()}


def plan(layer: str = "facilities", mode: str = "INSERT", **given: Any) -> ImportPlan:
    id_ = given.pop("id", None) or str(uuid4())
    digest = repr((layer, mode, sorted(given.items()))).encode()
    return ImportPlan(layer, id_, digest, Importing[mode], **given)


def point(longitude: float, latitude: float) -> bytes:
    return struct.pack("<BIIdd", 1, 0x20000001, 4326, longitude, latitude)


def square(west: float, south: float, side: float = 1.0) -> bytes:
    corners = ((0, 0), (side, 0), (side, side), (0, side), (0, 0))
    flat = [value for x, y in corners for value in (west + x, south + y)]
    return struct.pack("<BIIII10d", 1, 0x20000003, 4326, 1, 5, *flat)


def facilities(count: int, first: int = 0, **columns: Sequence[str | None]) -> Incoming:
    """So many facilities, which lie side by side and are called after their rows."""
    rows = range(first, first + count)
    names = [f"Facility {row}" for row in rows]
    values = {"name": names, "kind": ["test"] * count, **columns}
    return Incoming(rows, None, [point(row % 360 - 180, row // 360 % 90) for row in rows], values)


@contextmanager
def importer(url: str, **settings: Any) -> Iterator[Importer]:
    given, metrics = Settings(**settings), Metrics(CollectorRegistry())
    pool = bulk_pool(given, url, metrics)
    try:
        yield Importer(pool, given, metrics)
    finally:
        pool.engine.dispose()


def run(url: str, plan: ImportPlan, *incoming: Incoming, layer: Layer | None = None, **settings: Any) -> ImportOutcome:
    """A whole import."""
    with importer(url, **settings) as made, made.begin(plan, layer or LAYERS[plan.layer]) as progress:
        for rows in incoming:
            made.write(progress, rows)
        return made.finish(progress)
