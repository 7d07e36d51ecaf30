"""Whether the checks of a table keep a column's coordinates within ±180 and ±90 degrees, as PostgreSQL writes them."""

import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from service.db.indexes import quoted

_CAST = re.compile(r"::(?:double precision|\w+)")
_COMPARISON = re.compile(r"\(?(?:\w+\.)?st_(x|y)(min|max)?\(+(.+?)\)+([<>])=?\(*(-?[\d.]+)\)*")
_BOUNDS = {"x": 180.0, "y": 90.0}


class _Side(NamedTuple):
    axis: str
    sign: str  # of the comparison


_ALL = {_Side(axis, sign) for axis in _BOUNDS for sign in "<>"}


def keeps_on_earth(column: str, checks: Iterable[str]) -> bool:
    """`checks` are conditions that every row meets. What is not a comparison, or more than comparisons joined by AND,
    says nothing here."""
    name = _bare(quoted(column))
    return {side for check in checks for condition in _conditions(check) for side in _side(name, condition)} == _ALL


def _side(name: str, condition: str) -> Iterator[_Side]:
    """Which of the four sides it bounds, if any."""
    found = _COMPARISON.fullmatch(_bare(condition))
    if found is None:
        return
    axis, corner, compared, sign, number = found.groups()
    outermost = corner in (None, "min" if sign == ">" else "max")
    bound = -float(number) if sign == ">" else float(number)
    if compared == name and outermost and bound <= _BOUNDS[axis]:
        yield _Side(axis, sign)


def _conditions(check: str) -> Iterator[str]:
    """What is joined by AND, at any depth."""
    parts = list(_joined(check))
    if len(parts) > 1:
        for part in parts:
            yield from _conditions(part)
    else:
        yield check


def _joined(check: str) -> Iterator[str]:
    """What is joined by AND within the parentheses around all of it."""
    inner = check.removeprefix("(").removesuffix(")")
    depth = start = 0
    for found in re.finditer(r"\(|\)| AND ", inner):
        depth += {"(": 1, ")": -1}.get(found[0], 0)
        if found[0] == " AND " and not depth:
            yield inner[start : found.start()]
            start = found.end()
    yield inner[start:]


def _bare(condition: str) -> str:
    return re.sub(r"[' ]", "", _CAST.sub("", condition))
