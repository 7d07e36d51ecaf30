"""Which type of geometry a column needs so that all of some geometries fit into it."""

from collections.abc import Iterable, Sequence

MULTI = {"POINT": "MULTIPOINT", "LINESTRING": "MULTILINESTRING", "POLYGON": "MULTIPOLYGON"}
ANY = "GEOMETRY"
_NAMES = (
    ANY,
    *("POINT", "LINESTRING", "POLYGON", "MULTIPOINT", "MULTILINESTRING", "MULTIPOLYGON", "GEOMETRYCOLLECTION"),
    *("CIRCULARSTRING", "COMPOUNDCURVE", "CURVEPOLYGON", "MULTICURVE", "MULTISURFACE", "CURVE", "SURFACE"),
    *("POLYHEDRALSURFACE", "TIN", "TRIANGLE"),
)
_HEADER = 5  # the order of the bytes, and the type
_EWKB_Z, _EWKB_M = 0x80000000, 0x40000000
_DIMENSIONS = ("", "Z", "M", "ZM")


def types_of(wkbs: Sequence[bytes]) -> set[str]:
    """The types that there are among geometries; what is no WKB has none."""
    headers = {wkb[:_HEADER] for wkb in wkbs}
    return {name for header in headers if (name := _name(header))}


def _name(header: bytes) -> str:
    if len(header) < _HEADER or header[0] > 1:
        return ""
    code = int.from_bytes(header[1:], "little" if header[0] else "big")
    flags = (1 if code & _EWKB_Z else 0) | (2 if code & _EWKB_M else 0)
    thousands, kind = divmod(code & 0x0FFFFFFF, 1000)
    if kind >= len(_NAMES) or thousands > 3:
        return ""
    return _NAMES[kind] + _DIMENSIONS[flags or thousands]


def common_type(names: Iterable[str]) -> str:
    """The type of a column for all of them, "" for those of nothing: several for one and several, GEOMETRY for others;
    with Z or M if any has it."""
    given = {*names}
    plain = {name.rstrip("ZM") for name in given}
    if len(plain) > 1:
        plain = {MULTI.get(name, name) for name in plain}
    dimensions = {letter for name in given for letter in name[len(name.rstrip("ZM")) :]}
    return ((plain.pop() if len(plain) == 1 else ANY) if plain else "") + "".join(sorted(dimensions, reverse=True))
