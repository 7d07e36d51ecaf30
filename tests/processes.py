"""The `spatial` command, as a process of its own and without one."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event, Thread
from typing import Any
from urllib.request import urlopen

from click.testing import CliRunner
from grpc import Channel
from grpc_health.v1 import health_pb2, health_pb2_grpc

from service import cli

ROOT = Path(__file__).parents[1]
SPATIAL = Path(sys.executable).parent / "spatial"


def environment(**settings: str) -> dict[str, str]:
    """This process's, with these settings and no others of ours."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("SPATIAL_")}
    return {**inherited, **{f"SPATIAL_{name.upper()}": value for name, value in settings.items()}}


def spatial(*arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    """Runs the command to its end."""
    return subprocess.run(
        [SPATIAL, *arguments], env=environment(**settings), capture_output=True, text=True, timeout=60, check=False
    )


def invoked(*arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    """The same without a process of its own, which would take longer than most commands do."""
    ours = {name: None for name in os.environ if name.startswith("SPATIAL_")}
    given = {f"SPATIAL_{name.upper()}": value for name, value in settings.items()}
    shown = CliRunner().invoke(
        cli.spatial, arguments, env={**ours, **given}, prog_name="spatial", catch_exceptions=False
    )
    return subprocess.CompletedProcess(arguments, shown.exit_code, shown.stdout, shown.stderr)


@dataclass
class Serving:
    """`spatial serve`, the lines that it logged, and the rest of what it wrote."""

    process: subprocess.Popen[str]
    lines: list[dict[str, Any]] = field(default_factory=list)
    rest: list[str] = field(default_factory=list)
    _listening: Event = field(default_factory=Event)

    def read(self) -> None:
        assert self.process.stderr
        for line in self.process.stderr:
            if not line.startswith("{"):
                self.rest.append(line.rstrip())
                continue
            self.lines.append(json.loads(line))
            if self.lines[-1]["message"] == "serving":
                self._listening.set()
        self._listening.set()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self._port('port')}"

    def page(self, path: str = "/metrics") -> str:
        """Of the HTTP side: what Prometheus would get."""
        with urlopen(f"http://127.0.0.1:{self._port('metrics_port')}{path}", timeout=10) as response:
            text: str = response.read().decode()
            return text

    def _port(self, name: str) -> int:
        assert self._listening.wait(120)
        (line,) = self.told("serving")
        return int(line[name])

    def told(self, message: str) -> list[dict[str, Any]]:
        """The lines with this message."""
        return [line for line in self.lines if line["message"] == message]

    def messages(self) -> list[str]:
        return [line["message"] for line in self.lines]


@contextmanager
def spatial_serve(**settings: str) -> Iterator[Serving]:
    ports = {"listen": "127.0.0.1:0", "metrics_listen": "127.0.0.1:0", "health_interval": "0.1"}
    process = subprocess.Popen(
        [SPATIAL, "serve"], env=environment(**{**ports, **settings}), stderr=subprocess.PIPE, text=True
    )
    serving = Serving(process)
    reader = Thread(target=serving.read)
    reader.start()
    try:
        yield serving
    finally:
        process.kill()
        process.wait(10)
        reader.join(10)
        assert process.stderr
        process.stderr.close()


def health(channel: Channel, service: str = "") -> str:
    request = health_pb2.HealthCheckRequest(service=service)
    answer = health_pb2_grpc.HealthStub(channel).Check(request, timeout=10, wait_for_ready=True)
    return str(health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status))
