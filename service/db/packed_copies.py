"""Answers about many probes that PostgreSQL writes itself: a COPY with a row for each probe.

Nothing is prepared: planning is paid once for all of them. What a COPY sends goes where those of ordinary statements
go, and may be no larger.
"""

from collections.abc import Callable, Mapping
from weakref import WeakKeyDictionary

from psycopg2.extensions import cursor as Cursor  # noqa: N812 - a class, whatever its case

from service.db.copy import CopyBuffer, Field, Wire, decoder
from service.db.packed import REST, PackedRows, Packing, packed_sql
from service.db.queries import Statement
from service.domain import Argument

# Planning takes a millisecond longer than for the ordinary statement.
MANY = 16  # probes, from which on that is worth while

_NUMBER = Field(Wire.INT64, nullable=False)
_decode = decoder([_NUMBER, _NUMBER, Field(Wire.BYTES, nullable=False)])


class PackedCopy:
    """The packed form of a statement, and of those that differ in a filter's values alone."""

    def __init__(self, statement: Statement, packing: Packing) -> None:
        self._sql = f"COPY ({packed_sql(statement, packing)}) TO STDOUT (FORMAT binary)"
        self._split = packing.split
        self._rest = 0  # statements that are left to the ordinary way

    def run(self, cursor: Cursor, parameters: Mapping[str, Argument], buffer: CopyBuffer) -> list[PackedRows] | None:
        """The rows for each probe; None where a feature or all together are too large for it, and a while after."""
        if self._rest:
            self._rest -= 1
            return None
        copied = buffer.copy(cursor, cursor.mogrify(self._sql, parameters))
        if not copied.cut:
            found = sorted(_decode(copied.data))  # by the ordinal
            if all(written or not length for _, length, written in found):
                return [PackedRows(written, length, ordinal, self._split) for ordinal, length, written in found]
        self._rest = REST
        return None


class PackedCopies:
    """The packed forms of statements about many probes. `packing` says how, if it can be."""

    def __init__(self, packing: Callable[[Statement], Packing | None]) -> None:
        self._packing = packing
        self._known: WeakKeyDictionary[Statement, PackedCopy | None] = WeakKeyDictionary()

    def __getitem__(self, statement: Statement) -> PackedCopy | None:
        common = statement.common
        if common not in self._known:
            packing = None if common.shape.constant else self._packing(common)
            self._known[common] = None if packing is None else PackedCopy(common, packing)
        return self._known[common]
