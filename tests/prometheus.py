"""A Prometheus of the test's own, which scrapes a running service."""

import json
import math
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode
from urllib.request import urlopen

import yaml

SCRAPE_SECONDS = 2


@dataclass(frozen=True)
class Prometheus:
    url: str

    def values(self, expression: str) -> list[float]:
        """Of every series that the query finds, as long as it is a number."""
        found = self._get("query", query=expression)["result"]
        return [value for series in found if not math.isnan(value := float(series["value"][1]))]

    def rules(self) -> list[dict[str, Any]]:
        return [rule for group in self._get("rules")["groups"] for rule in group["rules"]]

    def _get(self, what: str, **parameters: str) -> dict[str, Any]:
        with urlopen(f"{self.url}/api/v1/{what}?{urlencode(parameters)}", timeout=10) as response:
            answer: dict[str, Any] = json.load(response)
        return dict(answer["data"])


@contextmanager
def prometheus(program: str, folder: Path, target: str, rules: Path) -> Iterator[Prometheus]:
    """On a free port, with its data in `folder`; `target` is the address that it scrapes."""
    config = {
        # As often as a busy machine answers: a scrape may take no longer than the time to the next.
        "global": dict.fromkeys(("scrape_interval", "scrape_timeout", "evaluation_interval"), f"{SCRAPE_SECONDS}s"),
        "rule_files": [str(rules)],
        "scrape_configs": [{"job_name": "spatial-service", "static_configs": [{"targets": [target]}]}],
    }
    (folder / "prometheus.yaml").write_text(yaml.safe_dump(config))
    options = {"config.file": "prometheus.yaml", "storage.tsdb.path": "data", "web.listen-address": "127.0.0.1:0"}
    command = [program, *(f"--{name}={value}" for name, value in options.items())]
    with subprocess.Popen(command, cwd=folder, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr
            yield Prometheus(_url(process.stderr))
        finally:
            process.kill()


def _url(lines: Iterator[str]) -> str:
    """Where it listens, once it has said that it is ready."""
    address, said = "", []
    for line in lines:
        said.append(line)
        if found := re.search(r'msg="Listening on" address=(\S+)', line):
            address = found[1]
        if "Server is ready" in line:
            return f"http://{address}"
    raise AssertionError("".join(said))
