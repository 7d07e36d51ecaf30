"""What k8s/base renders to, against Kubernetes' own schemas and against what the service needs."""

import re
import tomllib

import kubernetes_validate  # type: ignore[import-untyped]
import pytest
import yaml

from service.security.errors import SecurityProblem
from service.security.exposure import check
from service.settings import Settings
from tests import manifests
from tests.manifests import COMMAND, K8S, OLDEST_KUBERNETES, ROOT, Manifest, at, rendered, selects

BASE = K8S / "base"
VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]


def as_written() -> list[Manifest]:
    """The files with what kustomization.yaml adds to them, for machines without kustomize."""
    kustomization = yaml.safe_load((BASE / "kustomization.yaml").read_text())
    written: list[Manifest] = [yaml.safe_load((BASE / name).read_text()) for name in kustomization["resources"]]
    (generator,), (image,), (labels,) = (kustomization[key] for key in ("configMapGenerator", "images", "labels"))
    lines = (BASE / generator["envs"][0]).read_text().splitlines()
    config = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": generator["name"]}}
    written.append(config | {"data": dict(line.split("=", 1) for line in lines)})
    for manifest in written:
        template = manifest.get("spec", {}).get("template", {})
        for labelled in filter(None, (manifest, template)):
            labelled["metadata"].setdefault("labels", {}).update(labels["pairs"])
        for container in template.get("spec", {}).get("containers", []):
            container["image"] = f"{image['name']}:{image['newTag']}"
    return written


def without_hash(given: list[Manifest]) -> list[Manifest]:
    """In one order."""
    named = yaml.safe_load(manifests.without_hash(yaml.safe_dump(given)))
    return sorted(named, key=lambda manifest: str(manifest["kind"]))


MANIFESTS = rendered("base") if COMMAND else as_written()
BY_KIND: dict[str, Manifest] = {manifest["kind"]: manifest for manifest in MANIFESTS}
DEPLOYMENT, JOB, SERVICE, BUDGET = (BY_KIND[kind] for kind in ("Deployment", "Job", "Service", "PodDisruptionBudget"))
SETTINGS: dict[str, str] = BY_KIND["ConfigMap"]["data"]
PODS = [pytest.param(DEPLOYMENT["spec"]["template"], id="server"), pytest.param(JOB["spec"]["template"], id="migrate")]
SERVER: Manifest = DEPLOYMENT["spec"]["template"]["spec"]["containers"][0]
PORTS: dict[str, int] = {port["name"]: port["containerPort"] for port in SERVER["ports"]}


def test_kustomize_renders_what_the_files_say() -> None:
    assert without_hash(rendered("base")) == without_hash(as_written())


def test_the_base_is_one_of_each_of_these_and_no_secret() -> None:
    kinds = ["ConfigMap", "Deployment", "Job", "PodDisruptionBudget", "Service", "ServiceAccount"]
    assert sorted(manifest["kind"] for manifest in MANIFESTS) == kinds


def test_no_file_holds_a_database_s_address_or_makes_a_secret() -> None:
    text = "".join(path.read_text() for path in K8S.rglob("*") if path.is_file())
    # In a template the password is filled in elsewhere.
    assert not re.search(r"postgresql://(?!\w+:\{\{)", text)
    assert "secretGenerator" not in text


@pytest.mark.parametrize("version", [OLDEST_KUBERNETES, kubernetes_validate.latest_version()])
@pytest.mark.parametrize("manifest", MANIFESTS, ids=lambda manifest: manifest["kind"])
def test_a_manifest_is_valid_with_no_field_unknown(manifest: Manifest, version: str) -> None:
    kubernetes_validate.validate(manifest, version, strict=True)


@pytest.mark.parametrize("pod", PODS)
@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("spec.securityContext.runAsNonRoot", True),
        ("spec.securityContext.seccompProfile.type", "RuntimeDefault"),
        ("spec.containers.0.securityContext.allowPrivilegeEscalation", False),
        ("spec.containers.0.securityContext.capabilities", {"drop": ["ALL"]}),
        ("spec.containers.0.securityContext.readOnlyRootFilesystem", True),
        ("spec.volumes", [{"name": "tmp", "emptyDir": {"sizeLimit": "64Mi"}}]),
        ("spec.containers.0.volumeMounts", [{"name": "tmp", "mountPath": "/tmp"}]),
        ("spec.hostNetwork", None),
        ("spec.hostPID", None),
        ("spec.hostIPC", None),
        ("spec.initContainers", None),
        ("spec.automountServiceAccountToken", False),
        ("spec.serviceAccountName", "spatial-service"),
        ("spec.enableServiceLinks", False),
        ("spec.containers.0.image", f"spatial-service:{VERSION}"),
    ],
)
def test_every_pod_keeps_to_the_restricted_profile_and_to_one_image(pod: Manifest, path: str, expected: object) -> None:
    assert len(pod["spec"]["containers"]) == 1
    assert at(pod, path) == expected


@pytest.mark.parametrize("pod", PODS)
def test_every_pod_runs_as_the_image_s_user(pod: Manifest) -> None:
    security = pod["spec"]["securityContext"]
    assert f"USER {security['runAsUser']}:{security['runAsGroup']}\n" in (ROOT / "Dockerfile").read_text()


