"""Batches as protobuf's own runtime reads them, against the rows that a COPY sent."""

import json
import math
from collections.abc import Iterable, Sequence
from typing import Any

import pytest
from google.protobuf.json_format import MessageToDict
from hypothesis import given, settings
from hypothesis import strategies as st

from service.catalog import Layer, PropertyType
from service.codec.batches import BATCH_BYTES, MOST_BATCH_BYTES, BatchWriters, batch_writer
from service.codec.features import feature_encoder
from service.codec.few import FEW_BYTES
from service.codec.tokens import DIGEST_BYTES, read_token
from service.codec.tokens import Kind as TokenKind
from service.db.copy import Row
from service.db.queries import Statement
from service.domain import Batch, Encoding, Layout, Output, View
from spatial.v1.feature_pb2 import Feature, FeatureBatch, FeatureColumns
from tests.copies import (
    HEADER,
    LARGEST,
    LAYERS,
    SMALLEST,
    TRAILER,
    copied,
    exported,
    exports,
    key,
    text,
)

BOUND_TO = bytes(range(DIGEST_BYTES))
TO_1970 = 946_684_800_000_000
HAND_WRITTEN = (Layout.ROWS, Layout.COLUMNS)

LISTS = {
    PropertyType.STRING: "strings",
    PropertyType.INTEGER: "integers",
    PropertyType.NUMBER: "numbers",
    PropertyType.BOOLEAN: "booleans",
    PropertyType.TIMESTAMP: "timestamps",
    PropertyType.JSON: "json",
}


def batches(
    layer: Layer, statement: Statement, layout: Layout, chunks: Iterable[bytes], bound_to: bytes | None = BOUND_TO
) -> list[tuple[Batch, FeatureBatch]]:
    writer = batch_writer(statement, layer, layout, bound_to)
    return [(batch, FeatureBatch.FromString(batch.message)) for chunk in chunks for batch in writer.batches(chunk)]


def in_order(statement: Statement, kind: str, rows: Sequence[Row]) -> list[Any]:
    """The values of the only column of a kind."""
    (index,) = (index for index, column in enumerate(statement.columns) if column.kind == kind)
    return [row[index] for row in rows]


def listed(prop: PropertyType, value: Any) -> Any:
    """A value that is not null as FeatureColumns has it."""
    if prop is PropertyType.TIMESTAMP:
        return value if value in (LARGEST, SMALLEST) else value + TO_1970
    return value.decode() if isinstance(value, bytes) else value


def check_columns(statement: Statement, rows: Sequence[Row], found: FeatureColumns) -> None:
    assert found.count == len(rows)
    keys = [key(row[0]) for row in rows]
    assert (list(found.int64_ids), list(found.string_ids)) == ((keys, []) if isinstance(keys[0], int) else ([], keys))
    kinds = [column.kind for column in statement.columns]
    distances = in_order(statement, "distance", rows) if "distance" in kinds else []
    assert list(found.distance_meters) == distances
    geometries = in_order(statement, "geometry", rows) if "geometry" in kinds else []
    assert list(found.wkb) == [content or b"" for content in geometries]
    properties = [(index, column) for index, column in enumerate(statement.columns) if column.property]
    for (index, column), values in zip(properties, found.properties, strict=True):
        assert column.property is not None
        assert values.name == column.property.name
        assert values.WhichOneof("values") == LISTS[column.property.type]
        many = getattr(values, LISTS[column.property.type]).values
        assert len(many) == len(rows)
        assert list(values.null_rows) == [place for place, row in enumerate(rows) if row[index] is None]
        there = [(row[index], one) for row, one in zip(rows, many, strict=True) if row[index] is not None]
        assert [one for _, one in there] == [listed(column.property.type, value) for value, _ in there]


