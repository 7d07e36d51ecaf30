"""Results as tables of Markdown."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from benchmarks.questions import AREAS, CIRCLE
from benchmarks.results import Kept, Result

Rows = Sequence[Mapping[str, Any]]


# --- any suite ------------------------------------------------------------------------------------------------------


def figures(result: Result) -> str:
    """All figures of a suite, and what they were measured on."""
    rows = [(_plain(figure.name, result.suite), _ratio(figure), figure.goal) for figure in result.figures]
    return "\n\n".join((table(("figure", "measured", "goal"), rows), setting(result)))


def ahead() -> str:
    """The peers that are ahead of the service somewhere, where both answer the same, and where."""
    contests = [suite for suite in ("peers", "pages") if Result.is_there(suite)]
    contested = [
        (suite, each) for suite in contests for each in Result.read(suite).figures if each.goal in ("> 1", "< 1")
    ]
    if not contested:
        return "Nobody was measured yet where both answer the same."
    lost = [(suite, each) for suite, each in contested if _is_lost(each)]
    if not lost:
        return "No peer is ahead of the service where both answer the same."
    told = [f"- {_plain(each.name, suite)}: {_ratio(each)}" for suite, each in lost]
    return "\n".join(["Where a peer is ahead:", "", *told])


def _is_lost(figure: Kept) -> bool:
    return (figure.goal == "> 1" and figure.ratio < 1) or (figure.goal == "< 1" and figure.ratio > 1)


def _plain(name: str, suite: str) -> str:
    """Without the suite, which the page says."""
    return name.removeprefix(f"{suite} ").removeprefix(f"{suite}, ")


def _ratio(figure: Kept) -> str:
    return f"{figure.ratio:.2f}" if abs(figure.ratio) < 10 else f"{figure.ratio:,.0f}"


def setting(result: Result) -> str:
    told = "; ".join(f"{name}: {value}" for name, value in result.setting.items())
    return f"{result.date}, `{result.command}`. {told}."


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    return "\n".join([_line(head), "|---" * len(head) + "|", *map(_line, rows)])


def _line(row: Sequence[str]) -> str:
    return f"| {' | '.join(row)} |"


# --- peers ----------------------------------------------------------------------------------------------------------


def _rows(suite: str) -> Rows:
    rows: Rows = Result.read(suite).measured["rows"]
    return rows


def usual() -> Rows:
    return _rows("peers")


def pages() -> Rows:
    return _rows("pages")


def cheapest(rows: Rows) -> Rows:
    return [row for row in rows if row["generator"] != "ghz"]


def within(area: str, rows: Rows) -> Rows:
    return [row for row in rows if row["area"] == area]


def _by(rows: Rows, *columns: str) -> dict[Any, Mapping[str, Any]]:
    return {tuple(row[column] for column in columns): row for row in rows}


def names(rows: Rows, *columns: str) -> list[Any]:
    """Circles before boxes."""
    found = dict.fromkeys(tuple(row[column] for column in columns) for area in AREAS for row in within(area, rows))
    return list(found)


def peers_callers() -> str:
    """Calls a second and the 99th percentile, by callers."""
    rows = _by(usual(), "contender", "area", "generator", "callers")
    callers = sorted({key[3] for key in rows})
    rated = [f"{count}: calls/s" for count in callers]
    head = ("22 features", "in a", "load", *rated, *(f"{count}: 50, 99 %" for count in callers))
    lines = []
    for name, area, generator in names(usual(), "contender", "area", "generator"):
        each = [rows[name, area, generator, count] for count in callers]
        rates = [_short(row["rate"]) for row in each]
        tails = [f"{_short(row['median'])}, {_short(row['p99'])} ms" for row in each]
        lines.append((name, area, generator, *rates, *tails))
    return table(head, lines)


def peers_cost() -> str:
    """CPU and bytes an answer, with sixteen callers."""
    head = ("16 callers, 22 features", "in a", "load", "server", "database", "load itself", "bytes an answer")
    lines = [
        (
            row["contender"],
            row["area"],
            row["generator"],
            _short(row["server_cpu"]),
            _short(row["database_cpu"]),
            _short(row["generator_cpu"]),
            f"{row['bytes_an_answer']:,.0f}" if row["bytes_an_answer"] else "",
        )
        for area in AREAS
        for row in within(area, usual())
        if row["callers"] == 16
    ]
    return table(head, lines)


def pages_sizes() -> str:
    """Calls a second, and CPU of server and database together, by features a page."""
    rows = _by(pages(), "contender", "area", "features")
    sizes = list(dict.fromkeys(row["features"] for row in pages()))
    head = ("features an answer", "in a", *(f"{page}: calls/s" for page in sizes), *(f"{page}: CPU" for page in sizes))
    lines = []
    for name, area in names(pages(), "contender", "area"):
        each = [rows[name, area, page] for page in sizes]
        cpu = [_short(row["server_cpu"] + row["database_cpu"]) for row in each]
        lines.append((name, area, *(_short(row["rate"]) for row in each), *cpu))
    return table(head, lines)


def scaling_cost() -> str:
    """What a call costs the service and the database, in milliseconds, by callers."""
    circles = within(CIRCLE, cheapest(usual()))
    rows = [row for row in circles if row["contender"].startswith(("service", "pgbench"))]
    by, callers = _by(rows, "contender", "callers"), sorted({row["callers"] for row in rows})
    head = ("CPU a call", *(f"{count} caller{'s' * (count > 1)}" for count in callers))
    lines = []
    for (name,) in names(rows, "contender"):
        each = [by[name, count] for count in callers]
        if name != "pgbench":
            lines.append((f"`C`, {name}", *(f"{_short(row['server_cpu'])} ms" for row in each)))
        lines.append((f"`D`, PostgreSQL under {name}", *(f"{_short(row['database_cpu'])} ms" for row in each)))
    return table(head, lines)


# --- growth ---------------------------------------------------------------------------------------------------------


def growth(part: str) -> Rows:
    rows: Rows = Result.read("growth").measured[part]
    return rows


def growth_tables() -> str:
    steps = list(growth("tables")[0]["rates"])
    head = ("points", *(f"{step}, rows/s" for step in steps), "bytes a row", "key", "geometry index", "geography index")
    lines = []
    for row in growth("tables"):
        rates = [f"{row['rates'][step]:,.0f}" for step in steps]
        lines.append((f"{row['rows']:,}", *rates, *(f"{each:.0f}" for each in row["bytes"].values())))
    return table(head, lines)


def growth_rows() -> str:
    return _growth_table("sizes", "points, 22 in the circle", lambda row: f"{row['rows']:,}")


def growth_circles() -> str:
    return _growth_table("circles", "in the circle, the nearest 100 come", lambda row: f"{row['found']:,}")


def growth_callers() -> str:
    return _growth_table("callers", "callers, 22 features", lambda row: str(row["callers"]))


def _growth_table(part: str, first: str, name: Callable[[Mapping[str, Any]], str]) -> str:
    head = (first, "calls/s", "50 %", "99 %", "server", "database", "pgbench/s", "50 %", "database")
    keys = ("rate", "median", "p99", "server_cpu", "database_cpu", "pgbench_rate", "pgbench_median", "pgbench_cpu")
    units = {"median": " ms", "p99": " ms", "pgbench_median": " ms"}
    lines = [(name(row), *(_short(row[key]) + units.get(key, "") for key in keys)) for row in growth(part)]
    return table(head, lines)


def _short(value: float) -> str:
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"


TABLES: Mapping[str, Callable[[], str]] = {
    "peers callers": peers_callers,
    "peers ahead": ahead,
    "peers cost": peers_cost,
    "pages sizes": pages_sizes,
    "scaling cost": scaling_cost,
    "growth tables": growth_tables,
    "growth rows": growth_rows,
    "growth circles": growth_circles,
    "growth callers": growth_callers,
}
