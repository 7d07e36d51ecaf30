"""What a file holds, found by reading it once: the type of its geometries, and what its texts could be."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pyarrow
from pyarrow import compute

from service.loading.shapes import common_type, types_of
from service.loading.source import Batch, Source

# In order: a column is the first of these that all its values are; numbers that begin with a zero are codes.
_KINDS: Mapping[Any, str] = {
    pyarrow.bool_(): r"(?i)^(true|false|t|f)$",
    pyarrow.int64(): r"^[+-]?(0|[1-9]\d{0,17})$",
    pyarrow.float64(): r"^[+-]?((0|[1-9]\d*)?\.\d+|(0|[1-9]\d{0,17})\.?)([eE][+-]?\d+)?$",
    pyarrow.date32(): r"^\d{4}-(0\d|1[0-2])-([0-2]\d|3[01])$",
    pyarrow.timestamp("us"): r"^\d{4}-\d\d-\d\d[ T]\d\d:\d\d(:\d\d(\.\d+)?)?$",
    pyarrow.timestamp("us", "UTC"): r"^\d{4}-\d\d-\d\d[ T]\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d(:?\d\d)?)$",
}


def surveyed(source: Source) -> Source:
    """The source with all types known."""
    if source.geometry != "" and not source.texts:
        return source
    shapes: set[str] = set()
    kinds: dict[str, list[Any]] = {name: [*_KINDS] for name in source.columns} if source.texts else {}
    filled: set[str] = set()
    for batch in source.batches():
        shapes |= types_of(batch.geometries or ())
        for name, left in kinds.items():
            filled |= {name} if _narrow(batch, name, left) else set()
    found = {name: left[0] for name, left in kinds.items() if left and name in filled}
    geometry = common_type(shapes) if source.geometry == "" else source.geometry
    return replace(source, columns={**source.columns, **found}, geometry=geometry)


def _narrow(batch: Batch, name: str, left: list[Any]) -> bool:
    """Takes from the kinds those that a value is none of; says whether there was a value."""
    values = batch.columns[name].drop_null()
    left[:] = [kind for kind in left if _all(values, _KINDS[kind])]
    return len(values) > 0


def _all(values: Any, pattern: str) -> bool:
    return compute.all(compute.match_substring_regex(values, pattern)).as_py() is not False
