"""Rows as COPY reads them: a line of text each."""

from collections.abc import Iterable, Sequence
from io import RawIOBase
from itertools import islice

from service.changes import Incoming

_NULL = "\\N"
_AT_ONCE = 64  # lines
GEOMETRY_PREFIX = "\\\\x"
_SPECIAL = str.maketrans({"\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t"})


class Lines(RawIOBase):
    """Lines as a file that COPY reads. It is given a few at a time: a chunk in one piece would be megabytes of memory
    that is new to the process, which costs ten times as much as to fill it."""

    def __init__(self, lines: Iterable[str]) -> None:
        super().__init__()
        self._lines = iter(lines)

    def read(self, size: int = -1, /) -> bytes:
        """Not `size`, which libpq sees to."""
        return "\n".join([*islice(self._lines, _AT_ONCE), ""]).encode()


def lines_of(incoming: Incoming, *, bare: bool = False) -> list[str]:
    """A line for each row, without its end: the key and the geometry, if rows bring any, then the values; one of these
    they bring. A geometry is bytes in hex, as a staging table has it; where it is to be `bare` it is hex alone, as the
    layer's has it."""
    columns: list[Sequence[str]] = []
    if incoming.keys is not None:
        columns.append(_texts(incoming.keys))
    if incoming.geometries is not None:
        prefix = "" if bare else GEOMETRY_PREFIX
        columns.append([_NULL if ewkb is None else prefix + ewkb.hex() for ewkb in incoming.geometries])
    columns += map(_texts, incoming.values.values())
    return list(map("\t".join, zip(*columns, strict=True)))


def _texts(column: Sequence[str | None]) -> Sequence[str]:
    """Escaped, where anything is to be escaped: most columns have nothing."""
    together = "".join(filter(None, column))
    if any(special in together for special in "\\\n\r\t"):
        return [_NULL if text is None else text.translate(_SPECIAL) for text in column]
    return [_NULL if text is None else text for text in column] if None in column else column  # type: ignore[return-value]


def with_prefix(line: str, *, keyed: bool) -> str:
    """A line with a bare geometry as a staging table takes it."""
    key, tab, rest = line.partition("\t") if keyed else ("", "", line)
    null = rest == _NULL or rest.startswith(f"{_NULL}\t")
    return line if null else f"{key}{tab}{GEOMETRY_PREFIX}{rest}"
