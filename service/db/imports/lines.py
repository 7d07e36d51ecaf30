"""Rows as COPY reads them: a line of text each."""

from collections.abc import Sequence

from service.changes import Incoming

_NULL = "\\N"
GEOMETRY_PREFIX = "\\\\x"
_SPECIAL = str.maketrans({"\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t"})


def lines_of(incoming: Incoming) -> list[str]:
    """A line for each row, without its end: the key and the geometry, if rows bring any, then the values."""
    columns: list[Sequence[str]] = []
    if incoming.keys is not None:
        columns.append(_texts(incoming.keys))
    if incoming.geometries is not None:
        columns.append([_NULL if ewkb is None else f"{GEOMETRY_PREFIX}{ewkb.hex()}" for ewkb in incoming.geometries])
    columns += map(_texts, incoming.values.values())
    return list(map("\t".join, zip(*columns, strict=True))) if columns else [""] * len(incoming.numbers)


def _texts(column: Sequence[str | None]) -> Sequence[str]:
    """Escaped, where anything is to be escaped: most columns have nothing."""
    together = "".join(filter(None, column))
    if any(special in together for special in "\\\n\r\t"):
        return [_NULL if text is None else text.translate(_SPECIAL) for text in column]
    return [_NULL if text is None else text for text in column] if None in column else column  # type: ignore[return-value]
