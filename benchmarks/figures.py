"""Figures with their goals, and the lines they are printed as."""

import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from statistics import median


@dataclass(frozen=True)
class Figure:
    name: str
    ratio: float
    goal: str
    detail: str

    def __str__(self) -> str:
        return f"{self.name}: {self.ratio:.2f} (goal {self.goal})\n    {self.detail}"


def median_ratio(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """The median of the rounds' ratios: neighbours in time share the machine's mood, so the noise cancels."""
    return median(own / other for own, other in zip(ours, theirs, strict=True))


def seconds_each(usual: float) -> float:
    """How long to measure at a time: BENCH_SECONDS where it is set, to try things out."""
    return float(os.environ.get("BENCH_SECONDS") or usual)


def rounds_each(usual: int) -> int:
    """How often to measure: once, to try things out."""
    return 1 if os.environ.get("BENCH_SECONDS") else usual


def machine() -> list[tuple[str, str]]:
    """What every run should say about where it ran."""
    return [
        ("CPU", f"{_cpu_model()}, {len(os.sched_getaffinity(0))} cores"),
        ("Python", f"{platform.python_version()}, grpcio {version('grpcio')}, protobuf {version('protobuf')}"),
        ("drivers", f"psycopg2 {version('psycopg2-binary')}, SQLAlchemy {version('sqlalchemy')}"),
    ]


def print_lines(lines: Sequence[tuple[str, str]]) -> None:
    """What a run was, before its figures."""
    for name, value in lines:
        print(f"{name + ':':16}{value}")
    print(flush=True)


def _cpu_model() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((line.split(": ", 1)[1] for line in lines if line.startswith("model name")), platform.machine())
