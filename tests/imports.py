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
from tests.situations import fetch

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


def names(url: str) -> list[str]:
    return [name for (name,) in fetch(url, "SELECT name FROM facilities ORDER BY id")]


def keyed(keys: Sequence[str], first: int = 0, **values: Sequence[str | None]) -> Incoming:
    """Facilities with these keys."""
    rows = facilities(len(keys), first, **values)
    return Incoming(rows.numbers, keys, rows.geometries, rows.values)


def told(outcome: ImportOutcome) -> list[tuple[int, str, str, str]]:
    return [(each.row, each.id, each.reason, each.field) for each in outcome.rejections]


def counts(outcome: ImportOutcome) -> tuple[int, int, int]:
    totals = outcome.totals
    assert totals.inserted + totals.updated + totals.rejected == totals.rows
    return totals.inserted, totals.updated, totals.rejected


def multi(polygon: bytes) -> bytes:
    return b"\x01\x06\x00\x00\x20\xe6\x10\x00\x00\x01\x00\x00\x00" + b"\x01\x03\x00\x00\x00" + polygon[9:]


def zones(*codes: str, name: str = "District") -> Incoming:
    squares = [multi(square(10 * place, 0)) for place in range(len(codes))]
    return Incoming(
        range(len(codes)),
        None,
        squares,
        {"code": codes, "name": [f"{name} {code}" for code in codes], "category": ["test"] * len(codes)},
    )
