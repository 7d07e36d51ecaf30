"""Which indexes serve a layer's questions."""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from sqlalchemy.dialects import postgresql

from service.catalog import Layer

_IDENTIFIERS = postgresql.dialect().identifier_preparer  # type: ignore[no-untyped-call]
SPATIAL_METHODS = ("gist", "spgist")
_SCHEMA = re.compile(r'(?:\w+|"(?:[^"]|"")+")\.(?=(?:geography|geometry)\b)')


@dataclass(frozen=True, slots=True)
class IndexDescription:
    """An index as PostgreSQL describes it: `keys` are its columns and expressions, as SQL."""

    name: str
    definition: str
    valid: bool
    method: str = ""
    keys: tuple[str, ...] = ()
    partial: bool = False

    def has(self, spellings: Iterable[str]) -> bool:
        """Whether one of its keys is spelled so, and it has every row."""
        return not self.partial and not set(map(_plain, self.keys)).isdisjoint(spellings)


def serves_plane(index: IndexDescription, layer: Layer) -> bool:
    """Whether predicates, boxes and planar distances can be answered through it."""
    if index.method not in SPATIAL_METHODS:
        return False
    if layer.is_geography:
        # Of points, the column's own index says enough.
        return index.has(_casts(layer, "geometry")) or (layer.of_points and index.has(_names(layer)))
    return index.has(_names(layer))


def serves_earth(index: IndexDescription, layer: Layer) -> bool:
    """Whether distances in metres can be answered through it."""
    spellings = _names(layer) if layer.is_geography else _casts(layer, "geography")
    return index.method in SPATIAL_METHODS and index.has(spellings)


def serves_key(index: IndexDescription, layer: Layer) -> bool:
    """Whether features are looked up by their keys through it."""
    spellings = _spelled(str(layer.key.key))
    return index.method == "btree" and index.has(spellings) and index.keys[0] in spellings


def _names(layer: Layer) -> set[str]:
    return _spelled(layer.geometry_name)


def _spelled(name: str) -> set[str]:
    """With and without quotes, since PostgreSQL has its own opinion on which names need them."""
    return {name, '"' + name.replace('"', '""') + '"'}


def quoted(name: str) -> str:
    """As SQL has it: in quotes where it must be."""
    return str(_IDENTIFIERS.quote(name)).replace("%%", "%")


def _casts(layer: Layer, kind: str) -> set[str]:
    return {spelling for name in _names(layer) for spelling in (f"{kind}({name})", f"({name})::{kind}")}


def _plain(key: str) -> str:
    """Without the parentheses around, and the schema of PostGIS."""
    key = _SCHEMA.sub("", key)
    while key.startswith("(") and key.endswith(")"):
        key = key[1:-1]
    return key
