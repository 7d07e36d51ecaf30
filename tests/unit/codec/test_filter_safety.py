"""Texts that would take the parser of filters down, or keep it for ever; and any text at all."""

import subprocess
import sys
import time
from collections.abc import Callable

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from service.codec.cql2_text import MOST_BYTES, MOST_DEPTH
from service.codec.filters import FilterReader
from service.db.filters import condition
from service.errors import InvalidArgument
from tests.filters import FACILITIES, PROBES, read, refused
from tests.processes import ROOT
from tests.unit.codec.test_filters import INVALID

DEEP: dict[str, Callable[[int], str]] = {
    "(": lambda count: "(" * count,
    "()": lambda count: "(" * count + "active" + ")" * count,
    "NOT": lambda count: "NOT " * count + "active",
    "NOT(": lambda count: "NOT(" * count + "active" + ")" * count,
    "-": lambda count: "-" * count + "1 = population",
    "=": lambda count: "=".join(["id"] * count),
    "+": lambda count: "+".join(["id"] * count) + " = 1",
    "f(": lambda count: "f(" * count + "1" + ")" * count,
    "f( open": lambda count: "f(" * count,
    "IN (": lambda count: "id IN (" * count,
    "1and(": lambda count: "id=1and(" * count,
    "1andnot(": lambda count: "id=1andnot(" * count,
    "(a,": lambda count: "(id, " * count + "id" + ")" * count,
    "collections": lambda count: "S_INTERSECTS(location, " + "GEOMETRYCOLLECTION(" * count,
    "quotes": lambda count: "'" * (2 * count + 1),
    "list": lambda count: "((((id IN (" + ",".join(["1"] * count) + ") x))))",
}
LIVES = """
import sys, threading
from tests.filters import read
from tests.unit.codec.test_filter_safety import DEEP
from service.errors import InvalidArgument
def work():
    for make in DEEP.values():
        for count in (10, 60, 1000, 100_000):
            try:
                read(make(count))
            except InvalidArgument:
                pass
    print("alive", flush=True)
threading.stack_size(512 * 1024)
thread = threading.Thread(target=work)
thread.start()
thread.join()
"""


def test_no_text_takes_the_process_down_or_holds_it_up() -> None:
    """In a process of its own, on a stack a sixteenth of what a main thread has."""
    began = time.monotonic()
    ended = subprocess.run(
        [sys.executable, "-c", LIVES], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )

    assert (ended.returncode, ended.stdout.strip()) == (0, "alive"), ended.stderr
    assert time.monotonic() - began < 30


@pytest.mark.parametrize("kind", [kind for kind in DEEP if kind not in ("quotes", "collections", "list")])
def test_what_nests_too_deep_is_refused_where_it_does(kind: str) -> None:
    error = refused(DEEP[kind](600))

    assert error.reason == INVALID
    assert "nests too deep" in error.message
    assert {"line", "column"} <= set(error.metadata)


def test_a_filter_that_people_would_write_is_not_too_deep() -> None:
    ring = ", ".join(f"{n / 10} {n / 20}" for n in range(40)) + ", 0 4, 0 0"
    names = ", ".join(f"'{number}'" for number in range(400))
    area = f"S_INTERSECTS(location, POLYGON(({ring})))"
    text = f"NOT (active AND (population > 5 OR (name IN ({names}) AND ({area} OR attributes.a = 1))))"

    assert read(text).values


def test_a_text_has_a_largest_size_in_bytes() -> None:
    text = f"name = '{'é' * (MOST_BYTES // 2)}'"
    error = refused(text)

    assert (error.reason, error.metadata["limit"]) == (INVALID, str(MOST_BYTES))
    assert read(f"name = '{'é' * (MOST_BYTES // 2 - 10)}'").values


def test_depth_counts_between_and_and_or_anew() -> None:
    chained = " AND ".join(["NOT population + 1 = -2"] * (2 * MOST_DEPTH))

    assert len(read(chained).values) == 4 * MOST_DEPTH


TOKENS = [
    "name",
    "population",
    "active",
    "attributes.a",
    "tags",
    "'x'",
    "5",
    "(",
    ")",
    ",",
    "=",
    "<",
    "AND",
    "OR",
    "NOT",
]
TOKENS += [
    "IN",
    "LIKE",
    "BETWEEN",
    "IS NULL",
    "+",
    "-",
    "/",
    "TRUE",
    "NULL",
    "CASEI(",
    "A_CONTAINS(",
    "DATE('2026-01-01')",
]
TOKENS += [
    "S_INTERSECTS(",
    "location",
    "POINT(1 2)",
    "BBOX(",
    "INTERVAL('..', '2026-01-01')",
    "T_AFTER(",
    "created_at",
    "''",
]


@given(st.lists(st.sampled_from(TOKENS), max_size=12).map(" ".join) | st.text(max_size=30))
@example("T_AFTER(INTERVAL('..', '..'), INTERVAL('..', '..'))")
@example("CASEI() = 'x'")
@example("A_CONTAINS()")
@example("active = (TRUE, FALSE)")
@example("BBOX(1,2,3,4)")
@example("TIMESTAMP(created_at) = created_at")
def test_any_text_is_read_or_refused(text: str) -> None:
    reader, error = FilterReader(PROBES), None
    try:
        found = reader.read(FACILITIES, text, "filter")
    except InvalidArgument as raised:
        error = raised
    if error is not None:
        assert error.field == "filter"
        assert len(error.message) < 500
    else:
        assert found is None or str(condition(FACILITIES, found))
