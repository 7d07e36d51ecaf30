"""The composed decoder against one that reads field by field."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.db.copy import HEADER_BYTES, TRAILER, Field, Row, Wire, decoder
from tests.copies import HEADER, sent

VALUES: dict[Wire, st.SearchStrategy[Any]] = {
    Wire.INT64: st.integers(-(2**63), 2**63 - 1),
    Wire.FLOAT64: st.floats(allow_nan=False),
    Wire.BOOL: st.booleans(),
    Wire.BYTES: st.binary(max_size=40),
}
fields = st.lists(st.builds(Field, st.sampled_from(Wire), st.booleans()), min_size=1, max_size=12)


def value_of(field: Field) -> st.SearchStrategy[Any]:
    return st.none() | VALUES[field.wire] if field.nullable else VALUES[field.wire]


@st.composite
def tables(draw: st.DrawFn) -> tuple[list[Field], list[Row]]:
    columns = draw(fields)
    return columns, draw(st.lists(st.tuples(*map(value_of, columns)), max_size=6))


@given(tables())
def test_what_was_sent_is_what_is_read(table: tuple[list[Field], list[Row]]) -> None:
    columns, rows = table

    assert decoder(columns)(HEADER + sent(columns, rows) + TRAILER) == rows


@given(tables())
def test_a_copy_that_was_cut_after_a_row_is_read_as_far(table: tuple[list[Field], list[Row]]) -> None:
    columns, rows = table
    for count in range(len(rows) + 1):
        assert decoder(columns)(HEADER + sent(columns, rows[:count])) == rows[:count]


@pytest.mark.parametrize("nullable", [True, False])
@pytest.mark.parametrize("wire", Wire)
def test_each_kind_alone(wire: Wire, nullable: bool) -> None:
    column = Field(wire, nullable)
    values: dict[Wire, list[Any]] = {
        Wire.INT64: [0, -1, 2**63 - 1],
        Wire.FLOAT64: [0.0, -1.5, float("inf")],
        Wire.BOOL: [True, False],
    }
    rows: list[Row] = [(value,) for value in values.get(wire, [b"", b"\xff" * 3, "ü".encode() * 1000])]
    rows += [(None,)] * nullable

    assert decoder([column])(HEADER + sent([column], rows) + TRAILER) == rows


@pytest.mark.parametrize("null_at", range(8))
def test_a_null_at_every_place(null_at: int) -> None:
    """Between, before and behind fields of fixed width."""
    kinds = [Wire.INT64, Wire.BYTES, Wire.FLOAT64, Wire.BOOL] * 2
    columns = [Field(wire, nullable=place == null_at) for place, wire in enumerate(kinds)]
    full: Row = (1, b"two", 3.0, True, 5, b"", 7.0, False)
    row = (*full[:null_at], None, *full[null_at + 1 :])

    assert decoder(columns)(HEADER + sent(columns, [full, row, full]) + TRAILER) == [full, row, full]


def test_all_null() -> None:
    columns = [Field(wire) for wire in Wire]

    assert decoder(columns)(HEADER + sent(columns, [(None,) * 4] * 3) + TRAILER) == [(None,) * 4] * 3


def test_what_does_not_begin_with_the_header_begins_with_a_row() -> None:
    column = Field(Wire.BYTES)
    rows: list[Row] = [(b"PGCOPY",), (None,), (b"\xff\xff",)]

    assert decoder([column])(sent([column], rows)) == rows
    assert decoder([column])(sent([column], rows) + TRAILER) == rows
    assert decoder([column])(TRAILER) == []


def test_no_rows() -> None:
    assert decoder([Field(Wire.INT64)])(HEADER + TRAILER) == []
    assert decoder([Field(Wire.INT64)])(b"") == []
    assert len(HEADER) == HEADER_BYTES


def test_only_what_is_never_null_is_of_fixed_width() -> None:
    fixed = {(wire, nullable) for wire in Wire for nullable in (True, False) if Field(wire, nullable).fixed}

    assert fixed == {(Wire.INT64, False), (Wire.FLOAT64, False), (Wire.BOOL, False)}
