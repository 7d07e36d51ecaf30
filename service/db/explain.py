"""Asks PostgreSQL how it would run a statement, or how it did."""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from psycopg2.extensions import cursor as Cursor  # noqa: N812 - a class, whatever its case

from service.db.batch import parameters
from service.db.joins import JoinStatement, larger
from service.db.plans import Plan, Scan
from service.db.queries import Statement
from service.domain import Argument, Kind, Side
from service.errors import FailedPrecondition, Reason

# A shape of a quarter of a million vertices would stand in the plan wherever it is compared.
_LONG_GEOMETRY = re.compile(r"([0-9A-Fa-f]{80})[0-9A-Fa-f]{16,}")


class Asked(NamedTuple):
    """A statement as it is run: its SQL, what goes to the places in it, what it is meant to read from end to end, and
    the layers, each with its revision, whose spatial indexes and keys should serve it."""

    sql: str
    parameters: Mapping[str, Argument]
    meant: Callable[[Scan], bool]
    layers: tuple[tuple[str, int], ...] = ()


class Refusal(NamedTuple):
    """Why a plan is not run."""

    reason: Reason
    message: str
    metadata: Mapping[str, str]

    def error(self) -> FailedPrecondition:
        return FailedPrecondition(self.reason, self.message, metadata=self.metadata)


Ask = Callable[[Cursor], Asked]


def asked_search(statement: Statement, arguments: Sequence[Argument]) -> Ask:
    """One search. Who asks for all of a layer means its table to be read."""
    shape = statement.shape
    whole = shape.kind is Kind.ALL and shape.filter is None
    layers = ((shape.layer, shape.revision),) if shape.kind is not Kind.ALL else ()
    return lambda cursor: Asked(statement.sql, parameters(statement, [arguments]), lambda scan: whole, layers)


def asked_join(statement: JoinStatement, arguments: Sequence[Argument]) -> Ask:
    """A join. It means to go through one side from end to end, unless a filter says which of its features."""
    shape = statement.shape
    layers = ((shape.left, shape.left_revision), (shape.right, shape.right_revision))
    filters = {Side.LEFT: shape.left_filter, Side.RIGHT: shape.right_filter}

    def ask(cursor: Cursor) -> Asked:
        through = larger(cursor, statement)
        outer = statement.right if through is Side.LEFT else statement.left
        whole = filters[outer.side] is None
        return Asked(
            statement.sql(through),
            statement.parameters(arguments),
            lambda scan: whole and scan.alias.startswith(outer.alias),  # numbers follow where it is named twice
            layers,
        )

    return ask


def planned(cursor: Cursor, asked: Asked) -> Plan:
    """How the statement would be run."""
    (plan,) = _explained(cursor, asked, "VERBOSE, FORMAT JSON")
    return Plan.of(plan)


class Explanation(NamedTuple):
    """A plan in both its forms, with what was asked."""

    asked: Asked
    plan: Plan
    text: str
    json: str


def explain(cursor: Cursor, asked: Asked, *, analyze: bool) -> Explanation:
    """`analyze` runs the statement for each of the forms, since PostgreSQL writes one at a time."""
    measured = "ANALYZE, BUFFERS, " if analyze else ""
    text = "\n".join(_explained(cursor, asked, f"{measured}FORMAT TEXT"))
    (plan,) = _explained(cursor, asked, f"{measured}VERBOSE, FORMAT JSON")
    return Explanation(asked, Plan.of(plan), _shortened(text), _shortened(json.dumps(plan, ensure_ascii=False)))


def _explained(cursor: Cursor, asked: Asked, options: str) -> list[Any]:
    """The lines of a text, or the one plan."""
    cursor.execute(f"EXPLAIN ({options}) {asked.sql}", asked.parameters)
    return [value for (value,) in cursor.fetchall()]


def _shortened(text: str) -> str:
    return _LONG_GEOMETRY.sub(r"\1…", text)
