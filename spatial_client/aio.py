"""The client for asyncio: the methods of `client.py`, as coroutines and asynchronous iterators."""

import asyncio
import inspect
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Callable, Coroutine, Iterator
from contextlib import aclosing
from functools import cached_property, partial
from itertools import cycle
from typing import TYPE_CHECKING, Any, Concatenate, Generic, ParamSpec, Self, TypeAlias, TypeVar

from grpc import aio

from spatial_client import _calls, _counts, _grids, _importing, _matching, _streams, _writes
from spatial_client._aio_idle import messages
from spatial_client._aio_imports import AsyncImport
from spatial_client._aio_matches import AsyncMatches, Probes
from spatial_client._base import Client
from spatial_client._calls import Unary
from spatial_client._channels import callables
from spatial_client._columns import Columns
from spatial_client._errors import error_of_call
from spatial_client._features import FeatureLike
from spatial_client._grids import GridCell
from spatial_client._importing import Features, Importation, Importing, ImportState
from spatial_client._matching import Question
from spatial_client._methods import answer_of, described
from spatial_client._optional import need
from spatial_client._sources import AsyncOnce, source_of
from spatial_client._streams import Decoder, Resumption, Streaming
from spatial_client._values import Feature, Match, Page, Pair

if TYPE_CHECKING:
    import geopandas
    import pyarrow

B = TypeVar("B")
K = TypeVar("K")
T = TypeVar("T")
P = ParamSpec("P")
AsyncFeatures: TypeAlias = Features | AsyncIterable[FeatureLike]


class AsyncStream(Generic[T]):
    """What a stream delivers, asked for when it is read. Reading it once more asks once more."""

    def __init__(self, client: "AsyncSpatialClient", stream: Streaming, decoder: Decoder[list[T]]) -> None:
        self._client = client
        self._stream = stream
        self._decoder = decoder
        self._resume_token = stream.resume_token

    @property
    def resume_token(self) -> str:
        """Where to go on after the batch that was read last; empty unless the stream is resumable."""
        return self._resume_token

    async def __aiter__(self) -> AsyncIterator[T]:
        async with aclosing(self.batches()) as batches:
            async for batch in batches:
                for each in batch:
                    yield each

    def batches(self) -> AsyncGenerator[list[T], None]:
        """As they travel: some hundred or thousand at a time."""
        return self._read(self._decoder)

    async def _read(self, decoder: Decoder[B]) -> AsyncGenerator[B, None]:
        resumption = Resumption(self._stream, decoder, self._client._settings.retry)  # noqa: SLF001 - one module
        async with aclosing(self._client._receive(resumption)) as batches:  # noqa: SLF001
            async for batch in batches:
                self._resume_token = resumption.token
                yield batch


class AsyncFeatureStream(AsyncStream[Feature]):
    """A stream of features, read in whichever form suits; see `AsyncSpatialClient.stream_features`."""

    def columns(self) -> AsyncGenerator[Columns, None]:
        """Lists of values, some thousand features at a time."""
        return self._read(_streams.COLUMNS)

    async def arrow(self) -> "AsyncGenerator[pyarrow.RecordBatch, None]":
        """Arrow record batches, with geometry as `geoarrow.wkb`; needs pyarrow."""
        async with aclosing(self._read(_streams.ARROW)) as read:
            async for batches in read:
                for each in batches:
                    yield each

    async def to_arrow(self) -> "pyarrow.Table":
        """All of it as one Arrow table; needs pyarrow."""
        return _streams.table_of([batch async for batch in self.arrow()])

    async def to_geopandas(self) -> "geopandas.GeoDataFrame":
        """All of it as one GeoDataFrame with its CRS; needs geopandas and pyarrow."""
        need("geopandas", "to_geopandas")  # before anything is asked
        return _streams.frame_of(await self.to_arrow())


def unary(call: Callable[P, Unary[T]]) -> "Callable[Concatenate[AsyncSpatialClient, P], Coroutine[Any, Any, T]]":
    async def method(self: "AsyncSpatialClient", /, *args: P.args, **kwargs: P.kwargs) -> T:
        return await self._ask(call(*args, **kwargs))

    return described(method, call, answer_of(call))


def paged(
    call: Callable[P, Unary[Page]],
) -> "Callable[Concatenate[AsyncSpatialClient, P], AsyncGenerator[Feature, None]]":
    def method(self: "AsyncSpatialClient", /, *args: P.args, **kwargs: P.kwargs) -> AsyncGenerator[Feature, None]:
        return self._iterate(call(*args, **kwargs))

    return described(method, call, AsyncGenerator[Feature, None])


def features(call: Callable[P, Streaming]) -> "Callable[Concatenate[AsyncSpatialClient, P], AsyncFeatureStream]":
    def method(self: "AsyncSpatialClient", /, *args: P.args, **kwargs: P.kwargs) -> AsyncFeatureStream:
        return AsyncFeatureStream(self, call(*args, **kwargs), _streams.ROWS)

    return described(method, call, AsyncFeatureStream)


def pairs(call: Callable[P, Streaming]) -> "Callable[Concatenate[AsyncSpatialClient, P], AsyncStream[Pair]]":
    def method(self: "AsyncSpatialClient", /, *args: P.args, **kwargs: P.kwargs) -> AsyncStream[Pair]:
        return AsyncStream(self, call(*args, **kwargs), _streams.PAIRS)

    return described(method, call, AsyncStream[Pair])


