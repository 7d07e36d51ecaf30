"""docs/monitoring.md: a row for every metric, with its labels, and an overlay that does what it says."""

import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from prometheus_client import CollectorRegistry
from prometheus_client.metrics import MetricWrapperBase

from service.observability.metrics import Metrics
from tests.monitoring import ALERTS, MONITORING, ROOT, TABLE, metrics_in, registered

DOCUMENTS = sorted([*(ROOT / "docs").glob("*.md"), ROOT / "README.md"])
ENDINGS = ("_total", "_seconds", "_bytes", "_ratio", "_info", "_size", "_in_flight", "_depth", "_connections")
OVERLAY = re.search(r"```yaml\n(# k8s/overlays/\S+\n.*?)```", MONITORING, flags=re.DOTALL)


def named() -> dict[str, set[str]]:
    """The metrics of the registry, and the labels that their series have."""
    registry = CollectorRegistry()
    Metrics(registry)
    wrappers = [each for each in registry._collector_to_names if isinstance(each, MetricWrapperBase)]
    return {
        each._name + ("_total" if each._type == "counter" else ""): set(each._labelnames)
        for each in wrappers
        if each._type != "info"
    }


def test_the_table_has_every_metric_of_ours_and_no_other() -> None:
    families = {re.sub(r"_(bucket|count|sum)$", "", name) for name in registered()}
    assert set(TABLE) == {name for name in families if name.startswith(("grpc_server", "spatial"))}


@pytest.mark.parametrize(("metric", "labels"), named().items(), ids=list(named()))
def test_a_row_names_the_labels(metric: str, labels: set[str]) -> None:
    assert TABLE[metric] == labels


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_metric_that_a_document_names_is_the_service_s(document: Path) -> None:
    """Those in backquotes that end as metrics do, since tables and roles are called `spatial_…` as well; a family may
    stand for its series."""
    known = registered() | {re.sub(r"_(bucket|count|sum)$", "", name) for name in registered()}
    written = " ".join(re.findall(r"`([a-z_]+)[`{]", document.read_text()))
    named = {name for name in metrics_in(written) if name.endswith(ENDINGS)}
    assert named - known == set()


def test_the_overlay_puts_an_address_before_every_runbook_url(tool: Callable[[str], str], tmp_path: Path) -> None:
    assert OVERLAY
    shutil.copytree(ROOT / "k8s/alerts", tmp_path / "k8s/alerts")
    folder = tmp_path / "k8s/overlays/production"
    folder.mkdir(parents=True)
    (folder / "kustomization.yaml").write_text(OVERLAY[1])
    built = subprocess.run([tool("kustomize"), "build", folder], capture_output=True, text=True, check=True).stdout
    (rule,) = yaml.safe_load_all(built)
    urls = [
        each["annotations"]["runbook_url"]
        for group in rule["spec"]["groups"]
        for each in group["rules"]
        if "alert" in each
    ]
    assert urls == [f"https://git.example.com/spatial-service/docs/runbook.md#{name.lower()}" for name in ALERTS]


def test_the_dashboard_s_config_map_is_one_that_grafana_s_sidecar_takes(tool: Callable[[str], str]) -> None:
    command = [tool("kustomize"), "build", str(ROOT / "k8s/dashboards")]
    (made,) = yaml.safe_load_all(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    assert made["metadata"]["labels"]["grafana_dashboard"] == "1"
    written = (ROOT / "k8s/dashboards/spatial-service.json").read_text()
    assert made["data"] == {"spatial-service.json": written}
