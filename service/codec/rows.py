"""Rows of features: for the answers to unary calls, and for the batches of streams."""

import sys
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import accumulate
from weakref import WeakKeyDictionary

from service.catalog import Layer
from service.codec.features import feature_encoder, feature_reader
from service.codec.features_at_once import FeaturesAtOnce
from service.codec.frames import FULL_BYTES, Frame
from service.codec.scan import Scanner, key_at, slices
from service.codec.values import geometry_encoder, property_encoder
from service.db.arrays import Values
from service.db.copy import Decoder, Row
from service.db.queries import Statement
from service.domain import Batch, Result

__all__ = ["FeatureReader", "FeatureWriter", "RowsWriter", "geometry_encoder", "property_encoder"]

MANY_ROWS = 400  # in a chunk, from which on it is quicker to lay them out at once


class FeatureReader:
    """Reads what a COPY sends for any statement. What it composes for one is kept as long as the statement is."""

    def __init__(self) -> None:
        self._readers: WeakKeyDictionary[Statement, Decoder] = WeakKeyDictionary()

    def __call__(self, statement: Statement) -> Decoder:
        """Of rows with features: the ordinal, the key, the distance if there is one, and the feature as an element of
        a message's first field. Of any other rows: their values."""
        if statement.shape.result is Result.COUNT:
            return statement.decode
        read = self._readers.get(statement.common)
        if read is None:
            read = self._readers[statement.common] = feature_reader(statement, statement.layer.srid)
        return read


class FeatureWriter:
    """Writes the rows of any statement; the encoder of each is kept as long as the statement is."""

    def __init__(self) -> None:
        self._encoders: WeakKeyDictionary[Statement, Callable[[Row], bytes]] = WeakKeyDictionary()

    def features(self, statement: Statement, rows: Iterable[Row]) -> list[bytes]:
        """The bytes of a Feature for each row."""
        encode = self._encoders.get(statement.common)
        if encode is None:
            encode = self._encoders[statement.common] = feature_encoder(statement, statement.layer.srid)
        return [encode(row) for row in rows]


class RowsWriter:
    """Batches of features one after the other."""

    def __init__(self, statement: Statement, layer: Layer, bound_to: bytes | None) -> None:
        self._read = feature_reader(statement, layer.srid)
        self._frame = Frame("rows", statement.shape.output.srid or layer.srid, bound_to)
        self._scanner = Scanner([column.field for column in statement.columns])
        self._at_once = FeaturesAtOnce(statement, layer.srid)
        self._integer_key = layer.integer_key
        self._row_bytes = sys.maxsize  # of the last chunk's

    def batches(self, rows: bytes) -> Iterator[Batch]:
        """The batches of some whole rows, perhaps none; the COPY's header before the first row and its trailer after
        the last are passed over."""
        if len(rows) // self._row_bytes >= MANY_ROWS:
            return self._scanned(rows)
        return self._read_one_by_one(rows)

    def of_columns(self, columns: Sequence[Values]) -> Iterator[Batch]:
        """Of the statement's columns, wherever their values lie."""
        written, ends = self._at_once.write(columns)
        for some in slices(ends, FULL_BYTES):
            first = int(ends[some.start - 1]) if some.start else 0
            features = written[first : int(ends[some.stop - 1])].data
            last = key_at(columns[0], some.stop - 1, integer=self._integer_key)
            yield Batch(self._frame.around_parts([features], last), some.stop - some.start)

    def _scanned(self, rows: bytes) -> Iterator[Batch]:
        scanned = self._scanner.scan(rows)
        self._row_bytes = len(rows) // max(1, len(scanned.starts))
        return self.of_columns(scanned.fields) if len(scanned.starts) else iter(())

    def _read_one_by_one(self, rows: bytes) -> Iterator[Batch]:
        found = self._read(rows)
        if found:
            self._row_bytes = len(rows) // len(found)
        features = [row[-1] for row in found]
        for some in _slices(features):
            message = self._frame.around(b"".join(features[some]), last=found[some.stop - 1][0])
            yield Batch(message, some.stop - some.start)


def _slices(features: Sequence[bytes]) -> Iterator[slice]:
    """Those that fill a batch together, or one that is larger."""
    ends = list(accumulate(map(len, features)))
    first = size = 0
    while first < len(ends):
        after = max(first + 1, bisect_right(ends, size + FULL_BYTES))
        yield slice(first, after)
        first, size = after, ends[after - 1]
