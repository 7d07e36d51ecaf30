"""Fields of request messages that many requests share, read with their defaults and limits."""

from math import isfinite
from typing import Any, TypeVar

from google.protobuf.message import Message

from service.catalog import Layer
from service.domain import DistanceModel, Encoding, Layout, Output, Predicate, View
from service.errors import InvalidArgument, Reason, SpatialError
from spatial.v1 import query_pb2

E = TypeVar("E", Predicate, DistanceModel, View, Encoding, Layout)


class at:  # noqa: N801 - read as a statement: `with at("query"):`
    """Whatever is refused inside is said of this path."""

    __slots__ = ("_path",)

    def __init__(self, path: str) -> None:
        self._path = path

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, SpatialError):
            error.at(self._path)


def required(message: Message, field: str) -> Any:
    """The message in a field that must be set."""
    if not message.HasField(field):
        raise InvalidArgument(Reason.REQUIRED, f"{field} must be set", field=field)
    return getattr(message, field)


def enumerated(kind: type[E], number: int, default: E, field: str) -> E:
    """The value for a number of the contract's enum, where 0 means the default."""
    if number == 0:
        return default
    try:
        return kind(number)
    except ValueError:
        raise InvalidArgument(
            Reason.UNKNOWN_ENUM_VALUE, f"{number} is no {kind.__name__} that this server knows", field=field
        ) from None


def size(number: int, default: int, most: int, field: str) -> int:
    """How many features are wanted: 0 means the default, more than the most is coerced to it."""
    if number < 0:
        raise InvalidArgument(Reason.OUT_OF_RANGE, f"{field} must not be negative, and is {number}", field=field)
    return min(number or default, most)


def distance(number: float, most: float, field: str) -> float:
    if not (isfinite(number) and 0 <= number <= most):
        raise InvalidArgument(
            Reason.OUT_OF_RANGE,
            f"{field} must be from 0 to {most:g}, and is {number:g}",
            field=field,
            metadata={"limit": f"{most:g}"},
        )
    return number


def output(layer: Layer, message: query_pb2.Output, field: str = "output") -> Output:
    """What of each feature is wanted; each property must exist, and is answered once."""
    for index, name in enumerate(message.properties):
        if name not in layer.properties:
            raise InvalidArgument(
                Reason.UNKNOWN_PROPERTY,
                f"layer {layer.name!r} has no property {name[:80]!r}",
                field=f"{field}.properties[{index}]",
                metadata={"layer": layer.name},
            )
    return Output(
        properties=tuple(dict.fromkeys(message.properties)) or None,
        view=enumerated(View, message.view, View.FULL, f"{field}.view"),
        encoding=enumerated(Encoding, message.encoding, Encoding.WKB, f"{field}.encoding"),
    )
