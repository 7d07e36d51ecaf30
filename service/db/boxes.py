"""Circles on the Earth, looked for through an index in the plane: by a box of degrees around each.

A geography's index holds boxes in space, of six numbers where the plane's have four, which overlap the more the larger
it is: a search through it looks at several times as many pages. So points that are kept within ±180 and ±90 degrees are
looked for in the plane, and then measured as ever. Circles that may reach over the antimeridian or about a pole have no
such box; nor has what is not a point, since its edges run elsewhere on the Earth than in the plane.
"""

from collections.abc import Sequence
from math import cos, radians
from struct import Struct

from sqlalchemy import Float, func, literal_column

from service.catalog import Layer
from service.db.columns import Expression
from service.domain import Argument, DistanceModel, Kind, Predicate

# No way on the spheroid, and none on the sphere of its mean radius, is shorter than this many metres a radian: those
# of latitude are shortest at the equator, those of longitude nowhere shorter than by the cosine of the latitude.
# A degree of them has 110,574; what is beyond counts for rounding.
_DEGREES_A_METER = 1 / 110_570.0
_ROUNDING = 1e-9
_NEAR_POLES = 89.0
_HEXEWKB_POINT = "0101000020e6100000"
_POSITION = Struct("<dd")
_PROBE_LENGTH = len(_HEXEWKB_POINT) + 2 * _POSITION.size


def has_box(layer: Layer, kind: Kind, variant: DistanceModel | Predicate | None, arguments: Sequence[Argument]) -> bool:
    """Whether what is asked, with a probe and a radius as the first of its arguments, can be looked for so."""
    if not (layer.boxable and kind is Kind.RADIUS and measured_on_earth(variant)):
        return False
    probe, radius = arguments[:2]
    if not (isinstance(probe, str) and len(probe) == _PROBE_LENGTH and probe.startswith(_HEXEWKB_POINT)):
        return False
    longitude, latitude = _POSITION.unpack_from(bytes.fromhex(probe), len(_HEXEWKB_POINT) // 2)
    assert isinstance(radius, float)
    return encloses(longitude, latitude, radius)


def measured_on_earth(variant: DistanceModel | Predicate | None) -> bool:
    return variant is DistanceModel.SPHEROID or variant is DistanceModel.SPHERE


def encloses(longitude: float, latitude: float, radius: float) -> bool:
    """Whether all of the circle is in the box around it: none of it lies beyond the antimeridian or about a pole."""
    reach = radius * _DEGREES_A_METER + _ROUNDING
    farthest = abs(latitude) + reach
    return farthest < _NEAR_POLES and abs(longitude) + reach / cos(radians(farthest)) < 180.0


def box(point: Expression, radius: Expression) -> Expression:
    """Around a circle that it encloses."""
    reach: Expression = radius * literal_column(repr(_DEGREES_A_METER)) + literal_column(repr(_ROUNDING))
    narrowest = func.cosd(func.abs(func.ST_Y(point)) + reach, type_=Float(53))
    return func.ST_Expand(point, reach / narrowest, reach)
