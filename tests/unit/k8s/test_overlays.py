"""What both overlays must be, whatever else they are; and the one for development."""

import os
import re
from pathlib import Path

import kubernetes_validate  # type: ignore[import-untyped]
import pytest

from service.security.errors import SecurityProblem
from service.security.exposure import authenticates, check
from service.settings import Settings
from tests.manifests import K8S, OLDEST_KUBERNETES, ROOT, Rendered, at
from tests.unit.k8s.test_custom_resources import KINDS


@pytest.fixture(params=["development", "production"])
def overlay(request: pytest.FixtureRequest) -> Rendered:
    return Rendered(f"overlays/{request.param}")


@pytest.fixture
def development() -> Rendered:
    return Rendered("overlays/development")


def settings_of(overlay: Rendered, monkeypatch: pytest.MonkeyPatch) -> Settings:
    for name, value in overlay.settings.items():
        monkeypatch.setenv(name, value)
    return Settings()


@pytest.mark.parametrize("version", [OLDEST_KUBERNETES, kubernetes_validate.latest_version()])
def test_every_manifest_of_kubernetes_own_is_valid_with_no_field_unknown(overlay: Rendered, version: str) -> None:
    for manifest in overlay.all:
        if manifest["kind"] not in KINDS:
            kubernetes_validate.validate(manifest, version, strict=True)


def test_everything_is_in_one_namespace(overlay: Rendered) -> None:
    assert len({manifest["metadata"]["namespace"] for manifest in overlay.all}) == 1


def test_every_setting_is_one_and_together_they_are_safe_to_serve_with(
    overlay: Rendered, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert {name.removeprefix("SPATIAL_").lower() for name in overlay.settings} <= set(Settings.model_fields)
    check(settings_of(overlay, monkeypatch))


def test_a_process_is_scaled_by_pods_and_not_within_them(overlay: Rendered) -> None:
    assert overlay.settings["SPATIAL_WORKERS"] == "1"


def test_the_pods_stay_restricted_and_write_nowhere_but_to_tmp(overlay: Rendered) -> None:
    for kind, name in (("Deployment", "spatial-service"), ("Job", "spatial-migrate")):
        pod = at(overlay(kind, name), "spec.template.spec")
        (container,) = pod["containers"]
        assert pod["securityContext"]["runAsNonRoot"]
        assert container["securityContext"]["readOnlyRootFilesystem"]
        writable = [mount["mountPath"] for mount in container["volumeMounts"] if not mount.get("readOnly")]
        assert writable == ["/tmp"]
        assert [each for each in pod["volumes"] if not {"emptyDir", "secret"} & set(each)] == []


def test_a_probe_asks_where_health_is_served_in_the_clear(overlay: Rendered) -> None:
    settings = overlay.settings
    listens = settings.get("SPATIAL_HEALTH_LISTEN") or settings["SPATIAL_LISTEN"]
    assert ("SPATIAL_TLS_CERTIFICATE" in settings) == ("SPATIAL_HEALTH_LISTEN" in settings)
    port = int(listens.rpartition(":")[2])
    assert port in [each["containerPort"] for each in overlay.server["ports"]]
    asked = {name: overlay.server[name]["grpc"] for name in ("startupProbe", "livenessProbe", "readinessProbe")}
    assert asked == {
        "startupProbe": {"port": port, "service": "liveness"},
        "livenessProbe": {"port": port, "service": "liveness"},
        "readinessProbe": {"port": port, "service": ""},
    }


def test_the_pool_has_a_connection_for_every_lane(overlay: Rendered) -> None:
    lanes, heavy, pool = (int(overlay.settings[f"SPATIAL_{name}"]) for name in ("LANES", "HEAVY_LANES", "POOL_SIZE"))
    assert lanes + heavy <= pool


def test_development_is_one_small_pod_with_the_demo_data_and_logs_for_people(development: Rendered) -> None:
    assert development("Deployment")["spec"]["replicas"] == 1
    assert development.server["args"] == ["serve", "--demo"]
    assert development.settings["SPATIAL_LOG_FORMAT"] == "console"
    assert {each["kind"] for each in development.all} == {each["kind"] for each in Rendered("base").all}


def test_development_says_that_it_is_open(development: Rendered, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = settings_of(development, monkeypatch)
    assert not authenticates(settings)
    with pytest.raises(SecurityProblem):
        check(settings.model_copy(update={"insecure": False}))


def test_the_documented_overlay_renders_and_is_safe_to_serve_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = (ROOT / "docs" / "deployment.md").read_text()
    (kustomization,) = re.findall(r"```yaml\n(# k8s/overlays/mine.*?)```", page, re.DOTALL)
    k8s = os.path.relpath(K8S, tmp_path.resolve())
    (tmp_path / "kustomization.yaml").write_text(kustomization.replace("../..", k8s))
    mine = Rendered(str(tmp_path))
    settings = settings_of(mine, monkeypatch)
    assert authenticates(settings)
    check(settings)
    assert settings.expected_replicas == mine("Deployment")["spec"]["replicas"] + 1
