"""How far a long piece of work is: a bar on a terminal, else a line from time to time."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import click

from service.cli.export.progress import bar

LINE_SECONDS = 10.0


@contextmanager
def paced(label: str, total: int | None, *, shown: bool) -> Iterator[Callable[[int], None]]:
    """Gives what is to be told how many rows there are again; all of it goes to standard error."""
    if not shown:
        yield lambda rows: None
    elif sys.stderr.isatty():
        with bar(label, total, shown=True) as drawn:
            pace = _Pace(total)
            yield lambda rows: drawn.update(rows, pace.after(rows))
    else:
        yield _Lines(_Pace(total), label).told


class _Pace:
    def __init__(self, total: int | None) -> None:
        self._total = total
        self._rows = 0
        self._started = time.monotonic()

    def after(self, rows: int) -> str:
        self._rows += rows
        rate = self._rows / max(time.monotonic() - self._started, 1e-3)
        of = f" of {self._total:,}" if self._total else ""
        return f"{self._rows:,}{of} rows, {rate:,.0f} a second"


class _Lines:
    def __init__(self, pace: _Pace, label: str) -> None:
        self._pace = pace
        self._label = label
        self._next = time.monotonic() + LINE_SECONDS

    def told(self, rows: int) -> None:
        said = self._pace.after(rows)
        if time.monotonic() >= self._next:
            click.echo(f"{self._label}: {said}", err=True)
            self._next = time.monotonic() + LINE_SECONDS
