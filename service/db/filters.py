"""Filters: from what a caller may ask of a layer's rows to SQL. Every value is a bind parameter.

A filter's structure is JSON: a list for each operation, its name first. Columns are bare and values are cast to what
the columns hold, so that indexes serve.
"""

import json
from collections.abc import Mapping
from typing import Any

from geoalchemy2 import Geometry
from sqlalchemy import (
    Boolean,
    ColumnElement,
    Numeric,
    Text,
    and_,
    bindparam,
    case,
    cast,
    false,
    func,
    literal_column,
    not_,
    null,
    or_,
    true,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.types import String

from service.catalog import Layer
from service.db.columns import Expression
from service.db.kinds import CAST_TO, ValueKind, array_type, named_column, operand
from service.domain import Argument, Filter

PREFIX = "filter"
Node = list[Any]

_SPATIAL: Mapping[str, str] = {
    "intersects": "ST_Intersects",
    "within": "ST_Within",
    "contains": "ST_Contains",
    "equals": "ST_Equals",
    "touches": "ST_Touches",
    "crosses": "ST_Crosses",
    "overlaps": "ST_Overlaps",
}
_COMPARISONS = ("=", "<>", "<", "<=", ">", ">=")
_ARRAY_OPERATORS = ("@>", "<@", "&&")


def condition(layer: Layer, asked: Filter, prefix: str = PREFIX) -> ColumnElement[bool]:
    """Whether a row meets the filter; its values are the parameters that `named` gives with the same prefix."""
    return _Maker(layer, prefix).made(json.loads(asked.structure))


def named(asked: Filter, prefix: str = PREFIX) -> Mapping[str, Argument]:
    """The filter's values under the names of their parameters."""
    return {f"{prefix}_{number}": value for number, value in enumerate(asked.values, 1)}


class _Maker:
    def __init__(self, layer: Layer, prefix: str) -> None:
        self._layer = layer
        self._prefix = prefix

    def made(self, node: Node) -> Expression:
        """The expression of an operation, by the method that has its name or for the group that it is in."""
        name, *arguments = node
        if name in _COMPARISONS:
            left, right = map(self.made, arguments)
            return left.op(name, is_comparison=True, return_type=Boolean())(right)
        method = getattr(self, f"_{name}")
        made: Expression = method(*arguments)
        return made

    # Values.

    def _column(self, name: str) -> Expression:
        column = self._bare(name)
        as_text = operand(column).kind is ValueKind.TEXT and not _is_text(column)
        return cast(column, Text()) if as_text else column

    def _bare(self, name: str) -> Expression:
        column = named_column(self._layer, name)
        assert column is not None, "a structure is made for its layer"
        return column

    def _geometry(self) -> Expression:
        return self._layer.geometry

    def _value(self, kind: str, number: int) -> Expression:
        return cast(self._parameter(number), CAST_TO[ValueKind(kind)])

    def _list(self, kind: str, number: int) -> Expression:
        return cast(self._parameter(number), ARRAY(CAST_TO[ValueKind(kind)]))

    def _parameter(self, number: int) -> Expression:
        return bindparam(f"{self._prefix}_{number}")

    def _casei(self, text: Node) -> Expression:
        return func.lower(self.made(text), type_=Text())

    def _arithmetic(self, operator: str, kind: str, left: Node, right: Node) -> Expression:
        as_kind = CAST_TO[ValueKind(kind)]
        a: Expression = cast(self.made(left), as_kind)
        b: Expression = cast(self.made(right), as_kind)
        if operator in "/%":  # by zero there is no result; an error would be for rows that nobody may have asked about
            b = func.nullif(b, literal_column("0"), type_=as_kind)
        if operator == "%":
            return func.mod(a, b, type_=as_kind)
        return a.op(operator, return_type=as_kind)(b)

    # JSON: a value of another type than the one it is compared with compares as if it were not there.

    def _path(self, name: str, path: int, kind: str) -> Expression:
        """The value at a path, as `text`, `number` or `boolean`; NULL where there is none of that type."""
        value, text = self._json_at(name, path), self._json_text(name, path)
        sent = {"text": text, "number": cast(text, Numeric()), "boolean": cast(text, Boolean())}[kind]
        type_name = {"text": "string"}.get(kind, kind)
        return _typed(value, type_name, sent)

    def _json_at(self, name: str, path: int) -> Expression:
        return self._json(name).op("#>", return_type=JSONB())(cast(self._parameter(path), ARRAY(Text())))

    def _json_text(self, name: str, path: int) -> Expression:
        return self._json(name).op("#>>", return_type=Text())(cast(self._parameter(path), ARRAY(Text())))

    def _json_known(self, name: str, path: int) -> Expression:
        """The value at a path, whatever it is; NULL where there is none, or JSON's own null."""
        return func.nullif(self._json_at(name, path), literal_column("'null'::jsonb"), type_=JSONB())

    def _json(self, name: str) -> Expression:
        column = self._bare(name)
        return column if isinstance(column.type, JSONB) else cast(column, JSONB())

    def _json_contains(self, name: str, number: int) -> Expression:
        """Of the whole column, which is what a GIN index serves."""
        return _compared(self._json(name), "@>", self._value(ValueKind.JSON, number))

    def _json_array(self, operator: str, name: str, path: int, number: int) -> Expression:
        value = self._json_at(name, path)
        return _typed(value, "array", _compared(value, operator, self._value(ValueKind.JSON, number)))

    # Conditions.

    def _true(self) -> Expression:
        return true()

    def _false(self) -> Expression:
        return false()

    def _and(self, *conditions: Node) -> Expression:
        return and_(*map(self.made, conditions))

    def _or(self, *conditions: Node) -> Expression:
        return or_(*map(self.made, conditions))

    def _not(self, condition: Node) -> Expression:
        return not_(self.made(condition))

    def _null(self, value: Node) -> Expression:
        return self.made(value).is_(null())

    def _in(self, value: Node, values: Node) -> Expression:
        return _compared(self.made(value), "=", func.any(self.made(values)))

    def _like(self, text: Node, pattern: Node) -> Expression:
        return self.made(text).like(self.made(pattern))

    def _array(self, operator: str, name: str, number: int) -> Expression:
        assert operator in _ARRAY_OPERATORS
        column = self._bare(name)
        kind = array_type(column)
        values = cast(self._parameter(number), kind or ARRAY(Text()))
        return _compared(column if kind else cast(column, ARRAY(Text())), operator, values)

    def _spatial(self, relation: str, number: int) -> Expression:
        given = func.geometry(cast(self._parameter(number), Text()), type_=Geometry(spatial_index=False))
        if self._layer.srid:  # the constant is transformed, never the column
            given = func.ST_Transform(given, literal_column(str(self._layer.srid)), type_=given.type)
        related: Expression = getattr(func, _SPATIAL[relation])(self._layer.geometry, given, type_=Boolean())
        return related


def _is_text(column: Expression) -> bool:
    return isinstance(column.type, String) and not hasattr(column.type, "enums")


def _compared(left: Expression, operator: str, right: Expression) -> Expression:
    return left.op(operator, is_comparison=True, return_type=Boolean())(right)


def _typed(value: Expression, json_type: str, made: Expression) -> Expression:
    return case((_compared(func.jsonb_typeof(value), "=", literal_column(f"'{json_type}'")), made))
