"""The client for threads."""

import time
from collections.abc import Callable, Generator, Iterable
from functools import partial
from itertools import cycle
from typing import TYPE_CHECKING, Any, Concatenate, Generic, ParamSpec, Self, TypeVar

import grpc

from spatial_client import _calls, _counts, _grids, _importing, _matching, _streams, _writes
from spatial_client._base import Client
from spatial_client._calls import Unary
from spatial_client._channels import callables
from spatial_client._columns import Columns
from spatial_client._errors import error_of_call
from spatial_client._geometry import Probe
from spatial_client._grids import GridCell
from spatial_client._idle import IdleLimit
from spatial_client._importing import Features, Importation, Importing, ImportState
from spatial_client._imports import Import
from spatial_client._matches import Matches
from spatial_client._matching import Question
from spatial_client._methods import answer_of, described
from spatial_client._optional import need
from spatial_client._sources import source_of
from spatial_client._streams import Decoder, Resumption, Streaming
from spatial_client._values import Feature, Match, Page, Pair

if TYPE_CHECKING:
    import geopandas
    import pyarrow

B = TypeVar("B")
K = TypeVar("K")
T = TypeVar("T")
P = ParamSpec("P")


class Stream(Generic[T]):
    """What a stream delivers, asked for when it is read. Reading it once more asks once more."""

    def __init__(self, client: "SpatialClient", stream: Streaming, decoder: Decoder[list[T]]) -> None:
        self._client = client
        self._stream = stream
        self._decoder = decoder
        self._resume_token = stream.resume_token

    @property
    def resume_token(self) -> str:
        """Where to go on after the batch that was read last; empty unless the stream is resumable."""
        return self._resume_token

    def __iter__(self) -> Generator[T, None, None]:
        for batch in self.batches():
            yield from batch

    def batches(self) -> Generator[list[T], None, None]:
        """As they travel: some hundred or thousand at a time."""
        return self._read(self._decoder)

    def _read(self, decoder: Decoder[B]) -> Generator[B, None, None]:
        resumption = Resumption(self._stream, decoder, self._client._settings.retry)  # noqa: SLF001 - one module
        for batch in self._client._receive(resumption):  # noqa: SLF001
            self._resume_token = resumption.token
            yield batch


class FeatureStream(Stream[Feature]):
    """A stream of features, read in whichever form suits; see `SpatialClient.stream_features`."""

    def columns(self) -> Generator[Columns, None, None]:
        """Lists of values, some thousand features at a time."""
        return self._read(_streams.COLUMNS)

    def arrow(self) -> "Generator[pyarrow.RecordBatch, None, None]":
        """Arrow record batches, with geometry as `geoarrow.wkb`; needs pyarrow."""
        for batches in self._read(_streams.ARROW):
            yield from batches

    def to_arrow(self) -> "pyarrow.Table":
        """All of it as one Arrow table; needs pyarrow."""
        return _streams.table_of(self.arrow())

    def to_geopandas(self) -> "geopandas.GeoDataFrame":
        """All of it as one GeoDataFrame with its CRS; needs geopandas and pyarrow."""
        need("geopandas", "to_geopandas")  # before anything is asked
        return _streams.frame_of(self.to_arrow())


def unary(call: Callable[P, Unary[T]]) -> "Callable[Concatenate[SpatialClient, P], T]":
    def method(self: "SpatialClient", /, *args: P.args, **kwargs: P.kwargs) -> T:
        return self._ask(call(*args, **kwargs))

    return described(method, call, answer_of(call))


def paged(call: Callable[P, Unary[Page]]) -> "Callable[Concatenate[SpatialClient, P], Generator[Feature, None, None]]":
    def method(self: "SpatialClient", /, *args: P.args, **kwargs: P.kwargs) -> Generator[Feature, None, None]:
        return self._iterate(call(*args, **kwargs))

    return described(method, call, Generator[Feature, None, None])


def features(call: Callable[P, Streaming]) -> "Callable[Concatenate[SpatialClient, P], FeatureStream]":
    def method(self: "SpatialClient", /, *args: P.args, **kwargs: P.kwargs) -> FeatureStream:
        return FeatureStream(self, call(*args, **kwargs), _streams.ROWS)

    return described(method, call, FeatureStream)


