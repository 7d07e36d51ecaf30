"""Imports: their definition, once for both clients, their answers, and how one that was cut goes on. No I/O."""

import struct
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, Union
from uuid import uuid4

from spatial.v1 import errors_pb2, write_pb2
from spatial_client._attempts import Attempts, Retry, is_cut, is_never, is_unsettled
from spatial_client._calls import Unary
from spatial_client._errors import NotFound, SpatialError
from spatial_client._features import FeatureLike
from spatial_client._queries import enum
from spatial_client._sources import AsyncOnce, Source, end_of

if TYPE_CHECKING:
    import geopandas
    import pyarrow

ImportMode: TypeAlias = Literal["insert", "upsert"]
Features: TypeAlias = Union[
    Iterable[FeatureLike], "geopandas.GeoDataFrame", "pyarrow.Table", "pyarrow.RecordBatchReader"
]
Progress: TypeAlias = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class Rejection:
    """A row that was not written, and why."""

    row: int
    """Its number in the whole import, counted from 0."""
    id: str
    """Its id, or its match property; empty where it has none."""
    reason: str
    """As an error's: "INVALID_GEOMETRY"."""
    message: str
    field: str
    """What is at fault: "geometry", "properties.name"; empty where that is not known."""
    location: tuple[float, float] | None
    """Where an invalid geometry is at fault, in the CRS of the row."""


@dataclass(frozen=True, slots=True)
class ImportState:
    """How far an import has come. `inserted`, `updated` and `rejected` add up to `rows`."""

    import_id: str
    layer: str
    rows: int
    """Rows dealt with."""
    inserted: int
    updated: int
    rejected: int
    chunks: int
    """Transactions that were committed."""
    retries: int
    """Transactions that were tried again."""
    rejections: list[Rejection]
    """The first ones, in the order of the rows."""
    complete: bool
    """Whether it has come to its end."""
    analyzed: bool = False
    """Whether it brought the table's statistics up to date."""
    freshness_token: str = ""
    """For reads that must see this import, once it is complete."""


@dataclass(frozen=True, slots=True)
class Importation:
    """What an import is about; `known` says that it may have been begun before."""

    plan: write_pb2.ImportPlan
    known: bool
    on_progress: Progress | None
    timeout: float | None


def import_features(
    layer: str,
    *,
    mode: ImportMode = "insert",
    match: str = "",
    repair: bool = False,
    require_layer_srid: bool = False,
    srid: int | None = None,
    max_rejections: int = 0,
    validate_only: bool = False,
    import_id: str | None = None,
    on_progress: Progress | None = None,
    timeout: float | None = None,
) -> Importation:
    """Adds ("insert") any number of features to a layer that is writable, or adds and replaces them ("upsert").

    `source` is a GeoDataFrame, an Arrow table or stream with its geometry as WKB (a column `id` holds the keys), or an
    iterable of features: `NewFeature`, (geometry, properties), `Feature`, GeoJSON. Geometries are as for
    `create_feature`, but in the layer's CRS, or that of `srid`, where they say none. `match` is the property that tells
    which feature a row is about, in place of its id.

    The service writes in chunks, each a transaction; a row that it refuses is reported in `rejections` (the first
    `max_rejections`, 0 = 100) and ends nothing. What is cut goes on where it was, by itself, and no row is written
    twice. That needs its rows again: a source that can be read only once is held in memory until the service has its
    rows, up to 64 MiB. `on_progress` is given the number of rows sent so far.

    `import_id` (None: a new UUID) is what the service knows the import by. With the one of an import that was begun
    before, and the same source, it is gone on with, perhaps tomorrow and in another process; `get_import` says how far
    it has come. `import_id=""` leaves it to the server; then nothing is gone on with. There is no limit to how long an
    import takes unless `timeout` is given.
    """
    plan = write_pb2.ImportPlan(
        layer=layer,
        mode=enum("IMPORT_MODE", mode),
        match_property=match,
        repair=repair,
        require_layer_srid=require_layer_srid,
        srid=srid,
        max_rejections=max_rejections,
        import_id=str(uuid4()) if import_id is None else import_id,
        validate_only=validate_only,
    )
    return Importation(plan, bool(import_id), on_progress, timeout)