@given(exports())
@settings(deadline=None, max_examples=50)
def test_columns_are_what_was_sent(export: tuple[Layer, Statement, list[Row]]) -> None:
    """The few of a first batch, and as many as are laid out all at once."""
    layer, statement, few = export
    many = few * (1 + FEW_BYTES // (len(copied(statement, few)) or 1))
    rows = few + many

    found = batches(
        layer, statement, Layout.COLUMNS, [HEADER + copied(statement, few), copied(statement, many) + TRAILER]
    )

    assert sum(batch.features for batch, _ in found) == len(rows)
    for batch, message in found:
        check_columns(statement, rows[: batch.features], message.columns)
        rows = rows[batch.features :]


@given(exports())
@settings(deadline=None, max_examples=50)
def test_rows_are_features(export: tuple[Layer, Statement, list[Row]]) -> None:
    layer, statement, rows = export
    encode = feature_encoder(statement, layer.srid)

    found = batches(layer, statement, Layout.ROWS, [HEADER + copied(statement, rows) + TRAILER])

    features = [feature for _, message in found for feature in message.rows.features]
    assert features == [Feature.FromString(encode(row)) for row in rows]
    assert [feature.id for feature in features] == [text(row[0]) for row in rows]
    assert [batch.features for batch, _ in found] == [len(message.rows.features) for _, message in found]


@pytest.mark.parametrize("layer", LAYERS.values(), ids=LAYERS)
@pytest.mark.parametrize("encoding", Encoding)
def test_rows_carry_geometries_in_any_encoding(layer: Layer, encoding: Encoding) -> None:
    statement = exported(layer, output=Output(("integer",), encoding=encoding))
    written = {Encoding.WKB: b"\1\2\3", Encoding.WKT: b"POINT(1 2)", Encoding.GEOJSON: b'{"coordinates": [1.5, 2.5]}'}
    identifier = 7 if layer is LAYERS["integer"] else b"seven"

    rows = [(identifier, written[encoding], 1), (identifier, None, 2)]
    ((_, message),) = batches(layer, statement, Layout.ROWS, [copied(statement, rows)])

    some, none = message.rows.features
    field = encoding.name.lower()
    content = getattr(some.geometry, field)
    as_sent = json.dumps(MessageToDict(content)).encode() if encoding is Encoding.GEOJSON else content
    assert (as_sent if isinstance(as_sent, bytes) else as_sent.encode()) == written[encoding]
    assert some.geometry.srid == layer.srid
    assert not none.HasField("geometry")
    assert none.properties["integer"] == 2


@pytest.mark.parametrize("layout", HAND_WRITTEN)
@pytest.mark.parametrize(("layer", "last"), [(LAYERS["integer"], -5), (LAYERS["text"], "ü, last")], ids=LAYERS)
def test_a_resumable_stream_says_after_each_batch_where_it_goes_on(layer: Layer, last: Any, layout: Layout) -> None:
    statement = exported(layer, output=Output(("string",), View.NONE))
    identifiers = [1, last] if isinstance(last, int) else [b"one", last.encode()]
    chunk = copied(statement, [(identifier, b"x" * MOST_BATCH_BYTES) for identifier in identifiers])

    found = batches(layer, statement, layout, [chunk])

    read = [read_token(TokenKind.RESUME, each.resume_token, BOUND_TO, [layer]) for _, each in found]
    assert read == [(key(identifier),) for identifier in identifiers]
    assert [each.srid for _, each in found] == [layer.srid] * 2
    assert [each.resume_token for _, each in batches(layer, statement, layout, [chunk], bound_to=None)] == ["", ""]


@pytest.mark.parametrize("layout", HAND_WRITTEN)
def test_a_stream_comes_in_chunks(layout: Layout) -> None:
    """The header before the first row and the trailer behind the last are no rows, and may come alone."""
    layer = LAYERS["integer"]
    statement = exported(layer, output=Output(("integer_or_null",), View.NONE))
    first, second = copied(statement, [(1, -1)]), copied(statement, [(2, None), (3, -1)])
    streams = [
        [HEADER + first, second + TRAILER],
        [HEADER + first, second, TRAILER],
        [HEADER, first, b"", second, TRAILER],
        [HEADER + first + second + TRAILER],
    ]

    for chunks in streams:
        assert sum(batch.features for batch, _ in batches(layer, statement, layout, chunks)) == 3
    for nothing in (HEADER + TRAILER, HEADER, TRAILER, b""):
        assert batches(layer, statement, layout, [nothing]) == []


def is_large_alone(batch: Batch) -> bool:
    return batch.features == 1 or len(batch.message) <= MOST_BATCH_BYTES


@pytest.mark.parametrize("layout", HAND_WRITTEN)
@given(sizes=st.lists(st.sampled_from([0, 10, 1000, 100_000, 300_000, 1_900_000, 2_200_000]), max_size=12))
@settings(deadline=None, max_examples=20)
def test_a_batch_is_larger_than_allowed_only_for_a_single_feature(layout: Layout, sizes: list[int]) -> None:
    layer = LAYERS["integer"]
    statement = exported(layer, output=Output(("string",), View.NONE))

    found = batches(layer, statement, layout, [copied(statement, [(size, b"x" * size) for size in sizes])])

    assert all(is_large_alone(batch) for batch, _ in found)
    assert [size for _, each in found for size in lengths(each)] == sizes


def lengths(batch: FeatureBatch) -> list[int]:
    if batch.HasField("rows"):
        return [len(feature.properties.fields["string"].string_value) for feature in batch.rows.features]
    return [len(value) for value in batch.columns.properties[0].strings.values]


def test_a_chunk_of_points_is_one_batch() -> None:
    layer = LAYERS["integer"]
    statement = exported(layer, output=Output(("string",)))
    rows = [(number, b"w" * 21, b"a name") for number in range(BATCH_BYTES // 50)]

    for layout in HAND_WRITTEN:
        ((batch, _),) = batches(layer, statement, layout, [copied(statement, rows)])
        assert BATCH_BYTES / 2 < len(batch.message) < 2 * BATCH_BYTES


def test_json_that_grows_is_divided() -> None:
    """Each `0` and comma of a list is 11 bytes of a Value."""
    layer = LAYERS["integer"]
    statement = exported(layer, output=Output(("json",), View.NONE))
    rows = [(number, b"[" + b"0," * 5000 + b"0]") for number in range(26)]

    found = batches(layer, statement, Layout.ROWS, [copied(statement, rows)])

    assert len(found) == 4
    assert all(len(batch.message) < 2 * BATCH_BYTES for batch, _ in found)


def test_columns_of_nulls_alone_stay_small_enough() -> None:
    """A number that is null has 4 bytes in a COPY and up to 11 in a column."""
    layer = LAYERS["integer"]
    names = ("number_or_null", "timestamp_or_null", "integer_or_null", "string_or_null", "json_or_null")
    statements = [exported(layer, output=Output((name,), View.NONE)) for name in names]
    chunk = copied(statements[0], [(number, None) for number in range(150_000)])  # nulls of all types are the same
    for statement in statements:
        found = batches(layer, statement, Layout.COLUMNS, [chunk])
        assert sum(batch.features for batch, _ in found) == 150_000
        assert all(len(batch.message) < MOST_BATCH_BYTES for batch, _ in found)


@pytest.mark.parametrize("number", [math.inf, -math.inf, math.nan])
def test_numbers_that_are_not_finite_are_kept_in_columns(number: float) -> None:
    layer = LAYERS["integer"]
    statement = exported(layer, output=Output(("number",), View.NONE))

    ((_, message),) = batches(layer, statement, Layout.COLUMNS, [copied(statement, [(1, number)])])

    (found,) = message.columns.properties[0].numbers.values
    assert found == number or (math.isnan(found) and math.isnan(number))


@pytest.mark.parametrize("layout", Layout)
def test_what_writes_for_a_statement_is_kept_unless_tokens_are_bound(layout: Layout) -> None:
    writers = BatchWriters()
    statement, other = (exported(layer) for layer in list(LAYERS.values())[:2])

    kept = writers.of(statement, layout, None)
    assert writers.of(statement, layout, None) is kept
    assert writers.of(other, layout, None) is not kept
    assert writers.of(statement, layout, BOUND_TO) is not writers.of(statement, layout, BOUND_TO)
