"""Rows: what becomes of a COPY in the answer to a unary call."""

from hypothesis import given, settings

from service.catalog import Layer
from service.codec import wire
from service.codec.features import feature_encoder
from service.codec.rows import FeatureReader
from service.db.copy import Row
from service.db.queries import Statement, build
from service.domain import Kind, Result, Shape
from spatial.v1.feature_pb2 import FeatureRows
from tests.copies import HEADER, LAYERS, TRAILER, copied, exports, key, text


@given(exports())
@settings(deadline=None)
def test_answers_to_unary_calls_are_the_same_features(export: tuple[Layer, Statement, list[Row]]) -> None:
    layer, streamed, rows = export
    shape = Shape(streamed.shape.kind, layer.name, streamed.shape.output, streamed.shape.variant, limit=10)
    statement = build(layer, shape)
    answered = [(place, *row) for place, row in enumerate(rows, 1)]

    found = FeatureReader()(statement)(HEADER + copied(statement, answered) + TRAILER)

    before = 3 if shape.variant else 2
    assert [row[:-1] for row in found] == [(row[0], key(row[1]), *row[2:before]) for row in answered]
    encode = feature_encoder(statement, layer.srid)
    assert [wire.content(row[-1]) for row in found] == [encode(row) for row in answered]
    features = FeatureRows.FromString(b"".join(row[-1] for row in found)).features
    assert [feature.id for feature in features] == [text(row[0]) for row in rows]
    assert all(feature.distance_meters == row[1] for feature, row in zip(features, rows, strict=True) if shape.variant)


def test_counts_are_left_as_they_are() -> None:
    layer = LAYERS["integer"]
    statement = build(layer, Shape(Kind.ALL, layer.name, result=Result.COUNT))
    read = FeatureReader()

    assert read(statement)(HEADER + copied(statement, [(1, 42)]) + TRAILER) == [(1, 42)]


def test_what_is_composed_for_a_statement_is_kept() -> None:
    read = FeatureReader()
    statement = build(LAYERS["integer"], Shape(Kind.ALL, "things", limit=1))

    assert read(statement) is read(statement)
