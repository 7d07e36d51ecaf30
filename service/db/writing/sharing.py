"""Changes that wait together: what may share a transaction, and in which order lanes take what waits.

A change of a kind that shares is taken at once where a lane is idle and none of its like is being made. What comes
meanwhile waits as one group, which goes as soon as that one has ended, or is being committed and not larger: so a
transaction, its round trips and its place in the log are paid for once by all who wait for it, groups do not fall apart
into ever smaller ones, and one that waits for nobody waits for nothing. What takes long holds nobody up: after a while
its like are made beside it, and a kind of which each takes long is made one by one.
"""

from collections import deque
from collections.abc import Sequence
from threading import Lock
from time import perf_counter

from service.db.writing.jobs import Attempts, Group, Shared

LONG_SECONDS = 0.05  # after which a group no longer keeps others of its kind waiting


class Waiting:
    """What waits for a lane. Lanes take on threads of their own; all else is the event loop's."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._groups: deque[Group] = deque()
        self._filling: dict[Shared, Group] = {}
        self._running: dict[Shared, Group] = {}
        self.changes = 0
        self.came = 0  # in all

    @property
    def groups(self) -> int:
        return len(self._groups)

    def put(self, change: Attempts) -> None:
        shared = change.change.shared
        with self._lock:
            group = self._filling.get(shared) if shared is not None else None
            if shared is None or group is None or len(group.members) >= shared.room:
                group = Group(shared)
                self._groups.append(group)
                if shared is not None:
                    self._filling[shared] = group
            _join(group, change)
            self.changes += 1
            self.came += 1

    def put_back(self, changes: Sequence[Attempts]) -> None:
        """Each for itself, and before all others."""
        with self._lock:
            for change in reversed(changes):
                group = Group(None)
                _join(group, change)
                self._groups.appendleft(group)
            self.changes += len(changes)

    def take(self) -> Group | None:
        """What has waited longest, but for those of whose kind one is being made."""
        with self._lock:
            group = next((each for each in self._groups if self._may_go(each)), None)
            if group is not None:
                self._groups.remove(group)
                self._taken(group)
            return group

    def _may_go(self, group: Group) -> bool:
        before = None if group.shared is None else self._running.get(group.shared)
        return before is None or (before.committing and len(group.members) >= len(before.members))

    def drain(self) -> list[Group]:
        """Everything, which no lane is to have any more."""
        with self._lock:
            groups = list(self._groups)
            self._groups.clear()
            self._filling.clear()
            self.changes = 0
            return groups

    def _taken(self, group: Group) -> None:
        self._close(group)
        self.changes -= len(group.members)
        group.began = perf_counter()
        if group.shared is not None:
            self._running[group.shared] = group

    def close(self, group: Group) -> None:
        """Nobody comes to it any more."""
        with self._lock:
            self._close(group)

    def _close(self, group: Group) -> None:
        if group.shared is not None and self._filling.get(group.shared) is group:
            del self._filling[group.shared]

    def ended(self, group: Group) -> None:
        with self._lock:
            if group.shared is not None and self._running.get(group.shared) is group:
                del self._running[group.shared]

    def let_by(self) -> None:
        """What has been running for long keeps nobody waiting from now on."""
        since = perf_counter() - LONG_SECONDS
        with self._lock:
            for shared in [each for each, group in self._running.items() if group.began <= since]:
                del self._running[shared]


def _join(group: Group, change: Attempts) -> None:
    change.group = group
    group.members.append(change)