@pytest.mark.parametrize("pod", PODS)
@pytest.mark.parametrize("kind", ["requests", "limits"])
def test_every_pod_says_what_it_needs_and_may_use(pod: Manifest, kind: str) -> None:
    assert set(at(pod, f"spec.containers.0.resources.{kind}")) == {"cpu", "memory"}


@pytest.mark.parametrize("pod", PODS)
def test_the_database_s_address_comes_from_a_secret_by_reference(pod: Manifest) -> None:
    (variable,) = at(pod, "spec.containers.0.env")
    reference = {"name": "spatial-database", "key": "SPATIAL_DATABASE_URL"}
    assert variable == {"name": "SPATIAL_DATABASE_URL", "valueFrom": {"secretKeyRef": reference}}


def test_the_service_account_brings_no_token() -> None:
    assert BY_KIND["ServiceAccount"]["automountServiceAccountToken"] is False


@pytest.mark.parametrize("name", SETTINGS)
def test_a_key_of_the_config_map_is_a_setting(name: str) -> None:
    assert name.removeprefix("SPATIAL_").lower() in Settings.model_fields
    assert name == name.upper()
    assert name != "SPATIAL_DATABASE_URL"


def test_the_config_map_s_values_are_accepted(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in SETTINGS.items():
        monkeypatch.setenv(name, value)
    settings = Settings()
    with pytest.raises(SecurityProblem, match="SPATIAL_INSECURE"):
        check(settings)  # an overlay says who may call
    assert {"grpc": settings.listen, "metrics": settings.metrics_listen} == {
        name: f"0.0.0.0:{port}" for name, port in PORTS.items()
    }


def test_the_pool_has_a_connection_for_every_lane() -> None:
    lanes = int(SETTINGS["SPATIAL_LANES"]) + int(SETTINGS["SPATIAL_HEAVY_LANES"])
    assert lanes <= int(SETTINGS["SPATIAL_POOL_SIZE"])


def test_the_server_reads_the_config_map_as_it_is_called() -> None:
    assert SERVER["envFrom"] == [{"configMapRef": {"name": BY_KIND["ConfigMap"]["metadata"]["name"]}}]


@pytest.mark.parametrize(
    ("probe", "asked"),
    [
        ("startupProbe", "liveness"),
        ("livenessProbe", "liveness"),
        ("readinessProbe", ""),
    ],
)
def test_only_readiness_depends_on_the_database(probe: str, asked: str) -> None:
    assert SERVER[probe]["grpc"] == {"port": PORTS["grpc"], "service": asked}


def test_a_pod_has_time_to_be_forgotten_and_to_drain_before_it_is_killed() -> None:
    allowed = at(DEPLOYMENT, "spec.template.spec.terminationGracePeriodSeconds")
    forgotten = at(SERVER, "lifecycle.preStop.sleep.seconds")
    assert forgotten >= 5
    assert allowed >= forgotten + float(SETTINGS["SPATIAL_GRACE_SECONDS"]) + 5


def test_a_rollout_never_goes_below_the_replicas_asked_for() -> None:
    assert at(DEPLOYMENT, "spec.strategy.rollingUpdate") == {"maxSurge": 1, "maxUnavailable": 0}


def test_the_service_is_headless_so_that_clients_balance() -> None:
    assert SERVICE["spec"]["clusterIP"] == "None"


def test_the_service_s_port_is_the_server_s_by_name() -> None:
    (port,) = SERVICE["spec"]["ports"]
    assert (port["name"], port["targetPort"], port["appProtocol"]) == ("grpc", "grpc", "kubernetes.io/h2c")
    assert port["port"] == PORTS["grpc"]


@pytest.mark.parametrize(
    "selector",
    [
        pytest.param(at(DEPLOYMENT, "spec.selector.matchLabels"), id="Deployment"),
        pytest.param(at(SERVICE, "spec.selector"), id="Service"),
        pytest.param(at(BUDGET, "spec.selector.matchLabels"), id="PodDisruptionBudget"),
    ],
)
def test_a_selector_means_the_servers_and_never_the_migration(selector: dict[str, str]) -> None:
    assert selects(selector, DEPLOYMENT["spec"]["template"])
    assert not selects(selector, JOB["spec"]["template"])


def test_a_drain_takes_one_server_at_a_time_and_is_never_blocked() -> None:
    assert BUDGET["spec"]["maxUnavailable"] == 1 < DEPLOYMENT["spec"]["replicas"]
    assert BUDGET["spec"]["unhealthyPodEvictionPolicy"] == "AlwaysAllow"


def test_prometheus_is_shown_the_port_that_serves_metrics() -> None:
    annotations = at(DEPLOYMENT, "spec.template.metadata.annotations")
    assert annotations["prometheus.io/scrape"] == "true"
    assert int(annotations["prometheus.io/port"]) == PORTS["metrics"]


def test_the_migration_goes_away_by_itself_and_does_not_change_with_the_settings() -> None:
    assert JOB["spec"]["ttlSecondsAfterFinished"] > 0
    assert at(JOB, "spec.template.spec.restartPolicy") == "Never"
    assert at(JOB, "spec.template.spec.containers.0.args") == ["migrate"]
    assert at(JOB, "spec.template.spec.containers.0.envFrom") is None
