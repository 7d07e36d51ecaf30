"""What the service answers with."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from google.protobuf import struct_pb2

from spatial.v1 import feature_pb2, query_pb2
from spatial_client._errors import SpatialError, error_of_status
from spatial_client._geometry import Box, shapely_of
from spatial_client._optional import need

if TYPE_CHECKING:
    import shapely

K = TypeVar("K")


class Feature:
    """One row of a layer. Geometry and properties are decoded when they are first looked at."""

    __slots__ = ("__dict__", "_message")  # the former only once something has been decoded

    def __init__(self, message: feature_pb2.Feature) -> None:
        self._message = message

    @property
    def id(self) -> str:
        """The key, as text whatever its type in the database."""
        return self._message.id

    @property
    def wkb(self) -> bytes | None:
        """The geometry as ISO WKB, little-endian; None where there is none, or none was asked for."""
        return self._message.geometry.wkb or None

    @property
    def srid(self) -> int | None:
        """EPSG code of the geometry's coordinates; None without a geometry."""
        return self._message.geometry.srid if self._message.HasField("geometry") else None

    @property
    def distance_meters(self) -> float | None:
        """From the probe, where the question measures a distance; in the layer's units if that was planar."""
        return self._message.distance_meters if self._message.HasField("distance_meters") else None

    @property
    def etag(self) -> str:
        """The row's version, for `update_feature` and `delete_feature`; empty unless it was asked for: `get_feature`,
        `get_features` and changes always do."""
        return self._message.etag

    @cached_property
    def geometry(self) -> "shapely.Geometry | None":
        """As a shapely geometry, with its SRID."""
        geometry = self._message.geometry
        return shapely_of(geometry.wkb, geometry.srid) if geometry.wkb else None

    @cached_property
    def properties(self) -> dict[str, Any]:
        """By name. Timestamps are RFC 3339 text; integers beyond 2^53 and numbers that are not finite are text."""
        return {name: _python(value) for name, value in self._message.properties.fields.items()}

    @property
    def __geo_interface__(self) -> dict[str, Any]:
        """GeoJSON, as `geopandas.GeoDataFrame.from_features` and others take it."""
        geometry = need("shapely", "GeoJSON").geometry.mapping(self.geometry) if self.wkb else None
        return {"type": "Feature", "id": self.id, "geometry": geometry, "properties": self.properties}

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Feature) and self._message == other._message

    def __hash__(self) -> int:
        return hash(self.id)

    def __repr__(self) -> str:
        distance = "" if self.distance_meters is None else f", distance_meters={self.distance_meters:.6g}"
        return f"Feature({self.id!r}, {self.properties!r}{distance})"


def _python(value: struct_pb2.Value) -> Any:
    match value.WhichOneof("kind"):
        case "number_value":
            number = value.number_value
            return int(number) if number.is_integer() else number
        case "string_value":
            return value.string_value
        case "bool_value":
            return value.bool_value
        case "struct_value":
            return {name: _python(each) for name, each in value.struct_value.fields.items()}
        case "list_value":
            return [_python(each) for each in value.list_value.values]
    return None


@dataclass(frozen=True, slots=True)
class Page:
    """Some of what a search finds; iterates over its features."""

    features: list[Feature]
    next_page_token: str = ""
    """Asks for the next page; empty on the last one."""

    def __iter__(self) -> Iterator[Feature]:
        return iter(self.features)

    def __len__(self) -> int:
        return len(self.features)


@dataclass(frozen=True, slots=True)
class Lookup:
    """What was found by key, in the order asked; iterates over the features."""

    features: list[Feature]
    missing_ids: list[str]

    def __iter__(self) -> Iterator[Feature]:
        return iter(self.features)

    def __len__(self) -> int:
        return len(self.features)


