"""Which rounds of a benchmark count on a machine whose host takes its cores."""

from itertools import accumulate, chain, count
from pathlib import Path

import pytest

from benchmarks.host import Cores, quietest


@pytest.mark.parametrize(
    ("stolen", "counted", "taken"),
    [
        pytest.param([0] * 9, [0, 1, 2], 0.0, id="no more rounds than are wanted where nothing is taken"),
        pytest.param([1, 2, 3] + [0] * 6, [0, 1, 2], 0.02, id="nor where it is little"),
        pytest.param([40, 0, 0, 50, 1, 0], [1, 2, 4], 0.0033, id="others instead of those that were disturbed"),
        pytest.param([40, 30, 0, 90, 20, 70, 60, 80, 50], [2, 4, 1], 0.1667, id="the quietest when patience is over"),
    ],
)
def test_those_rounds_count_in_which_the_host_took_the_least(
    stolen: list[int], counted: list[int], taken: float
) -> None:
    """Each round wants a hundred ticks; what the host takes in one is looked up before and after it."""
    totals = list(accumulate(stolen, initial=0))
    looks = chain.from_iterable(
        (Cores(100 * n - totals[n], totals[n]), Cores(100 * n + 100 - totals[n + 1], totals[n + 1]))
        for n in range(len(stolen))
    )
    numbers = count()
    rounds = quietest(lambda: next(numbers), 3, look=lambda: next(looks))
    assert rounds.results == sorted(counted), "in the order in which they were"
    assert rounds.taken == pytest.approx(taken, abs=0.0001)
    assert str(rounds) == f"the host took {rounds.taken:.0%} of the cores"


def test_what_all_cores_have_done_is_read_as_the_kernel_tells_it() -> None:
    assert Cores.read("cpu  100 20 30 4000 500 6 7 88 0 0\ncpu0 1 2 3 4 5 6 7 8 0 0\n") == Cores(163, 88)
    assert Cores.read(Path("/proc/stat").read_text()).used > 0
