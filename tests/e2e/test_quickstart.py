"""docs/quickstart.md, followed to the letter in a folder like a fresh clone: minutes at most."""

import json
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.consoles import Step, steps
from tests.documents import blocks
from tests.processes import ROOT, environment

PAGE = ROOT / "docs/quickstart.md"
MOST_SECONDS = 300
SHOWN = "127.0.0.1:50051"


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """What `git clone` and `make setup` leave behind, but for a `.local` of its own."""
    tmp_path.chmod(0o711)  # PostgreSQL's user must be able to pass
    for path in ROOT.iterdir():
        if path.name != ".local":
            (tmp_path / path.name).symlink_to(path)
    return tmp_path


class Reader:
    """Types commands in a folder, and remembers where the service that was started listens."""

    def __init__(self, folder: Path, path: str) -> None:
        self._folder = folder
        self._environment = environment(workers="1", listen="127.0.0.1:0", metrics_listen="127.0.0.1:0")
        self._environment["PATH"] = path
        self.address = SHOWN

    def type(self, command: str) -> str:
        ended = subprocess.run(
            ["bash", "-c", command.replace(SHOWN, self.address)],
            env=self._environment | {"SPATIAL_TARGET": self.address},
            cwd=self._folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=MOST_SECONDS,
            check=False,
        )
        return ended.stdout.replace(self.address, SHOWN)

    @contextmanager
    def leave_running(self, step: Step) -> Iterator[None]:
        """In another terminal, from when it serves."""
        server = subprocess.Popen(
            ["bash", "-c", f"exec env {step.command}"],
            env=self._environment,
            cwd=self._folder,
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            assert server.stderr
            lines = []
            for line in server.stderr:
                lines.append(line)
                if json.loads(line)["message"] == "serving":
                    self.address = f"127.0.0.1:{json.loads(line)['port']}"
                    break
            shown = "".join(lines).replace("127.0.0.1:0", SHOWN)
            assert step.is_answered_by(shown), shown
            yield
        finally:
            server.terminate()
            server.communicate(timeout=60)


def test_a_newcomer_s_own_table_is_asked_in_less_than_five_minutes(
    clone: Path, tool: Callable[[str], str], capsys: pytest.CaptureFixture[str]
) -> None:
    path = os.pathsep.join([str(clone / ".venv/bin"), str(Path(tool("grpcurl")).parent), os.environ["PATH"]])
    reader = Reader(clone, path)
    typed = steps(PAGE.read_text())
    (serve,) = [number for number, step in enumerate(typed) if "spatial serve" in step.command]
    assert 0 < serve < len(typed) - 1
    began = time.monotonic()

    for step in typed[:serve]:
        _follow(reader, step)
    with reader.leave_running(typed[serve]):
        for step in typed[serve + 1 :]:
            _follow(reader, step)
        (snippet,) = [block.text for block in blocks(PAGE) if block.language == "python"]
        exec(compile(snippet.replace(SHOWN, reader.address), "quickstart", "exec"), {})

    assert capsys.readouterr().out.splitlines() == ["Kaffeehaus am Park 339 m", "Milchbar 809 m"]
    assert time.monotonic() - began < MOST_SECONDS


def _follow(reader: Reader, step: Step) -> None:
    shown = reader.type(step.command)
    assert step.is_answered_by(shown), f"{step.command}\nprinted instead:\n{shown}"
