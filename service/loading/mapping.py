"""Which column of a file becomes which property of a layer: as the command says, else by their names."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from service.loading.errors import LoadError
from service.loading.source import Source


class Target(NamedTuple):
    """A layer as names: its key's, and those of its properties with whether they can be written."""

    layer: str
    key: str
    properties: Mapping[str, bool]


@dataclass(frozen=True)
class ColumnMapping:
    """`key` is the column that keys come from, if any does; `columns` those of the properties, by property; `left`
    those that are not loaded."""

    key: str | None
    columns: Mapping[str, str]
    left: tuple[str, ...]


def read_pairs(texts: Sequence[str]) -> dict[str, str]:
    """`source=property` as the command has it; an empty property leaves the column out."""
    pairs: dict[str, str] = {}
    for text in texts:
        source, separator, prop = text.partition("=")
        if not separator or not source or source in pairs:
            raise LoadError(f"--map {text}: say source=property, once for each column; source= leaves a column out")
        pairs[source] = prop
    return pairs


def map_columns(
    source: Source, target: Target, pairs: Mapping[str, str], *, key: str | None = None, match: str | None = None
) -> ColumnMapping:
    """What `pairs` say goes before what names say. A layer's key is mapped by its name as properties are, unless rows
    are to be found by the property `match`."""
    said = dict(pairs) | ({key: target.key} if key is not None else {})
    _check(source, target, said)
    taken = {name: column for column, name in said.items() if name}
    for name in _names(target, with_key=match is None):
        if name not in taken and (column := _column(source, name, said)):
            taken[name] = column
    if match is not None and match not in taken:
        raise LoadError(f"no column of the file is mapped to {match!r}, by which rows are to be matched")
    used = {*taken.values()}
    left = tuple(column for column in source.columns if column not in used)
    return ColumnMapping(taken.pop(target.key, None), taken, left)


def _names(target: Target, *, with_key: bool) -> Iterator[str]:
    if with_key:
        yield target.key
    yield from (name for name, writable in target.properties.items() if writable)


def _check(source: Source, target: Target, said: Mapping[str, str]) -> None:
    for column, name in said.items():
        if column not in source.columns:
            raise LoadError(f"the file has no column {column!r}, but {', '.join(source.columns)}")
        if not name or name == target.key:
            continue
        if name not in target.properties:
            raise LoadError(f"layer {target.layer!r} has no property {name!r}, but {', '.join(target.properties)}")
        if not target.properties[name]:
            raise LoadError(f"property {name!r} of layer {target.layer!r} cannot be written")
    named = [name for name in said.values() if name]
    for name in named:
        if named.count(name) > 1:
            raise LoadError(f"several columns are mapped to {name!r}")


def _column(source: Source, name: str, said: Mapping[str, str]) -> str | None:
    """The one of its name, else the only one that differs from it in case alone."""
    if name in source.columns:
        return None if name in said else name
    alike = [column for column in source.by_folded_name.get(name.casefold(), ()) if column not in said]
    return alike[0] if len(alike) == 1 else None
