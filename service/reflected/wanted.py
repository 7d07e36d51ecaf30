"""Which tables are to be served, and how: SPATIAL_LAYERS, and the files that it may name."""

import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from service.reflected.relations import GEOMETRY_TYPES

MODELS = "models"
FILES = (".yaml", ".yml", ".toml")
_NAME = r'(?:"(?:[^"]|"")+"|[^",.]+)'
_TABLE = re.compile(rf"\s*(?:({_NAME})\.)?({_NAME})\s*")
_ITEM = re.compile(r'(?:"(?:[^"]|"")*"|[^",])+')


class ConfigurationError(Exception):
    """SPATIAL_LAYERS, or a file that it names, does not say what to serve."""


class LayerOptions(BaseModel):
    """A table as a layer, or the tables that a pattern finds as layers."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    table: Annotated[str, Field(min_length=1)]
    name: Annotated[str, Field(min_length=1)] | None = None
    description: str | None = None
    geometry: Annotated[str, Field(min_length=1)] | None = None
    key: Annotated[str, Field(min_length=1)] | None = None
    srid: Annotated[int, Field(ge=0, le=999_999)] | None = None
    type: Annotated[str, Field(pattern=f"^({'|'.join(GEOMETRY_TYPES)})(Z|M|ZM)?$")] | None = None
    properties: list[str] | None = None
    hidden: list[str] = []
    unindexed: bool = False
    writable: bool = False
    no_overlap: bool = False

    @model_validator(mode="after")
    def _check(self) -> "LayerOptions":
        schema, table = parse_table(self.table)
        if self.name is not None and any(_has_wildcard(part) for part in (schema or "", table)):
            raise ValueError("a pattern may find many tables: they cannot have one name")
        if self.no_overlap and not self.writable:
            raise ValueError("no_overlap says what changes are refused: it goes with `writable: true`")
        return self


class LayersFile(BaseModel):
    """What a file of layers says."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    models: bool = False
    layers: list[LayerOptions] = []


@dataclass(frozen=True)
class Wanted:
    """Whether the shipped models are served, and which tables besides, in the order of their mention."""

    models: bool
    tables: tuple[LayerOptions, ...] = ()


def read_wanted(setting: str) -> Wanted:
    """What SPATIAL_LAYERS asks for; raises ConfigurationError, which names what is wrong and where."""
    models, tables = False, list[LayerOptions]()
    for item in map(str.strip, _ITEM.findall(setting)):
        if item == MODELS:
            models = True
        elif item.endswith(FILES):
            read = _file(Path(item))
            models = models or read.models
            tables += read.layers
        elif item:
            try:
                tables.append(LayerOptions(table=item))
            except ValidationError as error:
                raise ConfigurationError(f"SPATIAL_LAYERS: {next(_complaints(error))}") from None
    if not (models or tables):
        raise ConfigurationError("SPATIAL_LAYERS names nothing: `models`, tables, patterns such as public.*, or a file")
    return Wanted(models, tuple(tables))


def _file(path: Path) -> LayersFile:
    try:
        text = path.read_text(encoding="utf-8")
        read: Any = tomllib.loads(text) if path.suffix == ".toml" else yaml.safe_load(text)
    except OSError as error:
        raise ConfigurationError(f"{path}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path}: {error}") from None
    try:
        return LayersFile.model_validate(read)
    except ValidationError as error:
        raise ConfigurationError("; ".join(f"{path}: {each}" for each in _complaints(error))) from None


def _complaints(error: ValidationError) -> Iterator[str]:
    for each in error.errors(include_url=False):
        place = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in each["loc"]).lstrip(".")
        message = each["msg"].removeprefix("Value error, ")
        yield f"{place}: {message}" if place else message


def parse_table(text: str) -> tuple[str | None, str]:
    """The schema, if one is named, and the table; names in double quotes may have dots and anything else in them."""
    found = _TABLE.fullmatch(text)
    if found is None:
        raise ValueError(f"{text!r} is neither a table nor schema.table; names with dots or commas go in double quotes")
    schema, table = found.groups()
    return (None if schema is None else _unquoted(schema.strip())), _unquoted(table.strip())


def _unquoted(name: str) -> str:
    return name[1:-1].replace('""', '"') if name.startswith('"') else name


def is_pattern(options: LayerOptions) -> bool:
    """Whether it may mean many tables."""
    return any(_has_wildcard(part) for part in parse_table(options.table) if part)


def _has_wildcard(name: str) -> bool:
    return "*" in name or "?" in name


def matches(pattern: str, name: str) -> bool:
    """Whether `name` is meant: * stands for anything, ? for one character, and all else for itself."""
    parts = ({"*": ".*", "?": "."}.get(character) or re.escape(character) for character in pattern)
    return re.fullmatch("".join(parts), name, re.DOTALL) is not None
