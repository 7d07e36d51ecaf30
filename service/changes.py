"""Changes as values: of one feature, and of many. No I/O, and nothing of gRPC or SQL."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, StrEnum
from typing import NamedTuple

from service.domain import Key, Output, Search

EVERYTHING = Output()


class Placed(NamedTuple):
    """A checked geometry on its way into a column: little-endian EWKB in hex, in the CRS that it came in."""

    hexewkb: str
    srid: int


class Act(StrEnum):
    """What is done to a feature; for metrics and logs, too."""

    CREATE = "create"
    UPDATE = "update"
    DELETE = "delete"


class Promise(NamedTuple):
    """A request that takes effect once however often it is sent: its id, and a digest of all that it asks."""

    id: str
    digest: bytes


class Edit(NamedTuple):
    """A change of one feature, checked as far as that can be done without the database.

    `values` are texts as PostgreSQL reads them, by column; None is null. `defaults` are the columns that get their
    default again, `geometry` is what the layer's column is to hold, `etag` what the row must still be. `output` says
    what to answer with.
    """

    act: Act
    layer: str
    key: Key | None = None
    values: tuple[tuple[str, str | None], ...] = ()
    defaults: tuple[str, ...] = ()
    geometry: Placed | None = None
    etag: str = ""
    output: Output = EVERYTHING
    validate_only: bool = False
    promise: Promise | None = None
    revision: int = 0


class Deletion(NamedTuple):
    """The removal of all that a search finds, unless that is more than `most`."""

    search: Search
    most: int
    validate_only: bool = False
    promise: Promise | None = None


class Importing(Enum):
    """What an import does with a row whose key is there already; the numbers are the contract's."""

    INSERT = 1
    UPSERT = 2


@dataclass(frozen=True, slots=True)
class ImportPlan:
    """What an import is about. `match` is the property that tells which feature a row is, in place of its key; `srid`
    that of geometries which do not say theirs. `straight` says that the table is as this project makes them, and nobody
    else's yet: what COPY takes for it as it is need not be looked at again."""

    layer: str
    id: str
    digest: bytes
    mode: Importing = Importing.INSERT
    match: str | None = None
    repair: bool = False
    own_srid_only: bool = False
    srid: int = 0
    listed: int = 100
    validate_only: bool = False
    revision: int = 0
    straight: bool = False


class Rejection(NamedTuple):
    """A row that was not written. `location` is a point's coordinates, where a geometry is at fault."""

    row: int
    id: str
    reason: str
    message: str
    field: str = ""
    location: tuple[float, float] | None = None


@dataclass(frozen=True, slots=True)
class Incoming:
    """Rows on their way into a layer, column by column, checked as far as that can be done without the database.

    `numbers` are the rows' in the whole import, ascending; those that were refused already are in `rejections` and in
    no column. `keys`, `geometries` and `values` have one entry for each of `numbers`: keys as text, None where the
    database makes them; geometries as EWKB; values as texts that PostgreSQL reads, None for null.
    """

    numbers: Sequence[int]
    keys: Sequence[str] | None
    geometries: Sequence[bytes | None] | None
    values: Mapping[str, Sequence[str | None]]
    rejections: Sequence[Rejection] = ()


class Totals(NamedTuple):
    """What has become of an import's rows."""

    rows: int = 0
    inserted: int = 0
    updated: int = 0
    rejected: int = 0
    chunks: int = 0
    retries: int = 0
