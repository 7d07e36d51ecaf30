"""What ArrowWriter writes, as pyarrow, geopandas, polars and DuckDB read it."""

import struct
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

import duckdb
import geopandas
import polars
import pyarrow as pa
import pytest
import shapely
from geoalchemy2 import Geometry
from sqlalchemy import BigInteger, Boolean, Column, DateTime, Float, MetaData, Table, Text
from sqlalchemy.dialects.postgresql import JSONB

from service.catalog import Layer, Property, property_type
from service.codec.arrow import ArrowWriter
from service.codec.frames import FULL_BYTES, MOST_BATCH_BYTES
from service.codec.tokens import write_token
from service.db.copy import SIGNATURE, Row, Wire
from service.db.queries import Statement, build
from service.domain import Batch, DistanceModel, Kind, Output, Result, Shape, View
from spatial.v1 import feature_pb2

HEADER = SIGNATURE + bytes(8)
TRAILER = b"\xff\xff"
POSTGRES_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)
POINT = shapely.Point(13.4, 52.5)
COLUMNS = {
    "name": Text(),
    "beds": BigInteger(),
    "height": Float(53),
    "open": Boolean(),
    "seen": DateTime(timezone=True),
    "tags": JSONB(),
}
FULL = (b"Charit\xc3\xa9", 2**53 + 1, 2.5, True, 1_000_000, b'{"a": [1, null]}')
FULL_AS_READ = {
    "name": "Charité",
    "beds": 2**53 + 1,
    "height": 2.5,
    "open": True,
    "seen": datetime(2000, 1, 1, 0, 0, 1, tzinfo=UTC),
    "tags": '{"a": [1, null]}',
}
NOTHING: Row = (None,) * 6


def a_layer(
    columns: dict[str, Any] = COLUMNS, *, key: Any = None, srid: int = 4326, nullable: Sequence[str] = tuple(COLUMNS)
) -> Layer:
    table = Table(
        "places",
        MetaData(),
        Column("key", key or BigInteger(), primary_key=True),
        Column("shape", Geometry("GEOMETRY", srid=srid, spatial_index=False)),
        *(Column(name, kind, nullable=name in nullable) for name, kind in columns.items()),
    )
    properties = {
        name: Property(name, property_type(kind), table.c[name], name in nullable) for name, kind in columns.items()
    }
    return Layer("places", "", table, table.c.key, table.c.shape, "GEOMETRY", srid, properties)


def statement_of(layer: Layer, kind: Kind = Kind.ALL, view: View = View.FULL) -> Statement:
    variant = DistanceModel.SPHEROID if kind is Kind.RADIUS else None
    return build(layer, Shape(kind, layer.name, Output(view=view), variant, constant=True, result=Result.ALL))


def sent(statement: Statement, rows: Sequence[Row]) -> bytes:
    """The rows as COPY sends them, without header and trailer."""
    codes = {Wire.INT64: "!q", Wire.FLOAT64: "!d", Wire.BOOL: "!?"}
    content = [struct.pack("!h", len(statement.columns))] * len(rows)
    for index, row in enumerate(rows):
        for column, value in zip(statement.columns, row, strict=True):
            wire = column.field.wire
            data = value if value is None or wire is Wire.BYTES else struct.pack(codes[wire], value)
            content[index] += struct.pack("!i", -1) if data is None else struct.pack("!i", len(data)) + data
    return b"".join(content)


def written(layer: Layer, rows: Sequence[Row], bound_to: bytes | None = None, **shape: Any) -> list[Batch]:
    statement = statement_of(layer, **shape)
    return list(ArrowWriter(statement, layer, bound_to).batches(HEADER + sent(statement, rows) + TRAILER))


def message(batch: Batch) -> feature_pb2.FeatureBatch:
    return feature_pb2.FeatureBatch.FromString(batch.message)


def as_table(batch: Batch) -> pa.Table:
    return pa.ipc.open_stream(message(batch).arrow_ipc).read_all()


def table(layer: Layer, rows: Sequence[Row], **shape: Any) -> pa.Table:
    (batch,) = written(layer, rows, **shape)
    return as_table(batch)


