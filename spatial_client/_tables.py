"""Arrow's tables and streams, and GeoDataFrames, into messages of columns. No I/O."""

import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from spatial.v1 import feature_pb2
from spatial_client._optional import need
from spatial_client._packing import BATCH_BYTES, INTEGER, Request, column
from spatial_client._values import Layer

if TYPE_CHECKING:
    import geopandas
    import pyarrow

FRAME_ROWS = 16_384  # of a frame, made Arrow at a time
KEY = "id"
# Of the service's own Arrow: the columns that are no properties, and what a property of one of their names has added.
NO_PROPERTIES = (KEY, "geometry", "distance_meters")
ADDED = "_property"
GEOMETRY = "geometry"
EXTENSION, EXTENSION_METADATA = b"ARROW:extension:name", b"ARROW:extension:metadata"
WKB_EXTENSIONS = (b"geoarrow.wkb", b"ogc.wkb")


class Table(NamedTuple):
    """Columns with one schema, row by row in batches; `again` says whether `batches` can be called again."""

    schema: "pyarrow.Schema"
    batches: "Callable[[int], Iterator[pyarrow.RecordBatch]]"
    """From this row on, where it can be called again."""
    again: bool

    @property
    def srid(self) -> int | None:
        """That of the geometries, as their column says it."""
        name = geometry_column(self.schema)
        return None if name is None else srid_of(self.schema.field(name).metadata or {})


def table_of_source(source: Any) -> Table | None:
    """What the source is as a table; None if it is none."""
    geopandas, pyarrow = sys.modules.get("geopandas"), sys.modules.get("pyarrow")
    if geopandas is not None and isinstance(source, geopandas.GeoDataFrame):
        return Table(_arrow_of(source.iloc[:0]).schema, lambda first: _frame_batches(source, first), again=True)
    if pyarrow is not None and isinstance(source, pyarrow.Table):
        return Table(source.schema, lambda first: iter(source.slice(first).to_batches()), again=True)
    if pyarrow is not None and isinstance(source, pyarrow.RecordBatch):
        return Table(source.schema, lambda first: iter([source.slice(first)]), again=True)
    if hasattr(source, "__arrow_c_stream__"):
        reader = need("pyarrow", "an Arrow stream").RecordBatchReader.from_stream(source)
        return Table(reader.schema, lambda _: iter(reader), again=False)
    return None


def table_requests(table: Table, layer: Layer, first: int) -> Iterator[Request]:
    """The messages of its rows; those of a stream that cannot be read again from its beginning on, the others from
    `first` on."""
    roles = Roles.of(table.schema, layer)
    number = first if table.again else 0
    for batch in table.batches(first):
        for piece in _pieces(batch):
            yield Request(first_row=number, columns=roles.columns(piece))
            number += piece.num_rows


class Roles(NamedTuple):
    """What each column of a table is to the layer."""

    key: str | None
    geometry: str | None
    properties: Sequence[tuple[str, str, str]]
    """The column, the property, and its type."""
    integer_keys: bool

    @classmethod
    def of(cls, schema: "pyarrow.Schema", layer: Layer) -> "Roles":
        kinds = {each.name: each.type for each in layer.properties}
        geometry = geometry_column(schema)
        special = {KEY, geometry} if "distance_meters" in kinds else {KEY, geometry, "distance_meters"}
        named = [(name, _property(name, kinds)) for name in schema.names if name not in special]
        if unknown := [name for name, found in named if found not in kinds]:
            raise ValueError(f"the layer {layer.name!r} has no property {unknown[0]!r}; it has {', '.join(kinds)}")
        properties = [(name, found, kinds[found]) for name, found in named]
        return cls(KEY if KEY in schema.names else None, geometry, properties, layer.key_type == INTEGER)

    def columns(self, batch: "pyarrow.RecordBatch") -> feature_pb2.FeatureColumns:
        columns = feature_pb2.FeatureColumns(count=batch.num_rows)
        if self.key is not None:
            ids = columns.int64_ids if self.integer_keys else columns.string_ids
            ids.extend(_keys(batch, self.key, "int64" if self.integer_keys else "string"))
        if self.geometry is not None:
            columns.wkb.extend(each or b"" for each in _cast(batch, self.geometry, "binary").to_pylist())
        for name, found, kind in self.properties:
            columns.properties.append(column(found, kind, _values(batch, name, kind)))
        return columns


