"""Where an import's rows come from, and from which row on they can be had again. No I/O.

What can be read again is: a frame, a table, a list, anything that gives a new iterator each time. Of what can be read
only once, the messages are held until the service says that their rows are in, or until they are HELD_BYTES.
"""

from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator, Mapping
from itertools import islice
from typing import Any

from spatial_client._features import FEATURES
from spatial_client._packing import Packer, Request, packed
from spatial_client._tables import Table, table_of_source, table_requests
from spatial_client._values import Layer

HELD_BYTES = 64 * 1024 * 1024
ASKED_BYTES = 8 * 1024 * 1024  # sent between one question how far the import has come, and the next


class Held:
    """Messages that may have to be sent again."""

    def __init__(self) -> None:
        self._requests: deque[Request] = deque()
        self._bytes = 0
        self._unasked = 0  # bytes, since the service was asked last
        self._forgotten = 0  # rows, that are held no more

    @property
    def asks(self) -> bool:
        """Whether it is time to ask the service how far it has come."""
        return self._unasked >= ASKED_BYTES

    def add(self, request: Request) -> None:
        self._requests.append(request)
        self._bytes += request.ByteSize()
        self._unasked += request.ByteSize()
        while self._bytes > HELD_BYTES:
            self._forget()

    def settle(self, rows: int) -> None:
        """The service has dealt with so many rows."""
        self._unasked = 0
        while self._requests and end_of(self._requests[0]) <= rows:
            self._forget()

    def since(self, row: int) -> list[Request]:
        if row < self._forgotten:
            raise LookupError(f"row {row} is to be sent again, but this source cannot be read again")
        return [request for request in self._requests if end_of(request) > row]

    def _forget(self) -> None:
        request = self._requests.popleft()
        self._bytes -= request.ByteSize()
        self._forgotten = end_of(request)


class Source:
    """An import's rows as messages, each with the number of its first row; `held` is None of what can be read again."""

    srid: int | None = None
    """Of geometries that do not say theirs, where the source knows."""
    held: Held | None = None

    def requests(self, first: int) -> Iterator[Request]:
        """From the message on that has this row."""
        raise NotImplementedError


class Again(Source):
    """Rows that can be read again."""

    def __init__(self, features: Iterable[Any] | None, table: Table | None, layer: Layer, srid: int | None) -> None:
        self._features, self._table, self._layer, self.srid = features, table, layer, srid

    def requests(self, first: int) -> Iterator[Request]:
        if self._table is not None:
            return table_requests(self._table, self._layer, first)
        rows = islice(self._features or (), first, None)
        return packed(rows, Packer(self._layer, self.srid, first))


class Once(Source):
    """Rows that can be read once."""

    def __init__(self, requests: Iterator[Request], srid: int | None) -> None:
        self._requests = requests
        self.srid = srid
        self.held = Held()

    def requests(self, first: int) -> Iterator[Request]:
        assert self.held is not None
        yield from self.held.since(first)
        for request in self._requests:
            self.held.add(request)
            if end_of(request) > first:
                yield request


class AsyncOnce:
    """Rows of an asynchronous iterable."""

    def __init__(self, features: AsyncIterable[Any], layer: Layer, srid: int | None) -> None:
        self._requests = _packed(features, Packer(layer, srid, 0))
        self.srid = srid
        self.held = Held()

    async def requests(self, first: int) -> AsyncIterator[Request]:
        for request in self.held.since(first):
            yield request
        async for request in self._requests:
            self.held.add(request)
            if end_of(request) > first:
                yield request


async def _packed(features: AsyncIterable[Any], packer: Packer) -> AsyncIterator[Request]:
    async for feature in features:
        if (request := packer.add(feature)) is not None:
            yield request
    if (request := packer.rest()) is not None:
        yield request


def source_of(given: Any, layer: Layer, srid: int | None) -> Source:
    table = table_of_source(given)
    if table is not None:
        srid = srid or table.srid
        return Again(None, table, layer, srid) if table.again else Once(table_requests(table, layer, 0), srid)
    if isinstance(given, str | bytes | Mapping) or not isinstance(given, Iterable):
        raise TypeError(f"features come as a frame, an Arrow table or an iterable of {FEATURES}, not {given!r:.100}")
    rows = iter(given)
    if rows is given:
        return Once(packed(rows, Packer(layer, srid, 0)), srid)
    return Again(given, None, layer, srid)


def end_of(request: Request) -> int:
    """The number of the row after its last."""
    return request.first_row + (request.columns.count or len(request.rows.features))