@dataclass(frozen=True, slots=True)
class Property:
    """A property of a layer's features."""

    name: str
    type: str
    """"string", "integer", "number", "boolean", "timestamp", "json" or "bytes"."""
    nullable: bool
    computed: bool
    """Computed for each answer, and served only when it is asked for by name."""
    writable: bool = False
    """Whether it can be changed, in a layer that is writable."""


@dataclass(frozen=True, slots=True)
class Index:
    """An index that serves a layer; one that is not valid is not used."""

    name: str
    definition: str
    valid: bool


@dataclass(frozen=True, slots=True)
class LayerProblem:
    """What keeps a layer from being answered well, and the statement that mends it."""

    message: str
    statement: str


@dataclass(frozen=True, slots=True)
class Layer:
    """A set of features that can be asked about."""

    name: str
    description: str
    geometry_type: str
    srid: int
    properties: tuple[Property, ...]
    extent: Box | None
    """The box of all geometries, as the database's statistics know it."""
    estimated_rows: int | None
    indexes: tuple[Index, ...]
    source: str = ""
    """The table or view that it is read from, as SQL."""
    key: str = ""
    """The column whose values are the ids."""
    geometry_column: str = ""
    geography: bool = False
    """Whether that column is of type geography rather than geometry."""
    problems: tuple[LayerProblem, ...] = ()
    """What keeps it from being answered well."""
    writable: bool = False
    """Whether its features can be changed."""
    no_overlap: bool = False
    """Whether changes are refused that would lay a feature on another."""
    key_type: str = "integer"
    """What ids are: "integer" or "string"."""


@dataclass(frozen=True, slots=True)
class Pair:
    """Two features that meet a join's condition; the features themselves where they were asked for."""

    left_id: str
    right_id: str
    distance_meters: float | None = None
    left: Feature | None = None
    right: Feature | None = None


@dataclass(frozen=True, slots=True)
class Match(Generic[K]):
    """The answer about one probe, under the key that came with it; iterates over what was found."""

    key: K
    features: list[Feature]
    more: bool
    """Whether there are more than the limit; never set for nearest."""
    error: SpatialError | None = None
    """Why this probe could not be answered."""

    def __iter__(self) -> Iterator[Feature]:
        return iter(self.features)

    def __len__(self) -> int:
        return len(self.features)


def features_of(answer: Any) -> list[Feature]:
    """The features of any message that has some."""
    return [Feature(message) for message in answer.features]


def layer_of(message: query_pb2.Layer) -> Layer:
    extent = message.extent
    return Layer(
        name=message.name,
        description=message.description,
        geometry_type=message.geometry_type,
        srid=message.srid,
        properties=tuple(_property_of(each) for each in message.properties),
        extent=Box(extent.west, extent.south, extent.east, extent.north) if message.HasField("extent") else None,
        estimated_rows=message.estimated_rows if message.HasField("estimated_rows") else None,
        indexes=tuple(Index(each.name, each.definition, each.valid) for each in message.indexes),
        source=message.source,
        key=message.key,
        geometry_column=message.geometry_column,
        geography=message.geography,
        problems=tuple(LayerProblem(each.message, each.statement) for each in message.problems),
        writable=message.writable,
        no_overlap=message.no_overlap,
        key_type=_type_name(message.key_type),
    )


def _type_name(number: int) -> str:
    return query_pb2.PropertyType.Name(number).removeprefix("PROPERTY_TYPE_").lower()


def _property_of(message: query_pb2.Property) -> Property:
    return Property(message.name, _type_name(message.type), message.nullable, message.computed, message.writable)


def pair_of(message: query_pb2.JoinPair) -> Pair:
    return Pair(
        left_id=message.left_id,
        right_id=message.right_id,
        distance_meters=message.distance_meters if message.HasField("distance_meters") else None,
        left=Feature(message.left) if message.HasField("left") else None,
        right=Feature(message.right) if message.HasField("right") else None,
    )


def match_of(key: K, message: query_pb2.Match) -> Match[K]:
    error = error_of_status(message.error) if message.HasField("error") else None
    return Match(key, features_of(message), message.more, error)
