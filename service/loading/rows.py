"""Batches of a file as an import's rows: geometries checked, properties as texts, and what is refused beside them."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from sqlalchemy.dialects.postgresql import ARRAY

from service.catalog import Layer, PropertyType
from service.changes import Incoming, Rejection
from service.codec.arriving.geometries import ArrivalReader
from service.errors import InvalidArgument
from service.loading.mapping import ColumnMapping
from service.loading.source import Batch, Fault
from service.loading.systems import System, transformed
from service.loading.texts import Texts, Wanted, texts_of

T = TypeVar("T")
_NUMBERS = re.compile(r"-?\d[-+0-9.e]*")


@dataclass(frozen=True)
class RowReader:
    """`transforms` says that the database has no code for the file's CRS, so that rows are transformed here."""

    layer: Layer
    mapping: ColumnMapping
    system: System
    arrivals: ArrivalReader
    repair: bool
    match: str | None
    transforms: bool

    def read(self, first: int, batch: Batch) -> Incoming:
        """`first` is the number of the batch's first row."""
        faults = dict(batch.faults)
        geometries = self._geometries(batch, faults)
        keys: Texts | None = self._keys(batch, faults)
        values = {name: self._values(batch, name, faults) for name in self.mapping.columns}
        identities = values[self.match] if self.match else keys
        rejections = [Rejection(first + row, _text(identities, row), *fault) for row, fault in sorted(faults.items())]
        kept = [row for row in range(batch.rows) if row not in faults]
        return Incoming(
            [first + row for row in kept],
            None if keys is None else _picked(keys, kept),  # type: ignore[arg-type]
            None if geometries is None else _picked(geometries, kept),
            {name: _picked(texts, kept) for name, texts in values.items()},
            rejections,
        )

    def _geometries(self, batch: Batch, faults: dict[int, Fault]) -> list[bytes | None] | None:
        if batch.geometries is None:
            return None
        wkbs, srid = batch.geometries, self.system.srid or 0
        if self.transforms:
            wkbs, srid = transformed(wkbs, self.system, self.layer.srid), self.layer.srid
        checked, refusals = self.arrivals.read_many(
            wkbs, self.layer, srid=srid, repair=self.repair, own_srid_only=False
        )
        for row, refusal in refusals.items():
            fault = _said(refusal)
            # A place in the layer's CRS says nothing of a file in another one.
            faults.setdefault(row, fault._replace(location=None) if self.transforms else fault)
        return checked

    def _keys(self, batch: Batch, faults: dict[int, Fault]) -> Texts | None:
        if self.mapping.key is None:
            return None
        kind = PropertyType.INTEGER if self.layer.integer_key else PropertyType.STRING
        keys, wrong = texts_of(batch.columns[self.mapping.key], Wanted("id", kind))
        for row, fault in wrong.items():
            faults.setdefault(row, fault._replace(reason="INVALID_ID"))
        return keys

    def _values(self, batch: Batch, name: str, faults: dict[int, Fault]) -> Texts:
        prop = self.layer.properties[name]
        wanted = Wanted(f"properties.{name}", prop.type, isinstance(prop.expression.type, ARRAY))
        texts, wrong = texts_of(batch.columns[self.mapping.columns[name]], wanted)
        for row, fault in wrong.items():
            faults.setdefault(row, fault)
        return texts


def _said(refusal: InvalidArgument) -> Fault:
    place = [float(number) for number in _NUMBERS.findall(refusal.metadata.get("location", ""))]
    return Fault(refusal.reason, refusal.message, refusal.field or "geometry", (place[0], place[1]) if place else None)


def _text(texts: Sequence[str | None] | None, row: int) -> str:
    return (texts[row] or "") if texts is not None else ""


def _picked(column: list[T], rows: Sequence[int]) -> list[T]:
    return column if len(rows) == len(column) else [column[row] for row in rows]
