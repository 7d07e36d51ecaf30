"""How far an export is, for who sits before a terminal."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click


class Counter:
    """Passes batches on, and counts their features."""

    def __init__(self) -> None:
        self.features = 0

    def counted(self, batches: Iterator[Any], bar: Any) -> Iterator[Any]:
        started = time.monotonic()
        for batch in batches:
            yield batch
            self.features += batch.num_rows
            rate = self.features / max(time.monotonic() - started, 1e-3)
            bar.update(batch.num_rows, f"{self.features:,} features, {rate:,.0f} a second")


@contextmanager
def bar(label: str, total: int | None, *, shown: bool) -> Iterator[Any]:
    """A bar on standard error, if that is a terminal; `total` is None where nobody knows."""
    with click.progressbar(
        iterable=None if total else (None for _ in ()),  # of a length that nobody knows
        length=total or None,
        label=label,
        file=sys.stderr,
        hidden=not (shown and sys.stderr.isatty()),
        item_show_func=lambda text: text,
        width=24,
    ) as made:
        yield made