@pytest.fixture
def content() -> bytes:
    """A stream of two features, the second with nothing but its key."""
    (batch,) = written(a_layer(), [(7, POINT.wkb, *FULL), (-8, None, *NOTHING)])
    return message(batch).arrow_ipc


def test_the_schema() -> None:
    schema = table(a_layer(nullable=["name"]), [(7, POINT.wkb, *FULL)]).schema

    assert [(field.name, str(field.type), field.nullable) for field in schema] == [
        ("id", "int64", False),
        ("geometry", "binary", True),
        ("name", "string", True),
        ("beds", "int64", False),
        ("height", "double", False),
        ("open", "bool", False),
        ("seen", "timestamp[us, tz=UTC]", True),  # for the infinities
        ("tags", "string", False),
    ]


def test_every_value_and_every_null(content: bytes) -> None:
    first, second = pa.ipc.open_stream(content).read_all().to_pylist()

    assert first == {"id": 7, "geometry": POINT.wkb, **FULL_AS_READ}
    assert second == {"id": -8, "geometry": None, **dict.fromkeys(FULL_AS_READ)}


def test_geopandas_reads_it(content: bytes) -> None:
    frame = geopandas.GeoDataFrame.from_arrow(pa.ipc.open_stream(content).read_all())

    assert frame.crs.to_epsg() == 4326
    assert list(frame.geometry) == [POINT, None]
    assert list(frame["id"]) == [7, -8]
    assert frame["seen"][0] == FULL_AS_READ["seen"]
    assert [frame[name][0] for name in ("name", "height", "open", "tags")] == ["Charité", 2.5, True, '{"a": [1, null]}']
    assert frame["name"].isna().tolist() == [False, True]


def test_polars_reads_it(content: bytes) -> None:
    frame = polars.read_ipc_stream(content)
    first, second = frame.to_dicts()

    assert first == {"id": 7, "geometry": POINT.wkb, **FULL_AS_READ}
    assert second == {"id": -8, "geometry": None, **dict.fromkeys(FULL_AS_READ)}
    assert frame["tags"].str.json_path_match("$.a[0]").to_list() == ["1", None]


def test_duckdb_reads_it(content: bytes) -> None:
    found = duckdb.connect().from_arrow(pa.ipc.open_stream(content).read_all())
    rows = found.select("id, geometry::text, name, beds, height, open, epoch_us(seen), tags").fetchall()

    values = FULL_AS_READ | {"seen": 946_684_801_000_000}
    assert rows == [(7, "POINT (13.4 52.5)", *values.values()), (-8, None, *NOTHING)]


def test_the_crs_is_that_of_the_srid() -> None:
    (batch,) = written(a_layer(srid=25832), [(7, POINT.wkb, *FULL)])
    frame = geopandas.GeoDataFrame.from_arrow(as_table(batch))

    assert frame.crs.to_epsg() == 25832
    assert message(batch).srid == 25832


@pytest.mark.parametrize("srid", [0, 990_001], ids=["none", "of the database alone"])
def test_without_a_known_crs_there_is_none(srid: int) -> None:
    frame = geopandas.GeoDataFrame.from_arrow(table(a_layer(srid=srid), [(7, POINT.wkb, *FULL)]))

    assert frame.crs is None
    assert list(frame.geometry) == [POINT]


def test_text_keys() -> None:
    read = table(a_layer(key=Text()), [("ü".encode(), None, *NOTHING), (b"b", None, *NOTHING)])

    assert read.schema.field("id").type == pa.utf8()
    assert read["id"].to_pylist() == ["ü", "b"]


def test_distances() -> None:
    read = table(a_layer({}), [(1, 12.5, POINT.wkb), (2, 0.0, None)], kind=Kind.RADIUS)

    assert read.schema.names == ["id", "distance_meters", "geometry"]
    assert read["distance_meters"].to_pylist() == [12.5, 0.0]


