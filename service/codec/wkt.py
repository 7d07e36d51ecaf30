"""Turns WKT and EWKT into WKB. GEOS reads the text, after what it would misread or choke on has been refused."""

import re
from typing import Final, NoReturn

import numpy as np
import shapely

from service.codec.wkb_types import GeometryLimits
from service.errors import InvalidArgument, Reason

_SRID: Final = re.compile(r"\s*SRID\s*=\s*(-?\d{1,9})\s*;", re.IGNORECASE)
_STRANGE: Final = re.compile(r"[^A-Za-z0-9+\-.,()\s]|\d[xX]")
_NON_FINITE: Final = re.compile(r"(?<![\w.])[-+]?(?:nan|inf(?:inity)?)\b", re.IGNORECASE)
_UNSUPPORTED: Final = re.compile(
    r"\b(CIRCULARSTRING|COMPOUNDCURVE|CURVEPOLYGON|MULTICURVE|MULTISURFACE|POLYHEDRALSURFACE|TIN|TRIANGLE|LINEARRING)"
    r"(?:ZM?|M)?\b",
    re.IGNORECASE,
)
# A MULTIPOLYGON's rings lie three parentheses deep; all beyond are collections.
_INNERMOST: Final = 3


def to_wkb(text: str, limits: GeometryLimits) -> tuple[bytes, int | None]:
    """The WKB of `text` and the SRID that it carries, if any."""
    srid = _SRID.match(text)
    body = text[srid.end() :] if srid else text
    _check_size(text, limits)
    _check_words(body, len(text) - len(body))
    _check_depth(body, limits)
    return _parse(body), int(srid[1]) if srid else None


def _check_size(text: str, limits: GeometryLimits) -> None:
    # Whatever the type, there is one comma fewer than there are vertices.
    for what, actual, limit in (
        ("characters", len(text), limits.max_bytes),
        ("vertices", text.count(",") + 1, limits.max_vertices),
    ):
        if actual > limit:
            _refuse(
                Reason.GEOMETRY_TOO_LARGE,
                f"{actual} {what} are more than the {limit} allowed",
                limit=str(limit),
                actual=str(actual),
            )


def _check_words(text: str, skipped: int) -> None:
    if not text.strip():
        _refuse(Reason.INVALID_ENCODING, "there is no WKT")
    if strange := _STRANGE.search(text):
        at = skipped + strange.start()
        _refuse(Reason.INVALID_ENCODING, f"{strange[0]!r} at character {at} has no place in WKT", offset=str(at))
    if number := _NON_FINITE.search(text):
        at = skipped + number.start()
        problem = f"{number[0]} at character {at} is not finite"
        _refuse(Reason.NON_FINITE_COORDINATE, problem, offset=str(at), actual=number[0])
    if kind := _UNSUPPORTED.search(text):
        name = kind[1].upper()
        _refuse(Reason.UNSUPPORTED_GEOMETRY_TYPE, f"{name} is not supported", actual=name)


def _check_depth(text: str, limits: GeometryLimits) -> None:
    characters = np.frombuffer(text.encode(), np.int8)
    steps = (characters == ord("(")).view(np.int8) - (characters == ord(")")).view(np.int8)
    if np.cumsum(steps, dtype=np.int32).max() > limits.max_depth + _INNERMOST:
        limit = str(limits.max_depth)
        _refuse(Reason.GEOMETRY_TOO_DEEP, f"collections nest deeper than the {limit} allowed", limit=limit)


def _parse(text: str) -> bytes:
    try:
        # A number too large for a double becomes infinity here, and is refused as such by the scanner.
        with np.errstate(over="ignore"):
            geometry = shapely.from_wkt(text)
        return shapely.to_wkb(geometry, output_dimension=4, byte_order=1)
    except NotImplementedError as error:
        raise InvalidArgument(Reason.UNSUPPORTED_GEOMETRY_TYPE, str(error)) from error
    except shapely.GEOSException as error:
        kind, _, detail = str(error).strip().partition(": ")
        if kind == "IllegalArgumentException":
            raise InvalidArgument(Reason.INVALID_GEOMETRY, detail, metadata={"detail": detail}) from error
        raise InvalidArgument(Reason.INVALID_ENCODING, f"not WKT: {detail}") from error


def _refuse(reason: Reason, problem: str, **metadata: str) -> NoReturn:
    raise InvalidArgument(reason, problem, metadata=metadata)
