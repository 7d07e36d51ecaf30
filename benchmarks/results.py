"""What the suites printed, kept as JSON in results/: the pages in docs are rendered from it."""

import json
import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from io import StringIO, TextIOBase
from pathlib import Path
from typing import Any, Self

FOLDER = Path(__file__).with_name("results")
_FIGURE = re.compile(r"^(?P<name>\S.*): (?P<ratio>-?[\d.]+) \(goal (?P<goal>.*)\)\n    (?P<detail>.*)$", re.MULTILINE)
_SETTING = re.compile(r"^(?P<name>[\w ]+): +(?P<value>\S.*)$")


@dataclass(frozen=True)
class Kept:
    """A figure as it was printed."""

    name: str
    ratio: float
    goal: str
    detail: str


@dataclass(frozen=True)
class Result:
    """A run of a suite: when, by which command, on what, its figures, and whatever else it measured."""

    suite: str
    date: str
    command: str
    setting: Mapping[str, str]
    figures: list[Kept]
    measured: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, suite: str, printed: str, measured: Mapping[str, Any] | None) -> Self:
        """The setting is what was printed before the first empty line."""
        head, _, _ = printed.partition("\n\n")
        setting = {match["name"]: match["value"] for line in head.splitlines() if (match := _SETTING.match(line))}
        figures = [Kept(m["name"], float(m["ratio"]), m["goal"], m["detail"]) for m in _FIGURE.finditer(printed)]
        today = datetime.now(UTC).date().isoformat()
        return cls(suite, today, f"make bench ONLY={suite}", setting, figures, measured or {})

    @classmethod
    def read(cls, suite: str) -> Self:
        content = json.loads((FOLDER / f"{suite}.json").read_text())
        return cls(**{**content, "figures": [Kept(**figure) for figure in content["figures"]]})

    @classmethod
    def is_there(cls, suite: str) -> bool:
        return (FOLDER / f"{suite}.json").exists()

    def write(self) -> None:
        FOLDER.mkdir(exist_ok=True)
        text = json.dumps(_rounded(asdict(self)), indent=1, ensure_ascii=False)
        (FOLDER / f"{self.suite}.json").write_text(text + "\n")


def _rounded(value: Any) -> Any:
    """Four digits say all that a measurement can."""
    if isinstance(value, float):
        return float(f"{value:.4g}")
    if isinstance(value, dict):
        return {key: _rounded(each) for key, each in value.items()}
    return [_rounded(each) for each in value] if isinstance(value, list) else value


class _Tee(TextIOBase):
    """Prints, and remembers what was printed."""

    def __init__(self) -> None:
        self.text = StringIO()
        self._output = sys.stdout

    def write(self, text: str) -> int:
        self.text.write(text)
        return self._output.write(text)

    def flush(self) -> None:
        self._output.flush()


@contextmanager
def listening() -> Iterator[StringIO]:
    """What is printed for the length of a `with`."""
    with redirect_stdout(tee := _Tee()):
        yield tee.text