def test_no_geometry_where_none_is_asked_for() -> None:
    assert table(a_layer({}), [(1,), (2,)], view=View.NONE).to_pydict() == {"id": [1, 2]}


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["id"], ["id_property"]),
        (["geometry", "distance_meters"], ["geometry_property", "distance_meters_property"]),
        (["id", "id_property"], ["id_property_property", "id_property"]),
    ],
)
def test_names_that_are_taken(names: list[str], expected: list[str]) -> None:
    layer = a_layer({name: Text() for name in names}, nullable=names)

    assert table(layer, [(1, None, *[b"x"] * len(names))]).schema.names == ["id", "geometry", *expected]


@pytest.mark.parametrize(
    ("microseconds", "expected"),
    [
        (0, POSTGRES_EPOCH),
        (-946_684_800_000_000, datetime(1970, 1, 1, tzinfo=UTC)),
        (-946_684_800_000_001, datetime(1969, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC)),
        (2**63 - 1, None),
        (-(2**63), None),
        (2**63 - 2, None),
        (None, None),
    ],
    ids=["PostgreSQL's epoch", "Unix's", "before", "infinity", "-infinity", "later than Arrow's last", "null"],
)
def test_timestamps(microseconds: int | None, expected: datetime | None) -> None:
    layer = a_layer({"seen": DateTime(timezone=True)}, nullable=["seen"])

    assert table(layer, [(1, None, microseconds)])["seen"].to_pylist() == [expected]


def test_without_features_there_is_no_batch() -> None:
    layer = a_layer()
    writer = ArrowWriter(statement_of(layer), layer, None)

    assert list(writer.batches(HEADER + TRAILER)) == []
    assert list(writer.batches(b"")) == []
    assert list(writer.batches(TRAILER)) == []


def test_the_chunks_of_one_copy() -> None:
    layer = a_layer()
    statement = statement_of(layer)
    writer = ArrowWriter(statement, layer, None)
    first, second = sent(statement, [(1, None, *NOTHING)]), sent(statement, [(2, None, *FULL)])

    batches = [*writer.batches(HEADER + first), *writer.batches(second), *writer.batches(TRAILER)]

    assert [pa.ipc.open_stream(message(batch).arrow_ipc).read_all()["id"].to_pylist() for batch in batches] == [
        [1],
        [2],
    ]


def sized(sizes: Sequence[int]) -> Iterator[Row]:
    """Features that large, numbered."""
    return ((number, bytes(size)) for number, size in enumerate(sizes))


@pytest.mark.parametrize(
    "sizes",
    [[100] * 30_000, [MOST_BATCH_BYTES] * 3, [10] * 1000 + [3 * MOST_BATCH_BYTES] + [10] * 1000, [0] * 100_000],
    ids=["small", "large", "one large among small", "nothing but keys"],
)
def test_batches_are_cut_to_size(sizes: list[int]) -> None:
    layer = a_layer({})
    batches = written(layer, list(sized(sizes)))
    read = [as_table(batch) for batch in batches]

    assert all(len(batch.message) < FULL_BYTES + 8192 or batch.features == 1 for batch in batches)
    assert [batch.features for batch in batches] == [len(each) for each in read]
    assert pa.concat_tables(read)["id"].to_pylist() == list(range(len(sizes)))
    assert [len(shape) for shape in pa.concat_tables(read)["geometry"].to_pylist()] == sizes


@pytest.mark.parametrize(("key", "keys"), [(None, [-5, 9]), (Text(), [b"a", b"\xc3\xbc"])], ids=["integer", "text"])
def test_a_token_names_the_last_feature_of_its_batch(key: Any, keys: list[Any]) -> None:
    bound_to = b"twelve bytes"
    batches = written(a_layer({}, key=key), [(each, bytes(MOST_BATCH_BYTES)) for each in keys], bound_to)

    tokens = [write_token(bound_to, each.decode() if isinstance(each, bytes) else each) for each in keys]
    assert [message(batch).resume_token for batch in batches] == tokens


def test_without_resuming_there_is_no_token() -> None:
    assert [message(batch).resume_token for batch in written(a_layer({}), [(1, None)])] == [""]
