"""Counting by the cells of a grid, defined once for both clients."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from spatial.v1 import query_pb2
from spatial_client._geometry import Probe, shapely_of
from spatial_client._queries import BoundingBox, DistanceModel, Predicate, enum, features_query
from spatial_client._streams import Decoder, Streaming

if TYPE_CHECKING:
    import shapely

GridShape: TypeAlias = Literal["square", "hexagon"]


@dataclass(frozen=True)
class GridCell:
    """A cell of a grid, and how many features lie in it."""

    i: int
    j: int
    count: int
    wkb: bytes
    """Its outline as ISO WKB."""
    srid: int
    """EPSG code of its coordinates."""
    sum: float | None = None
    """Of the features' property; None where none has a value, or no property was asked for."""
    average: float | None = None
    """Over the features that have a value."""

    @cached_property
    def geometry(self) -> "shapely.Geometry":
        """Its outline as a shapely geometry, with its SRID."""
        return shapely_of(self.wkb, self.srid)


def _cell_of(message: query_pb2.GridCell) -> GridCell:
    return GridCell(
        i=message.i,
        j=message.j,
        count=message.count,
        wkb=message.geometry.wkb,
        srid=message.geometry.srid,
        sum=message.sum if message.HasField("sum") else None,
        average=message.average if message.HasField("average") else None,
    )


CELLS: Decoder[list[GridCell]] = Decoder(None, lambda batch: [_cell_of(cell) for cell in batch.cells])


def aggregate_grid(
    layer: str,
    *,
    cell_size: float | None = None,
    zoom: int | None = None,
    shape: GridShape = "square",
    property: str = "",  # noqa: A002 - the contract's name
    center: Probe | None = None,
    radius_meters: float | None = None,
    distance_model: DistanceModel = "spheroid",
    probe: Probe | None = None,
    predicate: Predicate = "intersects",
    bbox: BoundingBox | None = None,
    filter: str = "",  # noqa: A002 - the contract's name
    freshness_token: str = "",
    timeout: float | None = None,
) -> Streaming:
    """How many features lie in each cell of a grid, as a stream of `GridCell`, in no order; cells without any are left
    out. Lines and polygons count where their centroid lies.

    Cells are `cell_size` long at an edge, in units of the layer's CRS; or a sixteenth of a web map's tile at `zoom`, in
    EPSG:3857. `property` names a number to sum and average besides.

    All of the layer is counted, or what lies within `radius_meters` of a `center`, what stands in the relation
    `predicate` to a `probe`, or what meets `bbox`; of that, what meets `filter`, in CQL2 text.
    """
    query = features_query(layer, center, radius_meters, distance_model, probe, predicate, bbox, filter)
    request = query_pb2.AggregateGridRequest(
        query=query,
        shape=enum("GRID_SHAPE", shape),
        property=property,
        freshness_token=freshness_token,
        **_size(cell_size, zoom),
    )
    return Streaming("AggregateGrid", request, timeout)


def _size(cell_size: float | None, zoom: int | None) -> Mapping[str, Any]:
    if (cell_size is None) == (zoom is None):
        raise ValueError("a grid has a cell_size or a zoom")
    return {"zoom": zoom} if cell_size is None else {"cell_size": cell_size}
