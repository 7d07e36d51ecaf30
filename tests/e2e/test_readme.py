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

READING = (
    "docs/bulk.md",
    "docs/plans.md",
    "docs/grid.md",
    "docs/filters.md",
    "docs/doctor.md",
    "docs/layers.md",
    "docs/output.md",
)
CHANGING = ("README.md", "docs/writing.md")
# Answers to probes come in as many messages as the moment has it.
ANOTHER_MESSAGE = re.compile(r' {4}}\n  ]\n}\n{\n  "matches": \[\n')
ADDRESSES = ("localhost:50051", "127.0.0.1:50051")
# What starts the server is not typed again: one runs already, over the same data.
STARTING = ("make ", "git ", "cd ")


def session(document: str) -> list[Step]:
    return [step for step in steps((ROOT / document).read_text()) if not step.command.startswith(STARTING)]


@pytest.fixture
def attempt(tool: Callable[[str], str]) -> Callable[[Step, Served], None]:
    """Types a command, and compares what is printed."""
    folders = [str(SPATIAL.parent), str(Path(tool("grpcurl")).parent), os.environ["PATH"]]

    def type_it(step: Step, server: Served) -> None:
        command = step.command.replace("localhost:9464", f"localhost:{server.server.metrics_port}")
        for address in ADDRESSES:
            command = command.replace(address, server.address)
        settings = environment(target=server.address) | {"PATH": os.pathsep.join(folders)}
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
        shown = ANOTHER_MESSAGE.sub("    },\n", ended.stdout.replace(server.address, "localhost:50051"))
        expected = step.output.replace("127.0.0.1:50051", "localhost:50051")
        assert Step(step.command, expected).is_answered_by(shown), f"{step.command}\nprinted instead:\n{shown}"

    return type_it


@pytest.mark.parametrize("document", CHANGING)
def test_the_documents_show_sessions_with_grpcurl(document: str) -> None:
    assert any(step.command.startswith("grpcurl ") and step.output for step in session(document))


@pytest.mark.parametrize(
    "step",
    [step for document in READING for step in session(document)],
    ids=lambda step: step.command.splitlines()[0][:60],
)
def test_a_command_of_the_documents_prints_what_it_says(
    step: Step, demo_server: Served, attempt: Callable[[Step, Served], None]
) -> None:
    attempt(step, demo_server)


@pytest.mark.parametrize("document", CHANGING)
def test_a_session_that_changes_something_does_so_from_its_first_command_to_its_last(
    document: str, writable_server: Served, attempt: Callable[[Step, Served], None]
) -> None:
    for step in session(document):
        attempt(step, writable_server)
