"""Reads a layer that PostgreSQL assembles: the rows of its first block come one by one, before the statement that
assembles the others is sent, since that takes longer to plan than to find them.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import chain

from psycopg2 import ProgrammingError
from psycopg2.extensions import cursor as Cursor  # noqa: N812 - a class, whatever its case

from service.db.arrays import Values
from service.db.assembled import Assembled
from service.db.cancel import StatementGuard
from service.db.deference import Awaited, nobody
from service.db.snapshot import Part, Snapshot
from service.db.stream import CopyReading, Put, Sink, few_first
from service.domain import Batch

Write = Callable[[Sequence[Values]], Iterable[Batch]]


@dataclass(slots=True, eq=False)
class AssembledReading:
    """A part of a layer, read on a connection of its own. `snapshot` is what readings share of which each takes a part.

    `plain` reads the layer row by row, where its relation is none that has its rows in blocks of its own: a view, a
    partitioned table.
    """

    assembled: Assembled
    write: Write
    plain: CopyReading
    snapshot: Snapshot
    guard: StatementGuard = field(default_factory=StatementGuard)
    _begun: bool = False  # with the rows of the first block
    _left: Iterator[Batch] = field(default_factory=lambda: iter(()))  # of those rows

    def perform(self, cursor: Cursor, put: Put, awaited: Awaited = nobody) -> None:
        with self.snapshot.part(cursor, partial(self._begin, put)) as part:
            finish = self._copy(cursor, put, awaited, part)
        finish()  # the reader may take its time: no session idles in a transaction for it

    def _begin(self, put: Put, cursor: Cursor, begin: str) -> None:
        """If the relation is what it was, which is looked at afterwards, the first rows are read along."""
        if self.assembled.begins_in_blocks:
            try:
                self._read_first_block(cursor, put, f"{begin}; ")
                return
            except ProgrammingError:
                cursor.execute("ROLLBACK")
        cursor.execute(begin)

    def _read_first_block(self, cursor: Cursor, put: Put, begin: str = "") -> None:
        """There is room for the first batch of all; the others are put where the reader may take its time."""
        rows: list[bytes] = []
        statement = cursor.mogrify(self.assembled.first_block, {})
        cursor.copy_expert(begin.encode() + statement, Sink(rows.append))
        self._begun = True
        self._left = chain.from_iterable(self.plain.batches(b"".join(some)) for some in few_first(rows))
        for batch in self._left:
            put(batch)
            return

    def _copy(self, cursor: Cursor, put: Put, awaited: Awaited, part: Part | None) -> Callable[[], None]:
        measured = self.assembled.measured(cursor) if part is not None else None
        if part is not None and measured is not None:
            if part.number == 0 and not (self._begun or measured):
                self._read_first_block(cursor, put)
            statement = self.assembled.statement(cursor, part, measured=measured, since=int(self._begun))
            reading = CopyReading(lambda _: statement, self._batches, gathered=list, first_bytes=1)
            return reading.copy(cursor, put, awaited)
        if part is not None and part.number == 0:
            return self._row_by_row().copy(cursor, put, awaited)
        return _nothing

    def _row_by_row(self) -> CopyReading:
        """What has not been read of a relation that has become another."""
        if not self._begun:
            return self.plain
        return replace(
            self.plain,
            statement=lambda cursor: cursor.mogrify(self.assembled.other_blocks, {}),
            batches=lambda rows: chain(self._left, self.plain.batches(rows)),
        )

    def _batches(self, rows: Sequence[bytes]) -> Iterator[Batch]:
        yield from self._left
        if columns := self.assembled.columns(rows):
            yield from self.write(columns)


def _nothing() -> None:
    """What is left to do for a part that has nothing to read."""
