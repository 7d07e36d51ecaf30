"""Filters that are made up, each with what it says of a row in Python; and the rows."""

import math
import operator
import re
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from typing import Any, NamedTuple

from geoalchemy2 import Geometry
from hypothesis import strategies as st
from sqlalchemy import BigInteger, Boolean, Column, Date, DateTime, Float, MetaData, Numeric, Table, Text
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

from service.catalog import Layer, Property, property_type

Row = dict[str, Any]
Truth = bool | None
TABLE = Table(
    "things",
    MetaData(),
    Column("id", BigInteger, primary_key=True),
    Column("name", Text),
    Column("count", BigInteger),
    Column("price", Numeric(30, 3)),
    Column("ratio", Float(53)),
    Column("flag", Boolean),
    Column("moment", DateTime(timezone=True)),
    Column("day", Date),
    Column("tags", ARRAY(Text)),
    Column("doc", JSONB),
    Column("shape", Geometry("POINT", srid=4326)),
)
PROPERTIES = {
    column.name: Property(column.name, property_type(column.type), column, nullable=True)
    for column in TABLE.c
    if column.name not in ("id", "shape")
}
LAYER = Layer("things", "", TABLE, TABLE.c.id, TABLE.c.shape, "POINT", 4326, PROPERTIES)
NEW_YEAR = datetime(2026, 1, 1, tzinfo=UTC)
NAMES = ["", "a", "A", "ab", "a%b", "a_b", "a\\b", "it's", 'say "hi"', "Ärger", "naïve ☃", "{a,b}", "0", "null", None]
COUNTS = [0, 1, -1, 2, 7, 2**53, 2**53 + 1, -(2**63), 2**63 - 1, None]
PRICES = ["0", "0.1", "-2.5", "7", "9007199254740993.001", None]
RATIOS = [0.0, -0.5, 0.1, 2.0, 1e300, math.nan, math.inf, -math.inf, None]
MOMENTS = [NEW_YEAR + timedelta(days=days, microseconds=days) for days in (-400, -1, 0, 1, 30)] + [None]
TAGS = [[], ["a"], ["a", "b"], ["b", "a", "a"], ["it's"], ['"', "\\", "{}", ","], ["NULL"], None]
DOCUMENTS = [
    {},
    {"height": 2},
    {"height": 2.5, "name": "a"},
    {"height": "2"},
    {"height": None},
    {"height": [2]},
    {"open": True, "height": -1},
    {"open": False},
    {"open": "true"},
    {"deep": {"er": "a"}, "colors": ["red", "blue", 3]},
    {"deep": {"er": 7}, "colors": []},
    {"deep": [{"er": "a"}], "colors": "red"},
    {"deep": "a", "colors": [["red"]]},
    {"list": ["a", "b"]},
    {"list": {"1": "b"}},
    [{"height": 2}],
    "height",
    None,
]


def rows() -> list[Row]:
    """Every value of every column, next to ever other ones of the others."""
    pools: tuple[list[Any], ...] = (NAMES, COUNTS, PRICES, RATIOS, [True, False, None], MOMENTS, TAGS, DOCUMENTS)
    made = []
    for number in range(90):
        name, count, price, ratio, flag, moment, tags, doc = (pool[number % len(pool)] for pool in pools)
        day = None if moment is None else moment.date()
        values = (number, name, count, price and float(price), ratio, flag, moment, day, tags, doc)
        made.append(dict(zip([column.name for column in TABLE.c], values, strict=False)) | {"exact": price})
    return made


ROWS = rows()


class Condition(NamedTuple):
    """A filter as text, and what it says of a row."""

    text: str
    holds: Callable[[Row], Truth]


def quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


# Three truth values, and PostgreSQL's order of doubles.


def negated(truth: Truth) -> Truth:
    return None if truth is None else not truth


def all_of(truths: list[Truth]) -> Truth:
    return False if False in truths else None if None in truths else True


