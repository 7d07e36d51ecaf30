"""Geometry out of ordinary columns: longitude and latitude as numbers, or WKT."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import numpy
import pyarrow
import shapely
from pyarrow import compute

from service.loading.errors import LoadError
from service.loading.source import Batch, Fault, Source, Wanted
from service.loading.systems import WGS84, of_code

LONGITUDES = ("longitude", "lon", "lng", "long")
LATITUDES = ("latitude", "lat")
TEXTS = ("wkt", "ewkt", "geometry", "geom", "the_geom", "wkb_geometry")
LOOKS_LIKE_WKT = r"^\s*(SRID=\d+;\s*)?(POINT|LINESTRING|POLYGON|MULTI|GEOMETRYCOLLECTION|CIRCULAR|COMPOUND|CURVE)"
_SRID = re.compile(r"\s*SRID=(\d+)\s*;", re.IGNORECASE)
_NUMBER = r"^\s*[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?\s*$"
_POINT = numpy.dtype([("order", "u1"), ("type", "<u4"), ("x", "<f8"), ("y", "<f8")])


def positioned(source: Source, wanted: Wanted) -> Source:
    """The source with geometries of its columns: those that the command names, else those that are named as usual."""
    first = next(source.batches(), None)
    if names := _pair(source, wanted):
        kept = {name: kind for name, kind in source.columns.items() if name not in names}
        system = of_code(wanted.srid or WGS84)
        return replace(source, columns=kept, system=system, geometry="POINT", batches=partial(_points, source, *names))
    if name := _text(source, wanted, first):
        kept = {each: kind for each, kind in source.columns.items() if each != name}
        srid = wanted.srid or _srid(first, name) or WGS84
        batches = partial(_shapes, source, name, srid)
        return replace(source, columns=kept, system=of_code(srid), geometry="", batches=batches)
    return source


def _pair(source: Source, wanted: Wanted) -> tuple[str, str] | None:
    if (wanted.longitude is None) != (wanted.latitude is None):
        raise LoadError("--lon and --lat go together")
    if wanted.longitude is not None and wanted.latitude is not None:
        return _named(source, wanted.longitude), _named(source, wanted.latitude)
    if wanted.wkt is not None:
        return None
    longitude, latitude = _usual(source, LONGITUDES), _usual(source, LATITUDES)
    return (longitude, latitude) if longitude and latitude else None


def _text(source: Source, wanted: Wanted, first: Batch | None) -> str | None:
    if wanted.wkt is not None:
        return _named(source, wanted.wkt)
    if first is None:
        return _usual(source, TEXTS)
    texts = {name: column for name, column in first.columns.items() if pyarrow.types.is_string(column.type)}
    like = [name for name, column in texts.items() if _is_wkt(column)]
    usual = [name for name in like if name.casefold() in TEXTS]
    if len(like) > 1 and len(usual) != 1:
        raise LoadError(f"several columns are WKT: choose one with --wkt: {', '.join(like)}")
    found = usual or like
    return found[0] if found else None


def _is_wkt(column: Any) -> bool:
    there = column.drop_null()
    return len(there) > 0 and bool(
        compute.all(compute.match_substring_regex(there, LOOKS_LIKE_WKT, ignore_case=True)).as_py()
    )


def _srid(first: Batch | None, name: str) -> int | None:
    if first is None:
        return None
    text = next(iter(first.columns[name].drop_null().to_pylist()), "")
    found = _SRID.match(text)
    return int(found[1]) if found else None


def _named(source: Source, name: str) -> str:
    if name not in source.columns:
        raise LoadError(f"there is no column {name!r}, but {', '.join(source.columns)}")
    return name


def _usual(source: Source, names: tuple[str, ...]) -> str | None:
    return next((found[0] for name in names if (found := source.by_folded_name.get(name, []))), None)


def _points(source: Source, longitude: str, latitude: str) -> Iterator[Batch]:
    for batch in source.batches():
        columns = dict(batch.columns)
        yield Batch(columns, *_point(columns.pop(longitude), columns.pop(latitude), longitude, latitude))


def _point(x: Any, y: Any, longitude: str, latitude: str) -> tuple[list[bytes], Mapping[int, Fault]]:
    """A row without either number has no geometry; one without one of them, or with something else, is at fault."""
    xs, wrong_x = _numbers(x)
    ys, wrong_y = _numbers(y)
    packed = numpy.zeros(len(x), _POINT)
    packed["order"], packed["type"] = 1, 1
    packed["x"], packed["y"] = xs, ys
    raw = packed.tobytes()
    wkbs = [raw[place : place + _POINT.itemsize] for place in range(0, len(raw), _POINT.itemsize)]
    no_x, no_y = numpy.asarray(x.is_null()), numpy.asarray(y.is_null())
    wrong = wrong_x | wrong_y | (no_x ^ no_y)
    for row in numpy.flatnonzero(wrong | no_x).tolist():
        wkbs[row] = b""
    faults = {}
    for row in numpy.flatnonzero(wrong).tolist():
        name, column = (longitude, x) if wrong_x[row] or no_x[row] else (latitude, y)
        faults[row] = Fault("INVALID_ENCODING", f"{column[row].as_py()!r} in {name!r} is no number", "geometry")
    return wkbs, faults


def _numbers(column: Any) -> tuple[Any, Any]:
    """As doubles, and which of them are no numbers at all."""
    if not pyarrow.types.is_string(column.type):
        return compute.cast(column, pyarrow.float64()).to_numpy(zero_copy_only=False), numpy.zeros(len(column), bool)
    right = compute.fill_null(compute.match_substring_regex(column, _NUMBER), True)
    texts = compute.utf8_trim_whitespace(compute.if_else(right, column, None))
    numbers = compute.cast(texts, pyarrow.float64()).to_numpy(zero_copy_only=False)
    return numbers, ~numpy.asarray(right)


def _shapes(source: Source, name: str, srid: int) -> Iterator[Batch]:
    for batch in source.batches():
        columns = dict(batch.columns)
        yield Batch(columns, *_shape(columns.pop(name).to_pylist(), srid))


def _shape(texts: list[str | None], srid: int) -> tuple[list[bytes], Mapping[int, Fault]]:
    """Those that say another SRID than `srid` keep it, as EWKB does."""
    said = [_SRID.match(text) if text else None for text in texts]
    bare = [text[found.end() :] if text and found else text for text, found in zip(texts, said, strict=True)]
    shapes = shapely.from_wkt(bare, on_invalid="ignore")
    wkbs = shapely.to_wkb(shapes, flavor="iso", byte_order=1).tolist()
    faults = {}
    for row, (text, wkb, found) in enumerate(zip(bare, wkbs, said, strict=True)):
        if text and text.strip() and wkb is None:
            faults[row] = Fault("INVALID_ENCODING", _complaint(text), "geometry")
        elif wkb is not None and found and int(found[1]) != srid:
            own = shapely.set_srid(shapes[row], int(found[1]))
            wkbs[row] = shapely.to_wkb(own, include_srid=True, flavor="extended", byte_order=1)
    return [wkb or b"" for wkb in wkbs], faults


def _complaint(text: str) -> str:
    try:
        shapely.from_wkt(text)
    except shapely.errors.GEOSException as error:
        return f"not WKT: {error}"
    return "not WKT"
