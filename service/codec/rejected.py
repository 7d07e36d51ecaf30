"""Rows that are refused before the database sees them."""

import re
from collections.abc import Container
from typing import Final

from service.changes import Rejection
from service.errors import InvalidArgument, Reason

_POINT: Final = re.compile(r"POINT\((\S+) (\S+)\)")


class Rejections:
    """The rows of a message that are refused, each for the first of its faults. `missing` are SRIDs that the database
    is known not to have; another one that is unknown here ends the message, for it to be asked."""

    def __init__(self, first: int, missing: Container[int]) -> None:
        self._first = first
        self._missing = missing
        self._found: dict[int, InvalidArgument] = {}

    def __contains__(self, row: int) -> bool:
        return row in self._found

    def __bool__(self) -> bool:
        return bool(self._found)

    def add(self, row: int, error: InvalidArgument, field: str = "") -> None:
        """`field` is what the error's own field is relative to."""
        if error.reason is Reason.UNKNOWN_SRID and int(error.metadata["srid"]) not in self._missing:
            raise error
        self._found.setdefault(row, error.at(field) if field else error)

    def among(self, rows: range, ids: "list[str] | None") -> list[Rejection]:
        """Of these rows, each with its id; `ids` are those of the message's rows."""
        return [
            _rejection(self._first + row, ids[row] if ids else "", self._found[row])
            for row in rows
            if row in self._found
        ]


def _rejection(number: int, id_: str, error: InvalidArgument) -> Rejection:
    place = _POINT.fullmatch(error.metadata.get("location", ""))
    location = (float(place[1]), float(place[2])) if place else None
    return Rejection(number, id_, error.reason, error.message, error.field or "", location)


def required(field: str, why: str) -> InvalidArgument:
    return InvalidArgument(Reason.REQUIRED, f"{field} must be set: {why}", field=field)
