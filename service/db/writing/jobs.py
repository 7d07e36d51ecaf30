"""What is given to the lanes of the write pool: changes, those that wait for them, and groups of these."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any, NamedTuple

import psycopg2
from psycopg2.extensions import cursor as Cursor  # noqa: N812 - a class, whatever its case

from service.changes import Edit, Promise
from service.db.cancel import StatementGuard
from service.db.lane import Ran
from service.db.writing.transaction import Transaction
from service.errors import SpatialError

MOST_TOGETHER = 64
GROUP_SECONDS = 0.5  # that a group should take at most


class Written(NamedTuple):
    """What a change is answered with, and the position of the log behind it; None where nothing was committed."""

    answer: bytes
    position: int | None


@dataclass(slots=True, eq=False)
class Shared:
    """What changes have in common that may be made in one transaction: the very same object. `work` makes several
    edits, and gives the answer to each; `room` is for how many at a time."""

    work: Callable[[Transaction, Sequence[Edit]], Sequence[bytes]]
    room: int = MOST_TOGETHER

    def took(self, changes: int, seconds: float) -> None:
        """What a single one takes is most of it what several would share: that alone makes no group smaller."""
        wanted = int(GROUP_SECONDS * changes / max(seconds, 1e-3))
        if changes > 1 or wanted > self.room:
            self.room = max(1, min(wanted, 2 * self.room, MOST_TOGETHER))


class Change(NamedTuple):
    """What is done in one transaction: `work` does it, up to several times, and gives the answer that is remembered
    for a `promise`. `explain` says of an error of the database, on a session in autocommit, what it means to this
    caller; None for what it means to any. Where it is `shared`, that does the same for its `edit`."""

    kind: str  # for metrics
    layer: str
    work: Callable[[Transaction], bytes]
    explain: Callable[[Cursor, psycopg2.Error], SpatialError | None]
    promise: Promise | None = None
    validate_only: bool = False
    serializable: bool = False
    shared: Shared | None = None
    edit: Edit | None = None


@dataclass(slots=True, eq=False)
class Attempts:
    """A change on its way, with the caller's future for what becomes of it."""

    change: Change
    future: Any
    group: "Group | None" = None
    tries: int = 0
    since: float = field(default_factory=perf_counter)
    ran: Ran | None = None


@dataclass(slots=True, eq=False)
class Group:
    """What a lane makes at a time: changes that share a transaction, or a single one."""

    shared: Shared | None
    members: list[Attempts] = field(default_factory=list)
    guard: StatementGuard = field(default_factory=StatementGuard)
    began: float = 0.0
    committing: bool = False  # all has been done but for the COMMIT

    def present(self) -> list[Attempts]:
        """Those whose callers still wait."""
        return [each for each in self.members if not each.future.done()]
