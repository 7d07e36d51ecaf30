"""A load through a running server: the same rows, as the client sends them."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, cast

import pyarrow
from pyarrow import compute, types

from service.changes import Rejection, Totals
from service.loading.errors import LoadError
from service.loading.manner import Manner
from service.loading.mapping import ColumnMapping, Target
from service.loading.source import Batch, Fault, Source
from service.loading.systems import transformed
from spatial_client import Layer, NewFeature, SpatialClient, SpatialError

MOST_LISTED = 10_000
UNREADABLE = b"\xff"  # stands for a geometry that could not even become WKB
_KINDS: dict[str, Any] = {
    "integer": pyarrow.int64(),
    "number": pyarrow.float64(),
    "boolean": pyarrow.bool_(),
    "timestamp": pyarrow.timestamp("us", "UTC"),
}


_TRUTHS = {"t": True, "true": True, "yes": True, "1": True, "f": False, "false": False, "no": False, "0": False}
# Where a column is not of its type throughout, value by value.
_READ: dict[str, Callable[[str], Any]] = {
    "integer": int,
    "number": float,
    "boolean": lambda text: _TRUTHS[text.lower()],
    "timestamp": datetime.fromisoformat,
}


class Server:
    """Where a load goes, when it goes through a server."""

    def __init__(self, client: SpatialClient) -> None:
        self._client = client

    def layer(self, name: str) -> Layer:
        layer: Layer = self._told(lambda: self._client.get_layer(name))
        if not layer.writable:
            raise LoadError(f"layer {name!r} takes no rows: the server has it read only")
        return layer

    def load(
        self, source: Source, layer: Layer, mapping: ColumnMapping, manner: Manner, told: Callable[[int], None]
    ) -> tuple[Totals, list[Rejection]]:
        """Reads the file once, or again from its beginning where the connection was cut."""
        rows = _Rows(source, layer, mapping)
        sent = 0

        def progressed(rows_sent: int) -> None:
            nonlocal sent
            told(max(0, rows_sent - sent))
            sent = max(sent, rows_sent)

        state = self._told(
            lambda: self._client.import_features(
                rows,
                layer.name,
                mode=cast("Any", manner.mode.name.lower()),
                match=manner.match or "",
                repair=manner.repair,
                srid=rows.srid,
                max_rejections=MOST_LISTED,
                validate_only=manner.dry_run,
                on_progress=progressed,
            )
        )
        totals = Totals(state.rows, state.inserted, state.updated, state.rejected, state.chunks, state.retries)
        return totals, [rows.explained(Rejection(*_fields(each))) for each in state.rejections]

    @staticmethod
    def _told(ask: Callable[[], Any]) -> Any:
        try:
            return ask()
        except SpatialError as error:
            raise LoadError(f"the server: {error}") from None


@contextmanager
def server(address: str, **connection: Any) -> Iterator[Server]:
    """`connection` is what else a client is made with."""
    with SpatialClient(address, **connection) as client:
        yield Server(client)


def target_of(layer: Layer) -> Target:
    return Target(layer.name, layer.key, {prop.name: prop.writable for prop in layer.properties})


def _fields(rejection: Any) -> tuple[Any, ...]:
    return tuple(getattr(rejection, name) for name in Rejection._fields)


@dataclass
class _Rows:
    """The file's rows as features; it can be read again."""

    source: Source
    layer: Layer
    mapping: ColumnMapping
    faults: dict[int, Fault] = field(default_factory=dict)

    @property
    def srid(self) -> int | None:
        system = self.source.system
        return system.srid if system is not None else None

    def explained(self, rejection: Rejection) -> Rejection:
        """With what was found wrong here, if that was why."""
        fault = self.faults.get(rejection.row)
        return rejection if fault is None else Rejection(rejection.row, rejection.id, *fault)

    def __iter__(self) -> Iterator[NewFeature]:
        first = 0
        for batch in self.source.batches():
            self.faults |= {first + row: fault for row, fault in batch.faults.items()}
            yield from self._features(batch)
            first += batch.rows

    def _features(self, batch: Batch) -> Iterator[NewFeature]:
        kinds = {prop.name: prop.type for prop in self.layer.properties}
        nothing = [None] * batch.rows
        keys = batch.columns[self.mapping.key].to_pylist() if self.mapping.key else nothing
        names = list(self.mapping.columns)
        columns = [fitting(batch.columns[self.mapping.columns[name]], kinds[name]) for name in names]
        values = zip(*columns, strict=True) if columns else [()] * batch.rows
        for place, key, row in zip(self._places(batch) or nothing, keys, values, strict=True):
            yield NewFeature(place or None, dict(zip(names, row, strict=True)), key)

    def _places(self, batch: Batch) -> list[bytes] | None:
        if batch.geometries is None:
            return None
        system, places = self.source.system, batch.geometries
        if system is not None and system.srid is None:
            places = transformed(places, system, self.layer.srid)
        return [UNREADABLE if row in batch.faults else place for row, place in enumerate(places)]


def fitting(column: Any, kind: str) -> list[Any]:
    """Values of the property's type; what is none stays as it is, and the server says what is wrong with it."""
    column = getattr(column, "storage", column)
    if kind in _KINDS and column.type != _KINDS[kind]:
        try:
            text = types.is_string(column.type)
            column = compute.cast(compute.utf8_trim_whitespace(column) if text else column, _KINDS[kind])
        except (pyarrow.ArrowInvalid, pyarrow.ArrowNotImplementedError):
            return [_read(value, kind) for value in column.to_pylist()]
    elif kind == "string" and not types.is_nested(column.type) and not types.is_string(column.type):
        column = compute.cast(column, pyarrow.string())
    values: list[Any] = column.to_pylist()
    return [_json(value) for value in values] if kind == "json" else values


def _read(value: Any, kind: str) -> Any:
    try:
        return _READ[kind](value.strip()) if isinstance(value, str) else value
    except (KeyError, ValueError):
        return value


def _json(value: Any) -> Any:
    """Texts are what a file has for JSON."""
    try:
        return json.loads(value) if isinstance(value, str) else value
    except ValueError:
        return value
