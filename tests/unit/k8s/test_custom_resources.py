"""Custom resources against the definitions of their operators, which scripts/custom-resources fetches."""

import os
from functools import cache
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]

from tests.manifests import ROOT, Manifest, Rendered

FOLDER = ROOT / ".local" / "crds"
KINDS = {"Certificate", "Cluster", "ExternalSecret", "PodMonitor", "Pooler", "PrometheusRule"}
Schema = dict[str, Any]


@cache
def schemas() -> dict[tuple[str, str], Schema]:
    """By version and kind. Missing, they fail in CI, and elsewhere the tests are left out and say so."""
    found: dict[tuple[str, str], Schema] = {}
    for path in sorted(FOLDER.glob("*.yaml")):
        definition = yaml.load(path.read_text(), yaml.CSafeLoader)["spec"]
        for version in definition["versions"]:
            schema = strict(version["schema"]["openAPIV3Schema"])
            schema["properties"]["metadata"] = {}  # every kind's, and said elsewhere
            found[f"{definition['group']}/{version['name']}", definition["names"]["kind"]] = schema
    if {kind for _, kind in found} >= KINDS:
        return found
    message = f"definitions of custom resources are missing in {FOLDER}: scripts/custom-resources fetches them with Go"
    if os.environ.get("CI"):
        pytest.fail(message)
    pytest.skip(message)


def strict(schema: Any) -> Any:
    """Kubernetes drops fields that it does not know; here they are refused."""
    if isinstance(schema, list):
        return [strict(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    stricter = {name: strict(value) for name, value in schema.items()}
    is_object = schema.get("type") == "object" and isinstance(schema.get("properties"), dict)
    if is_object and "additionalProperties" not in schema and not schema.get("x-kubernetes-preserve-unknown-fields"):
        stricter["additionalProperties"] = False
    return stricter


def problems(manifest: Manifest) -> list[str]:
    validator = Draft202012Validator(schemas()[manifest["apiVersion"], manifest["kind"]])
    return [f"{'.'.join(map(str, error.absolute_path))}: {error.message}" for error in validator.iter_errors(manifest)]


def test_each_is_what_its_operator_takes_with_no_field_unknown() -> None:
    custom = [each for each in Rendered("overlays/production").all if each["kind"] in KINDS]
    assert {each["kind"] for each in custom} == KINDS
    assert {each["metadata"]["name"]: problems(each) for each in custom if problems(each)} == {}


@pytest.mark.parametrize(
    ("kind", "name", "spec", "complaint"),
    [
        ("Cluster", "spatial-postgres", {"instance": 3}, "'instance' was unexpected"),
        ("Pooler", "spatial-pooler", {"type": "wr"}, "'wr' is not one of"),
        ("Certificate", "spatial-service", {"dnsNames": "spatial-service"}, "is not of type 'array'"),
    ],
)
def test_a_mistake_would_be_found(kind: str, name: str, spec: Schema, complaint: str) -> None:
    manifest = Rendered("overlays/production")(kind, name)
    (problem,) = problems({**manifest, "spec": {**manifest["spec"], **spec}})
    assert complaint in problem
