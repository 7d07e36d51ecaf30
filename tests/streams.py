"""Streams made short, in each of their layouts, and what they deliver as plain values."""

import json
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Iterator
from contextlib import aclosing, asynccontextmanager
from datetime import datetime
from typing import Any, NamedTuple

import pyarrow as pa
from google.protobuf import struct_pb2
from google.protobuf.json_format import MessageToDict
from prometheus_client import CollectorRegistry

from service.catalog import Catalog, Layer, PropertyType, shipped_layers
from service.codec.batches import batch_writer
from service.codec.exports import ExportReader
from service.codec.geometry import GeometryLimits, ProbeReader
from service.codec.questions import QuestionReader
from service.db.canceller import Canceller
from service.db.engine import bulk_pool, control_engine
from service.db.queries import Statements
from service.db.stream import CopyReading, Streams
from service.heap import give_back
from service.observability.metrics import Metrics
from service.settings import Settings
from spatial.v1 import feature_pb2
from spatial.v1 import query_pb2 as query
from tests.situations import GIVEN

LAYOUTS = ("ROWS", "COLUMNS", "ARROW")
CATALOG = Catalog(shipped_layers())
IN_FLIGHT = "spatial_streams_in_flight"
BULK_IN_USE = 'spatial_pool_connections{pool="bulk",state="in_use"}'
BULK_SESSIONS = "application_name = 'spatial-service/bulk'"
BULK_RUNNING = f"{BULK_SESSIONS} AND state <> 'idle' AND {GIVEN}"
IDLE_IN_TRANSACTION = "application_name LIKE 'spatial-service/%' AND state LIKE 'idle in transaction%'"
# Between BEGIN and its first statement everybody is idle in a transaction, for a moment.
LONG_IDLE_IN_TRANSACTION = f"{IDLE_IN_TRANSACTION} AND clock_timestamp() - state_change > interval '0.5 s'"


class Found(NamedTuple):
    """A feature, the same whatever it came in: timestamps are microseconds since 1970, JSON is parsed."""

    id: str
    distance: float | None
    geometry: bytes | str | None
    properties: dict[str, Any]


def whole(layer: str = "facilities", bbox: Any = None, **fields: Any) -> Any:
    """The request for a layer, or for what meets a box."""
    return asked(query.LayerQuery(layer=layer, bbox=bbox), **fields)


def asked(about: Any, layout: str = "UNSPECIFIED", **fields: Any) -> Any:
    """The request for a stream of what a query finds."""
    make: dict[type[Any], Any] = {
        query.RadiusQuery: query.StreamRadiusRequest,
        query.IntersectsQuery: query.StreamIntersectsRequest,
        query.LayerQuery: query.StreamFeaturesRequest,
    }
    return make[type(about)](query=about, layout=f"BATCH_LAYOUT_{layout}", **fields)


def resumed(request: Any, token: str) -> Any:
    """The same request from where the token says."""
    again = type(request)()
    again.CopyFrom(request)
    again.resume_token = token
    return again


def stream(stub: Any, request: Any, timeout: float | None = 30) -> Any:
    """The call, an iterator of batches."""
    return getattr(stub, request.DESCRIPTOR.name.removesuffix("Request"))(request, timeout=timeout)


def delivered(stub: Any, request: Any) -> list[Found]:
    """Everything that a stream delivers, in its order."""
    return [found for batch in stream(stub, request) for found in features(batch, request.query.layer)]


def features(batch: Any, layer: Layer | str) -> list[Found]:
    served = CATALOG[layer] if isinstance(layer, str) else layer
    return _READERS[batch.WhichOneof("layout")](batch, served)


def ids(batch: Any) -> list[str]:
    layout = batch.WhichOneof("layout")
    if layout == "rows":
        return [feature.id for feature in batch.rows.features]
    if layout == "columns":
        return [*map(str, batch.columns.int64_ids or batch.columns.string_ids)]
    return [*map(str, table(batch).column("id").to_pylist())]


def size(batch: Any) -> int:
    """How many features there are in a batch."""
    layout = batch.WhichOneof("layout")
    if layout == "rows":
        return len(batch.rows.features)
    return int(batch.columns.count) if layout == "columns" else table(batch).num_rows


def table(batch: Any) -> pa.Table:
    with pa.ipc.open_stream(batch.arrow_ipc) as reader:
        return reader.read_all()


def _rows(batch: Any, layer: Layer) -> list[Found]:
    return [row(feature, layer) for feature in batch.rows.features]


def row(feature: feature_pb2.Feature, layer: Layer) -> Found:
    return Found(
        feature.id,
        feature.distance_meters if feature.HasField("distance_meters") else None,
        _geometry(feature) if feature.HasField("geometry") else None,
        {name: _from_json(layer.properties[name].type, value) for name, value in feature.properties.fields.items()},
    )


def _geometry(feature: feature_pb2.Feature) -> Any:
    encoding = feature.geometry.WhichOneof("encoding")
    assert encoding
    return getattr(feature.geometry, encoding)


def _from_json(kind: PropertyType, value: struct_pb2.Value) -> Any:
    set_ = value.WhichOneof("kind")
    plain: Any = MessageToDict(value) if set_ in ("struct_value", "list_value") else getattr(value, str(set_))
    if set_ == "null_value":
        return None
    if kind is PropertyType.TIMESTAMP:
        return microseconds(datetime.fromisoformat(plain))
    return int(plain) if kind is PropertyType.INTEGER else plain


def microseconds(moment: datetime) -> int:
    return round(moment.timestamp() * 1_000_000)


