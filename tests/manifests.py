"""What k8s renders to, and ways to look into it."""

import os
import re
import shutil
import subprocess
from functools import cache, reduce
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[1]
K8S = ROOT / "k8s"
OLDEST_KUBERNETES = "1.30"  # the first where a preStop sleep works unasked
Manifest = dict[str, Any]


def kustomize_command() -> list[str] | None:
    """kustomize, or the one within kubectl, or None where there is neither."""
    if kustomize := shutil.which("kustomize", path=f"{ROOT / '.local' / 'bin'}:{os.environ['PATH']}"):
        return [kustomize, "build"]
    kubectl = shutil.which("kubectl")
    return [kubectl, "kustomize"] if kubectl else None


COMMAND = kustomize_command()


@cache
def rendered(folder: str) -> list[Manifest]:
    """Of a folder below k8s. Fails in CI where nothing is there that renders; elsewhere the test is left out."""
    if COMMAND is None and os.environ.get("CI"):
        pytest.fail("CI needs kustomize or kubectl")
    if COMMAND is None:
        pytest.skip("neither kustomize nor kubectl is installed: the files were checked as written")
    run = subprocess.run([*COMMAND, str(K8S / folder)], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    return list(yaml.load_all(run.stdout, yaml.CSafeLoader))


class Rendered:
    """An overlay's manifests by what they are."""

    def __init__(self, folder: str) -> None:
        self.all = rendered(folder)
        self.by_name = {(each["kind"], without_hash(each["metadata"]["name"])): each for each in self.all}

    def __call__(self, kind: str, name: str = "spatial-service") -> Manifest:
        return self.by_name[kind, name]

    def of(self, kind: str) -> list[Manifest]:
        return [each for each in self.all if each["kind"] == kind]

    @property
    def server(self) -> Manifest:
        container: Manifest = at(self("Deployment"), "spec.template.spec.containers.0")
        return container

    @property
    def settings(self) -> dict[str, str]:
        data: dict[str, str] = self("ConfigMap")["data"]
        return data


def without_hash(text: str) -> str:
    """The ConfigMap under the name that it was given."""
    return re.sub(r"\bspatial-service-[a-z0-9]{10}\b", "spatial-service", text)


def at(manifest: Manifest, path: str) -> Any:
    """`at(pod, "spec.containers.0.image")`; None where there is nothing."""
    return reduce(_step, path.split("."), manifest)


def _step(value: Any, key: str) -> Any:
    if isinstance(value, list):
        return value[int(key)]
    return value.get(key) if value is not None else None


def selects(selector: dict[str, str], pod: Manifest) -> bool:
    return bool(selector) and selector.items() <= pod["metadata"]["labels"].items()
