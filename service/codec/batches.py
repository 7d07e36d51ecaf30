"""The batches of a stream, in the layout that was asked for."""

from collections.abc import Iterator
from typing import Protocol
from weakref import WeakKeyDictionary

from service.catalog import Layer
from service.codec.arrow import ArrowWriter
from service.codec.columns import ColumnsWriter
from service.codec.frames import BATCH_BYTES, MOST_BATCH_BYTES
from service.codec.rows import RowsWriter
from service.db.queries import Statement
from service.domain import Batch, Layout

__all__ = ["BATCH_BYTES", "MOST_BATCH_BYTES", "BatchWriter", "BatchWriters", "batch_writer"]


class BatchWriter(Protocol):
    """Makes batches of what a COPY sends."""

    def batches(self, rows: bytes) -> Iterator[Batch]:
        """The batches of some whole rows, perhaps none; the COPY's header before the first row and its trailer after
        the last are passed over."""


def batch_writer(statement: Statement, layer: Layer, layout: Layout, bound_to: bytes | None) -> BatchWriter:
    """`bound_to` is what the tokens of a resumable stream are bound to; without it there are none."""
    if layout is Layout.ROWS:
        return RowsWriter(statement, layer, bound_to)
    if layout is Layout.COLUMNS:
        return ColumnsWriter(statement, layer, bound_to)
    return ArrowWriter(statement, layer, bound_to)


class BatchWriters:
    """For the streams of any statement. What writes those that bind no tokens is kept as long as the statement is."""

    def __init__(self) -> None:
        self._known: WeakKeyDictionary[Statement, dict[Layout, BatchWriter]] = WeakKeyDictionary()

    def of(self, statement: Statement, layout: Layout, bound_to: bytes | None) -> BatchWriter:
        if bound_to is not None:
            return batch_writer(statement, statement.layer, layout, bound_to)
        kept = self._known.setdefault(statement, {})
        if layout not in kept:
            kept[layout] = batch_writer(statement, statement.layer, layout, None)
        return kept[layout]
