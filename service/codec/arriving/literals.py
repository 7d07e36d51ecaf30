"""Contents as json.loads gives them, as texts that PostgreSQL reads into a column: a writer for each type.

What depends on a session's settings or the time of day (dates as people write them, `now`) is left out, and what is
enumerated or constrained is for PostgreSQL to tell.
"""

import json
import re
from base64 import b64decode
from binascii import Error as Base64Error
from collections.abc import Callable
from datetime import date, datetime
from functools import lru_cache
from math import isfinite
from typing import Any, Final
from uuid import UUID

import numpy as np

from service.catalog import Property, PropertyType
from service.db.kinds import Operand, ValueKind, integers, is_hstore, is_jsonb, operand

Write = Callable[[Any], str]

_NUL: Final = re.compile(r"(?<!\\)(\\\\)*\\u0000")
_SAFE_DIGITS: Final = 1000
_SHOWN: Final = 40
_EXACT: Final = 2**53  # up to which doubles have no gaps
_INTEGER: Final = re.compile(r"-?\d{1,19}")
_NUMBER: Final = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d{1,5})?|NaN|-?Infinity")
_INFINITE: Final = ("infinity", "-infinity")
_DATE: Final = re.compile(r"(\d{4,6})-\d\d-\d\d( BC)?")
_MOMENT: Final = re.compile(r"(\d{4,6})-\d\d-\d\d[T ]\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d(:?\d\d)?)?( BC)?")
_UUID: Final = re.compile(r"[0-9a-fA-F]{8}(-?[0-9a-fA-F]{4}){3}-?[0-9a-fA-F]{12}")
_LARGEST_REAL: Final = float(np.finfo(np.float32).max)
_SMALLEST_REAL: Final = float(np.finfo(np.float32).smallest_subnormal)


_ENCODER: Final = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"))


class Unfit(ValueError):
    """Why a column cannot have a value, for people."""


@lru_cache(maxsize=1024)
def writer(prop: Property) -> Write:
    """For the values of a property, but for null."""
    if prop.type is PropertyType.JSON:
        return _structured(prop)
    if prop.type is PropertyType.BYTES:
        return _bytes
    found = operand(prop.expression)
    return _scalar(found.kind, integers(prop.expression))


def json_writer(prop: Property) -> Write:
    """For the values of a JSON property as JSON text, which a column that holds such text gets as it is."""
    write = writer(prop)
    if operand(prop.expression).kind is not ValueKind.JSON:
        return lambda text: write(_loaded(text))
    check = _without_nul if is_jsonb(prop.expression) else str

    def checked(text: str) -> str:
        _loaded(text)
        return check(text)

    return checked


def _loaded(text: str) -> Any:
    try:
        return _DECODER.decode(text)
    except (ValueError, RecursionError):
        raise Unfit(f"{_shown(text)} is not JSON") from None


def _no_constant(name: str) -> Any:
    raise ValueError(name)


def _any_integer(digits: str) -> int | float:
    """Python refuses to read integers of thousands of digits."""
    return int(digits) if len(digits) < _SAFE_DIGITS else float(digits)


_DECODER: Final = json.JSONDecoder(parse_constant=_no_constant, parse_int=_any_integer)


def _structured(prop: Property) -> Write:
    column = prop.expression
    found = operand(column)
    if found.kind is ValueKind.ARRAY:
        return _array_writer(found)
    if found.kind is ValueKind.JSON:
        return _jsonb if is_jsonb(column) else _json
    return _hstore if is_hstore(column) else _nothing


def _scalar(kind: ValueKind | None, bounds: range | None) -> Write:
    if kind is ValueKind.INTEGER and bounds is not None:
        return lambda content: _integer(content, bounds)
    return _SCALARS.get(kind or ValueKind.OTHER, _text)


def _nothing(content: Any) -> str:
    raise Unfit("values of its type cannot be written")


def _text(content: Any) -> str:
    if not isinstance(content, str):
        raise Unfit(f"{_shown(content)} is not a text")
    if "\0" in content:
        raise Unfit("PostgreSQL's texts have no NUL")
    return content


def _boolean(content: Any) -> str:
    if not isinstance(content, bool):
        raise Unfit(f"{_shown(content)} is neither true nor false")
    return "true" if content else "false"


def _integer(content: Any, bounds: range) -> str:
    number = _exact(content)
    if isinstance(content, str) and _INTEGER.fullmatch(content):
        number = int(content)
    if not isinstance(number, int) or isinstance(number, bool):
        raise Unfit(f"{_shown(content)} is not an integer; beyond 2^53 they are written as strings")
    if number not in bounds:
        raise Unfit(f"{number} is not from {bounds[0]} to {bounds[-1]}")
    return str(number)


def _numeric(content: Any) -> str:
    if isinstance(content, str) and _NUMBER.fullmatch(content):
        return content
    if isinstance(content, bool) or not isinstance(content, int | float):
        raise Unfit(f"{_shown(content)} is not a number")
    if isinstance(content, int) or isfinite(content):
        return repr(content)
    return "NaN" if content != content else "Infinity" if content > 0 else "-Infinity"


