"""From what has become of an import to responses."""

import struct
from collections.abc import Iterable, Sequence

from service.changes import Rejection, Totals
from service.codec.freshness import freshness_token
from spatial.v1 import geometry_pb2, write_pb2

_POINT = struct.Struct("<BIdd")


def finished(
    id_: str, totals: Totals, rejections: Sequence[Rejection], srid: int, *, analyzed: bool, position: int
) -> write_pb2.ImportFeaturesResponse:
    """`srid` is the rows' own, in which their faults are located; a position of 0 is none."""
    return write_pb2.ImportFeaturesResponse(
        import_id=id_,
        totals=_totals(totals),
        rejections=_rejections(rejections, srid),
        analyzed=analyzed,
        freshness_token=freshness_token(position) if position else "",
    )


def so_far(
    layer: str, totals: Totals, rejections: Sequence[Rejection], srid: int, *, complete: bool
) -> write_pb2.GetImportResponse:
    return write_pb2.GetImportResponse(
        layer=layer, totals=_totals(totals), complete=complete, rejections=_rejections(rejections, srid)
    )


def _totals(totals: Totals) -> write_pb2.ImportTotals:
    return write_pb2.ImportTotals(**totals._asdict())


def _rejections(rejections: Iterable[Rejection], srid: int) -> list[write_pb2.ImportRejection]:
    return [_rejection(each, srid) for each in rejections]


def _rejection(rejection: Rejection, srid: int) -> write_pb2.ImportRejection:
    location = None
    if rejection.location is not None:
        location = geometry_pb2.Geometry(wkb=_POINT.pack(1, 1, *rejection.location), srid=srid)
    return write_pb2.ImportRejection(
        row=rejection.row,
        id=rejection.id,
        reason=f"ERROR_REASON_{rejection.reason}",
        message=rejection.message,
        field=rejection.field,
        location=location,
    )