def get_import(import_id: str, *, timeout: float | None = None) -> Unary[ImportState]:
    """How far an import has come. Raises `NotFound`."""
    request = write_pb2.GetImportRequest(import_id=import_id)
    return Unary("GetImport", request, lambda answer: _state_of(import_id, answer), timeout, is_cut)


class Importing:
    """An import over as many calls as it takes: what to send next, and whether there is a next."""

    def __init__(self, importation: Importation, source: Source | AsyncOnce, retry: Retry) -> None:
        self._plan = write_pb2.ImportPlan()
        self._plan.CopyFrom(importation.plan)
        if source.srid:
            self._plan.srid = source.srid
        self._held = source.held
        self.rows = 0
        self._on_progress = importation.on_progress
        passes = is_unsettled if self._plan.import_id else is_never
        self._attempts = Attempts(retry, importation.timeout, passes)

    @property
    def asks(self) -> bool:
        """Whether it is time to ask how far the import has come."""
        return bool(self._plan.import_id) and self._held is not None and self._held.asks

    @property
    def opening(self) -> write_pb2.ImportFeaturesRequest:
        """The first message of the next call."""
        return write_pb2.ImportFeaturesRequest(plan=self._plan, first_row=self.rows)

    def question(self) -> Unary[int]:
        """How many rows are in."""
        request = write_pb2.GetImportRequest(import_id=self._plan.import_id)
        return Unary("GetImport", request, lambda answer: int(answer.totals.rows), passes=is_cut)

    def remaining(self) -> float | None:
        return self._attempts.remaining()

    def sent(self, request: write_pb2.ImportFeaturesRequest) -> None:
        if self._on_progress is not None:
            self._on_progress(end_of(request))

    def settle(self, rows: int) -> None:
        """The service has dealt with so many rows."""
        if rows > self.rows:
            self._attempts.progressed()
        self.rows = rows
        if self._held is not None:
            self._held.settle(rows)

    def unknown(self, error: NotFound) -> None:
        """The service knows nothing of the import: then none of it is in, unless it did before."""
        if self.rows:
            raise error
        self.settle(0)

    def pause_after(self, error: SpatialError) -> float:
        """The seconds to wait before the next call. Raises the error where nothing can follow it."""
        return self._attempts.pause_after(error)

    def noted(self, error: BaseException) -> None:
        """Tells whoever reads the error how the import may be gone on with."""
        if self._plan.import_id:
            error.add_note(f"import_id={self._plan.import_id!r} goes on with this import; {self.rows} rows were in")

    def ended(self, answer: write_pb2.ImportFeaturesResponse) -> ImportState:
        return ImportState(
            **_totals_of(answer.totals),
            import_id=answer.import_id,
            layer=self._plan.layer,
            rejections=_rejections_of(answer.rejections),
            complete=not self._plan.validate_only,
            analyzed=answer.analyzed,
            freshness_token=answer.freshness_token,
        )


def _state_of(import_id: str, answer: write_pb2.GetImportResponse) -> ImportState:
    return ImportState(
        **_totals_of(answer.totals),
        import_id=import_id,
        layer=answer.layer,
        rejections=_rejections_of(answer.rejections),
        complete=answer.complete,
    )


def _totals_of(totals: write_pb2.ImportTotals) -> dict[str, Any]:
    return {field.name: getattr(totals, field.name) for field in totals.DESCRIPTOR.fields}


def _rejections_of(rejections: Iterable[write_pb2.ImportRejection]) -> list[Rejection]:
    return [
        Rejection(
            row=each.row,
            id=each.id,
            reason=_reason_of(each.reason),
            message=each.message,
            field=each.field,
            location=_point_of(each.location.wkb) if each.HasField("location") else None,
        )
        for each in rejections
    ]


def _reason_of(number: int) -> str:
    known = errors_pb2.ErrorReason.DESCRIPTOR.values_by_number.get(number)
    return str(number) if known is None else known.name.removeprefix("ERROR_REASON_")


def _point_of(wkb: bytes) -> tuple[float, float]:
    x, y = struct.unpack_from("<dd", wkb, 5)
    return x, y
