"""Closing a connection and cancelling what it sends must not meet: PostgreSQL 15 was seen to crash of it."""

from typing import cast

import pytest
from sqlalchemy import Engine

from service.db.cancel import StatementGuard
from service.db.relay import ReaderLeft
from service.db.stream import giving_up
from service.domain import Batch

NOWHERE = cast("Engine", None)  # nothing is to be sent


def has_left(batch: Batch) -> None:
    raise ReaderLeft


def test_whoever_gives_up_by_itself_is_not_cancelled_any_more() -> None:
    guard = StatementGuard()
    with pytest.raises(ReaderLeft):
        giving_up(guard, has_left)(Batch(b"", 0))
    assert guard.cancel(NOWHERE) is False


def test_whoever_was_cancelled_reads_on_until_postgresql_ends_the_statement() -> None:
    guard = StatementGuard()
    guard.cancel(NOWHERE)
    giving_up(guard, has_left)(Batch(b"", 0))