def any_of(truths: list[Truth]) -> Truth:
    return negated(all_of([negated(truth) for truth in truths]))


OPERATORS: dict[str, Callable[[Any, Any], bool]] = {
    "=": operator.eq,
    "<>": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


def rank(value: Any) -> Any:
    """As PostgreSQL orders it: NaN behind everything, texts by their bytes."""
    if isinstance(value, float):
        return (1, 0.0) if math.isnan(value) else (0, value)
    if isinstance(value, int) and not isinstance(value, bool):
        return (0, value)
    return value.encode() if isinstance(value, str) else value


def compared(name: str, left: Any, right: Any) -> Truth:
    return None if left is None or right is None else OPERATORS[name](rank(left), rank(right))


def like(text: str | None, pattern: str) -> Truth:
    if text is None:
        return None
    parts = {"%": ".*", "_": "."}
    pieces = re.findall(r"\\.|[^\\]", pattern, re.DOTALL)
    expression = "".join(parts.get(piece, re.escape(piece.removeprefix("\\") or "\\")) for piece in pieces)
    return re.fullmatch(expression, text, re.DOTALL) is not None


def at(row: Row, path: str) -> Any:
    value = row["doc"]
    for part in path.split("."):
        if isinstance(value, list) and part.isdigit() and int(part) < len(value):
            value = value[int(part)]
        elif isinstance(value, dict):
            value = value.get(part)
        else:
            return None
    return value


def typed(value: Any, like_this: Any) -> Any:
    """A value in JSON if it is of the type of what it is compared with."""
    kinds = ((bool,), (str,), (int, float))
    kind = next(kind for kind in kinds if isinstance(like_this, kind))
    return value if isinstance(value, kind) and isinstance(value, bool) == (kind == (bool,)) else None


# What filters are made of.

operators = st.sampled_from(sorted(OPERATORS))
texts = st.sampled_from([name for name in NAMES if name is not None]) | st.text(
    st.characters(codec="utf-8", exclude_characters="\0"), max_size=6
)
integers = st.sampled_from([0, 1, -1, 2, 7]) | st.integers(-(2**53) + 1, 2**53 - 1)
floats = st.sampled_from([0.0, -0.5, 0.1, 2.0, 1e300]) | st.floats(allow_nan=False, allow_infinity=False)
moments: st.SearchStrategy[datetime] = st.sampled_from(
    [moment for moment in MOMENTS if moment is not None]
) | st.datetimes(datetime(1, 1, 2), datetime(9999, 1, 1)).map(lambda moment: moment.replace(tzinfo=UTC))


def number(value: float) -> str:
    return repr(value)


def timestamp(moment: datetime) -> str:
    return f"TIMESTAMP('{moment.isoformat().replace('+00:00', 'Z')}')"


def comparison(
    name: str, values: st.SearchStrategy[Any], written: Callable[[Any], str]
) -> st.SearchStrategy[Condition]:
    def make(symbol: str, value: Any, turned: bool) -> Condition:
        sides = (written(value), name) if turned else (name, written(value))

        def holds(row: Row) -> Truth:
            pair = (value, row[name]) if turned else (row[name], value)
            return compared(symbol, *pair)

        return Condition(f"{sides[0]} {symbol} {sides[1]}", holds)

    return st.builds(make, operators, values, st.booleans())


def among(name: str, values: st.SearchStrategy[Any], written: Callable[[Any], str]) -> st.SearchStrategy[Condition]:
    def make(listed: list[Any]) -> Condition:
        text = f"{name} IN ({', '.join(map(written, listed))})"
        return Condition(text, lambda row: any_of([compared("=", row[name], value) for value in listed]))

    return st.builds(make, st.lists(values, min_size=1, max_size=3))


def between(name: str, values: st.SearchStrategy[Any], written: Callable[[Any], str]) -> st.SearchStrategy[Condition]:
    def make(least: Any, most: Any) -> Condition:
        text = f"{name} BETWEEN {written(least)} AND {written(most)}"
        holds = lambda row: all_of([compared(">=", row[name], least), compared("<=", row[name], most)])  # noqa: E731
        return Condition(text, holds)

    return st.builds(make, values, values)


def in_json(path: str) -> st.SearchStrategy[Condition]:
    values: st.SearchStrategy[Any] = st.sampled_from(["a", "2", "true", "red"]) | st.sampled_from([2, 2.5, -1.0, 7])

    def make(symbol: str, value: Any) -> Condition:
        text = f"doc.{path} {symbol} {quoted(value) if isinstance(value, str) else number(value)}"
        return Condition(text, lambda row: compared(symbol, typed(at(row, path), value), value))

    return st.builds(make, operators, values)


def truth_in_json(path: str) -> st.SearchStrategy[Condition]:
    def make(form: str) -> Condition:
        wanted = form not in ("= FALSE", "<> TRUE")

        def holds(row: Row) -> Truth:
            value = typed(at(row, path), True)
            return None if value is None else value is wanted

        return Condition(f"doc.{path} {form}".strip(), holds)

    return st.builds(make, st.sampled_from(["", "= TRUE", "= FALSE", "<> TRUE", "<> FALSE"]))


ARRAYS: dict[str, Callable[[set[Any], set[Any]], bool]] = {
    "A_CONTAINS": operator.ge,
    "A_CONTAINEDBY": operator.le,
    "A_EQUALS": operator.eq,
    "A_OVERLAPS": lambda left, right: not left.isdisjoint(right),
}


def arrays(name: str, value: Callable[[Row], Any], items: list[Any]) -> st.SearchStrategy[Condition]:
    def make(function: str, wanted: list[Any]) -> Condition:
        written = ", ".join(quoted(item) if isinstance(item, str) else number(item) for item in wanted)

        def holds(row: Row) -> Truth:
            held = value(row)
            return None if not isinstance(held, list) else ARRAYS[function](_set(held), set(wanted))

        return Condition(f"{function}({name}, ({written}))", holds)

    return st.builds(make, st.sampled_from(sorted(ARRAYS)), st.lists(st.sampled_from(items), min_size=1, max_size=3))


def _set(values: list[Any]) -> set[Any]:
    return {tuple(value) if isinstance(value, list) else value for value in values}


WORKED_OUT: dict[str, Callable[[int, int], int]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    # Of the dividend's sign, as in SQL.
    "%": lambda a, b: abs(a) % abs(b) * (1 if a > 0 else -1),
}


def worked_out() -> st.SearchStrategy[Condition]:
    def make(symbol: str, by: int, with_operator: str, value: int) -> Condition:
        def holds(row: Row) -> Truth:
            if row["count"] is None or (by == 0 and symbol == "%"):
                return None
            return compared(with_operator, WORKED_OUT[symbol](row["count"], by), value)

        return Condition(f"count {symbol} {by} {with_operator} {value}", holds)

    small, wanted = st.integers(-3, 3), st.integers(-9, 9)
    return st.builds(make, st.sampled_from(sorted(WORKED_OUT)), small, operators, wanted)


def during() -> st.SearchStrategy[Condition]:
    def make(function: str, one: datetime, other: datetime) -> Condition:
        start, end = sorted((one, other))
        text = f"{function}(moment, INTERVAL('{_iso(start)}', '{_iso(end)}'))"

        def holds(row: Row) -> Truth:
            moment = row["moment"]
            if moment is None:
                return None
            truths = {
                "T_DURING": start < moment < end,
                "T_INTERSECTS": start <= moment <= end,
                "T_DISJOINT": not start <= moment <= end,
                "T_BEFORE": moment < start,
                "T_AFTER": moment > end,
            }
            return bool(truths[function])

        return Condition(text, holds)

    functions = st.sampled_from(["T_DURING", "T_INTERSECTS", "T_DISJOINT", "T_BEFORE", "T_AFTER"])
    return st.builds(make, functions, moments, moments)


def _iso(moment: datetime) -> str:
    return moment.isoformat().replace("+00:00", "Z")


def patterns() -> st.SearchStrategy[Condition]:
    pieces = st.sampled_from(["a", "b", "A", "%", "_", "\\%", "\\_", "\\\\", "'", "☃", "é"])

    def make(parts: list[str], folded: bool) -> Condition:
        pattern = "".join(parts)
        if folded:
            plain = pattern.lower()
            return Condition(
                f"CASEI(name) LIKE CASEI({quoted(pattern)})",
                lambda row: like(row["name"] and row["name"].lower(), plain),
            )
        return Condition(f"name LIKE {quoted(pattern)}", lambda row: like(row["name"], pattern))

    return st.builds(make, st.lists(pieces, max_size=4), st.booleans())


def nulls(name: str, value: Callable[[Row], Any]) -> st.SearchStrategy[Condition]:
    return st.sampled_from(
        [
            Condition(f"{name} IS NULL", lambda row: value(row) is None),
            Condition(f"{name} IS NOT NULL", lambda row: value(row) is not None),
        ]
    )


def date_text(day: date) -> str:
    return f"DATE('{day.isoformat()}')"


simple: st.SearchStrategy[Condition] = st.one_of(
    comparison("name", texts, quoted),
    comparison("count", integers, str),
    comparison("count", st.sampled_from([value for value in COUNTS if value is not None]), lambda value: f"'{value}'"),
    comparison("count", st.sampled_from([0.5, -0.5, 6.999]), number),
    comparison("price", st.sampled_from([0, 0.1, -2.5, 7]), number),
    comparison("ratio", floats, number),
    comparison("moment", moments, timestamp),
    comparison("day", moments.map(lambda moment: moment.date()), date_text),
    comparison("id", integers, str),
    among("name", texts, quoted),
    among("count", integers | st.sampled_from([0.5, 2.0]), number),
    among("ratio", floats, number),
    between("count", integers, str),
    between("name", texts, quoted),
    between("moment", moments, timestamp),
    *(in_json(path) for path in ("height", "deep.er", "deep", "list.1", "name")),
    *(truth_in_json(path) for path in ("open", "height")),
    arrays("tags", lambda row: row["tags"], ["a", "b", "it's", '"', "\\", "{}", ",", "NULL"]),
    arrays("doc.colors", lambda row: at(row, "colors"), ["red", "blue", 3]),
    worked_out(),
    during(),
    patterns(),
    *(nulls(name, lambda row, name=name: row[name]) for name in ("name", "count", "doc", "tags")),  # type: ignore[misc]
    *(nulls(f"doc.{path}", lambda row, path=path: at(row, path)) for path in ("height", "deep.er")),  # type: ignore[misc]
    st.sampled_from(
        [
            Condition("flag", lambda row: row["flag"]),
            Condition("flag = TRUE", lambda row: row["flag"]),
            Condition("flag <> TRUE", lambda row: negated(row["flag"])),
            Condition("flag = FALSE", lambda row: negated(row["flag"])),
            Condition("(count > 1) = flag", lambda row: compared("=", compared(">", row["count"], 1), row["flag"])),
            Condition("(count > 1) IS NULL", lambda row: row["count"] is None),
            Condition("TRUE", lambda row: True),
            Condition("FALSE", lambda row: False),
        ]
    ),
)


def joined(conditions: list[Condition], word: str) -> Condition:
    combine = all_of if word == "AND" else any_of
    text = f" {word} ".join(f"({condition.text})" for condition in conditions)
    return Condition(text, lambda row: combine([condition.holds(row) for condition in conditions]))


def opposite(condition: Condition) -> Condition:
    return Condition(f"NOT ({condition.text})", lambda row: negated(condition.holds(row)))


filters = st.recursive(
    simple,
    lambda inner: (
        st.builds(joined, st.lists(inner, min_size=2, max_size=3), st.sampled_from(["AND", "OR"]))
        | st.builds(opposite, inner)
    ),
    max_leaves=5,
)
