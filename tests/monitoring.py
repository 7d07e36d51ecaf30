"""The dashboard, the alert rules, and the names of metrics, as tests read them."""

import json
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from prometheus_client import CollectorRegistry, Metric, PlatformCollector, ProcessCollector

from service.observability.metrics import Metrics

ROOT = Path(__file__).parents[1]
DASHBOARD: dict[str, Any] = json.loads((ROOT / "k8s/dashboards/spatial-service.json").read_text())
MANIFEST: dict[str, Any] = yaml.safe_load((ROOT / "k8s/alerts/prometheus-rule.yaml").read_text())
RULES: list[dict[str, Any]] = [rule for group in MANIFEST["spec"]["groups"] for rule in group["rules"]]
ALERTS: dict[str, dict[str, Any]] = {rule["alert"]: rule for rule in RULES if "alert" in rule}
PANELS: list[dict[str, Any]] = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
RUNBOOK = (ROOT / "docs/runbook.md").read_text()
MONITORING = (ROOT / "docs/monitoring.md").read_text()

# What docs/monitoring.md has a row for, with the labels.
_ROWS = re.findall(r"^\| `([a-z0-9_]+)(?:\{([a-z0-9_,]+)\})?` \|", MONITORING, flags=re.MULTILINE)
TABLE = {name: set(labels.split(",")) if labels else set() for name, labels in _ROWS}

# What a name must begin with to be a metric of the service, or of the process that it runs in.
METRIC = re.compile(r"\b(?:spatial|grpc_server|process)_[a-z0-9_]+")


@dataclass(frozen=True)
class Query:
    """A query of a panel, as Grafana sends it with everything picked."""

    panel: str
    number: str
    written: str

    @property
    def expression(self) -> str:
        """Rates over a minute: several scrapes, in a test as well."""
        variables = {"__rate_interval": "1m", "namespace": ".*", "job": ".*", "instance": ".*"}
        return re.sub(r"\$(\w+)", lambda found: variables[found[1]], self.written)

    def __str__(self) -> str:
        return f"{self.panel} {self.number}"


QUERIES = [Query(panel["title"], target["refId"], target["expr"]) for panel in PANELS for target in panel["targets"]]


def write_rules(folder: Path) -> Path:
    """The groups of the manifest as Prometheus itself reads them."""
    path = folder / "rules.yaml"
    path.write_text(yaml.safe_dump(MANIFEST["spec"]))
    return path


def check_expressions(promtool: str, folder: Path, expressions: dict[str, str]) -> str:
    """What promtool says is wrong with any of them; nothing if they can all be parsed."""
    rules = [
        {"record": f"expression:{number}", "expr": each, "labels": {"from": name}}
        for number, (name, each) in enumerate(expressions.items())
    ]
    path = folder / "expressions.yaml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "expressions", "rules": rules}]}))
    checked = subprocess.run([promtool, "check", "rules", path], capture_output=True, text=True, check=False)
    return "" if checked.returncode == 0 else checked.stdout + checked.stderr


def metrics_in(text: str) -> set[str]:
    return set(METRIC.findall(text))


def samples_of(family: Metric) -> set[str]:
    """The names under which a family's series are scraped."""
    endings = {"counter": ("_total",), "info": ("_info",), "histogram": ("_bucket", "_count", "_sum")}
    return {family.name + ending for ending in endings.get(family.type, ("",))}


@cache
def registered() -> set[str]:
    """Every name that the service may be scraped for: its registry's, and those that its parts add to it."""
    return {name for family in families() for name in samples_of(family)} | set(_added())


def families() -> list[Metric]:
    registry = CollectorRegistry()
    Metrics(registry)
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    return list(registry.collect())


def _added() -> Iterator[str]:
    """Of the parts that are not in every process, by the classes of prometheus_client that theirs are made with."""
    endings = {"Gauge": "", "Counter": "_total"}
    for path in (ROOT / "service").rglob("*.py"):
        for kind, name in re.findall(r'\b(Gauge|Counter)(?:MetricFamily)?\(\s*"([a-z0-9_]+)"', path.read_text()):
            yield name.removesuffix("_total") + endings[kind]
