"""Reads filters: CQL2 text over a layer's properties. What is wrong is refused with its place in the text.

The text becomes a structure, which `db/filters.py` makes SQL of, and apart from it the values. Both are kept for the
next call with the same text.
"""

import json
from collections.abc import Sequence
from typing import Any, Final

from service.catalog import Layer
from service.codec.cql2_text import Cql2Text
from service.codec.filter_functions import ARRAYS, SPATIAL, TEMPORAL, FunctionReader
from service.codec.filter_operands import ARITHMETIC, Json, Operand, OperandReader, Typed
from service.codec.filter_values import NUMBERS, WORDS, Literal, Moment, Node, Values
from service.codec.geometry import ProbeReader
from service.db.kinds import ValueKind
from service.domain import Filter
from service.errors import InvalidArgument, Reason

KNOWN_FILTERS: Final = 1024
_MIRRORED: Final = {"=": "=", "<>": "<>", "<": ">", ">": "<", "<=": ">=", ">=": "<="}
_UNORDERED: Final = frozenset(("=", "<>"))
_INCOMPARABLE: Final = frozenset((ValueKind.JSON, ValueKind.ARRAY, ValueKind.OTHER))
_FUNCTIONS: Final = (*ARRAYS, *sorted(TEMPORAL), *sorted(SPATIAL))
_NO_CONDITIONS: Final = ARITHMETIC | {"casei"}


class FilterReader:
    """Keeps what it read, up to a bound: the oldest goes."""

    def __init__(self, probes: ProbeReader, capacity: int = KNOWN_FILTERS) -> None:
        self._probes = probes
        self._capacity = capacity
        self._known: dict[tuple[str, str], tuple[Layer, Filter]] = {}

    def read(self, layer: Layer, text: str, field: str) -> Filter | None:
        """The filter that a field of a request has for a layer; None where it is empty."""
        if not text:
            return None
        known = self._known.get((layer.name, text))
        # A layer that was read again from the database may have other columns.
        if known is not None and known[0] is layer:
            return known[1]
        try:
            found = _Reading(layer, Cql2Text(text), self._probes).filter()
        except InvalidArgument as error:
            raise error.at(field) from error.__cause__
        if len(self._known) >= self._capacity:
            self._known.pop(next(iter(self._known)), None)
        self._known[layer.name, text] = layer, found
        return found


