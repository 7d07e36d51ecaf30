"""The dashboard: made of its source, laid out in order, explained, and of queries that can be parsed."""

import re
import runpy
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from service.settings import Settings
from tests.monitoring import DASHBOARD, PANELS, QUERIES, ROOT, check_expressions, metrics_in, registered

FOLDER = ROOT / "k8s/dashboards"
PLACED = DASHBOARD["panels"]


def test_the_dashboard_is_what_its_source_makes() -> None:
    # Not imported: that would leave compiled files among the manifests.
    text = runpy.run_path(str(FOLDER / "render.py"))["text"]()
    assert (FOLDER / "spatial-service.json").read_text() == text, "run `python k8s/dashboards/render.py`"


def test_ids_and_titles_are_there_once() -> None:
    ids = Counter(panel["id"] for panel in PLACED)
    titles = Counter(panel["title"] for panel in PLACED)
    assert (ids.most_common(1)[0][1], titles.most_common(1)[0][1]) == (1, 1)


def test_no_panel_lies_on_another_or_beyond_the_edge() -> None:
    taken: Counter[tuple[int, int]] = Counter()
    for panel in PLACED:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        taken.update(
            (place["x"] + right, place["y"] + down) for right in range(place["w"]) for down in range(place["h"])
        )
    assert [cell for cell, count in taken.items() if count > 1] == []


def test_rows_come_in_the_order_in_which_one_looks() -> None:
    rows = [panel["title"].partition(":")[0] for panel in PLACED if panel["type"] == "row"]
    assert rows == [
        "Now",
        "Calls",
        "Limits",
        "Database",
        "Lanes",
        "Streams and matches",
        "Writes and imports",
        "Replicas",
        "Processes",
    ]
    assert PLACED[0]["type"] == "row"


@pytest.mark.parametrize("panel", PANELS, ids=lambda panel: panel["title"])
def test_a_panel_says_what_it_shows_in_what_unit_and_from_when_on_it_is_bad(panel: dict[str, Any]) -> None:
    assert len(panel["description"]) > 30
    assert panel["description"].endswith(".")
    defaults = panel["fieldConfig"]["defaults"]
    assert defaults["unit"]
    values = [step["value"] for step in defaults["thresholds"]["steps"]]
    assert values[0] is None
    assert values[1:] == sorted(values[1:])
    assert panel["targets"]
    assert panel["datasource"]["uid"] == "${datasource}"


@pytest.mark.parametrize("query", QUERIES, ids=str)
def test_a_query_asks_about_the_service_that_was_picked(query: Any) -> None:
    picked = query.written.count('namespace=~"$namespace",job=~"$job"')
    assert picked == len(metrics_in(query.written)) or picked >= 1
    assert query.written.count("{") == picked, "a selector without the variables means every service there is"


def test_the_variables_of_the_queries_are_those_of_the_dashboard() -> None:
    names = {variable["name"] for variable in DASHBOARD["templating"]["list"]}
    used = {name for query in QUERIES for name in re.findall(r"\$(\w+)", query.written)}
    assert used - {"__rate_interval"} == names - {"datasource"}


def test_every_query_can_be_parsed(tool: Callable[[str], str], tmp_path: Path) -> None:
    assert check_expressions(tool("promtool"), tmp_path, {str(query): query.expression for query in QUERIES}) == ""


def test_every_metric_of_the_dashboard_is_the_service_s() -> None:
    texts = [query.written for query in QUERIES]
    texts += [each["definition"] for each in DASHBOARD["templating"]["list"] if each["type"] == "query"]
    texts += [each["expr"] for each in DASHBOARD["annotations"]["list"]]
    assert metrics_in(" ".join(texts)) - registered() == set()


def test_every_metric_of_ours_is_on_the_dashboard() -> None:
    """By its family: nobody shows every bucket, count and sum."""
    shown = {family(name) for name in metrics_in(" ".join(query.written for query in QUERIES))}
    ours = {family(name) for name in registered() if name.startswith(("grpc_server", "spatial"))}
    assert ours - shown == set()


def family(name: str) -> str:
    return re.sub(r"_(total|bucket|count|sum)$", "", name)


def test_every_setting_that_a_description_names_is_one() -> None:
    named = {name for panel in PANELS for name in re.findall(r"SPATIAL_[A-Z_]+", panel["description"])}
    assert {name.removeprefix("SPATIAL_").lower() for name in named} - set(Settings.model_fields) == set()
