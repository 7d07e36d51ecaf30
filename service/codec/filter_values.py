"""The values in a filter, checked against what they are compared with; each gets a place in the filter's structure."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any, Final, TypeAlias
from uuid import UUID

from service.codec.cql2_text import Cql2Text
from service.db.kinds import ValueKind
from service.domain import Argument
from service.errors import Reason

Node: TypeAlias = list[Any]

# From here on not every integer is a double, which is what a number in CQL2 becomes.
INEXACT: Final = 2.0**53
BIGINT: Final = range(-(2**63), 2**63)
NUMBERS: Final = frozenset((ValueKind.INTEGER, ValueKind.NUMERIC, ValueKind.REAL, ValueKind.DOUBLE))
FLOATS: Final = frozenset((ValueKind.REAL, ValueKind.DOUBLE))
MOMENTS: Final = frozenset((ValueKind.TIMESTAMP, ValueKind.LOCAL_TIMESTAMP, ValueKind.DATE))
_REAL: Final = (2.0**-126, 3.4e38)
_INTEGER: Final = re.compile(r"-?[0-9]{1,19}")
_DECIMAL: Final = re.compile(r"-?[0-9]{1,100}(\.[0-9]{1,100})?")
_DATE: Final = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
_TIMESTAMP: Final = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d{1,6})?([Zz]|[+-]\d\d:\d\d)", re.ASCII)
WORDS: Final = {
    ValueKind.TEXT: "a text",
    ValueKind.INTEGER: "an integer",
    ValueKind.NUMERIC: "a number",
    ValueKind.REAL: "a number",
    ValueKind.DOUBLE: "a number",
    ValueKind.BOOLEAN: "a truth value",
    ValueKind.TIMESTAMP: "a timestamp",
    ValueKind.LOCAL_TIMESTAMP: "a timestamp",
    ValueKind.DATE: "a date",
    ValueKind.UUID: "a UUID",
    ValueKind.JSON: "JSON",
    ValueKind.ARRAY: "an array",
    ValueKind.OTHER: "of a type that cannot be compared",
}


@dataclass(frozen=True, slots=True)
class Moment:
    """A DATE or a TIMESTAMP."""

    text: str


Literal: TypeAlias = str | float | bool | Moment


class Values:
    """The values of one filter, in the order of their places."""

    def __init__(self, text: Cql2Text) -> None:
        self._text = text
        self._values: list[Argument] = []

    @property
    def all(self) -> tuple[Argument, ...]:
        return tuple(self._values)

    def put(self, value: Argument) -> int:
        """The number of the value's place."""
        self._values.append(value)
        return len(self._values)

    def place(self, kind: ValueKind, literal: Literal) -> Node:
        """A value that is compared with something of this kind."""
        if kind is ValueKind.BOOLEAN and isinstance(literal, bool):
            return ["true"] if literal else ["false"]
        kind, value = self._checked(kind, literal)
        return ["value", kind.value, self.put(value)]

    def array(self, kind: ValueKind, literals: Sequence[Literal]) -> Node:
        """Values of which any is compared with something of this kind."""
        checked = [self._checked(kind, literal) for literal in literals]
        kinds = {kind for kind, _ in checked}
        if len(kinds) > 1:  # an integer beside fractions, or a float beside those of double precision
            kind = ValueKind.DOUBLE if kinds & FLOATS else ValueKind.NUMERIC
        else:
            (kind,) = kinds
        return ["list", kind.value, self.put(array_literal([value for _, value in checked]))]

    def items(self, kind: ValueKind, literals: Sequence[Literal], within: range | None) -> int:
        """The place of an array for a column whose items are of this kind."""
        values = []
        for literal in literals:
            found, value = self._checked(kind, literal)
            if found is not kind or (within and value not in within):
                raise self.mismatch(kind, literal)
            values.append(value)
        return self.put(array_literal(values))

    def mismatch(self, kind: ValueKind, literal: object) -> Exception:
        given = "a date or timestamp" if isinstance(literal, Moment) else _named(literal)
        return self._text.error(Reason.FILTER_TYPE_MISMATCH, f"{given} cannot be compared with {WORDS[kind]}")

    def json_value(self, literal: Literal) -> str | float | bool:
        """As it stands in JSON."""
        if isinstance(literal, Moment):
            problem = "JSON has no dates: compare with the text as it is stored"
            raise self._text.error(Reason.FILTER_TYPE_MISMATCH, problem)
        if isinstance(literal, bool):
            return literal
        if isinstance(literal, str):
            return self._text_value(literal)
        number = self._exact(literal)
        return int(number) if number.is_integer() else number

    def put_json(self, value: object) -> int:
        return self.put(json.dumps(value, ensure_ascii=False, separators=(",", ":")))

    def moment(self, kind: ValueKind, text: str) -> str:
        """A date or timestamp as PostgreSQL reads it, whatever the session's settings; a date stands for its midnight,
        UTC."""
        try:
            if _DATE.fullmatch(text):
                day = date.fromisoformat(text)
                return text if kind is ValueKind.DATE else _written(kind, datetime(day.year, day.month, day.day))
            if _TIMESTAMP.fullmatch(text) and kind is not ValueKind.DATE:
                moment = datetime.fromisoformat(text.upper())
                return _written(kind, moment.astimezone(UTC).replace(tzinfo=None))
        except (ValueError, OverflowError):
            pass
        wanted = "2026-01-31" if kind is ValueKind.DATE else "2026-01-31T12:00:00Z or 2026-01-31"
        problem = f"{text[:40]!r} is not {WORDS[kind]} such as {wanted}"
        raise self._text.error(Reason.FILTER_TYPE_MISMATCH, problem)

    def _checked(self, kind: ValueKind, literal: Literal) -> tuple[ValueKind, Argument]:
        """The value as it is bound, and of which kind."""
        if kind in MOMENTS and isinstance(literal, str | Moment):
            text = literal.text if isinstance(literal, Moment) else literal
            return kind, self.moment(kind, text)
        if isinstance(literal, str):
            return kind, self._of_text(kind, literal)
        if isinstance(literal, float) and kind in NUMBERS:
            return self._number(kind, literal)
        if isinstance(literal, bool) and kind is ValueKind.BOOLEAN:
            return kind, str(literal).lower()
        raise self.mismatch(kind, literal)

    def _of_text(self, kind: ValueKind, text: str) -> Argument:
        if kind is ValueKind.TEXT:
            return self._text_value(text)
        if kind is ValueKind.INTEGER and _INTEGER.fullmatch(text) and int(text) in BIGINT:
            return int(text)
        if kind is ValueKind.NUMERIC and _DECIMAL.fullmatch(text):
            return text
        if kind is ValueKind.UUID:
            try:
                return str(UUID(text))
            except ValueError:
                pass
        raise self.mismatch(kind, text)

    def _text_value(self, text: str) -> str:
        if "\0" in text:
            raise self._text.error(Reason.INVALID_FILTER, "a text must not contain the character NUL")
        return text

    def _number(self, kind: ValueKind, number: float) -> tuple[ValueKind, Argument]:
        if kind in FLOATS:
            # A single-precision value is looked for as such: 0.1 is not the same number in both.
            fits = number == 0 or _REAL[0] <= abs(number) <= _REAL[1]
            return (kind if fits else ValueKind.DOUBLE), self.finite(number)
        number = self._exact(number)
        if kind is ValueKind.INTEGER and number.is_integer():
            return kind, int(number)
        return ValueKind.NUMERIC, number

    def finite(self, number: float) -> float:
        if abs(number) == float("inf"):
            raise self._text.error(Reason.INVALID_FILTER, "this number is beyond what a double can hold")
        return number

    def _exact(self, number: float) -> float:
        if abs(self.finite(number)) >= INEXACT:
            problem = "numbers from 2^53 on are not exact: write integers as texts, such as '9007199254740993'"
            raise self._text.error(Reason.FILTER_TYPE_MISMATCH, problem)
        return number


def _named(literal: object) -> str:
    if isinstance(literal, bool):
        return str(literal).upper()
    return f"the number {literal:g}" if isinstance(literal, float) else f"the text {str(literal)[:40]!r}"


def _written(kind: ValueKind, moment: datetime) -> str:
    return moment.isoformat(" ") + ("+00" if kind is ValueKind.TIMESTAMP else "")


def array_literal(values: Sequence[Argument]) -> str:
    """As PostgreSQL reads arrays from text."""
    quoted = (str(value).replace("\\", "\\\\").replace('"', '\\"') for value in values)
    return "{" + ",".join(f'"{value}"' for value in quoted) + "}"