def geometry_column(schema: "pyarrow.Schema") -> str | None:
    """The one that says that it is geometry, or is called so."""
    marked = [field.name for field in schema if _extension(field) in WKB_EXTENSIONS]
    if marked:
        return GEOMETRY if GEOMETRY in marked else marked[0]
    if GEOMETRY not in schema.names:
        return None
    if extension := _extension(schema.field(GEOMETRY)):
        raise ValueError(f"geometry comes as WKB (geoarrow.wkb), not as {extension.decode()}")
    return GEOMETRY


def srid_of(metadata: Mapping[bytes, bytes]) -> int | None:
    """The EPSG code in a geometry column's metadata; None where it says no CRS."""
    crs = json.loads(metadata.get(EXTENSION_METADATA) or b"{}").get("crs")
    if not crs:
        return None
    said = crs.get("id", {}) if isinstance(crs, dict) else None  # PROJJSON
    authority, code = (said.get("authority"), said.get("code")) if said is not None else crs.partition(":")[::2]
    if authority == "EPSG" and str(code).isdecimal():
        return int(code)
    if (authority, code) == ("OGC", "CRS84"):
        return 4326
    raise ValueError("the geometries' CRS has no EPSG code: say it by srid=, or transform them before")


def _frame_batches(frame: "geopandas.GeoDataFrame", first: int) -> "Iterator[pyarrow.RecordBatch]":
    for begin in range(first, len(frame), FRAME_ROWS):
        yield from _arrow_of(frame.iloc[begin : begin + FRAME_ROWS]).to_batches()


def _arrow_of(frame: "geopandas.GeoDataFrame") -> "pyarrow.Table":
    return need("pyarrow", "a GeoDataFrame").table(frame.to_arrow(index=False, geometry_encoding="WKB"))


def _pieces(batch: "pyarrow.RecordBatch") -> "Iterator[pyarrow.RecordBatch]":
    """Halves, and halves of these, until each is of a message's size or one row; none of no rows."""
    if batch.num_rows > 1 and batch.nbytes > BATCH_BYTES:
        middle = batch.num_rows // 2
        yield from _pieces(batch.slice(0, middle))
        yield from _pieces(batch.slice(middle))
    elif batch.num_rows:
        yield batch


def _property(name: str, kinds: Mapping[str, str]) -> str:
    """The property of a column: without what the service's own Arrow adds to some names."""
    plain = name.removesuffix(ADDED)
    return plain if name not in kinds and plain in NO_PROPERTIES else name


def _extension(field: "pyarrow.Field") -> bytes:
    named: bytes = (field.metadata or {}).get(EXTENSION) or getattr(field.type, "extension_name", "").encode()
    return named


def _keys(batch: "pyarrow.RecordBatch", name: str, kind: str) -> list[Any]:
    if batch.column(name).null_count:
        raise ValueError(f"{name!r} holds the features' keys, and some are null")
    keys: list[Any] = _cast(batch, name, kind).to_pylist()
    return keys


def _values(batch: "pyarrow.RecordBatch", name: str, kind: str) -> list[Any]:
    """As a column of this kind carries them."""
    if kind == "json" and not _is_text(batch.column(name).type):
        return [None if each is None else json.dumps(each) for each in batch.column(name).to_pylist()]
    array = _cast(batch, name, TYPES[kind])
    if kind == "timestamp":
        array = array.cast("int64")
    values: list[Any] = array.to_pylist()
    return values


def _cast(batch: "pyarrow.RecordBatch", name: str, kind: str) -> "pyarrow.Array":
    library = need("pyarrow", "a table")
    array = batch.column(name)
    if isinstance(array, library.ExtensionArray):
        array = array.storage
    try:
        return array.cast(library.timestamp("us", tz="UTC") if kind == "timestamp" else kind)
    except (library.ArrowInvalid, library.ArrowNotImplementedError) as error:
        raise ValueError(f"column {name!r} of type {array.type} cannot be read as {kind}: {error}") from None


def _is_text(kind: "pyarrow.DataType") -> bool:
    types = need("pyarrow", "a table").types
    if types.is_dictionary(kind):
        kind = kind.value_type
    return bool(types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind))


# Arrow's type for each type of property; JSON is text by then.
TYPES: Mapping[str, str] = {
    "string": "string",
    "integer": "int64",
    "number": "double",
    "boolean": "bool",
    "timestamp": "timestamp",
    "json": "string",
    "bytes": "binary",
}
