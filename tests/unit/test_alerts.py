"""The alert rules: right for Prometheus, tried one by one, and each with a section in the runbook that helps."""

import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from service.settings import Settings
from tests.monitoring import (
    ALERTS,
    MANIFEST,
    PANELS,
    ROOT,
    RULES,
    RUNBOOK,
    check_expressions,
    metrics_in,
    registered,
    write_rules,
)

TRIED: list[dict[str, Any]] = yaml.safe_load((ROOT / "k8s/alerts/tests.yaml").read_text())["tests"]
SECTIONS = dict(re.findall(r"^## (\w+)\n(.*?)(?=^## |\Z)", RUNBOOK, flags=re.MULTILINE | re.DOTALL))
QUERIES = re.findall(r"^```promql\n(.*?)^```", RUNBOOK, flags=re.MULTILINE | re.DOTALL)


def promtool(program: str, *words: str | Path) -> None:
    ended = subprocess.run([program, *words], capture_output=True, text=True, check=False, timeout=120)
    assert ended.returncode == 0, ended.stdout + ended.stderr


def test_it_is_a_manifest_of_the_prometheus_operator_s() -> None:
    assert (MANIFEST["apiVersion"], MANIFEST["kind"]) == ("monitoring.coreos.com/v1", "PrometheusRule")
    assert MANIFEST["metadata"]["name"] == "spatial-service"
    assert set(MANIFEST["spec"]) == {"groups"}


def test_prometheus_takes_the_rules(tool: Callable[[str], str], tmp_path: Path) -> None:
    promtool(tool("promtool"), "check", "rules", write_rules(tmp_path))


def test_each_alert_fires_when_it_should_and_not_before(tool: Callable[[str], str], tmp_path: Path) -> None:
    write_rules(tmp_path)
    promtool(tool("promtool"), "test", "rules", shutil.copy(ROOT / "k8s/alerts/tests.yaml", tmp_path))


@pytest.mark.parametrize("alert", ALERTS)
def test_an_alert_is_tried_silent_and_firing(alert: str) -> None:
    asked = [check for tried in TRIED for check in tried["promql_expr_test"] if selects(check["expr"], alert)]
    assert any(says(check, alert) for check in asked)
    assert any(not says(check, alert) for check in asked)


def selects(expression: str, alert: str) -> bool:
    matcher, names = re.findall(r'alertname(=~?)"([^"]+)"', expression)[0]
    return bool(re.fullmatch(names, alert)) if matcher == "=~" else names == alert


def says(check: dict[str, Any], alert: str) -> bool:
    """Whether a check expects the alert to fire."""
    samples = check["exp_samples"]
    return any("alertname" not in sample.get("labels", "") or f'"{alert}"' in sample["labels"] for sample in samples)


@pytest.mark.parametrize(("name", "alert"), ALERTS.items(), ids=list(ALERTS))
def test_an_alert_says_how_bad_it_is_what_it_is_and_where_to_read_on(name: str, alert: dict[str, Any]) -> None:
    assert alert["labels"] == {"severity": alert["labels"]["severity"]}
    assert alert["labels"]["severity"] in ("critical", "warning")
    notes = alert["annotations"]
    assert set(notes) == {"summary", "description", "runbook_url"}
    assert notes["summary"].endswith(".")
    assert notes["description"].endswith(".")
    assert notes["runbook_url"] == f"docs/runbook.md#{name.lower()}"


def test_the_runbook_has_a_section_for_every_alert_and_no_other_in_the_order_of_the_rules() -> None:
    assert list(SECTIONS) == list(ALERTS)


@pytest.mark.parametrize("section", SECTIONS)
def test_a_section_says_what_it_means_who_is_hurt_what_to_look_at_what_to_do_and_how_it_ends(section: str) -> None:
    words = re.findall(r"\*\*(\w+)\*\*", SECTIONS[section])
    assert words == ["Means", "Hurt", "Look", "Do", "Ends"]


def test_the_runbook_s_links_lead_somewhere() -> None:
    anchors = {name.lower() for name in SECTIONS}
    assert set(re.findall(r"\]\(#([^)]+)\)", RUNBOOK)) <= anchors
    files = set(re.findall(r"\]\(([\w./]+\.md)\)", RUNBOOK)) | set(re.findall(r"docs/([\w]+\.md)", RUNBOOK))
    assert [name for name in files if not (ROOT / "docs" / name).exists()] == []


def test_the_panels_that_the_runbook_names_are_on_the_dashboard() -> None:
    named = set(re.findall(r"(?<!\*)\*([A-Z][^*]+)\*(?!\*)", RUNBOOK)) - {"OOMKilled", "Targets"}
    titles = [panel["title"] for panel in PANELS]
    assert [name for name in named if not any(title.startswith(" ".join(name.split())) for title in titles)] == []


def test_the_runbook_s_queries_can_be_parsed(tool: Callable[[str], str], tmp_path: Path) -> None:
    assert QUERIES
    assert check_expressions(tool("promtool"), tmp_path, {query: query for query in QUERIES}) == ""


def test_every_metric_of_the_rules_and_the_runbook_is_the_service_s() -> None:
    expressions = " ".join(rule["expr"] for rule in RULES)
    recorded = {rule["record"] for rule in RULES if "record" in rule}
    named = {name for name in metrics_in(expressions + RUNBOOK) if not any(f":{name}:" in each for each in recorded)}
    assert named - registered() == set()


def test_every_rule_that_is_recorded_is_used() -> None:
    expressions = " ".join(alert["expr"] for alert in ALERTS.values())
    assert [rule["record"] for rule in RULES if "record" in rule and rule["record"] not in expressions] == []


def test_every_setting_that_the_runbook_or_an_alert_names_is_one() -> None:
    notes = " ".join(alert["annotations"]["description"] for alert in ALERTS.values())
    named = {name.removeprefix("SPATIAL_").lower() for name in re.findall(r"SPATIAL_[A-Z_]+", RUNBOOK + notes)}
    assert named - set(Settings.model_fields) == set()
