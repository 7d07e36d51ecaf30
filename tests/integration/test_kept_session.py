"""The session that a lane keeps for its changes: one transaction after the other, and nothing left of the last."""

from collections.abc import Iterator

import pytest
from psycopg2.errors import UniqueViolation
from sqlalchemy import Engine, create_engine, event

from service.db.engine import Pool, database_url
from service.db.turnstile import Turnstile
from service.db.writing.sessions import KeptSession, editing
from service.db.writing.transaction import Transaction
from tests.situations import fetch

INSERT = "INSERT INTO things VALUES (%s) RETURNING id"


@pytest.fixture
def url(database: str) -> str:
    fetch(database, "CREATE TABLE things (id int PRIMARY KEY)")
    return database


@pytest.fixture
def engine(url: str) -> Iterator[Engine]:
    engine = create_engine(database_url(url))
    yield editing(Pool("write", engine, Turnstile(2), 1.0)).engine
    engine.dispose()


def things(url: str) -> list[int]:
    return [thing for (thing,) in fetch(url, "SELECT id FROM things ORDER BY id")]


def test_it_is_one_for_all_that_is_done_on_a_connection(url: str, engine: Engine) -> None:
    kept, seen = KeptSession(), []
    with engine.connect() as connection:
        for number in (1, 2):
            with kept(connection) as session:
                seen.append(session)
                transaction = Transaction(session)
                transaction.fetch(INSERT, (number,))
                transaction.commit()
    with engine.connect() as other, kept(other) as session:
        seen.append(session)

    assert things(url) == [1, 2]
    assert seen[0] is seen[1]
    assert seen[2] is not seen[0]


def test_what_was_not_brought_to_its_end_is_undone(url: str, engine: Engine) -> None:
    kept = KeptSession()
    rolled_back: list[object] = []
    event.listen(engine, "rollback", rolled_back.append)
    with engine.connect() as connection:
        with pytest.raises(UniqueViolation), kept(connection) as session:
            Transaction(session).fetch(f"{INSERT}; {INSERT}", (1, 1))
        with kept(connection) as session:
            transaction = Transaction(session)
            transaction.fetch(INSERT, (2,))
            transaction.commit()

    assert things(url) == [2]
    assert len(rolled_back) == 1
