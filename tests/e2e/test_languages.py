"""The examples in Go and Node: made of the contract, built, and run against a running server, as the pages say."""

import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NoReturn

import pytest

from tests.processes import ROOT
from tests.servers import Served, serving

EXPECTED = r"""New York City, 163 m, 21 bytes of WKB
cut after (\d+) zones
241 zones, each once
refused: LAYER_NOT_FOUND
"""
ZONES = 241


@pytest.fixture(scope="module")
def hurried_server(demo_database: str) -> Iterator[Served]:
    """Refuses calls that follow each other too fast, and says when to come again."""
    with serving(demo_database, rate=4, rate_burst=1) as served:
        yield served


# The modules that `make tools` has brought, and no others.
OFFLINE = {"GOPROXY": "off", "GOFLAGS": "-mod=readonly"}


def compiler(name: str) -> str:
    """Go's or Node's program. Missing, it fails in CI; elsewhere the test is left out and says so."""
    if found := shutil.which(name):
        return found
    return left_out(f"{name} is not installed: what is generated for its language was not tried")


def left_out(message: str) -> NoReturn:
    if os.environ.get("CI"):
        pytest.fail(message)
    pytest.skip(message)


def done(*words: str | Path, folder: Path) -> subprocess.CompletedProcess[str]:
    ended = subprocess.run(
        words, cwd=folder, env=os.environ | OFFLINE, capture_output=True, text=True, timeout=900, check=False
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended


def asks(program: list[str | Path], folder: Path, demo_server: Served, hurried_server: Served) -> None:
    asked = done(*program, demo_server.address, folder=folder)
    (cut,) = re.fullmatch(EXPECTED, asked.stdout).groups()  # type: ignore[union-attr]
    assert 0 < int(cut) < ZONES
    assert asked.stderr == ""

    patient = done(*program, hurried_server.address, folder=folder)
    assert re.fullmatch(EXPECTED, patient.stdout)
    assert re.search(r"^RATE_LIMITED: waiting for \S+", patient.stderr, flags=re.MULTILINE)


def test_go(tool: Callable[[str], str], demo_server: Served, hurried_server: Served, tmp_path: Path) -> None:
    go, folder = compiler("go"), ROOT / "examples/go"
    tool("buf")
    done(folder / "generate", folder=folder)
    done(go, "build", "-o", tmp_path / "ask", ".", folder=folder)

    asks([tmp_path / "ask"], tmp_path, demo_server, hurried_server)


def test_node(demo_server: Served, hurried_server: Served) -> None:
    node, folder = compiler("node"), ROOT / "examples/node"
    done(folder / "generate", folder=folder)
    if not (folder / "node_modules/.package-lock.json").exists():
        left_out("the packages of examples/node are missing: `make tools` brings them where npm is")

    asks([node, "ask.js"], folder, demo_server, hurried_server)
