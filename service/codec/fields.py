"""Fields of request messages that many requests share, read with their defaults and limits."""

from math import isfinite
from typing import Any, TypeVar

from google.protobuf.message import Message

from service.catalog import Layer
from service.changes import Importing
from service.codec.systems import KnownSystems
from service.domain import DistanceModel, Encoding, GridShape, Layout, Output, Predicate, View
from service.errors import InvalidArgument, Reason, SpatialError
from spatial.v1 import query_pb2

MOST_DIGITS = 15  # that a double has

E = TypeVar("E", Predicate, DistanceModel, View, Encoding, Layout, GridShape, Importing)


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


def output(
    layer: Layer, message: query_pb2.Output, systems: KnownSystems, field: str = "output", *, etags: bool = False
) -> Output:
    """What of each feature is wanted, and how; `etags` whether they are, even if the message does not ask for them."""
    return Output(
        properties=_properties(layer, message, field),
        view=enumerated(View, message.view, View.FULL, f"{field}.view"),
        encoding=enumerated(Encoding, message.encoding, Encoding.WKB, f"{field}.encoding"),
        srid=_srid(layer, message, systems, f"{field}.srid"),
        simplify=_tolerance(message.simplify_tolerance, f"{field}.simplify_tolerance"),
        digits=_digits(message, f"{field}.decimal_digits"),
        etags=layer.versioned and (etags or message.etags),
    )


def _properties(layer: Layer, message: query_pb2.Output, field: str) -> tuple[str, ...] | None:
    """Each must exist, and is answered once. None: all that are stored."""
    if message.no_properties:
        if message.properties:
            problem = "properties are named, and none are wanted"
            raise InvalidArgument(Reason.UNEXPECTED_FIELD, problem, field=f"{field}.properties")
        return ()
    for index, name in enumerate(message.properties):
        if name not in layer.properties:
            raise InvalidArgument(
                Reason.UNKNOWN_PROPERTY,
                f"layer {layer.name!r} has no property {name[:80]!r}",
                field=f"{field}.properties[{index}]",
                metadata={"layer": layer.name},
            )
    return tuple(dict.fromkeys(message.properties)) or None


def _srid(layer: Layer, message: query_pb2.Output, systems: KnownSystems, field: str) -> int | None:
    """Of the answer; None where that is the layer's."""
    if not message.HasField("srid"):
        return None
    if not layer.srid:
        raise InvalidArgument(
            Reason.SRID_MISMATCH,
            f"layer {layer.name!r} has no CRS to transform from",
            field=field,
            metadata={"actual": str(message.srid), "expected": "0"},
        )
    if message.srid == layer.srid:
        return None
    systems.check(message.srid, field)
    return message.srid


def _tolerance(number: float, field: str) -> float:
    if not (isfinite(number) and number >= 0):
        problem = f"{field} must be a number from 0 on, and is {number:g}"
        raise InvalidArgument(Reason.OUT_OF_RANGE, problem, field=field)
    return number + 0.0  # -0.0 is 0


def _digits(message: query_pb2.Output, field: str) -> int | None:
    if not message.HasField("decimal_digits"):
        return None
    if not 0 <= message.decimal_digits <= MOST_DIGITS:
        raise InvalidArgument(
            Reason.OUT_OF_RANGE,
            f"{field} must be from 0 to {MOST_DIGITS}, and is {message.decimal_digits}",
            field=field,
            metadata={"limit": str(MOST_DIGITS)},
        )
    return message.decimal_digits
