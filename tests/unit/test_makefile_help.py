"""The Makefile explains itself, and keeps the work in scripts/."""

import ast
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MAKEFILE = (ROOT / "Makefile").read_text()
RULES = dict(re.findall(r"^([a-z-]+):(?!=)[^\n]*\n((?:\t.*\n?)*)", MAKEFILE, flags=re.MULTILINE))
SCRIPTS = sorted((ROOT / "scripts").iterdir())


@pytest.mark.parametrize("words", [["make"], ["make", "help"]], ids=" ".join)
def test_help_is_the_default_and_names_every_target(words: list[str]) -> None:
    printed = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert re.findall(r"^ +make ([a-z-]+) +\S", printed, flags=re.MULTILINE) == list(RULES)
    assert max(map(len, printed.splitlines())) <= 120


def test_every_target_is_phony() -> None:
    (phony,) = re.findall(r"^\.PHONY: (.*)$", MAKEFILE, flags=re.MULTILINE)
    assert sorted(phony.split()) == sorted(RULES)


@pytest.mark.parametrize("target", RULES)
def test_a_target_is_a_line_or_two(target: str) -> None:
    assert 1 <= len(RULES[target].splitlines()) <= 2


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.name)
def test_a_script_can_be_parsed_says_what_it_does_and_stops_at_the_first_error(script: Path) -> None:
    text = script.read_text()
    if text.startswith("#!"):
        assert script.stat().st_mode & 0o111
    if "python" in text.partition("\n")[0]:  # which stops by itself
        assert ast.get_docstring(ast.parse(text))
        return
    subprocess.run(["bash", "-n", script], check=True)
    assert re.search(r"^# .+\.$", text, flags=re.MULTILINE)
    if text.startswith("#!"):
        assert "set -euo pipefail" in text


def test_no_file_names_a_registry_s_address() -> None:
    texts = {path: path.read_text() for path in [ROOT / "Makefile", ROOT / ".ci/run", *SCRIPTS, *ROOT.glob("*.lock")]}
    assert [path for path, text in texts.items() if re.search(r"https?://", text)] == []
