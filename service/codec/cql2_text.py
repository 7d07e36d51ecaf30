"""CQL2 text as a tree, and where in the text a part of the tree stands.

The parser is recursive and, where parentheses do not lead to an end, takes each pair of them twice: deep texts would
overflow its stack, which ends the process, and others take for ever. So a text is measured before it is parsed.
"""

import re
from bisect import bisect_left
from functools import cached_property
from typing import Any, Final

import cql2

from service.errors import InvalidArgument, Reason

MOST_BYTES: Final = 8192
MOST_DEPTH: Final = 64
# A word or mark in so many parentheses may be read 2^n times, each taking about half a microsecond.
MOST_WORK: Final = 2**17

_TOKEN: Final = re.compile(
    r"""(?P<string>'(?:[^']|'')*')
      | (?P<quoted>"(?:[^"]|"")*")
      | (?P<word>[^\W\d_][\w.:]*)
      | (?P<number>\d+(?:\.\d*)?(?:[eE][+-]?\d+)?)
      | (?P<mark><>|!=|<=|>=|\S)""",
    re.VERBOSE,
)
_NESTING: Final = frozenset(("=", "<>", "!=", "<", "<=", ">", ">=", "+", "-", "*", "/", "%", "^"))
_PARTING: Final = frozenset(("and", "or", ","))
_AT: Final = re.compile(r"--> (\d+):(\d+)")
_EXCERPT: Final = 24


class Cql2Text:
    """A text whose parts are found in the order in which its tree has them."""

    def __init__(self, text: str) -> None:
        if (size := len(text.encode())) > MOST_BYTES:
            raise InvalidArgument(
                Reason.INVALID_FILTER,
                f"a filter has at most {MOST_BYTES} bytes, and this one {size}",
                metadata={"limit": str(MOST_BYTES)},
            )
        self._text = text
        self._tokens = list(_TOKEN.finditer(text))
        self._next = 0
        self._at: int | None = None  # where the part that was last found begins
        self._measure()

    def tree(self) -> Any:
        """As the JSON encoding of CQL2 has it."""
        try:
            return cql2.parse_text(self._text).to_json()
        except Exception as error:  # cql2 raises its own, and where coordinates are missing a plain Exception
            raise self._complaint(str(error)) from None

    def find(self, kind: str, value: str | float) -> None:
        """The next part of a kind with this value: what is refused from here on is said of it."""
        places = self._places.get((kind, value), ())
        index = bisect_left(places, self._next)
        if index < len(places):
            self._at = self._tokens[places[index]].start()
            self._next = places[index] + 1

    def find_number(self, value: float) -> None:
        self.find("number", abs(value))  # the sign is a part of its own

    @cached_property
    def _places(self) -> dict[tuple[str, str | float], list[int]]:
        """Which parts there are, by kind and value."""
        places: dict[tuple[str, str | float], list[int]] = {}
        for index, token in enumerate(self._tokens):
            for part in _parts(token):
                places.setdefault(part, []).append(index)
        return places

    def error(self, reason: Reason, problem: str, **metadata: str) -> InvalidArgument:
        """What is wrong with the part that was last found."""
        if self._at is None:
            return InvalidArgument(reason, problem, metadata=metadata)
        line = self._text.count("\n", 0, self._at) + 1
        column = self._at - self._text.rfind("\n", 0, self._at)
        return _at(line, column, reason, problem, metadata)

    def _measure(self) -> None:
        """How deep the parser would go, and how much it would read, at worst."""
        chains, depth, work = [0], 0, 0
        for token in self._tokens:
            word = token[0].lower()
            if word == "(":
                chains.append(0)
                depth += 1
            elif word == ")" and len(chains) > 1:
                depth -= 1 + chains.pop()
            elif word in _PARTING:
                depth -= chains[-1]
                chains[-1] = 0
            elif deeper := 1 if word in _NESTING else word.count("not") if token.lastgroup == "word" else 0:
                chains[-1] += deeper
                depth += deeper
            work += 2 ** min(len(chains), MOST_DEPTH)
            if depth > MOST_DEPTH or work > MOST_WORK:
                self._at = token.start()
                raise self.error(Reason.INVALID_FILTER, "the filter nests too deep from here on", limit=str(MOST_DEPTH))

    def _complaint(self, said: str) -> InvalidArgument:
        """In place of the parser's own words, which name the rules of its grammar."""
        if not (found := _AT.search(said)):
            problem = "an empty geometry cannot be compared" if "position" in said else said.partition("\n")[0][:200]
            return InvalidArgument(Reason.INVALID_FILTER, problem)
        line, column = int(found[1]), int(found[2])
        rest = self._text.split("\n")[line - 1][column - 1 :]
        here = f"{rest[:_EXCERPT]!r}" if rest else "the end" if line > self._text.count("\n") else "the end of the line"
        return _at(line, column, Reason.INVALID_FILTER, f"{_expected(said)}, not {here}", {})


def _parts(token: re.Match[str]) -> list[tuple[str, str | float]]:
    """What a token may be: a word may be a function or a name."""
    text, kind = token[0], str(token.lastgroup)
    if kind == "string":
        return [(kind, text[1:-1].replace("''", "'"))]
    if kind == "quoted":
        return [("name", text[1:-1].replace('""', '"'))]
    if kind == "number":
        return [(kind, float(text))]
    return [(kind, text.lower()), ("name", text)]


def _expected(said: str) -> str:
    expected = said.rpartition("expected ")[2]
    if "EOI" in expected:
        return "an operator or the end of the filter must be here"
    if "SingleQuotedString" in expected or "Expr" in expected:
        return "a property or a value must be here"
    return "an operator, a comma or a parenthesis must be here"


def _at(line: int, column: int, reason: Reason, problem: str, metadata: dict[str, str]) -> InvalidArgument:
    place = {"line": str(line), "column": str(column)}
    return InvalidArgument(reason, f"line {line}, column {column}: {problem}", metadata=metadata | place)
