"""Which replicas may be read, judged by what they and the primary say of themselves; and whose faults errors are."""

from typing import Any

import psycopg2
import pytest
from psycopg2 import errors

from service.db.errors import pool_exhausted, translated
from service.db.replication.elsewhere import Fault, fault
from service.db.replication.replica import FIRST_REST, LONGEST_REST, Primary, Replica
from service.db.replication.sight import Look
from service.errors import InternalError, NotFound, Reason, SpatialError, Unavailable

LAG = 1000


def primary(position: int, *, timeline: str = "00000001", at: float = 0.0, system: int = 1) -> Look:
    return Look(
        system, 10, standby=False, position=position, timeline=timeline, connections=97, began=at, ended=at + 0.1
    )


def standby(position: int, *, at: float = 0.0, system: int = 1, started: int = 20) -> Look:
    return Look(
        system, started, standby=True, position=position, timeline=None, connections=97, began=at, ended=at + 0.1
    )


def knowing(*looks: Look) -> Primary:
    known = Primary()
    for look in looks:
        known.seen(look)
    return known


def replica() -> Replica:
    sight: Any = None
    return Replica("replica-1", sight, LAG)


def judged(look: Look, known: Primary, *others: Replica) -> str | None:
    return replica().judge(look, known, list(others), now=0.0)


@pytest.mark.parametrize(
    ("look", "problem"),
    [
        (standby(5000), None),
        (standby(4000), None),
        (standby(3999), "it is too far behind the primary"),
        (standby(5000, system=2), "it belongs to another cluster"),
        (primary(5000), "it is no standby"),
        (standby(5001, at=-1), "it has replayed what the primary never wrote"),
        (standby(5001, at=1), None),  # the primary had time to write it
    ],
)
def test_a_replica_is_read_if_it_follows_the_primary_closely(look: Look, problem: str | None) -> None:
    assert judged(look, knowing(primary(5000))) == problem


def test_without_a_primary_it_is_as_near_as_it_was_known_to_be() -> None:
    known = knowing(primary(5000))
    known.away = True

    assert judged(standby(4000), known) is None
    assert judged(standby(3000), known) == "it is too far behind the primary"


def test_replicas_that_agree_are_believed_as_long_as_the_primary_was_never_seen() -> None:
    other = replica()
    other.judge(standby(5000, system=1), Primary(), [], 0.0)

    assert judged(standby(3000, system=1), Primary(), other) is None
    assert judged(standby(3000, system=2), Primary(), other) == "it belongs to another cluster"


def test_a_replica_on_another_timeline_is_read_when_it_has_followed() -> None:
    """It stood at 4900 when another one was promoted, which had written 5100 when it was first seen."""
    known = knowing(primary(5000), primary(5100, timeline="00000002", at=1))

    assert judged(standby(4900, at=2), known) == "it has not followed the primary to its timeline yet"
    assert judged(standby(5099, at=3), known) == "it has not followed the primary to its timeline yet"
    assert judged(standby(5100, at=4), known) is None


def test_a_replica_that_went_further_than_what_was_promoted_is_not_read_until_it_was_made_anew() -> None:
    known = knowing(primary(5000), primary(5100, timeline="00000002", at=1))
    assert judged(standby(5200, at=0), known) == "it has replayed what the primary never wrote"
    known.seen(primary(9000, timeline="00000002", at=5))

    assert judged(standby(5200, at=6), known) == "it has replayed what the primary never wrote"
    assert judged(standby(8900, at=7, started=21), known) is None


def test_who_loses_calls_rests_and_the_longer_the_more_often() -> None:
    resting, known, now = replica(), knowing(primary(5000)), 100.0
    rests = []
    for _ in range(12):
        resting.lost(now)
        resting.lost(now)  # by a second call of the same moment
        assert resting.judge(standby(5000), known, [], now) == "a call has lost it"
        rests.append(resting.rests_until - now)
        now = resting.rests_until
        assert resting.judge(standby(5000), known, [], now) is None
    resting.lost(now + 1000)

    assert rests[:3] == pytest.approx([FIRST_REST, 2 * FIRST_REST, 4 * FIRST_REST])
    assert rests[-1] == pytest.approx(LONGEST_REST)
    assert resting.rests_until - now - 1000 == pytest.approx(FIRST_REST)


def of(error: Exception, *, lost: bool = False) -> SpatialError:
    return translated(error, connection_lost=lost)


def coded(code: str) -> Exception:
    """An error of PostgreSQL's, as psycopg2 raises it."""
    made: type[psycopg2.Error] = errors.lookup(code)

    class Coded(made):  # type: ignore[misc, valid-type]
        pgcode = code

    return Coded("made up")


@pytest.mark.parametrize(
    ("code", "meaning"),
    [
        ("57P01", Fault.LOST),
        ("57P03", Fault.LOST),
        ("08006", Fault.LOST),
        ("53300", Fault.LOST),
        ("40001", Fault.PASSING),
        ("40P01", Fault.PASSING),
        ("57P04", Fault.PASSING),
        ("42P01", Fault.PASSING),
        ("42703", Fault.PASSING),
        ("25006", Fault.PASSING),
        ("55000", Fault.PASSING),
        ("57014", None),
        ("22003", None),
        ("XX000", None),
        ("53200", None),
    ],
)
def test_whose_fault_an_error_is(code: str, meaning: Fault | None) -> None:
    assert fault(of(coded(code))) is meaning


def test_a_connection_that_is_gone_is_the_servers_fault() -> None:
    assert fault(of(psycopg2.OperationalError("server closed the connection"))) is Fault.LOST
    assert fault(of(psycopg2.InterfaceError("connection already closed"), lost=True)) is Fault.LOST


@pytest.mark.parametrize(
    "error",
    [
        pool_exhausted(1.0),
        NotFound(Reason.FEATURE_NOT_FOUND, "no such feature"),
        InternalError(Reason.INTERNAL, "internal error"),
        Unavailable(Reason.SHUTTING_DOWN, "this server is shutting down"),
    ],
)
def test_what_is_said_before_a_server_is_asked_is_nobodys_fault(error: SpatialError) -> None:
    assert fault(error) is None


def test_a_conflict_with_recovery_passes_for_callers_too() -> None:
    """Of a stream that had begun, and so ends."""
    told = of(coded("40001"))

    assert isinstance(told, Unavailable)
    assert told.reason is Reason.DATABASE_UNAVAILABLE
    assert told.retry_after
