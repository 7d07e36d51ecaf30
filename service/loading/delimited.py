"""CSV: texts under a header, compressed or not; what they are is found by reading them all, if it must be known."""

import csv
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow
from pyarrow import csv as arrow_csv

from service.loading.coordinates import positioned
from service.loading.errors import LoadError
from service.loading.source import Batch, Source, Wanted

DELIMITERS = ",;\t|"
BLOCK_BYTES = 1024 * 1024
LONGEST_HEADER = 1024 * 1024


def open_csv(path: Path, wanted: Wanted) -> Source:
    encoding = wanted.encoding or "utf-8"
    try:
        with pyarrow.input_stream(path) as stream:
            head = stream.read(LONGEST_HEADER)
        names, delimiter = _header(head, encoding)
    except (OSError, LookupError, UnicodeDecodeError) as error:
        raise LoadError(f"{path} cannot be read: {error}") from None
    if not names or len({*names}) < len(names) or not all(names):
        raise LoadError(f"{path} needs a first line with a name of its own for each column, not {', '.join(names)}")
    columns = dict.fromkeys(names, pyarrow.string())
    batches = partial(_batches, path, names, delimiter, encoding)
    source = Source(path.name.partition(".")[0], columns, None, None, None, batches, texts=True)
    return positioned(source, wanted)


def _header(head: bytes, encoding: str) -> tuple[list[str], str]:
    text = head.decode(encoding, errors="ignore" if len(head) == LONGEST_HEADER else "strict")
    lines = text.removeprefix("\ufeff").splitlines() or [""]
    delimiter = max(DELIMITERS, key=lines[0].count)
    return next(csv.reader(lines, delimiter=delimiter), []), delimiter


def _batches(path: Path, names: list[str], delimiter: str, encoding: str) -> Iterator[Batch]:
    """An empty field is null; one of two quotes with nothing in between is an empty text."""
    try:
        with _opened(path, names, delimiter, encoding) as reader:
            for batch in reader:
                yield Batch({name: batch.column(name) for name in names}, None)
    except (OSError, pyarrow.ArrowException) as error:
        raise LoadError(f"{path} cannot be read: {error}") from None


def _opened(path: Path, names: list[str], delimiter: str, encoding: str) -> Any:
    return arrow_csv.open_csv(
        pyarrow.input_stream(path),
        # One thread, so that a complaint can say which row it is about.
        arrow_csv.ReadOptions(use_threads=False, block_size=BLOCK_BYTES, encoding=encoding),
        arrow_csv.ParseOptions(delimiter=delimiter, newlines_in_values=True),
        arrow_csv.ConvertOptions(
            column_types=dict.fromkeys(names, pyarrow.string()),
            null_values=[""],
            strings_can_be_null=True,
            quoted_strings_can_be_null=False,
        ),
    )
