"""Which changes share a transaction, and when they may go."""

from typing import Any

from service.db.writing.jobs import Attempts, Change, Group, Shared
from service.db.writing.sharing import Waiting


class Future:
    """Of a caller who waits."""

    def done(self) -> bool:
        return False


def change(shared: Shared | None) -> Attempts:
    nothing: Any = None
    return Attempts(Change("create", "facilities", nothing, nothing, shared=shared), Future())


def put(waiting: Waiting, count: int, shared: Shared | None) -> None:
    for _ in range(count):
        waiting.put(change(shared))


def taken(waiting: Waiting) -> Group:
    group = waiting.take()
    assert group is not None
    return group


def shape() -> Shared:
    return Shared(lambda transaction, rows: [])


def test_those_that_wait_together_go_together_and_others_do_not() -> None:
    waiting, one, other = Waiting(), shape(), shape()
    put(waiting, 3, one)
    put(waiting, 2, other)
    put(waiting, 1, None)

    assert [len(taken(waiting).members) for _ in range(3)] == [3, 2, 1]
    assert waiting.take() is None
    assert waiting.changes == 0


def test_while_some_are_made_their_like_wait() -> None:
    waiting, shared = Waiting(), shape()
    put(waiting, 1, shared)
    first = taken(waiting)
    put(waiting, 5, shared)

    assert waiting.take() is None
    waiting.ended(first)
    assert len(taken(waiting).members) == 5


def test_while_some_are_committed_as_many_may_go_and_fewer_wait() -> None:
    waiting, shared = Waiting(), shape()
    put(waiting, 3, shared)
    first = taken(waiting)
    first.committing = True
    put(waiting, 2, shared)

    assert waiting.take() is None
    put(waiting, 1, shared)
    second = taken(waiting)
    assert len(second.members) == 3
    waiting.ended(first)
    put(waiting, 4, shared)
    assert waiting.take() is None
    waiting.ended(second)
    assert len(taken(waiting).members) == 4


def test_a_single_one_that_is_committed_keeps_nobody_waiting() -> None:
    waiting, shared = Waiting(), shape()
    put(waiting, 1, shared)
    taken(waiting).committing = True
    put(waiting, 1, shared)

    assert len(taken(waiting).members) == 1


def test_a_group_has_as_many_as_there_is_room_for() -> None:
    waiting, shared = Waiting(), shape()
    shared.room = 4
    put(waiting, 6, shared)

    first = taken(waiting)
    assert len(first.members) == 4
    waiting.ended(first)
    assert len(taken(waiting).members) == 2
