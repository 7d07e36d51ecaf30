"""PgBouncer looked after, restarted and cut off from PostgreSQL: what callers and readiness see of it."""

import asyncio
from collections.abc import Callable
from contextlib import closing

import grpc
import psycopg2
import pytest
from grpc_health.v1.health import aio

from service.db.engine import control_engine
from service.health import LOOK_SECONDS, Readiness
from service.settings import Settings
from tests.edits import attempted
from tests.neighbours import end_the_sessions, innocents, open_all, restart, right
from tests.pooler import PgBouncer, pooled
from tests.servers import Served, refusal, serving
from tests.situations import eventually


def reconnect(bouncer: PgBouncer) -> None:
    bouncer.tell("RECONNECT")


def pause(bouncer: PgBouncer) -> None:
    """As for a switch to another server."""
    bouncer.tell("PAUSE")
    bouncer.tell("RESUME")


@pytest.mark.parametrize("look_after", [reconnect, pause])
def test_looking_after_the_pooler_costs_no_call(
    served: Served, bouncer: PgBouncer, look_after: Callable[[PgBouncer], None]
) -> None:
    with innocents(right(served), callers=3) as callers:
        for _ in range(3):
            open_all(bouncer)
            look_after(bouncer)
            callers.go_on(2)
    eventually(lambda: served.health() == "SERVING", within=40)


@pytest.mark.parametrize("break_", [end_the_sessions, restart])
def test_what_breaks_is_unavailable_and_comes_back_by_itself(
    served: Served, bouncer: PgBouncer, url: str, break_: Callable[[PgBouncer, str], None]
) -> None:
    reasons: set[tuple[str, str]] = set()

    def ask(number: int) -> None:
        try:
            right(served)(number)
        except grpc.RpcError as error:
            told = refusal(error)
            reasons.add((told.code, told.reason))

    with innocents(ask, callers=3) as callers:
        for _ in range(3):
            break_(bouncer, url)
            callers.go_on(5)
    assert reasons <= {("UNAVAILABLE", "DATABASE_UNAVAILABLE")}
    eventually(lambda: attempted(right(served), 1) is None, within=40)
    eventually(lambda: served.health() == "SERVING", within=40)


def test_readiness_waits_for_its_turn_as_long_as_others_of_ours_are_answered(
    url: str, tool: Callable[[str], str]
) -> None:
    heard = [0.0]  # seconds ago

    async def watch(bouncer: PgBouncer, hold: Callable[[], None]) -> list[str | None]:
        control = control_engine(Settings(pooler="transaction"), bouncer.url)
        readiness = Readiness(aio.HealthServicer(), [], control, 0.1, silence=lambda: heard[0])
        await readiness.start()
        problems = []
        hold()
        for heard[0] in (0.0, LOOK_SECONDS):
            await asyncio.sleep(LOOK_SECONDS + 0.5)  # longer than a look is given
            problems.append(readiness.problem)
        await readiness.close()
        return problems

    with (
        pooled(tool("pgbouncer"), url, pool_size=1) as bouncer,
        closing(psycopg2.connect(bouncer.url)) as holder,
        holder.cursor() as cursor,
    ):
        problems = asyncio.run(watch(bouncer, lambda: cursor.execute("SELECT")))
    assert problems == [None, "the database does not answer"]


def test_readiness_is_lost_where_nobody_is_answered_and_comes_back(url: str, tool: Callable[[str], str]) -> None:
    with (
        pooled(tool("pgbouncer"), url, pool_size=1) as bouncer,
        serving(bouncer.url, pooler="transaction") as served,
        closing(psycopg2.connect(bouncer.url)) as holder,
        holder.cursor() as cursor,
    ):
        cursor.execute("SELECT")  # in a transaction that nobody ends: there is no other session
        eventually(lambda: served.health() == "NOT_SERVING", within=40)
        assert served.server.problem == "the database does not answer"
        holder.rollback()
        eventually(lambda: served.health() == "SERVING", within=40)