def cells(call: Callable[P, Streaming]) -> "Callable[Concatenate[AsyncSpatialClient, P], AsyncStream[GridCell]]":
    def method(self: "AsyncSpatialClient", /, *args: P.args, **kwargs: P.kwargs) -> AsyncStream[GridCell]:
        return AsyncStream(self, call(*args, **kwargs), _grids.CELLS)

    return described(method, call, AsyncStream[GridCell])


def matching(
    call: Callable[P, Question],
) -> "Callable[Concatenate[AsyncSpatialClient, Probes[K], P], AsyncGenerator[Match[K], None]]":
    def method(
        self: "AsyncSpatialClient", probes: Probes[K], /, *args: P.args, **kwargs: P.kwargs
    ) -> AsyncGenerator[Match[K], None]:
        return self._match(call(*args, **kwargs), probes)

    return described(method, call, AsyncGenerator[Match[K], None], probes=Probes)


def importing(
    call: Callable[P, Importation],
) -> "Callable[Concatenate[AsyncSpatialClient, AsyncFeatures, P], Coroutine[Any, Any, ImportState]]":
    async def method(
        self: "AsyncSpatialClient", source: AsyncFeatures, /, *args: P.args, **kwargs: P.kwargs
    ) -> ImportState:
        return await self._import(call(*args, **kwargs), source)

    return described(method, call, ImportState, source=AsyncFeatures)


class AsyncSpatialClient(Client):
    __doc__ = f"""{Client.__doc__}
    For one event loop. Errors are `SpatialError`s; a task that is cancelled ends its call.

        async with AsyncSpatialClient("127.0.0.1:50051") as client:
            for feature in await client.search_radius("facilities", (13.4, 52.5), 5000):
                print(feature.distance_meters, feature.properties["name"])
    """

    is_serving = unary(_calls.is_serving)
    list_layers = unary(_calls.list_layers)
    refresh_layers = unary(_calls.refresh_layers)
    get_layer = unary(_calls.get_layer)
    get_feature = unary(_calls.get_feature)
    get_features = unary(_calls.get_features)
    search_radius = unary(_calls.search_radius)
    search_nearest = unary(_calls.search_nearest)
    search_intersects = unary(_calls.search_intersects)
    iterate_radius = paged(_calls.iterate_radius)
    iterate_intersects = paged(_calls.iterate_intersects)
    count_radius = unary(_counts.count_radius)
    count_nearest = unary(_counts.count_nearest)
    count_intersects = unary(_counts.count_intersects)
    count_features = unary(_counts.count_features)
    stream_radius = features(_streams.stream_radius)
    stream_intersects = features(_streams.stream_intersects)
    stream_features = features(_streams.stream_features)
    stream_join = pairs(_streams.stream_join)
    aggregate_grid = cells(_grids.aggregate_grid)
    match_radius = matching(_matching.match_radius)
    match_nearest = matching(_matching.match_nearest)
    match_intersects = matching(_matching.match_intersects)
    create_feature = unary(_writes.create_feature)
    update_feature = unary(_writes.update_feature)
    delete_feature = unary(_writes.delete_feature)
    delete_features = unary(_writes.delete_features)
    import_features = importing(_importing.import_features)
    get_import = unary(_importing.get_import)

    async def close(self) -> None:
        """Ends what is running; `async with` does it."""
        for channel in self._channels:
            await channel.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    @cached_property
    def _channels(self) -> list[Any]:
        # When first used, since a channel belongs to the event loop that runs then.
        return self._settings.open(aio)

    @cached_property
    def _turns(self) -> Iterator[dict[str, Callable[..., Any]]]:
        return cycle([callables(channel) for channel in self._channels])

    async def _call(self, method: str, request: Any, remaining: float | None) -> Any:
        """Calls by the channel whose turn it is."""
        token: Any = self._settings.token
        given = token() if callable(token) else token
        headers = self._settings.headers(await given if inspect.isawaitable(given) else given)
        return next(self._turns)[method](request, timeout=remaining, metadata=headers)

    async def _ask(self, call: Unary[T]) -> T:
        attempts = self._settings.attempts(call.timeout, call.passes)
        while True:
            try:
                return call.parse(await (await self._call(call.method, call.request, attempts.remaining())))
            except aio.AioRpcError as error:
                pause = attempts.pause_after(error_of_call(error))
            await asyncio.sleep(pause)

    async def _iterate(self, call: Unary[Page]) -> AsyncGenerator[Feature, None]:
        following: Unary[Page] | None = call
        while following:
            page = await self._ask(following)
            for feature in page:
                yield feature
            following = following.after(page)

    async def _receive(self, resumption: Resumption[B]) -> AsyncGenerator[B, None]:
        while True:
            call = await self._call(resumption.method, resumption.request, resumption.remaining())
            try:
                async for message in messages(call, self._settings.idle_timeout):
                    yield resumption.received(message)
                return
            except aio.AioRpcError as error:
                pause = resumption.pause_after(error_of_call(error))
            finally:
                call.cancel()
            await asyncio.sleep(pause)

    def _match(self, question: Question, probes: Probes[K]) -> AsyncGenerator[Match[K], None]:
        matches = AsyncMatches(question, probes, self._settings)
        return matches.run(lambda requests, remaining: self._call("MatchFeatures", requests, remaining))

    async def _import(self, importation: Importation, features: AsyncFeatures) -> ImportState:
        layer = await self._ask(_calls.get_layer(importation.plan.layer))
        srid = importation.plan.srid or None
        if isinstance(features, AsyncIterable):
            source: Any = AsyncOnce(features, layer, srid)
        else:
            source = source_of(features, layer, srid)
        importing = Importing(importation, source, self._settings.retry)
        start = partial(self._call, "ImportFeatures", None)
        return await AsyncImport(importing, source, self._ask).run(start, known=importation.known)
