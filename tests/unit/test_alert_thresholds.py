"""Whether the alerts' tests would notice: each threshold and each time to wait is moved a little, and one must fail."""

import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.monitoring import ALERTS, ROOT, RULES

RECORDED = [rule for rule in RULES if "record" in rule]
FILES: list[dict[str, Any]] = [
    yaml.safe_load((ROOT / "k8s/alerts" / name).read_text())
    for name in ("thresholds.yaml", "thresholds-hours.yaml", "thresholds-days.yaml")
]
THRESHOLD = re.compile(r"(?<=[<>=] )\d+(?:\.\d+)?")
COUNTED = {"SpatialCrashLoop": 0.5}  # crashes are counted in whole ones: a tenth of one cannot be tried


def altered(name: str, rule: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The rule with each of its numbers a little lower and a little higher. What is compared with nothing has no lower:
    there, nothing is enough."""
    by = COUNTED.get(name, 0.1)
    expression = rule["expr"]
    for found in THRESHOLD.finditer(expression):
        number = float(found[0])
        if number:
            others = [f"{number * (1 - by):g}", f"{number * (1 + by):g}"]
        else:
            others = ["-1"] if expression[found.start() - 2] == ">" else []
        yield from ({**rule, "expr": expression[: found.start()] + each + expression[found.end() :]} for each in others)
    if waits := rule.get("for"):
        minutes = int(waits[:-1]) * {"m": 1, "h": 60}[waits[-1]]
        yield from ({**rule, "for": f"{each}m"} for each in (minutes - 1, minutes + 1))


@pytest.mark.parametrize("name", ALERTS)
def test_an_alert_s_tests_hold_its_thresholds_and_how_long_it_waits(
    name: str, tool: Callable[[str], str], tmp_path: Path
) -> None:
    rule = ALERTS[name]
    candidates = {f"{name}_{number}": each for number, each in enumerate(altered(name, rule))}
    rules = [{**each, "alert": called} for called, each in {name: rule, **candidates}.items()]
    recorded = RECORDED if "job:" in rule["expr"] else []
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump({"groups": [{"name": "tried", "rules": [*recorded, *rules]}]}))
    failed = {each for tests in FILES for each in failing(tool("promtool"), tmp_path, tests, name, list(candidates))}
    assert name not in failed
    assert {called: each for called, each in candidates.items() if called not in failed} == {}


def failing(promtool: str, folder: Path, tests: dict[str, Any], name: str, candidates: list[str]) -> set[str]:
    """Which of the alerts, the real one and the others that take its place, a test fails for."""
    concerned = [test for test in tests["tests"] if any(asks(check, name) for check in test["promql_expr_test"])]
    if not concerned:
        return set()
    tried = [{**test, "promql_expr_test": list(asked(test, name, candidates))} for test in concerned]
    (folder / "tests.yaml").write_text(yaml.safe_dump({**tests, "tests": tried}, sort_keys=False))
    words: list[str | Path] = [promtool, "test", "rules", folder / "tests.yaml"]
    ended = subprocess.run(words, capture_output=True, text=True, check=False, timeout=120)
    found = set(re.findall(r'expr: .*alertname=\\"(\w+)\\"', ended.stdout + ended.stderr))
    assert ended.returncode == 0 or found, ended.stdout + ended.stderr
    return found


def asks(check: dict[str, Any], name: str) -> bool:
    return f'alertname="{name}"' in check["expr"]


def asked(test: dict[str, Any], name: str, candidates: list[str]) -> Iterator[dict[str, Any]]:
    for check in test["promql_expr_test"]:
        if asks(check, name):
            yield from ({**check, "expr": check["expr"].replace(name, each)} for each in (name, *candidates))
