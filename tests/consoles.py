"""Sessions printed in a document: ```console blocks. Lines after `$ ` are typed, the others are printed.

A command goes on for as long as its line ends with a backslash, or its quotes or a here-document are open. In what is
printed, a line of `…` (or `...`) stands for any lines, and within a line `…` for anything. Without output, a command is
only run.
"""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass

BLOCK = re.compile(r"^```console\n(.*?)^```$", re.MULTILINE | re.DOTALL)
ANYTHING = ("…", "...")
HERE = re.compile(r"(?<!<)<<'?(\w+)")


@dataclass(frozen=True)
class Step:
    command: str
    output: str

    def is_answered_by(self, text: str) -> bool:
        return not self.output or re.fullmatch(_pattern(self.output), _trimmed(text)) is not None


def steps(document: str) -> list[Step]:
    """What is typed in the document's sessions, in order."""
    return [step for block in BLOCK.findall(document) for step in _steps(block)]


def _steps(block: str) -> Iterator[Step]:
    lines = block.splitlines()
    while lines:
        first = lines.pop(0)
        assert first.startswith("$ "), f"not a command: {first}"
        command = first.removeprefix("$ ")
        while not _complete(command):
            command += "\n" + lines.pop(0).removeprefix("> ")
        output = []
        while lines and not lines[0].startswith("$ "):
            output.append(lines.pop(0))
        yield Step(command, "\n".join(output))


def _complete(command: str) -> bool:
    here = HERE.search(command)
    if command.endswith("\\") or (here and command.splitlines()[-1] != here[1]):
        return False
    try:
        shlex.split(command, comments=True)
    except ValueError:
        return False
    return True


def _pattern(output: str) -> str:
    lines = []
    for line in output.splitlines():
        if line.strip() in ANYTHING:
            lines.append(r"(?:.*\n)*?")
        else:
            lines.append(r".*".join(map(re.escape, line.rstrip().split("…"))) + r"\n")
    return "".join(lines) + r"\n*"


def _trimmed(text: str) -> str:
    return "".join(f"{line.rstrip()}\n" for line in text.splitlines())