def pairs(call: Callable[P, Streaming]) -> "Callable[Concatenate[SpatialClient, P], Stream[Pair]]":
    def method(self: "SpatialClient", /, *args: P.args, **kwargs: P.kwargs) -> Stream[Pair]:
        return Stream(self, call(*args, **kwargs), _streams.PAIRS)

    return described(method, call, Stream[Pair])


def cells(call: Callable[P, Streaming]) -> "Callable[Concatenate[SpatialClient, P], Stream[GridCell]]":
    def method(self: "SpatialClient", /, *args: P.args, **kwargs: P.kwargs) -> Stream[GridCell]:
        return Stream(self, call(*args, **kwargs), _grids.CELLS)

    return described(method, call, Stream[GridCell])


def matching(
    call: Callable[P, Question],
) -> "Callable[Concatenate[SpatialClient, Iterable[tuple[K, Probe]], P], Generator[Match[K], None, None]]":
    def method(
        self: "SpatialClient", probes: Iterable[tuple[K, Probe]], /, *args: P.args, **kwargs: P.kwargs
    ) -> Generator[Match[K], None, None]:
        return self._match(call(*args, **kwargs), probes)

    return described(method, call, Generator[Match[K], None, None], probes=Iterable[tuple[K, Probe]])


def importing(call: Callable[P, Importation]) -> "Callable[Concatenate[SpatialClient, Features, P], ImportState]":
    def method(self: "SpatialClient", source: Features, /, *args: P.args, **kwargs: P.kwargs) -> ImportState:
        return self._import(call(*args, **kwargs), source)

    return described(method, call, ImportState, source=Features)


class SpatialClient(Client):
    __doc__ = f"""{Client.__doc__}
    May be used from several threads at once. Errors are `SpatialError`s.

        with SpatialClient("127.0.0.1:50051") as client:
            for feature in client.search_radius("facilities", (13.4, 52.5), 5000):
                print(feature.distance_meters, feature.properties["name"])
    """

    def _open(self) -> None:
        self._channels = self._settings.open(grpc)
        self._turns = cycle([callables(channel) for channel in self._channels])

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

    def close(self) -> None:
        """Ends what is running; `with` does it."""
        for channel in self._channels:
            channel.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _call(self, method: str, request: Any, remaining: float | None) -> Any:
        """Calls by the channel whose turn it is."""
        token: Any = self._settings.token
        headers = self._settings.headers(token() if callable(token) else token)
        return next(self._turns)[method](request, timeout=remaining, metadata=headers)

    def _ask(self, call: Unary[T]) -> T:
        attempts = self._settings.attempts(call.timeout, call.passes)
        while True:
            try:
                return call.parse(self._call(call.method, call.request, attempts.remaining()))
            except grpc.RpcError as error:
                pause = attempts.pause_after(error_of_call(error))
            time.sleep(pause)

    def _iterate(self, call: Unary[Page]) -> Generator[Feature, None, None]:
        following: Unary[Page] | None = call
        while following:
            page = self._ask(following)
            yield from page
            following = following.after(page)

    def _receive(self, resumption: Resumption[B]) -> Generator[B, None, None]:
        while True:
            call = self._call(resumption.method, resumption.request, resumption.remaining())
            try:
                with IdleLimit(call, self._settings.idle_timeout) as limit:
                    for message in limit.messages():
                        yield resumption.received(message)
                return
            except grpc.RpcError as error:
                pause = resumption.pause_after(error_of_call(error))
            time.sleep(pause)

    def _match(self, question: Question, probes: Iterable[tuple[K, Probe]]) -> Generator[Match[K], None, None]:
        matches = Matches(question, probes, self._settings)
        return matches.run(lambda requests, remaining: self._call("MatchFeatures", requests, remaining))

    def _import(self, importation: Importation, features: Features) -> ImportState:
        layer = self._ask(_calls.get_layer(importation.plan.layer))
        source = source_of(features, layer, importation.plan.srid or None)
        importing = Importing(importation, source, self._settings.retry)
        start = partial(self._call, "ImportFeatures")
        return Import(importing, source, self._ask).run(start, known=importation.known)
