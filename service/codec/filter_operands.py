"""What stands on the sides of a comparison: properties, paths into JSON, values, and what is worked out of them."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from service.catalog import Layer
from service.codec.cql2_text import Cql2Text
from service.codec.filter_values import FLOATS, NUMBERS, WORDS, Literal, Moment, Node, Values, array_literal
from service.db.kinds import ValueKind, named_column, operand
from service.errors import InvalidArgument, Reason

ARITHMETIC: Final = frozenset("+-*/%")
_JSON_KINDS: Final = {ValueKind.TEXT: "text", ValueKind.BOOLEAN: "boolean"} | dict.fromkeys(NUMBERS, "number")


@dataclass(frozen=True, slots=True)
class Typed:
    """What the database knows the type of. `name` is the column's, where it is one."""

    node: Node
    kind: ValueKind
    name: str = ""


@dataclass(frozen=True, slots=True)
class Json:
    """A place in a JSON column, which may hold anything."""

    column: str
    path: tuple[str, ...]

    @property
    def through_objects(self) -> bool:
        """Whether the path can only lead through objects, and not to an array's item."""
        return not any(part.lstrip("-").isdigit() for part in self.path)

    def around(self, value: object) -> object:
        """A document that has a value at this place and nothing else."""
        for part in reversed(self.path):
            value = {part: value}
        return value


Operand: TypeAlias = Typed | Json | Literal


class OperandReader:
    """Reads operands of one filter over a layer. `condition` reads conditions, whose values are truth values."""

    def __init__(self, layer: Layer, text: Cql2Text, values: Values, condition: Callable[[Any], Node]) -> None:
        self._layer = layer
        self._text = text
        self._values = values
        self._condition = condition

    def read(self, tree: Any) -> Operand:
        if tree is None:
            raise self._text.error(Reason.INVALID_FILTER, "nothing equals NULL: ask with IS NULL")
        if isinstance(tree, list):
            raise self._text.error(Reason.INVALID_FILTER, "a list belongs behind IN or into an array function")
        if not isinstance(tree, dict):
            return self._literal(tree)
        if "property" in tree:
            return self.property(tree["property"])
        if "op" in tree:
            return self._worked_out(tree)
        for name in ("date", "timestamp"):
            if isinstance(tree.get(name), str):
                self._text.find("string", tree[name])
                return Moment(tree[name])
        raise self._text.error(Reason.INVALID_FILTER, _misplaced(tree))

    def _literal(self, tree: str | float | bool) -> Literal:
        if isinstance(tree, str):
            self._text.find("string", tree)
        elif isinstance(tree, bool):
            self._text.find("word", str(tree).lower())
        else:
            self._text.find_number(tree)
        return tree

    def property(self, name: str) -> Typed | Json:
        self._text.find("name", name)
        column = named_column(self._layer, name)
        if column is not None:
            return Typed(["column", name], operand(column).kind, name)
        parts = name.split(".")
        for count in range(len(parts) - 1, 0, -1):
            prefix, path = ".".join(parts[:count]), tuple(parts[count:])
            column = named_column(self._layer, prefix)
            if column is not None and operand(column).kind is ValueKind.JSON and all(path):
                return Json(prefix, path)
        metadata = {"layer": self._layer.name}
        problem = f"layer {self._layer.name!r} has no property {name[:80]!r}"
        raise self._text.error(Reason.UNKNOWN_PROPERTY, problem, **metadata)

    def _worked_out(self, tree: dict[str, Any]) -> Typed:
        name, arguments = tree["op"], tree["args"]
        if name in ARITHMETIC:
            left, right = map(self._number, arguments)
            kind = ValueKind.NUMERIC
            if name != "%" and FLOATS & {left.kind, right.kind}:
                kind = ValueKind.DOUBLE
            return Typed(["arithmetic", name, kind.value, left.node, right.node], kind)
        if name == "casei":
            self._text.find("word", name)
            if len(arguments) != 1:
                raise self._text.error(Reason.INVALID_FILTER, f"CASEI takes 1 argument, not {len(arguments)}")
            return Typed(["casei", self.text(arguments[0])], ValueKind.TEXT)
        return Typed(self._condition(tree), ValueKind.BOOLEAN)

    def _number(self, tree: Any) -> Typed:
        read = self.read(tree)
        if isinstance(read, Typed):
            if read.kind not in NUMBERS:
                raise self.mismatch("arithmetic takes numbers", read)
            return read
        if isinstance(read, Json):
            return Typed(self.node(read, ValueKind.NUMERIC), ValueKind.NUMERIC)
        if isinstance(read, float):
            return Typed(self._values.place(ValueKind.NUMERIC, read), ValueKind.NUMERIC)
        raise self._text.error(Reason.FILTER_TYPE_MISMATCH, "arithmetic takes numbers")

    def text(self, tree: Any) -> Node:
        """Something that must be a text."""
        read = self.read(tree)
        if isinstance(read, Typed) and read.kind is not ValueKind.TEXT:
            raise self.mismatch("a text must be here", read)
        return self.node(read, ValueKind.TEXT)

    def node(self, read: Operand, kind: ValueKind) -> Node:
        """The operand as it is compared with something of a kind."""
        if isinstance(read, Typed):
            return read.node
        if isinstance(read, Json):
            if kind not in _JSON_KINDS:
                problem = f"{'.'.join((read.column, *read.path))!r} is JSON: it cannot be compared with {WORDS[kind]}"
                raise self._text.error(Reason.FILTER_TYPE_MISMATCH, problem)
            return ["path", read.column, self.path(read), _JSON_KINDS[kind]]
        return self._values.place(kind, read)

    def path(self, read: Json) -> int:
        return self._values.put(array_literal(read.path))

    def mismatch(self, problem: str, read: Typed) -> InvalidArgument:
        what = repr(read.name) if read.name else "this"
        return self._text.error(Reason.FILTER_TYPE_MISMATCH, f"{problem}, and {what} is {WORDS[read.kind]}")


def _misplaced(tree: dict[str, Any]) -> str:
    if "interval" in tree:
        return "an interval belongs into a temporal function, such as T_DURING"
    if "type" in tree or "bbox" in tree:
        return "a geometry belongs into a spatial function, such as S_INTERSECTS"
    return "a date or timestamp is written as DATE('2026-01-31') or TIMESTAMP('2026-01-31T12:00:00Z')"
