"""Every example runs as it is, against a server over the demo data, and prints what it is there to show."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.processes import ROOT, environment
from tests.servers import Served

EXAMPLES = {
    "lookups.py": [
        "layers: districts, facilities",
        "New York City, 163 m",
        "nearest: ",
        "Manhattan",
        "FEATURE_NOT_FOUND",
    ],
    "at_once.py": ["Berlin: ", "Lagos: ", "around Paris: "],
    "export.py": ["241 zones, EPSG:4326", "read back: 241"],
    "match.py": ["of 1000 are in a zone", "  "],
    "join.py": ["China: ", "India: "],
}
CHANGING = {
    "write.py": [
        "created: Weather station POINT (-140 -30)",
        "nearest is what was created: True",
        "population: 2",
        "refused: ETAG_MISMATCH",
        "refused: GEOMETRY_TYPE_MISMATCH in feature.geometry",
        "gone: FEATURE_NOT_FOUND",
    ],
    "load.py": [
        "4995 of 5000 buoys are in, 5 were rejected:",
        "row 999: COORDINATE_OUT_OF_RANGE in geometry",
        "4995 have another name",
        "4995 are gone",
    ],
}


def run(name: str, *arguments: str, **settings: str) -> str:
    ended = subprocess.run(
        [sys.executable, "-W", "error", Path("examples", name), *arguments],
        cwd=ROOT,
        env=environment(**settings),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout
    return ended.stdout


def test_every_example_is_tried() -> None:
    assert {path.name for path in (ROOT / "examples").glob("*.py")} == {*EXAMPLES, *CHANGING}


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_prints_what_it_shows(name: str, demo_server: Served) -> None:
    printed = run(name, demo_server.address)

    assert [words for words in EXAMPLES[name] if words not in printed] == [], printed


@pytest.mark.parametrize("name", CHANGING)
def test_an_example_changes_what_it_says(name: str, writable_server: Served) -> None:
    printed = run(name, writable_server.address)

    assert [words for words in CHANGING[name] if words not in printed] == [], printed


def test_the_environment_may_name_the_target(demo_server: Served) -> None:
    assert "layers: " in run("lookups.py", target=demo_server.address)
