"""Results as plots."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from benchmarks import svg
from benchmarks.questions import BOX, CIRCLE
from benchmarks.report_tables import Rows, cheapest, growth, names, pages, usual, within

# --- plots ----------------------------------------------------------------------------------------------------------


def _series(rows: Rows, across: str, value: str) -> svg.Series:
    """A line a contender and area. The service's own first, as they are listed."""
    found = sorted(names(rows, "contender", "area"), key=lambda each: not each[0].startswith("service"))
    return {
        _named(name, area): [
            (_count(row[across]), row[value]) for row in rows if (row["contender"], row["area"]) == (name, area)
        ]
        for name, area in found
    }


def _named(name: str, area: str) -> str:
    return name if area == CIRCLE else f"{name}, {area}"


def _contest(title: str, rows: Rows, across: str, label: str, value: str) -> str:
    """Boxes are dashed, in the colour of whoever answers about them."""
    contenders = {_named(row["contender"], row["area"]): row["contender"] for row in within(BOX, rows)}
    return svg.lines(title, label, _series(rows, across, value), dashed=contenders)


def _count(value: Any) -> float:
    return float(str(value).replace(",", ""))


def _plot_callers() -> str:
    return _contest("Calls a second, 22 features", cheapest(usual()), "callers", "callers", "rate")


def _plot_tails() -> str:
    return _contest("99 % of calls within, ms; 22 features", cheapest(usual()), "callers", "callers", "p99")


def _plot_pages() -> str:
    title = "Calls a second, 16 callers (4 where answers have 10,000 features)"
    return _contest(title, pages(), "features", "features an answer", "rate")


def _plot_cost(area: str) -> str:
    """Without those that cost so much that the others could not be told apart: the title has them."""
    rows = [row for row in within(area, cheapest(usual())) if row["callers"] == 16]
    stacks = {row["contender"]: (row["server_cpu"], row["database_cpu"]) for row in rows}
    most = 8 * max(sum(each) for name, each in stacks.items() if name.startswith("service"))
    shown = {name: each for name, each in stacks.items() if sum(each) <= most}
    left_out = "".join(f"; {name}: {sum(each):.0f}" for name, each in stacks.items() if name not in shown)
    title = f"CPU seconds for a thousand answers about a {area}, 16 callers{left_out}"
    return svg.bars(title, ("server", "database"), shown)


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
    "pages-rates": _plot_pages,
    "peers-cost": partial(_plot_cost, CIRCLE),
    "peers-cost-box": partial(_plot_cost, BOX),
    "growth-rows": _plot_rows,
    "growth-circles": _plot_circles,
    "growth-callers": _plot_growth_callers,
}
