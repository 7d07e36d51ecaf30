"""Results as plots."""

from collections.abc import Callable, Mapping
from typing import Any

from benchmarks import svg
from benchmarks.report_tables import Rows, cheapest, growth, names, pages, usual

# --- plots ----------------------------------------------------------------------------------------------------------


def _series(rows: Rows, across: str, value: str) -> dict[str, list[tuple[float, float]]]:
    """A line a contender. The service's own first, as they are listed."""
    found = sorted((name for (name,) in names(rows, "contender")), key=lambda name: not name.startswith("service"))
    return {name: [(_count(row[across]), row[value]) for row in rows if row["contender"] == name] for name in found}


def _count(value: Any) -> float:
    return float(str(value).replace(",", ""))


def _plot_callers() -> str:
    return svg.lines("Calls a second, 22 features", "callers", _series(cheapest(usual()), "callers", "rate"))


def _plot_tails() -> str:
    return svg.lines("99 % of calls within, ms; 22 features", "callers", _series(cheapest(usual()), "callers", "p99"))


def _plot_pages() -> str:
    title = "Calls a second, 16 callers (4 where answers have 10,000 features)"
    return svg.lines(title, "features an answer", _series(pages(), "features", "rate"))


def _plot_cost() -> str:
    """Without those that cost so much that the others could not be told apart: the title has them."""
    rows = [row for row in cheapest(usual()) if row["callers"] == 16]
    stacks = {row["contender"]: (row["server_cpu"], row["database_cpu"]) for row in rows}
    most = 8 * max(sum(each) for name, each in stacks.items() if name.startswith("service"))
    shown = {name: each for name, each in stacks.items() if sum(each) <= most}
    left_out = "".join(f"; {name}: {sum(each):.0f}" for name, each in stacks.items() if name not in shown)
    return svg.bars(f"CPU seconds for a thousand answers, 16 callers{left_out}", ("server", "database"), shown)


def _growth_lines(part: str, across: str, values: Mapping[str, str]) -> dict[str, list[tuple[float, float]]]:
    return {name: [(row[across], row[key]) for row in growth(part)] for name, key in values.items()}


_MEDIANS = {"service": "median", "pgbench": "pgbench_median"}
_COSTS = {"server": "server_cpu", "database": "database_cpu", "pgbench's database": "pgbench_cpu"}


def _plot_rows() -> str:
    series = _growth_lines("sizes", "rows", _MEDIANS)
    return svg.lines("Median of 22 features, 1 caller, ms", "points in the table", series)


def _plot_circles() -> str:
    series = _growth_lines("circles", "found", _MEDIANS)
    return svg.lines("Median of the nearest 100, 1 caller, ms", "points in the circle", series)


def _plot_growth_callers() -> str:
    series = _growth_lines("callers", "callers", _COSTS)
    return svg.lines("CPU of a call of 22 features among 10 million points, ms", "callers", series)


PLOTS: Mapping[str, Callable[[], str]] = {
    "peers-callers": _plot_callers,
    "peers-tails": _plot_tails,
    "peers-pages": _plot_pages,
    "peers-cost": _plot_cost,
    "growth-rows": _plot_rows,
    "growth-circles": _plot_circles,
    "growth-callers": _plot_growth_callers,
}
