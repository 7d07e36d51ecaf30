"""Pooled connections that were in use a moment ago: trusted without a word, unless the server has ended them."""

from collections.abc import Iterator
from contextlib import closing
from typing import Any

import psycopg2
import pytest
from sqlalchemy import Engine, create_engine, text

from service.db import liveness
from service.db.engine import database_url
from service.db.liveness import check_connections

PID = text("SELECT pg_backend_pid()")


@pytest.fixture
def engine(module_database: str) -> Iterator[Engine]:
    engine = create_engine(database_url(module_database), pool_size=1, max_overflow=0, isolation_level="AUTOCOMMIT")
    check_connections(engine)
    yield engine
    engine.dispose()


def backend(engine: Engine) -> int:
    with engine.connect() as connection:
        return int(connection.execute(PID).scalar_one())


@pytest.fixture
def pings(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> list[object]:
    asked: list[object] = []
    ping = engine.dialect.do_ping

    def counted(connection: Any) -> bool:
        asked.append(connection)
        return ping(connection)

    monkeypatch.setattr(engine.dialect, "do_ping", counted)
    return asked


def test_a_connection_used_a_moment_ago_is_not_asked(engine: Engine, pings: list[object]) -> None:
    assert backend(engine) == backend(engine)
    assert pings == []


def test_one_that_has_rested_is_asked(engine: Engine, pings: list[object], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(liveness, "TRUSTED_SECONDS", 0.0)
    assert backend(engine) == backend(engine)
    assert len(pings) > 0


def test_one_that_the_server_has_just_ended_is_replaced(engine: Engine, module_database: str) -> None:
    first = backend(engine)
    with closing(psycopg2.connect(module_database)) as other, other.cursor() as cursor:
        cursor.execute("SELECT pg_terminate_backend(%s, 10000)", (first,))

    assert backend(engine) != first
