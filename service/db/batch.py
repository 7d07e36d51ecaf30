"""What a lane is given to do: a batch of searches in one statement, or an errand."""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any, NamedTuple

from psycopg2.extensions import cursor as Cursor  # noqa: N812 - a class, whatever its case

from service.db.cancel import StatementGuard
from service.db.copy import Copied, CopyBuffer, Decoder, Row
from service.db.lane import Ran
from service.db.packed import PackedRows, PackedStatement
from service.db.packed_copies import PackedCopy
from service.db.queries import Statement
from service.domain import Argument, Search, Shape


class Overflow(Exception):
    """A batch brings more bytes than it may; its calls are better run one by one."""


class Answer(NamedTuple):
    """The rows for one search, as the lanes' reader made them: each begins with its ordinal. `cut` says that there were
    more, which did not fit the budget."""

    statement: Statement
    rows: Sequence[Row]
    cut: bool = False

    @property
    def written(self) -> bytes | None:
        """All rows as PostgreSQL wrote them, if it did."""
        return self.rows.written if isinstance(self.rows, PackedRows) else None


@dataclass(slots=True, eq=False)
class Call:
    """One search on behalf of one caller."""

    search: Search
    future: asyncio.Future[Answer]
    since: float
    job: "Batch | None" = None
    ran: Ran | None = None


@dataclass(slots=True, eq=False)
class Batch:
    """Searches of one shape in one statement."""

    statement: Statement
    calls: list[Call]
    read: Decoder
    packed: PackedStatement | None = None
    packed_copy: PackedCopy | None = None
    guard: StatementGuard = field(default_factory=StatementGuard)
    waiting: int = 0  # callers that are still there
    running: bool = True
    long: bool = False
    seconds: float = 0.0  # how long the statement ran
    limit: asyncio.TimerHandle | None = None  # ends it where the session itself knows no limit

    @property
    def shape(self) -> Shape:
        return self.statement.shape

    def perform(self, cursor: Cursor, buffer: CopyBuffer) -> Copied | list[PackedRows]:
        """On the lane's thread. What was sent is read on the event loop, while the lane goes on."""
        given = self._parameters()
        if self.packed is not None and (found := self.packed.run(cursor, given)) is not None:
            return found
        if self.packed_copy is not None and (found := self.packed_copy.run(cursor, given, buffer)) is not None:
            return found
        copied = buffer.copy(cursor, cursor.mogrify(self.statement.copy, given))
        if copied.cut and len(self.calls) > 1:
            raise Overflow
        return copied

    def _parameters(self) -> dict[str, Argument]:
        return parameters(self.statement, [call.search.arguments for call in self.calls])

    def answers(self, sent: Copied | list[PackedRows]) -> list[Answer]:
        """Each call's own rows, told by the ordinal in front of them."""
        if not isinstance(sent, Copied):
            return [Answer(self.statement, rows) for rows in sent]
        rows = self.read(sent.data)
        if len(self.calls) == 1:
            return [Answer(self.statement, rows, sent.cut)]
        own: list[list[Row]] = [[] for _ in self.calls]
        for row in rows:
            own[row[0] - 1].append(row)
        return [Answer(self.statement, rows) for rows in own]


@dataclass(slots=True, eq=False)
class Errand:
    """Any other read, alone on a lane."""

    work: Callable[[Cursor], Any]
    future: asyncio.Future[Any]
    guard: StatementGuard = field(default_factory=StatementGuard)
    since: float = field(default_factory=perf_counter)
    ran: Ran | None = None

    def perform(self, cursor: Cursor, buffer: CopyBuffer) -> Any:
        return self.work(cursor)


def parameters(statement: Statement, searches: Sequence[Sequence[Argument]]) -> dict[str, Argument]:
    """What to bind for the arguments of searches that share a statement; of one, where its probe is a constant."""
    if statement.shape.constant:
        return statement.parameters(searches[0])
    return statement.parameters([array_literal(values) for values in zip(*searches, strict=True)])


def array_literal(values: Iterable[Argument]) -> str:
    """An array literal; one is quoted as a whole, where a list would be quoted value by value."""
    return "{" + ",".join(map(_element, values)) + "}"


def _element(value: Argument) -> str:
    if value is None:
        return "NULL"
    text = str(value)
    if "\\" in text or '"' in text:
        text = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{text}"'
