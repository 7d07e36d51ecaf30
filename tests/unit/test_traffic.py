"""How many calls of a shape go into one statement."""

import pytest

from service.db.traffic import FEW, MANY, Traffic
from service.domain import Kind, Output, Shape, View

SHAPE = Shape(Kind.RADIUS, "facilities", Output((), View.NONE))
LANE_BATCH = 64
SECONDS = 0.025


def traffic(fixed: float, each: float) -> Traffic:
    """After statements that took so many seconds, and so many for each of their calls; of one call first, then of as
    many as there may be."""
    known = Traffic(SHAPE)
    for _ in range(4):
        known.note_seconds(fixed + each, 1)
    for _ in range(4 * MANY // FEW):
        calls = known.most(LANE_BATCH, SECONDS)
        known.note_seconds(fixed + each * calls, calls)
    return known


@pytest.mark.parametrize(
    ("fixed", "each", "most"),
    [
        pytest.param(0.002, 0.0001, LANE_BATCH, id="quick"),
        pytest.param(0.001, 0.0006, 40, id="as many as are answered in time"),
        pytest.param(0.001, 0.02, 1.2 * FEW, id="slow, and the slower the more there are"),
        pytest.param(0.2, 0.0001, LANE_BATCH, id="slow, however few: a database far away"),
    ],
)
def test_a_statement_takes_calls_as_far_as_that_makes_it_slow(fixed: float, each: float, most: float) -> None:
    assert traffic(fixed, each).most(LANE_BATCH, SECONDS) == pytest.approx(most, rel=0.2)


def test_where_nobody_is_impatient_a_statement_takes_all_that_it_may() -> None:
    assert traffic(0.001, 0.02).most(LANE_BATCH) == LANE_BATCH


def test_of_a_shape_that_is_new_a_statement_takes_all_that_it_may() -> None:
    assert Traffic(SHAPE).most(LANE_BATCH, SECONDS) == LANE_BATCH


def test_what_is_set_holds_however_quick_statements_are() -> None:
    assert traffic(0.0, 0.00001).most(4, SECONDS) == 4


def test_a_slow_moment_is_forgotten() -> None:
    known = traffic(0.002, 0.0001)
    known.note_seconds(1.0, LANE_BATCH)
    assert known.most(LANE_BATCH, SECONDS) == FEW
    for _ in range(40):
        calls = known.most(LANE_BATCH, SECONDS)
        known.note_seconds(0.002 + 0.0001 * calls, calls)
    assert known.most(LANE_BATCH, SECONDS) == LANE_BATCH
