"""Statements whose answers PostgreSQL writes itself, prepared on each connection: for shapes that are asked often.

Such a statement is parsed and planned once for a connection, and gives one row for each probe, so that nothing is left
to do for each feature. The plan is the same whatever the probes. Where a feature is too large for that the statement
says so, and is run in the ordinary way for a while; so are shapes that are rarely asked, since preparing takes time and
memory.
"""

import logging
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from hashlib import sha256
from typing import NamedTuple, overload
from weakref import WeakKeyDictionary

import psycopg2
from psycopg2.extensions import connection as Connection  # noqa: N812 - a class, whatever its case
from psycopg2.extensions import cursor as Cursor  # noqa: N812
from sqlalchemy import case, func, literal_column, select, true

from service.db.columns import Expression
from service.db.copy import Row
from service.db.probes import probes
from service.db.queries import Statement, compiled
from service.db.searches import SEARCHES, columns_of
from service.domain import Argument, Result

log = logging.getLogger("spatial.packed")

OFTEN = 32  # statements of a shape, after which it is worth while
REST = 100  # statements, after one with a feature that is too large
REST_UNPREPARED = 10_000  # statements, after one that could not be prepared, or is no longer
MOST_PREPARED = 16  # on a connection

# Classes of SQLSTATE: not supported (where tables are sharded), no such statement (over a pooler), not allowed.
_NOT_TO_BE_HAD = ("0A", "26", "42")


class Packing(NamedTuple):
    """How features are written in SQL. Each of the `steps` names expressions over what the one before it has named, the
    first over the columns c1, c2, … of the search; `element` is over the last, where it `fits`. `split` makes rows of
    the elements for a probe of that ordinal."""

    steps: tuple[Mapping[str, str], ...]
    element: str
    fits: str
    split: Callable[[int, bytes], list[Row]]


class PackedRows(Sequence[Row]):
    """The rows of an answer that is written already; they are made when somebody asks for them."""

    def __init__(self, written: bytes, length: int, ordinal: int, split: Callable[[int, bytes], list[Row]]) -> None:
        self.written = written
        self._length = length
        self._ordinal = ordinal
        self._split = split

    @cached_property
    def _rows(self) -> list[Row]:
        return self._split(self._ordinal, self.written)

    def __len__(self) -> int:
        return self._length

    @overload
    def __getitem__(self, index: int) -> Row: ...

    @overload
    def __getitem__(self, index: slice) -> list[Row]: ...

    def __getitem__(self, index: int | slice) -> Row | list[Row]:
        return self._rows[index]


class PackedStatement:
    """The packed form of a statement."""

    def __init__(self, statement: Statement, packing: Packing) -> None:
        self._arguments = statement.arguments
        self._split = packing.split
        self._sql = _sql(statement, packing)
        # Whoever shares a session unawares, over a pooler, means the same by it.
        self._name = f"spatial_{sha256(self._sql.encode()).hexdigest()[:24]}"
        self._about = f"{statement.shape.name} in {statement.shape.layer}"
        self._rest = 0  # statements that are left to the ordinary way

    def run(self, cursor: Cursor, parameters: Mapping[str, Argument]) -> list[PackedRows] | None:
        """The rows for each probe; None where that is not to be had, now or a while before."""
        if self._rest:
            self._rest -= 1
            return None
        try:
            found = self._found(cursor, [parameters[name] for name in self._arguments])
        except psycopg2.Error as error:
            if (error.pgcode or "")[:2] not in _NOT_TO_BE_HAD:
                raise
            log.warning("answers of %s cannot be written in the database", self._about, exc_info=error)
            self._rest = REST_UNPREPARED
            _prepared.pop(cursor.connection, None)
            return None
        if all(rows.written or not len(rows) for rows in found):
            return found
        self._rest = REST
        return None

    def _found(self, cursor: Cursor, arguments: Sequence[Argument]) -> list[PackedRows]:
        self._prepare(cursor)
        cursor.execute(f"EXECUTE {self._name} ({', '.join(['%s'] * len(arguments))})", arguments)
        rows = sorted(cursor.fetchall())  # by the ordinal
        return [PackedRows(bytes(written), length, ordinal, self._split) for ordinal, length, written in rows]

    def _prepare(self, cursor: Cursor) -> None:
        prepared = _prepared.setdefault(cursor.connection, OrderedDict())
        if self._name in prepared:
            prepared.move_to_end(self._name)
            return
        if len(prepared) >= MOST_PREPARED:
            oldest, _ = prepared.popitem(last=False)
            cursor.execute(f"DEALLOCATE {oldest}")
        types = ", ".join("text" for _ in self._arguments)
        cursor.execute(f"PREPARE {self._name} ({types}) AS {self._sql}")
        prepared[self._name] = None


_prepared: WeakKeyDictionary[Connection, OrderedDict[str, None]] = WeakKeyDictionary()


class Packed:
    """The packed forms of statements, for those that are asked often. `packing` says how, if it can be."""

    def __init__(self, packing: Callable[[Statement], Packing | None]) -> None:
        self._packing = packing
        self._asked: WeakKeyDictionary[Statement, int] = WeakKeyDictionary()
        self._known: WeakKeyDictionary[Statement, PackedStatement | None] = WeakKeyDictionary()

    def __getitem__(self, statement: Statement) -> PackedStatement | None:
        """On any thread. The plan of a filter depends on its values."""
        if statement in self._known:
            return self._known[statement]
        shape = statement.shape
        if shape.constant or shape.result is not Result.FEATURES or statement.constants:
            return None
        asked = self._asked[statement] = self._asked.get(statement, 0) + 1
        if asked < OFTEN:
            return None
        packing = self._packing(statement)
        packed = self._known[statement] = None if packing is None else PackedStatement(statement, packing)
        return packed


def _sql(statement: Statement, packing: Packing) -> str:
    # What the planner cannot see makes every plan alike, so that it keeps one.
    hidden = {name: f"(SELECT ${number})" for number, name in enumerate(statement.arguments, 1)}
    return packed_sql(statement, packing) % hidden


def packed_sql(statement: Statement, packing: Packing) -> str:
    """Takes what the statement takes; answers with a row for each probe: its ordinal, how many features there are, and
    their bytes, or none of these where one of them does not fit."""
    layer, shape = statement.layer, statement.shape
    asked = probes(layer, shape)
    search = SEARCHES[shape.kind](layer, shape, asked, columns_of(layer, shape, asked))
    found = search.correlate(asked).subquery("found")
    for step in packing.steps:
        named: list[Expression] = [literal_column(expression).label(name) for name, expression in step.items()]
        # OFFSET keeps the planner from writing the expressions out wherever their names stand.
        found = select(*named).select_from(found).offset(literal_column("0")).subquery("found")
    # Where one does not fit there is nothing, and so it is known.
    element: Expression = literal_column(f"CASE WHEN {packing.fits} THEN {packing.element} END")
    all_fit = func.bool_and(literal_column(packing.fits))
    nothing: Expression = literal_column("''::bytea")
    written = case((all_fit, func.string_agg(element, nothing)), else_=nothing)
    packed = select(func.count().label("length"), written.label("written")).select_from(found)
    lateral = packed.lateral("packed")
    whole = select(asked.c.ordinal, lateral.c.length, lateral.c.written).select_from(asked).join(lateral, true())
    return compiled(whole)
