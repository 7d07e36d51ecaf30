"""The streams, each defined once for both clients; and how a stream that was cut goes on. No I/O."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar, Unpack

from spatial.v1 import query_pb2
from spatial_client._attempts import Attempts, Retry, is_cut
from spatial_client._columns import Columns
from spatial_client._errors import SpatialError
from spatial_client._geometry import Probe
from spatial_client._optional import need
from spatial_client._queries import (
    BoundingBox,
    DistanceModel,
    Output,
    Predicate,
    Shaping,
    View,
    enum,
    intersects_query,
    layer_query,
    radius_query,
)
from spatial_client._values import Feature, Pair, features_of, pair_of

if TYPE_CHECKING:
    import geopandas
    import pyarrow

B = TypeVar("B")


class Decoder(NamedTuple, Generic[B]):
    """A layout to ask for, and what is made of a batch in it."""

    layout: str | None
    decode: Callable[[Any], B]


def _record_batches(batch: Any) -> "list[pyarrow.RecordBatch]":
    return list(need("pyarrow", "the Arrow layout").ipc.open_stream(batch.arrow_ipc))


ROWS: Decoder[list[Feature]] = Decoder("BATCH_LAYOUT_ROWS", lambda batch: features_of(batch.rows))
COLUMNS: Decoder[Columns] = Decoder("BATCH_LAYOUT_COLUMNS", lambda batch: Columns(batch.columns, batch.srid))
ARROW: "Decoder[list[pyarrow.RecordBatch]]" = Decoder("BATCH_LAYOUT_ARROW", _record_batches)
PAIRS: Decoder[list[Pair]] = Decoder(None, lambda batch: [pair_of(pair) for pair in batch.pairs])


@dataclass(frozen=True, slots=True)
class Streaming:
    """A call that is answered in batches. `timeout` None sets no limit to all of it."""

    method: str
    request: Any
    timeout: float | None

    @property
    def resumable(self) -> bool:
        """Whether such a stream can go on after a cut, if it is asked to."""
        return "resume_token" in self.request.DESCRIPTOR.fields_by_name

    @property
    def resume_token(self) -> str:
        return str(self.request.resume_token) if self.resumable else ""


class Resumption(Generic[B]):
    """A stream over as many calls as it takes: what to ask next, and whether there is a next."""

    def __init__(self, stream: Streaming, decoder: Decoder[B], retry: Retry) -> None:
        self.method = stream.method
        self.request = type(stream.request)()
        self.request.CopyFrom(stream.request)
        if decoder.layout is not None:
            self.request.layout = decoder.layout
        self._decode = decoder.decode
        self._resumable = stream.resumable
        self._begun = False
        self._attempts = Attempts(retry, stream.timeout, self._passes)

    @property
    def token(self) -> str:
        """Where to go on after what was received."""
        return str(self.request.resume_token) if self._resumable else ""

    def remaining(self) -> float | None:
        return self._attempts.remaining()

    def received(self, batch: Any) -> B:
        decoded = self._decode(batch)
        if self._resumable:
            self.request.resume_token = batch.resume_token
        self._begun = True
        self._attempts.progressed()
        return decoded

    def pause_after(self, error: SpatialError) -> float:
        """The seconds to wait before the next call. Raises the error where nothing can follow it."""
        return self._attempts.pause_after(error)

    def _passes(self, error: SpatialError) -> bool:
        # What has delivered nothing yet can begin anew.
        return is_cut(error) and (not self._begun or (self._resumable and self.request.resumable))


def table_of(batches: "Iterable[pyarrow.RecordBatch]") -> "pyarrow.Table":
    """One table; without a column where there was no batch to say which."""
    library = need("pyarrow", "to_arrow")
    collected = list(batches)
    return library.Table.from_batches(collected) if collected else library.table({})


def frame_of(table: "pyarrow.Table") -> "geopandas.GeoDataFrame":
    library = need("geopandas", "to_geopandas")
    if "geometry" in table.column_names:
        return library.GeoDataFrame.from_arrow(table)
    return library.GeoDataFrame(table.to_pandas())


def stream_radius(
    layer: str,
    center: Probe,
    radius_meters: float,
    *,
    distance_model: DistanceModel = "spheroid",
    filter: str = "",  # noqa: A002 - the contract's name
    properties: Sequence[str] | None = None,
    view: View = "full",
    resumable: bool = False,
    resume_token: str = "",
    freshness_token: str = "",
    timeout: float | None = None,
    **shaping: Unpack[Shaping],
) -> Streaming:
    """Every feature within a distance of a probe, as a stream; see `stream_features`."""
    request = query_pb2.StreamRadiusRequest(
        query=radius_query(layer, center, radius_meters, distance_model, filter),
        output=Output(properties, view, **shaping).message(),
        resumable=resumable or bool(resume_token),
        resume_token=resume_token,
        freshness_token=freshness_token,
    )
    return Streaming("StreamRadius", request, timeout)


def stream_intersects(
    layer: str,
    probe: Probe,
    *,
    predicate: Predicate = "intersects",
    filter: str = "",  # noqa: A002 - the contract's name
    properties: Sequence[str] | None = None,
    view: View = "full",
    resumable: bool = False,
    resume_token: str = "",
    freshness_token: str = "",
    timeout: float | None = None,
    **shaping: Unpack[Shaping],
) -> Streaming:
    """Every feature that stands in a relation to a probe, as a stream; see `stream_features`."""
    request = query_pb2.StreamIntersectsRequest(
        query=intersects_query(layer, probe, predicate, filter),
        output=Output(properties, view, **shaping).message(),
        resumable=resumable or bool(resume_token),
        resume_token=resume_token,
        freshness_token=freshness_token,
    )
    return Streaming("StreamIntersects", request, timeout)


def stream_features(
    layer: str,
    *,
    bbox: BoundingBox | None = None,
    filter: str = "",  # noqa: A002 - the contract's name
    properties: Sequence[str] | None = None,
    view: View = "full",
    resumable: bool = False,
    resume_token: str = "",
    freshness_token: str = "",
    timeout: float | None = None,
    **shaping: Unpack[Shaping],
) -> Streaming:
    """Every feature of a layer, or every one whose bounding box meets `bbox`, as a stream.

    Nothing is asked before the stream is read. How it is read says how it travels: iterated, one `Feature` after the
    other; `batches()`, lists of them; `columns()`, lists of values, for many features and no libraries; `arrow()`,
    `to_arrow()` and `to_geopandas()`, fastest of all.

    `resumable` makes the stream come in key order and go on by itself after a cut, each feature exactly once.
    Its `resume_token` says where to go on after what was read, perhaps tomorrow and in another process. There is no
    limit to how long a stream takes unless `timeout` is given, only to how long it may be silent: the client's
    `idle_timeout`.
    """
    request = query_pb2.StreamFeaturesRequest(
        query=layer_query(layer, bbox, filter),
        output=Output(properties, view, **shaping).message(),
        resumable=resumable or bool(resume_token),
        resume_token=resume_token,
        freshness_token=freshness_token,
    )
    return Streaming("StreamFeatures", request, timeout)


def stream_join(
    left_layer: str,
    right_layer: str,
    *,
    predicate: Predicate | None = None,
    distance_meters: float | None = None,
    distance_model: DistanceModel = "spheroid",
    left_filter: str = "",
    right_filter: str = "",
    left: Output | None = None,
    right: Output | None = None,
    resumable: bool = False,
    resume_token: str = "",
    freshness_token: str = "",
    timeout: float | None = None,
) -> Streaming:
    """Every pair of features, one from each layer, that meet a condition, as a stream of `Pair`.

    The condition is *left PREDICATE right* ("intersects" unless given), or that they are at most `distance_meters`
    apart. A pair has the two keys; `left` and `right` say what else is wanted of each feature: `Output()` is all.
    `left_filter` and `right_filter` are CQL2 text over the properties of the one layer and of the other.
    Timeouts and resuming are as for `stream_features`.
    """
    if predicate is not None and distance_meters is not None:
        raise ValueError("a join has a predicate or a distance, not both")
    query = query_pb2.JoinQuery(
        left_layer=left_layer, right_layer=right_layer, left_filter=left_filter, right_filter=right_filter
    )
    if distance_meters is not None:
        query.distance_meters = distance_meters
        query.distance_model = enum("DISTANCE_MODEL", distance_model)
    else:
        query.predicate = enum("PREDICATE", predicate or "intersects")
    request = query_pb2.StreamJoinRequest(
        query=query,
        left_output=left.message() if left else None,
        right_output=right.message() if right else None,
        resumable=resumable or bool(resume_token),
        resume_token=resume_token,
        freshness_token=freshness_token,
    )
    return Streaming("StreamJoin", request, timeout)
