"""Filters: from what a caller may ask of a layer's rows to SQL. Every value is a bind parameter."""

from collections.abc import Mapping

from sqlalchemy import ColumnElement

from service.catalog import Layer
from service.domain import Argument, Filter


def condition(layer: Layer, asked: Filter) -> ColumnElement[bool]:
    """Whether a row meets the filter; its values are the parameters that `named` gives."""
    raise NotImplementedError


def named(asked: Filter, prefix: str = "filter") -> Mapping[str, Argument]:
    """The filter's values under the names of their parameters."""
    return {f"{prefix}_{number}": value for number, value in enumerate(asked.values, 1)}
