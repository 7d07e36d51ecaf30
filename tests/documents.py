"""README.md and docs/, as the tests read them: blocks of code, links, anchors, lists."""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from tests.processes import ROOT

BLOCK = re.compile(r"^```(\S*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


@dataclass(frozen=True)
class Block:
    """A fenced block: its language, what is in it, and the number of its first line."""

    language: str
    text: str
    line: int


def name(page: Path) -> str:
    return str(page.relative_to(ROOT))


def blocks(page: Path) -> list[Block]:
    text = page.read_text()
    return [Block(found[1], found[2], text.count("\n", 0, found.start(2)) + 1) for found in BLOCK.finditer(text)]


def commands(script: str) -> Iterator[str]:
    """What a shell would run one after the other: without comments, and with continued lines in one."""
    pending = ""
    for line in script.replace("\\\n", " ").splitlines():
        pending += ("\n" if pending else "") + line
        if not _is_open(pending):
            if shlex.split(pending, comments=True):
                yield re.sub(r"\s+#[^'\"]*$", "", pending).strip()
            pending = ""
    assert not pending, f"quotes are left open: {pending}"


def _is_open(text: str) -> bool:
    try:
        shlex.split(text, comments=True)
    except ValueError:
        return True
    return False


def links(page: Path) -> list[str]:
    """Where the page leads to within the repository."""
    prose = re.sub(r"`[^`\n]*`", "", BLOCK.sub("", page.read_text()))
    return [target for target in re.findall(r"\]\(([^)\s]+)\)", prose) if "://" not in target]


@cache
def anchors(page: Path) -> set[str]:
    """Those of its headings, as GitHub makes them, and those that are set by hand."""
    text = BLOCK.sub("", page.read_text())
    found: dict[str, int] = {}
    made = set(re.findall(r'<a id="([^"]+)">', text))
    for heading in re.findall(r"^#+ (.+)$", text, flags=re.MULTILINE):
        shown = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading)
        slug = re.sub(r"[^\w\- ]", "", shown.lower()).replace(" ", "-")
        made.add(f"{slug}-{found[slug]}" if slug in found else slug)
        found[slug] = found.get(slug, 0) + 1
    return made


def surface(name: str) -> set[str]:
    """What docs/contributing.md lists as public under this name."""
    text = (ROOT / "docs/contributing.md").read_text()
    (listed,) = re.findall(rf"<!-- surface: {name} -->\n\*\*.*?:\n(.*?)<!-- end -->", text, flags=re.DOTALL)
    return set(re.findall(r"`([^`]+)`", listed))