def _double(content: Any) -> str:
    text = _numeric(content)
    number = float(text)
    # Where PostgreSQL would find it out of range: it has become infinite, or zero.
    infinite = not isfinite(number) and "n" not in text.lower()
    if infinite or (not number and re.search("[1-9]", re.split("[eE]", text)[0])):
        raise Unfit(f"{text[:_SHOWN]} is out of range")
    return text


def _real(content: Any) -> str:
    text = _double(content)
    number = abs(float(text))
    if isfinite(number) and number and not _SMALLEST_REAL / 2 < number <= _LARGEST_REAL:
        raise Unfit(f"{text[:_SHOWN]} is out of range")
    return text


def _uuid(content: Any) -> str:
    if not isinstance(content, str) or not _UUID.fullmatch(content):
        raise Unfit(f"{_shown(content)} is not a UUID")
    return str(UUID(content))


def _date(content: Any) -> str:
    text = _text(content)
    found = _DATE.fullmatch(text)
    if not (text in _INFINITE or (found and _in_calendar(found, date.fromisoformat))):
        raise Unfit(f"{_shown(text)} is not a date (YYYY-MM-DD)")
    return text


def _moment(content: Any) -> str:
    return _time(content, offset=True)


def _local_moment(content: Any) -> str:
    return _time(content, offset=False)


def _time(content: Any, *, offset: bool) -> str:
    text = _text(content)
    found = _MOMENT.fullmatch(text)
    right = found and bool(found[4]) is offset and _in_calendar(found, datetime.fromisoformat)
    if not (text in _INFINITE or right):
        kind = "a timestamp (RFC 3339, with its offset)" if offset else "a timestamp without an offset"
        raise Unfit(f"{_shown(text)} is not {kind}")
    return text


def _in_calendar(found: re.Match[str], parse: Callable[[str], object]) -> bool:
    """As far as Python's calendar goes; the years before and beyond are PostgreSQL's to check."""
    if len(found[1]) > 4 or found[0].endswith("BC"):
        return True
    try:
        parse(found[0])
    except ValueError:
        return False
    return True


def _bytes(content: Any) -> str:
    text = _text(content)
    try:
        found = b64decode(text.translate({ord("-"): "+", ord("_"): "/"}) + "=" * (-len(text) % 4), validate=True)
    except (Base64Error, ValueError):
        raise Unfit(f"{_shown(text)} is not base64") from None
    return f"\\x{found.hex()}"


def _json(content: Any) -> str:
    try:
        return _ENCODER.encode(_exact(content))
    except ValueError:
        raise Unfit("JSON has no number that is not finite") from None


def _jsonb(content: Any) -> str:
    return _without_nul(_json(content))


def _without_nul(text: str) -> str:
    # Behind an odd number of backslashes it is these characters, and no NUL.
    if "u0000" in text and _NUL.search(text):
        raise Unfit("jsonb has no NUL")
    return text


def _exact(content: Any) -> Any:
    """Integers as such, which doubles are all that a Struct has for."""
    if isinstance(content, float):
        return int(content) if content.is_integer() and abs(content) <= _EXACT else content
    if isinstance(content, dict):
        return {name: _exact(member) for name, member in content.items()}
    return [_exact(member) for member in content] if isinstance(content, list) else content


def _hstore(content: Any) -> str:
    if not isinstance(content, dict):
        raise Unfit(f"{_shown(content)} is not an object")
    return ",".join(f"{_quoted(name)}=>{_item(value, _text)}" for name, value in content.items())


def _array_writer(found: Operand) -> Write:
    if found.item is ValueKind.JSON:
        return lambda content: _array(content, _json, 1)
    write = _scalar(found.item, found.range)
    return lambda content: _array(content, write, _depth(content))


def _array(content: Any, write: Write, depth: int) -> str:
    """An array of so many dimensions, of which each part must have the same size."""
    if not isinstance(content, list):
        raise Unfit(f"{_shown(content)} is not a list")
    if depth == 1:
        return f"{{{','.join([_item(member, write) for member in content])}}}"
    if len({len(member) if isinstance(member, list) else -1 for member in content}) != 1:
        raise Unfit("the lists in it are not all of one size")
    return f"{{{','.join([_array(member, write, depth - 1) for member in content])}}}"


def _depth(content: Any) -> int:
    return 1 + _depth(content[0]) if isinstance(content, list) and content and isinstance(content[0], list) else 1


def _item(content: Any, write: Write) -> str:
    return "NULL" if content is None else _quoted(write(content))


def _quoted(text: str) -> str:
    escaped = _text(text).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _shown(content: Any) -> str:
    return repr(content)[:_SHOWN]


_SCALARS: Final[dict[ValueKind, Write]] = {
    ValueKind.NUMERIC: _numeric,
    ValueKind.REAL: _real,
    ValueKind.DOUBLE: _double,
    ValueKind.BOOLEAN: _boolean,
    ValueKind.TIMESTAMP: _moment,
    ValueKind.LOCAL_TIMESTAMP: _local_moment,
    ValueKind.DATE: _date,
    ValueKind.UUID: _uuid,
}