class _Reading:
    """One text.

    A condition is `positive` where it makes no difference whether it is false or unknown: no NOT is around it. There
    a containment, which an index serves, may stand for a comparison.
    """

    def __init__(self, layer: Layer, text: Cql2Text, probes: ProbeReader) -> None:
        self._layer = layer
        self._text = text
        self._values = Values(text)
        self._operands = OperandReader(layer, text, self._values, self._condition)
        self._functions = FunctionReader(layer, text, self._values, self._operands, probes)

    def filter(self) -> Filter:
        structure = self._condition(self._text.tree(), positive=True)
        return Filter(json.dumps(structure, ensure_ascii=False, separators=(",", ":")), self._values.all)

    def _condition(self, tree: Any, *, positive: bool = False) -> Node:
        if not isinstance(tree, dict) or "op" not in tree or tree["op"] in _NO_CONDITIONS:
            return self._truth(self._operands.read(tree), positive=positive)
        name, arguments = tree["op"].lower(), tree["args"]
        if name in ("and", "or"):
            return [name, *(self._condition(each, positive=positive) for each in arguments)]
        if name == "not":
            return ["not", self._condition(arguments[0])]
        if name == "isnull":
            return ["null", self._anything(arguments[0])]
        if name in _MIRRORED or name in ("between", "in", "like"):
            return self._comparison(name, arguments, positive=positive)
        return self._function(name, arguments, positive=positive)

    def _truth(self, read: Operand, *, positive: bool) -> Node:
        """Something that stands for a condition by itself."""
        if isinstance(read, Typed) and read.kind is not ValueKind.BOOLEAN:
            raise self._operands.mismatch("a condition must be here", read)
        if isinstance(read, Json):
            return self._json_equal(read, True, positive=positive)
        if not isinstance(read, Typed | bool):
            raise self._text.error(Reason.FILTER_TYPE_MISMATCH, "a condition must be here, not a value")
        return self._operands.node(read, ValueKind.BOOLEAN)

    def _anything(self, tree: Any) -> Node:
        """What may be NULL."""
        if isinstance(tree, dict) and tree.get("property") == self._layer.geometry_name:
            return ["geometry"]
        read = self._operands.read(tree)
        if isinstance(read, Typed):
            return read.node
        if isinstance(read, Json):
            return ["json_known", read.column, self._operands.path(read)]
        raise self._text.error(Reason.INVALID_FILTER, "a value is never NULL")

    def _function(self, name: str, arguments: Sequence[Any], *, positive: bool) -> Node:
        self._text.find("word" if name.isidentifier() else "mark", name)
        if name in _FUNCTIONS:
            if len(arguments) != 2:
                raise self._text.error(Reason.INVALID_FILTER, f"{name.upper()} takes 2 arguments, not {len(arguments)}")
            if name in ARRAYS:
                return self._functions.array(name, arguments, positive=positive)
            return (self._functions.temporal if name in TEMPORAL else self._functions.spatial)(name, arguments)
        known = ", ".join(each.upper() for each in ("casei", *_FUNCTIONS))
        raise self._text.error(Reason.INVALID_FILTER, f"{name[:40]!r} is not among what a filter can use: {known}")

    # Comparisons.

    def _comparison(self, name: str, arguments: Sequence[Any], *, positive: bool) -> Node:
        if name == "between":
            return self._between(*arguments)
        if name == "in":
            return self._in(*arguments, positive=positive)
        if name == "like":
            return self._like(*arguments)
        left, right = map(self._operands.read, arguments)
        return self._compared(name, left, right, positive=positive)

    def _compared(self, operator: str, left: Operand, right: Operand, *, positive: bool) -> Node:
        if isinstance(left, Literal) and not isinstance(right, Literal):
            operator, left, right = _MIRRORED[operator], right, left
        if isinstance(left, Json) and isinstance(right, Literal):
            return self._json_compared(operator, left, right, positive=positive)
        if isinstance(left, Json) and isinstance(right, Json):
            return self._json_both(operator, left, right)
        kind = self._kind_of(left, right)
        if kind is ValueKind.BOOLEAN:
            return self._booleans(operator, left, right)
        return [operator, self._operands.node(left, kind), self._operands.node(right, kind)]

    def _kind_of(self, left: Operand, right: Operand) -> ValueKind:
        """As what two operands are compared."""
        kinds = [each.kind for each in (left, right) if isinstance(each, Typed)]
        for each in (left, right):
            if isinstance(each, Typed) and each.kind in _INCOMPARABLE:
                raise self._operands.mismatch("single values can be compared", each)
        if not kinds:
            return self._kind_of_values(left, right)
        first, last = kinds[0], kinds[-1]
        if first is not last and not {first, last} <= NUMBERS:
            problem = f"{WORDS[first]} cannot be compared with {WORDS[last]}"
            raise self._text.error(Reason.FILTER_TYPE_MISMATCH, problem)
        return first

    def _kind_of_values(self, left: Operand, right: Operand) -> ValueKind:
        kinds = {_kind_of_literal(each) for each in (left, right)}
        if len(kinds) > 1:
            one, other = sorted(kinds)
            raise self._text.error(Reason.FILTER_TYPE_MISMATCH, f"{WORDS[one]} cannot be compared with {WORDS[other]}")
        return kinds.pop()

    def _booleans(self, operator: str, left: Operand, right: Operand) -> Node:
        if operator not in _UNORDERED:
            raise self._text.error(Reason.FILTER_TYPE_MISMATCH, "truth values are equal or not, none is greater")
        a, b = (self._operands.node(each, ValueKind.BOOLEAN) for each in (left, right))
        if b in (["true"], ["false"]):  # the bare column is what an index may be limited to
            return a if (b == ["true"]) == (operator == "=") else ["not", a]
        return [operator, a, b]

    def _between(self, value: Any, least: Any, most: Any) -> Node:
        read, low, high = map(self._operands.read, (value, least, most))
        bounds = ((">=", low), ("<=", high))
        return ["and", *(self._compared(operator, read, bound, positive=False) for operator, bound in bounds)]

    def _in(self, value: Any, values: Any, *, positive: bool) -> Node:
        read = self._operands.read(value)
        if not isinstance(values, list):
            raise self._text.error(Reason.INVALID_FILTER, "IN takes a list")
        among = [self._operands.read(each) for each in values]
        literals = [each for each in among if isinstance(each, Literal)]
        if not isinstance(read, Typed) or len(literals) < len(among) or read.kind is ValueKind.BOOLEAN:
            return ["or", *(self._compared("=", read, each, positive=positive) for each in among)]
        kind = self._kind_of(read, literals[0])
        return ["in", read.node, self._values.array(kind, literals)]

    def _like(self, value: Any, pattern: Any) -> Node:
        text = self._operands.text(value)
        folded = isinstance(pattern, dict) and pattern.get("op") == "casei" and len(pattern["args"]) == 1
        given = self._operands.read(pattern["args"][0] if folded else pattern)
        if not isinstance(given, str):
            raise self._text.error(Reason.INVALID_FILTER, "the pattern of LIKE is a text, or CASEI of one")
        if (len(given) - len(given.rstrip("\\"))) % 2:
            raise self._text.error(
                Reason.INVALID_FILTER, r"a pattern must not end with \, which is said of what follows it"
            )
        place = self._values.place(ValueKind.TEXT, given)
        return ["like", text, ["casei", place] if folded else place]

    # JSON.

    def _json_compared(self, operator: str, left: Json, right: Literal, *, positive: bool) -> Node:
        if operator == "=":
            return self._json_equal(left, right, positive=positive)
        value = self._values.json_value(right)
        if isinstance(value, bool):
            if operator != "<>":
                raise self._text.error(Reason.FILTER_TYPE_MISMATCH, "truth values are equal or not, none is greater")
            return ["not", self._json_equal(left, right, positive=False)]
        kind = _kind_of_literal(right)
        return [operator, self._operands.node(left, kind), self._values.place(kind, right)]

    def _json_equal(self, read: Json, literal: Literal, *, positive: bool) -> Node:
        value = self._values.json_value(literal)
        if positive and read.through_objects:
            return ["json_contains", read.column, self._values.put_json(read.around(value))]
        kind = _kind_of_literal(literal)
        node = self._operands.node(read, kind)
        if kind is ValueKind.BOOLEAN:
            return node if literal else ["not", node]
        return ["=", node, self._values.place(kind, literal)]

    def _json_both(self, operator: str, left: Json, right: Json) -> Node:
        if operator not in _UNORDERED:
            raise self._text.error(Reason.FILTER_TYPE_MISMATCH, "two values in JSON are equal or not, none is greater")
        places = [["json_known", each.column, self._operands.path(each)] for each in (left, right)]
        return [operator, *places]


def _kind_of_literal(literal: Operand) -> ValueKind:
    if isinstance(literal, bool):
        return ValueKind.BOOLEAN
    if isinstance(literal, Moment):
        return ValueKind.TIMESTAMP
    return ValueKind.NUMERIC if isinstance(literal, float) else ValueKind.TEXT
