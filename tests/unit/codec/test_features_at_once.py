"""Features that are laid out at once are, byte for byte, those that are written one by one."""

from collections.abc import Iterable, Sequence
from math import inf, nan
from typing import Any

import pytest
from hypothesis import given, settings

from service.catalog import Layer
from service.codec.batches import MOST_BATCH_BYTES
from service.codec.features import feature_reader
from service.codec.features_at_once import FeaturesAtOnce
from service.codec.rows import MANY_ROWS, RowsWriter
from service.codec.scan import Scanner
from service.codec.tokens import DIGEST_BYTES
from service.db.copy import Row
from service.db.queries import Statement
from service.domain import Batch, DistanceModel, Encoding, Output
from spatial.v1.feature_pb2 import FeatureBatch
from tests.copies import HEADER, LARGEST, LAYERS, SMALLEST, TRAILER, copied, exported, exports

BOUND_TO = bytes(range(DIGEST_BYTES))
LENGTHS = (*range(300), 16_383, 16_384, 20_000)  # of texts: each of two, three and more bytes of length
POINT = bytes(range(21))


def one_by_one(layer: Layer, statement: Statement, sent: bytes) -> bytes:
    return b"".join(row[-1] for row in feature_reader(statement, layer.srid)(sent))


def at_once(layer: Layer, statement: Statement, sent: bytes) -> bytes:
    scanned = Scanner([column.field for column in statement.columns]).scan(sent)
    written, ends = FeaturesAtOnce(statement, layer.srid).write(scanned.fields)
    assert ends[-1] == len(written)
    return written.tobytes()


@given(exports())
@settings(deadline=None)
def test_whatever_the_values_are(export: tuple[Layer, Statement, list[Row]]) -> None:
    layer, statement, rows = export
    sent = HEADER + copied(statement, rows) + TRAILER
    if rows:
        assert at_once(layer, statement, sent) == one_by_one(layer, statement, sent)


def text(size: int) -> bytes:
    return b"x" * size


NUMBERS = (0.0, -1.5, 1e308, nan, inf, -inf)
INTEGERS = (0, 7, -10, -(2**53), 2**53, 2**53 + 1, -(2**53) - 1, SMALLEST, LARGEST)
COLUMNS: dict[str, tuple[str, Sequence[Any]]] = {
    "texts": ("string", [text(size) for size in LENGTHS]),
    "texts or null": ("string_or_null", [text(size) if size % 3 else None for size in LENGTHS]),
    "nothing but null": ("string_or_null", [None] * 5),
    "empty texts": ("string", [b""] * 5),
    "one long text": ("string", [text(100_000)]),
    "numbers": ("number", NUMBERS),
    "numbers or null": ("number_or_null", (*NUMBERS, None)),
    "integers": ("integer", INTEGERS),
    "integers or null": ("integer_or_null", (*INTEGERS, None)),
    "truth": ("boolean", (True, False)),
    "truth or null": ("boolean_or_null", (True, None, False)),
    "times": ("timestamp_or_null", (0, -1, LARGEST, None, SMALLEST)),
    "JSON": ("json_or_null", (b'{"a": [1, null]}', None, b"[]")),
}


@pytest.mark.parametrize("name", COLUMNS)
def test_values_that_are_written_in_several_ways(name: str) -> None:
    layer = LAYERS["integer"]
    prop, values = COLUMNS[name]
    statement = exported(layer, output=Output((prop,)))
    rows = [(key, POINT if key % 2 else None, value) for key, value in enumerate(values)]
    sent = copied(statement, rows)
    assert at_once(layer, statement, sent) == one_by_one(layer, statement, sent)


@pytest.mark.parametrize("keys", [[0], [*range(-120, 120)], [10**size for size in range(19)], [*INTEGERS], [SMALLEST]])
def test_keys_of_any_length_and_sign(keys: Sequence[int]) -> None:
    layer = LAYERS["integer"]
    statement = exported(layer, output=Output(()), variant=DistanceModel.PLANAR)
    sent = copied(statement, [(key, abs(key) / 3, POINT) for key in keys])
    assert at_once(layer, statement, sent) == one_by_one(layer, statement, sent)


GEOMETRIES = {
    Encoding.WKB: [bytes([size % 256]) * size for size in (21, 93, 0, 1000, 5000)],
    Encoding.WKT: [b"POINT(1 2)", b"POINT EMPTY"],
    Encoding.GEOJSON: [b'{"type":"Point","coordinates":[1,2.5]}', b'{"type":"Point","coordinates":[]}'],
}


@pytest.mark.parametrize("encoding", GEOMETRIES)
def test_geometries_in_every_encoding(encoding: Encoding) -> None:
    layer = LAYERS["text"]
    statement = exported(layer, output=Output(("string",), encoding=encoding, srid=25832))
    geometries = [*GEOMETRIES[encoding], None]
    rows = [(f"key {place}".encode(), geometry, b"text") for place, geometry in enumerate(geometries * 3)]
    sent = copied(statement, rows)
    assert at_once(layer, statement, sent) == one_by_one(layer, statement, sent)


def chunks(statement: Statement, sizes: Iterable[int], name: bytes) -> list[bytes]:
    key = 0
    sent = []
    for size in sizes:
        sent.append(copied(statement, [(key + row, POINT, name) for row in range(size)]))
        key += size
    return sent


@pytest.mark.parametrize("name", [b"Berlin", b"x" * 2000])
def test_chunks_of_many_rows_and_of_few_are_the_same_to_the_reader(name: bytes) -> None:
    layer = LAYERS["integer"]
    statement = exported(layer, output=Output(("string",)))
    sizes = (1, 30, 0, MANY_ROWS, 3, 5 * MANY_ROWS, MANY_ROWS - 1)
    writer = RowsWriter(statement, layer, BOUND_TO)
    found: list[Batch] = [batch for sent in chunks(statement, sizes, name) for batch in writer.batches(sent)]

    messages = [FeatureBatch.FromString(batch.message) for batch in found]
    ids = [feature.id for message in messages for feature in message.rows.features]
    assert ids == [str(key) for key in range(sum(sizes))]
    assert [batch.features for batch in found] == [len(message.rows.features) for message in messages]
    assert all(len(batch.message) <= MOST_BATCH_BYTES for batch in found)
    alone = RowsWriter(statement, layer, BOUND_TO)
    for message in messages:
        last = [(int(message.rows.features[-1].id), POINT, name)]
        (expected,) = alone.batches(copied(statement, last))
        assert message.resume_token == FeatureBatch.FromString(expected.message).resume_token