def _columns(batch: Any, layer: Layer) -> list[Found]:
    columns = batch.columns
    ids = columns.int64_ids if layer.integer_key else columns.string_ids
    values = {column.name: list(_values(column)) for column in columns.properties}
    lists = [columns.distance_meters, columns.wkb, *values.values()]
    assert {len(ids), *(len(each) for each in lists if each)} <= {columns.count}
    return [
        Found(
            str(key),
            columns.distance_meters[at] if columns.distance_meters else None,
            (columns.wkb[at] or None) if columns.wkb else None,
            {name: value[at] for name, value in values.items()},
        )
        for at, key in enumerate(ids)
    ]


def _values(column: feature_pb2.Column) -> Iterator[Any]:
    kind = column.WhichOneof("values")
    assert kind
    null_rows = set(column.null_rows)
    for at, value in enumerate(getattr(column, kind).values):
        parsed = json.loads(value) if kind == "json" and at not in null_rows else value
        yield None if at in null_rows else parsed


def _arrow(batch: Any, layer: Layer) -> list[Found]:
    read = table(batch)
    names = [name for name in read.column_names if name not in ("id", "geometry", "distance_meters")]
    return [
        Found(
            str(values["id"]),
            values.get("distance_meters"),
            values.get("geometry"),
            {name: _from_arrow(layer.properties[name].type, values[name]) for name in names},
        )
        for values in _unzoned(read).to_pylist()
    ]


def _unzoned(read: pa.Table) -> pa.Table:
    """Timestamps as numbers: Python's would lose what lies beyond its years."""
    for at, field in enumerate(read.schema):
        if pa.types.is_timestamp(field.type):
            assert (field.type.unit, field.type.tz) == ("us", "UTC")
            read = read.set_column(at, field.name, read.column(at).cast(pa.int64()))
    return read


def _from_arrow(kind: PropertyType, value: Any) -> Any:
    return json.loads(value) if kind is PropertyType.JSON and value is not None else value


_READERS: dict[str, Callable[[Any, Layer], list[Found]]] = {"rows": _rows, "columns": _columns, "arrow_ipc": _arrow}


_READ = {PropertyType.TIMESTAMP: "(extract(epoch FROM {}) * 1000000)::bigint", PropertyType.JSON: "to_jsonb({})"}
_LOOKED_UP = {"district_name": "(SELECT d.name FROM districts d WHERE d.id = district_id)"}


def _selected(layer: str) -> str:
    """What a layer's features are, read without any of the service's statements."""
    served = CATALOG[layer]
    values = [
        _READ.get(served.properties[name].type, "{}").format(_LOOKED_UP.get(name, name)) for name in served.stored
    ]
    return f"SELECT id::text, ST_AsBinary({served.geometry_name}, 'NDR'), {', '.join(values)} FROM {served.table.name}"


def selected(fetch: Callable[[str], Iterable[Any]], layer: str, where: str = "true") -> list[Found]:
    """What a plain SELECT says that a layer holds, in the order of the key."""
    names = CATALOG[layer].stored
    return [
        Found(key, None, bytes(geometry), dict(zip(names, values, strict=True)))
        for key, geometry, *values in fetch(f"{_selected(layer)} WHERE {where} ORDER BY {CATALOG[layer].table.name}.id")
    ]


class Bench:
    """Streams over layers of a test's own, on its event loop."""

    def __init__(self, url: str, *layers: Layer, **given: Any) -> None:
        settings = Settings(**given)
        self.metrics = Metrics(CollectorRegistry())
        self.pool = bulk_pool(settings, url, self.metrics)
        self.control = control_engine(settings, url)
        self.canceller = Canceller(self.control, self.metrics)
        self.streams = Streams(self.pool, self.canceller, settings.max_streams, self.metrics, give_back, lambda: False)
        self._catalog = Catalog(layers)
        self._statements = Statements(self._catalog)
        limits = GeometryLimits(settings.max_request_bytes, settings.max_vertices, settings.max_geometry_depth)
        self._exports = ExportReader(QuestionReader(self._catalog, ProbeReader(limits), settings.max_radius))

    async def close(self) -> None:
        await self.streams.close()
        self.canceller.close()
        self.pool.engine.dispose()
        self.control.dispose()

    def read(self, request: Any) -> AsyncGenerator[bytes]:
        """The messages of a stream."""
        kind = request.DESCRIPTOR.name.removesuffix("Request").removeprefix("Stream").lower()
        export = getattr(self._exports, kind)(request)
        statement = self._statements[export.search.shape]
        layer, arguments = self._catalog[export.search.shape.layer], statement.parameters(export.search.arguments)

        def readings(connections: int) -> list[CopyReading]:
            writer = batch_writer(statement, layer, export.layout, export.bound_to)
            return [CopyReading(lambda cursor: cursor.mogrify(statement.copy, arguments), writer.batches)]

        return self.streams.read("Stream", export.layout, readings)

    async def batches(self, request: Any, most: int | None = None) -> list[feature_pb2.FeatureBatch]:
        """The batches of a stream, or the first of them; then the reader leaves."""
        found: list[feature_pb2.FeatureBatch] = []
        async with aclosing(self.read(request)) as messages:
            while len(found) != most and (message := await anext(messages, None)) is not None:
                found.append(feature_pb2.FeatureBatch.FromString(message))
        return found

    def sample(self, name: str, **labels: str) -> float:
        return self.metrics.registry.get_sample_value(name, labels) or 0.0


@asynccontextmanager
async def bench(url: str, *layers: Layer, **settings: Any) -> AsyncIterator[Bench]:
    made = Bench(url, *layers, **settings)
    try:
        yield made
    finally:
        await made.close()
