"""Columns of Arrow as the texts that PostgreSQL reads."""

from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pyarrow
import pytest

from service.catalog import PropertyType
from service.loading.source import Fault
from service.loading.texts import Wanted, array_literal, texts_of

INT64 = 2**63 - 1


def texts(column: Any, kind: PropertyType = PropertyType.STRING, *, array: bool = False) -> list[str | None]:
    written, faults = texts_of(column, Wanted("properties.p", kind, array))
    assert faults == {}
    return written


@pytest.mark.parametrize(
    ("values", "kind", "written"),
    [
        pytest.param(
            pyarrow.array(["a", "", None, "ä\n\\"]), PropertyType.STRING, ["a", "", None, "ä\n\\"], id="texts"
        ),
        pytest.param(pyarrow.array([INT64, None]), PropertyType.INTEGER, [str(INT64), None], id="integers"),
        pytest.param(pyarrow.array([5.0, None, -0.0]), PropertyType.INTEGER, ["5", None, "0"], id="whole doubles"),
        pytest.param(pyarrow.array([5.5, 2.0]), PropertyType.NUMBER, ["5.5", "2"], id="doubles"),
        pytest.param(pyarrow.array([0.1 + 0.2]), PropertyType.NUMBER, ["0.30000000000000004"], id="every digit"),
        pytest.param(pyarrow.array([Decimal("1.10")]), PropertyType.NUMBER, ["1.10"], id="decimals"),
        pytest.param(pyarrow.array([True, False]), PropertyType.BOOLEAN, ["true", "false"], id="booleans"),
        pytest.param(pyarrow.array([b"\x00\xff"]), PropertyType.BYTES, ["\\x00ff"], id="bytes"),
        pytest.param(pyarrow.array([date(2020, 1, 2)]), PropertyType.STRING, ["2020-01-02"], id="dates"),
        pytest.param(
            pyarrow.array([datetime(2020, 1, 2, 3, tzinfo=UTC)], pyarrow.timestamp("us", "UTC")),
            PropertyType.TIMESTAMP,
            ["2020-01-02 03:00:00.000000Z"],
            id="moments",
        ),
        pytest.param(pyarrow.array(["x", None]).dictionary_encode(), PropertyType.STRING, ["x", None], id="categories"),
        pytest.param(
            pyarrow.array([{"a": [1, None]}]), PropertyType.JSON, ['{"a": [1, null]}'], id="structures as JSON"
        ),
        pytest.param(pyarrow.array([" 7 ", "+1"]), PropertyType.INTEGER, [" 7 ", "+1"], id="texts of integers"),
        pytest.param(pyarrow.array(["1e5", ".5", "NaN"]), PropertyType.NUMBER, ["1e5", ".5", "NaN"], id="of numbers"),
        pytest.param(pyarrow.array(["yes", "F", "0"]), PropertyType.BOOLEAN, ["yes", "F", "0"], id="of booleans"),
    ],
)
def test_values_are_written_as_postgresql_reads_them(
    values: Any, kind: PropertyType, written: list[str | None]
) -> None:
    assert texts(values, kind) == written


@pytest.mark.parametrize(
    ("column", "written"),
    [
        (pyarrow.array([["a", None], []]), ['{"a",NULL}', "{}"]),
        (pyarrow.array(['["a,b", "c\\"d"]', "{x,y}", None]), ['{"a,b","c\\"d"}', "{x,y}", None]),
        (pyarrow.array(["[no json"]), ["[no json"]),
    ],
    ids=["lists", "texts of JSON and of PostgreSQL", "neither"],
)
def test_arrays_are_written_from_lists_and_from_texts(column: Any, written: list[str | None]) -> None:
    assert texts(column, PropertyType.JSON, array=True) == written


def test_items_of_an_array_are_quoted() -> None:
    assert array_literal(["a b", 'q"', "\\", "NULL", 1, True, [1], {"k": 1}]) == (
        r'{"a b","q\"","\\","NULL","1",true,{"1"},"{\"k\": 1}"}'
    )


@pytest.mark.parametrize(
    ("column", "kind", "message"),
    [
        (pyarrow.array(["1", "2x"]), PropertyType.INTEGER, "'2x' is not an integer"),
        (pyarrow.array([1.0, 1.5]), PropertyType.INTEGER, "'1.5' is not an integer"),
        (pyarrow.array(["1", ""]), PropertyType.NUMBER, "'' is not a number"),
        (pyarrow.array(["t", "maybe"]), PropertyType.BOOLEAN, "'maybe' is not true or false"),
        (pyarrow.array(["a", "b\0"]), PropertyType.STRING, "it has a NUL, which no text may have"),
    ],
)
def test_a_value_that_cannot_be_is_refused_with_its_row(column: Any, kind: PropertyType, message: str) -> None:
    _, faults = texts_of(column, Wanted("properties.p", kind))

    assert faults == {1: Fault("INVALID_PROPERTY_VALUE", message, "properties.p")}
