"""The image's bill of materials, from what pip installed and what dpkg lists."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

SCRIPT = Path(__file__).parents[2] / "scripts" / "sbom"
PACKAGES = {
    "Zope_B": "License-Expression: MIT",
    "a": "License: Many\n        lines\nClassifier: License :: OSI Approved :: BSD\nClassifier: X :: Y",
    "c": "Summary: without a licence",
    "spatial-service": "License-Expression: Apache-2.0",
}
REPORT = {
    "install": [
        {
            "metadata": {"name": name},
            "download_info": {"url": "https://mirror.example/x.whl", "archive_info": {"hashes": {"sha256": digest}}},
        }
        for name, digest in (("zope.b", "b" * 64), ("a", "a" * 64), ("c", "c" * 64))
    ]
}
STATUS = """
Package: libc6
Status: install ok installed
Architecture: amd64
Version: 2.36-9+deb12u10
Description: a library
 of several lines

Package: gone
Status: deinstall ok config-files
Architecture: all
Version: 1
"""


def printed(folder: Path) -> str:
    for name, fields in PACKAGES.items():
        package = folder / "site" / f"{name}.dist-info"
        package.mkdir(parents=True, exist_ok=True)
        (package / "METADATA").write_text(f"Metadata-Version: 2.4\nName: {name}\nVersion: 1.0+local\n{fields}\n")
    (folder / "report.json").write_text(json.dumps(REPORT))
    (folder / "status").write_text(STATUS)
    command = [sys.executable, str(SCRIPT), "0.1.0", "site", "report.json", "status"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True).stdout


@pytest.fixture
def bill(tmp_path: Path) -> dict[str, Any]:
    parsed: dict[str, Any] = json.loads(printed(tmp_path))
    return parsed


def test_it_lists_wheels_packages_and_the_interpreter_by_their_addresses(bill: dict[str, Any]) -> None:
    (interpreter,) = [each["purl"] for each in bill["components"] if each["type"] == "platform"]
    assert interpreter.startswith("pkg:generic/cpython@3.")
    assert [each["purl"] for each in bill["components"] if each["type"] == "library"] == [
        "pkg:deb/debian/libc6@2.36-9%2Bdeb12u10?arch=amd64",
        "pkg:pypi/a@1.0%2Blocal",
        "pkg:pypi/c@1.0%2Blocal",
        "pkg:pypi/zope-b@1.0%2Blocal",
    ]
    assert bill["metadata"]["component"]["version"] == "0.1.0"


def test_a_wheel_has_the_hash_that_was_checked_and_a_licence_where_it_says_one(bill: dict[str, Any]) -> None:
    wheels = {each["name"]: each for each in bill["components"] if "hashes" in each}
    assert {name: each["hashes"] for name, each in wheels.items()} == {
        name: [{"alg": "SHA-256", "content": letter * 64}] for name, letter in (("a", "a"), ("c", "c"), ("zope-b", "b"))
    }
    assert {name: each.get("licenses") for name, each in wheels.items()} == {
        "a": [{"license": {"name": "BSD"}}],
        "c": None,
        "zope-b": [{"expression": "MIT"}],
    }


def test_the_same_contents_make_the_same_document_wherever_they_came_from(tmp_path: Path) -> None:
    first = printed(tmp_path)
    assert first == printed(tmp_path)
    assert "mirror.example" not in first
