"""What a lane is given to do: a batch of searches in one statement, or an errand."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from psycopg2.extensions import cursor as Cursor  # noqa: N812 - a class, whatever its case

from service.db.cancel import StatementGuard
from service.db.copy import rows
from service.db.queries import Statement
from service.domain import Argument, Search, Shape


class Overflow(Exception):
    """The answer is larger than its budget; ends the COPY."""


@dataclass(frozen=True, slots=True)
class Answer:
    """The rows for one search, as COPY sent them; `cut` says that more did not fit the budget."""

    statement: Statement
    messages: Sequence[bytes]
    cut: bool = False


@dataclass(slots=True, eq=False)
class Call:
    """One search on behalf of one caller."""

    search: Search
    future: asyncio.Future[Answer]
    since: float
    job: "Batch | None" = None


class Sink(list[bytes]):
    """What psycopg2 writes a COPY to: keeps the messages, and stops it beyond the budget, but never before one row."""

    def __init__(self, budget: int) -> None:
        super().__init__()
        self._left = budget

    def write(self, message: bytes) -> None:
        self._left -= len(message)
        if self._left < 0 and self:
            raise Overflow
        self.append(message)


@dataclass(slots=True, eq=False)
class Batch:
    """Searches of one shape in one statement."""

    statement: Statement
    calls: list[Call]
    budget: int
    guard: StatementGuard = field(default_factory=StatementGuard)
    waiting: int = 0  # callers that are still there
    running: bool = True
    long: bool = False

    def __post_init__(self) -> None:
        self.waiting = len(self.calls)
        for call in self.calls:
            call.job = self

    @property
    def shape(self) -> Shape:
        return self.statement.shape

    def perform(self, cursor: Cursor) -> list[Answer]:
        sink = Sink(self.budget)
        try:
            cursor.copy_expert(cursor.mogrify(self.statement.copy, self._parameters()), sink)
        except Overflow:
            if len(self.calls) > 1:
                raise
            return [Answer(self.statement, list(rows(sink)), cut=True)]
        if len(self.calls) == 1:
            return [Answer(self.statement, list(rows(sink)))]
        return self._shared_out(sink)

    def _parameters(self) -> dict[str, Argument]:
        names = self.statement.arguments
        if self.shape.constant:
            return dict(zip(names, self.calls[0].search.arguments, strict=True))
        columns = zip(*(call.search.arguments for call in self.calls), strict=True)
        return {name: _array(values) for name, values in zip(names, columns, strict=True)}

    def _shared_out(self, sink: Sink) -> list[Answer]:
        """Each call's own rows: the ordinal is the first field, at a fixed place."""
        answers = [Answer(self.statement, []) for _ in self.calls]
        for message in rows(sink):
            answers[int.from_bytes(message[6:14]) - 1].messages.append(message)  # type: ignore[attr-defined]
        return answers


@dataclass(slots=True, eq=False)
class Errand:
    """Any other read, alone on a lane."""

    work: Callable[[Cursor], Any]
    future: asyncio.Future[Any]
    guard: StatementGuard = field(default_factory=StatementGuard)

    def perform(self, cursor: Cursor) -> Any:
        return self.work(cursor)


def _array(values: Sequence[Argument]) -> str:
    """An array literal; one is quoted as a whole, where a list would be quoted value by value."""
    return "{" + ",".join("NULL" if value is None else f'"{value}"' for value in values) + "}"
