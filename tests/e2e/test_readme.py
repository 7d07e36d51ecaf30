"""The sessions in the documents do what they show, command by command, against a server over the demo data."""

import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.consoles import Step, steps
from tests.processes import ROOT, SPATIAL, environment
from tests.servers import Served

DOCUMENTS = (
    "README.md",
    "docs/bulk.md",
    "docs/plans.md",
    "docs/grid.md",
    "docs/filters.md",
    "docs/doctor.md",
    "docs/layers.md",
    "docs/output.md",
)
# Answers to probes come in as many messages as the moment has it.
ANOTHER_MESSAGE = re.compile(r' {4}}\n  ]\n}\n{\n  "matches": \[\n')
ADDRESSES = ("localhost:50051", "127.0.0.1:50051")
# What starts the server is not typed again: one runs already, over the same data.
STARTING = ("make ", "git ", "cd ")
SESSIONS = [
    step
    for document in DOCUMENTS
    for step in steps((ROOT / document).read_text())
    if not step.command.startswith(STARTING)
]


def test_the_documents_show_sessions_with_grpcurl() -> None:
    assert any(step.command.startswith("grpcurl ") and step.output for step in SESSIONS)


@pytest.mark.parametrize("step", SESSIONS, ids=lambda step: step.command.splitlines()[0][:60])
def test_a_command_of_the_documents_prints_what_it_says(
    step: Step, demo_server: Served, tool: Callable[[str], str]
) -> None:
    command = step.command.replace("localhost:9464", f"localhost:{demo_server.server.metrics_port}")
    for address in ADDRESSES:
        command = command.replace(address, demo_server.address)
    folders = [str(SPATIAL.parent), str(Path(tool("grpcurl")).parent), os.environ["PATH"]]
    settings = environment(target=demo_server.address) | {"PATH": os.pathsep.join(folders)}
    ended = subprocess.run(
        ["bash", "-c", command],
        env=settings,
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=60,
        check=False,
    )
    shown = ANOTHER_MESSAGE.sub("    },\n", ended.stdout.replace(demo_server.address, "localhost:50051"))
    expected = step.output.replace("127.0.0.1:50051", "localhost:50051")
    assert Step(step.command, expected).is_answered_by(shown), f"printed instead:\n{shown}"
