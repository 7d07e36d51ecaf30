"""From when on a change is not cancelled any more."""

from collections.abc import Iterator
from contextlib import closing
from typing import Any

import psycopg2
import pytest
from sqlalchemy import Engine, create_engine

from service.db.cancel import Abandoned, StatementGuard
from service.db.engine import database_url


@pytest.fixture
def control(database: str) -> Iterator[Engine]:
    engine = create_engine(database_url(database))
    yield engine
    engine.dispose()


@pytest.fixture
def connection(database: str) -> Iterator[Any]:
    with closing(psycopg2.connect(database)) as connection:
        yield connection


def test_a_sealed_statement_is_not_cancelled(control: Engine, connection: Any) -> None:
    guard = StatementGuard()
    guard.begin(connection)
    guard.seal()

    assert guard.cancel(control) is False
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_sleep(0.2)")
    assert guard.end(interrupted=False), "nothing was sent"


def test_what_was_cancelled_cannot_be_sealed(control: Engine, connection: Any) -> None:
    guard = StatementGuard()
    guard.begin(connection)
    assert guard.cancel(control) is True

    with pytest.raises(Abandoned):
        guard.seal()
    assert not guard.end(interrupted=False), "the cancellation may still be on its way"


def test_another_attempt_can_be_cancelled_again(control: Engine, connection: Any) -> None:
    guard = StatementGuard()
    guard.begin(connection)
    guard.seal()
    guard.begin(connection)

    assert guard.cancel(control) is True
