"""Responses from answers that PostgreSQL wrote: as they are, or cut like any other."""

from collections.abc import Sequence

import pytest

from service.catalog import shipped_layers
from service.codec import wire
from service.codec.packed import packing
from service.codec.responses import ResponseWriter
from service.db.batch import Answer
from service.db.packed import PackedRows
from service.db.queries import build
from service.domain import DistanceModel, Kind, Output, Page, Search, Shape
from service.errors import ResourceExhausted
from spatial.v1 import feature_pb2, query_pb2

SHAPE = Shape(Kind.RADIUS, "parcels", Output(()), variant=DistanceModel.SPHEROID, limit=101)
IDS = range(1, 6)
FEATURES = [feature_pb2.Feature(id=str(number), distance_meters=number * 1.5) for number in IDS]
ELEMENTS = [wire.delimited(wire.tag(1, wire.LENGTH), feature.SerializeToString()) for feature in FEATURES]
SIZE = len(ELEMENTS[0])


def answer(elements: Sequence[bytes] = ELEMENTS) -> Answer:
    layer = next(layer for layer in shipped_layers() if layer.name == SHAPE.layer)
    statement = build(layer, SHAPE)
    how = packing(statement)
    split = how.split if how is not None else pytest.fail("its columns are plain")
    return Answer(statement, PackedRows(b"".join(elements), len(elements), 1, split))


def page(size: int, most_bytes: int = 1 << 20) -> query_pb2.SearchRadiusResponse:
    written = ResponseWriter(most_bytes).page(Page(Search(SHAPE, ()), size), answer(), lambda: b"bound")
    return query_pb2.SearchRadiusResponse.FromString(written)


@pytest.mark.parametrize("size", [5, 100])
def test_a_page_that_holds_them_all_is_what_was_written(size: int) -> None:
    assert list(page(size).features) == FEATURES
    assert not page(size).next_page_token


@pytest.mark.parametrize(
    ("size", "most_bytes", "features"), [(4, 1 << 20, 4), (1, 1 << 20, 1), (9, SIZE * 2, 2), (9, 1, 1)]
)
def test_a_page_ends_at_its_size_or_the_limit_on_bytes(size: int, most_bytes: int, features: int) -> None:
    assert list(page(size, most_bytes).features) == FEATURES[:features]
    assert page(size, most_bytes).next_page_token


def test_an_answer_in_one_piece_is_refused_beyond_the_limit_on_bytes() -> None:
    assert ResponseWriter(SIZE * 5).all(answer()) == b"".join(ELEMENTS)
    with pytest.raises(ResourceExhausted):
        ResponseWriter(SIZE * 5 - 1).all(answer())


def test_rows_begin_with_the_ordinal_the_key_and_the_distance() -> None:
    assert list(answer().rows) == [
        (1, number, number * 1.5, element) for number, element in zip(IDS, ELEMENTS, strict=True)
    ]
    assert answer().rows[2][1] == 3
    assert not list(answer([]).rows)
