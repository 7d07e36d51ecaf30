"""What every file is once it is open: columns of known types, and batches of rows, read anew as often as wanted."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from importlib import import_module
from typing import Any, NamedTuple

import pyarrow

from service.loading.errors import LoadError
from service.loading.systems import System

BATCH_ROWS = 8_192


class Fault(NamedTuple):
    """Why a row cannot be loaded, in the contract's words; `location` is where a geometry is at fault."""

    reason: str
    message: str
    field: str
    location: tuple[float, float] | None = None


class Batch(NamedTuple):
    """Some rows. `geometries` are WKB, no bytes where a row has none; None: no row of the file has. `faults` are those
    of rows whose geometry cannot even be read, by position."""

    columns: Mapping[str, pyarrow.Array]
    geometries: list[bytes] | None
    faults: Mapping[int, Fault] = {}

    @property
    def rows(self) -> int:
        if self.geometries is not None:
            return len(self.geometries)
        return len(next(iter(self.columns.values()), ()))


@dataclass(frozen=True)
class Source:
    """A layer of a file. `columns` are its attributes with their Arrow types, as far as they are known: in a file of
    `texts` all are strings, whatever is in them. `geometry` is the type that all geometries are said to have, by
    PostGIS's name; "" where nobody knows, None where there is none. `rows` is None where counting would be reading.
    """

    name: str
    columns: Mapping[str, pyarrow.DataType]
    system: System | None
    geometry: str | None
    rows: int | None
    batches: Callable[[], Iterator[Batch]]
    texts: bool = False

    @cached_property
    def by_folded_name(self) -> Mapping[str, list[str]]:
        """Its columns by their names in lower case."""
        found: dict[str, list[str]] = {}
        for name in self.columns:
            found.setdefault(name.casefold(), []).append(name)
        return found


class Wanted(NamedTuple):
    """What the command says of the file. `columns` are read besides the attributes: what GDAL calls a feature's id."""

    layer: str | None = None
    srid: int | None = None
    longitude: str | None = None
    latitude: str | None = None
    wkt: str | None = None
    encoding: str | None = None
    key: str | None = None


def needed(module: str) -> Any:
    """A library that not every installation has."""
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        raise LoadError(
            f'{error.name} is not installed; it comes with `pip install "spatial-service[export]"`'
        ) from None
