"""Questions and answers as values. No I/O, and nothing of gRPC or SQL."""

from dataclasses import dataclass, field
from enum import Enum, StrEnum
from typing import NamedTuple

Key = int | str
Argument = str | float | int | None


class Predicate(Enum):
    """Read as *feature PREDICATE probe*; the numbers are the contract's."""

    INTERSECTS = 1
    WITHIN = 2
    CONTAINS = 3
    COVERS = 4
    COVERED_BY = 5
    TOUCHES = 6
    CROSSES = 7
    OVERLAPS = 8
    EQUALS = 9


class DistanceModel(Enum):
    SPHEROID = 1
    SPHERE = 2
    PLANAR = 3


class View(Enum):
    FULL = 1
    NONE = 2
    CENTROID = 3
    BBOX = 4


class Encoding(Enum):
    WKB = 1
    WKT = 2
    GEOJSON = 3


@dataclass(frozen=True, slots=True)
class Output:
    """What of each feature an answer carries; `properties` None means all that are stored."""

    properties: tuple[str, ...] | None = None
    view: View = View.FULL
    encoding: Encoding = Encoding.WKB
    srid: int | None = None  # of the answer; None: the layer's
    simplify: float = 0.0  # by how much, in units of the layer's CRS
    digits: int | None = None  # of coordinates, behind the point
    etags: bool = False  # whether each feature says which version of its row it is


@dataclass(frozen=True, slots=True)
class Filter:
    """A condition on a layer's rows: what is compared with what, and apart from it the values that it is compared
    with, so that filters which differ in nothing else share what is made of them."""

    structure: str
    values: tuple[Argument, ...] = ()


class Kind(StrEnum):
    RADIUS = "radius"
    NEAREST = "nearest"
    INTERSECTS = "intersects"
    WINDOW = "window"  # features whose bounding box meets the probe's
    ALL = "all"
    LOOKUP = "lookup"


class Question(NamedTuple):
    """What a query asks, before it is said what to answer with.

    `arguments` are the probe's, in the order that `db/probes.py` names for the kind. `big` says that the probe is a
    large shape, for which a statement of its own is best; `heavy` that the search may be slow, so that it must not hold
    up others.
    """

    kind: Kind
    layer: str
    variant: DistanceModel | Predicate | None = None
    arguments: tuple[Argument, ...] = ()
    big: bool = False
    heavy: bool = False
    filter: Filter | None = None
    within: bool = False  # whether an area is among the arguments
    boxed: bool = False  # whether a box of degrees is around all of a circle on the Earth
    revision: int = 0  # of the layer


class Result(StrEnum):
    """What a statement answers with: features, up to a limit for each probe; how many there are; all of them, in the
    order of their keys or in whatever order is fastest; or where each of them lies."""

    FEATURES = "features"
    COUNT = "count"
    ALL_BY_KEY = "all_by_key"
    ALL = "all"
    PLACES = "places"

    @property
    def streams(self) -> bool:
        return self in (Result.ALL, Result.ALL_BY_KEY, Result.PLACES)


_VERBS = {Result.COUNT: "count", Result.ALL: "stream", Result.ALL_BY_KEY: "stream", Result.PLACES: "aggregate"}


class Layout(Enum):
    """How a stream's features are laid out; the numbers are the contract's."""

    ROWS = 1
    COLUMNS = 2
    ARROW = 3


@dataclass(frozen=True, slots=True)
class Shape:
    """What calls must have in common to share a statement.

    `variant` is how distances are measured or shapes compared; `limit` the rows per probe; `resumed` whether the
    answer starts after a key; `within` whether features must meet an area besides; `boxed` whether a circle on the
    Earth is looked for by a box of degrees around it. `revision` is the layer's, 0 for what it is now. `constant` asks
    for a statement with the probe as a constant, which the planner can weigh: best for a big probe that runs alone.
    """

    kind: Kind
    layer: str
    output: Output = Output()
    variant: DistanceModel | Predicate | None = None
    limit: int | None = None
    resumed: bool = False
    constant: bool = False
    result: Result = Result.FEATURES
    filter: Filter | None = None
    within: bool = False
    boxed: bool = False
    revision: int = 0
    _hash: int = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        # Looked up several times for every call, so hashed once.
        asked = (self.kind, self.layer, self.revision, self.variant, self.filter, self.within, self.boxed)
        answered = (self.output, self.limit, self.resumed, self.constant, self.result)
        object.__setattr__(self, "_hash", hash((asked, answered)))

    def __hash__(self) -> int:
        return self._hash

    @property
    def name(self) -> str:
        """For metrics and logs."""
        return self.kind.value if self.result is Result.FEATURES else f"{_VERBS[self.result]}_{self.kind.value}"


class Search(NamedTuple):
    """A question in the shape of its answer, as a lane runs it."""

    shape: Shape
    arguments: tuple[Argument, ...]
    heavy: bool = False


class Page(NamedTuple):
    """A search for one page of `size` features: its statement fetches one more, to see whether there is a next page."""

    search: Search
    size: int


class Count(NamedTuple):
    """A search that counts, or, `estimated`, one whose plan says how many there may be."""

    search: Search
    estimated: bool


class Export(NamedTuple):
    """A search that streams. `bound_to` is what the tokens of a resumable stream are bound to."""

    search: Search
    layout: Layout
    bound_to: bytes | None


class GridShape(Enum):
    """The numbers are the contract's."""

    SQUARE = 1
    HEXAGON = 2


@dataclass(frozen=True, slots=True)
class Grid:
    """Cells all over a plane: their form, how long their edges are, and the CRS that they are in. What lies farther
    from the origin than `extent`, along either axis, is in none of them."""

    shape: GridShape
    size: float
    srid: int
    extent: float
    encoding: Encoding = Encoding.WKB


class Aggregation(NamedTuple):
    """A search for places, and the cells in which they are counted."""

    search: Search
    grid: Grid


class Batch(NamedTuple):
    """Some of what a stream delivers, as the message's bytes, and how many features, pairs or cells it has."""

    message: bytes
    features: int


class Side(Enum):
    LEFT = "left"
    RIGHT = "right"


@dataclass(frozen=True, slots=True)
class JoinShape:
    """What the joins have in common that one statement serves.

    `condition` is how features are compared, read as *left PREDICATE right*, or how their distance is measured. An
    output of None answers with the key alone. `ordered` is by the left key, then by the right one; `resumed` whether
    the answer starts after a pair.
    """

    left: str
    right: str
    condition: Predicate | DistanceModel
    left_output: Output | None = None
    right_output: Output | None = None
    ordered: bool = False
    resumed: bool = False
    left_filter: Filter | None = None
    right_filter: Filter | None = None
    left_revision: int = 0
    right_revision: int = 0


class Join(NamedTuple):
    """A join with the arguments of its statement. `bound_to` is what the tokens of a resumable one are bound to."""

    shape: JoinShape
    arguments: tuple[Argument, ...]
    bound_to: bytes | None
