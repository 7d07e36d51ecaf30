"""Requests made from the descriptors of their messages: whatever fields there are, with values that suit them.

Half of them are tame: what they say could be meant. The others have anything anywhere. They are written as bytes, so
that there can also be in them what no generated class would write: texts that are no UTF-8, fields twice.
"""

from collections.abc import Callable, Mapping
from struct import Struct
from typing import Any, NamedTuple

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from hypothesis import strategies as st

from service.codec import wire
from tests.fuzz import geometries
from tests.fuzz.edges import DOUBLES, INTEGERS, NO_TEXTS, TEXTS
from tests.fuzz.filters import filters

Draw = Callable[[st.SearchStrategy[Any]], Any]
DEEP = 12
_double = Struct("<d").pack
# What most requests are refused without: seldom left out, so that the others are also come to.
_NEEDED = frozenset(
    ("query", "layer", "left_layer", "right_layer", "name", "center", "probe", "probes", "feature", "plan", "id", "ids")
) | frozenset(("geometry", "radius_meters", "max_features", "point", "bbox"))
_LAYERS = frozenset(("layer", "left_layer", "right_layer", "layers"))
_COORDINATES = frozenset(("latitude", "longitude", "west", "south", "east", "north"))
_TOKENS = ("", "?", "====", "AQAAAAAAAAAAAAAA", "AAAAAAAAAAAAAAAAWzFd", "é", "e30", "W10", "0/16B3748", "\0")
_SYSTEMS = (4326, 4326, 4326, 3857, 2263)

doubles = st.sampled_from(DOUBLES) | st.floats()
integers = st.sampled_from(INTEGERS) | st.integers(-(2**63), 2**63 - 1)
texts = st.sampled_from(TEXTS).map(str.encode) | st.text(max_size=8).map(str.encode) | st.sampled_from(NO_TEXTS)
_near = st.floats(0, 11, width=32)
_reach = st.sampled_from([0.0, 1.0, 1000.0, 1e5, 1e6, 2e7])
_keys = st.integers(0, 12).map(lambda each: str(each).encode())
_any_value = st.recursive(
    st.none() | st.booleans() | st.sampled_from([float(each) for each in INTEGERS]) | st.sampled_from(TEXTS),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)
_values: Mapping[str, st.SearchStrategy[Any]] = {
    "STRING": st.sampled_from(["a", "park", "x" * 300, "é", "ok", "1"]) | st.text(max_size=6),
    "INTEGER": st.sampled_from([0.0, 1.0, -1.0, 7.0, 2.0**31, 2.0**40, str(2**62)]),
    "NUMBER": st.floats(allow_nan=False) | st.sampled_from(["NaN", "Infinity"]),
    "BOOLEAN": st.booleans(),
    "TIMESTAMP": st.sampled_from(["2026-01-01T00:00:00Z", "9999-12-31T23:59:59.999999Z", "infinity", "2026-01-01"]),
}


class About(NamedTuple):
    """A layer: its properties with their types, its geometry column and what that holds."""

    properties: Mapping[str, str]
    geometry: str
    kind: str


class World(NamedTuple):
    """What a server has, and `tokens` that it gave out."""

    layers: Mapping[str, About]
    tokens: tuple[str, ...] = ()


class Requests:
    """Strategies of the messages that a server over a world may be sent."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.layers = sorted(world.layers)
        self.filters = {name: filters(tuple(each.properties), each.geometry) for name, each in world.layers.items()}
        tokens = (*_TOKENS, *world.tokens)
        self.tokens = (st.sampled_from(tokens) | st.text("AQabz09-_=", max_size=40)).map(str.encode)

    def of(self, descriptor: Descriptor) -> st.SearchStrategy[bytes]:
        @st.composite
        def made(draw: Draw) -> bytes:
            layer = draw(st.sampled_from(self.layers))
            return _Making(draw, self, layer, tame=draw(st.booleans())).message(descriptor, 0)

        return made()


class _Making:
    """Of one message, mostly about one layer."""

    def __init__(self, draw: Draw, requests: Requests, layer: str, *, tame: bool) -> None:
        self._draw = draw
        self._requests = requests
        self._name = layer
        self._layer = requests.world.layers[layer]
        self._tame = tame

    def _one_of(self, usual: st.SearchStrategy[Any], other: st.SearchStrategy[Any]) -> Any:
        return self._draw(usual if self._tame or self._draw(st.integers(0, 3)) else other)

    def message(self, descriptor: Descriptor, depth: int) -> bytes:
        if descriptor.full_name == "google.protobuf.Struct":
            return self._struct()
        parts = [self._field(field, depth) for field in self._present(descriptor, depth)]
        if depth == 0 and parts and not self._tame and self._draw(st.integers(0, 15)) == 15:
            parts.append(self._draw(st.sampled_from([parts[0], b"\xfa\xff\xff\xff\x0f\x00", b"\x07", b"\xff"])))
        return b"".join(parts)

    def _present(self, descriptor: Descriptor, depth: int) -> list[FieldDescriptor]:
        """Of fields that exclude each other one."""
        choices = [list(oneof.fields) for oneof in descriptor.oneofs if len(oneof.fields) > 1]
        found = [self._draw(st.sampled_from(choice)) for choice in choices if self._draw(st.integers(0, 15))]
        for field in descriptor.fields:
            alone = field.containing_oneof is None or len(field.containing_oneof.fields) == 1
            if alone and (depth < DEEP or field.message_type is None) and self._wants(field):
                found.append(field)
        return found

    def _wants(self, field: FieldDescriptor) -> bool:
        if field.name in _NEEDED or field.name in _COORDINATES:
            return bool(self._tame or self._draw(st.integers(0, 19)))
        return not self._draw(st.integers(0, 4 if self._tame else 2))

    def _field(self, field: FieldDescriptor, depth: int) -> bytes:
        count = self._draw(st.sampled_from([0, 1, 1, 2, 3, 5])) if field.is_repeated else 1
        return b"".join(self._one(field, depth) for _ in range(count))

    def _one(self, field: FieldDescriptor, depth: int) -> bytes:
        if field.message_type is not None:
            return _framed(field, self.message(field.message_type, depth + 1))
        if field.type == FieldDescriptor.TYPE_STRING:
            return _framed(field, self._text(field))
        if field.type == FieldDescriptor.TYPE_BYTES:
            return _framed(field, self._wkb() if field.name == "wkb" else self._draw(st.binary(max_size=20)))
        if field.type == FieldDescriptor.TYPE_DOUBLE:
            return wire.tag(field.number, wire.FIXED64) + _double(self._number(field.name))
        return wire.tag(field.number, wire.VARINT) + wire.varint(self._whole(field) % 2**64)

    def _wkb(self) -> bytes:
        return bytes(self._one_of(st.sampled_from(geometries.fitting(self._layer.kind)), geometries.wkbs))

    def _number(self, name: str) -> float:
        usual = _near if name in _COORDINATES else _reach | _near
        return float(self._one_of(usual, doubles))

    def _whole(self, field: FieldDescriptor) -> int:
        if field.enum_type is not None:
            return int(self._one_of(st.sampled_from([each.number for each in field.enum_type.values]), integers))
        if field.type == FieldDescriptor.TYPE_BOOL:
            return int(self._draw(st.integers(0, 1)))
        usual = st.sampled_from(_SYSTEMS) if field.name == "srid" else st.integers(0, 12)
        return int(self._one_of(usual, integers | st.sampled_from([0, 999_000, 4979, 3031])))

    def _text(self, field: FieldDescriptor) -> bytes:
        """A value for a string field, after its name."""
        usual, other = self._texts(field.name, field.full_name.split(".")[-2])
        found = self._one_of(usual, other)
        return found.encode(errors="replace") if isinstance(found, str) else bytes(found)

    def _texts(self, name: str, message: str) -> tuple[st.SearchStrategy[Any], st.SearchStrategy[Any]]:
        """What the field is for, and what it may also be sent."""
        named = [*self._layer.properties, self._layer.geometry]
        if name in _LAYERS or (name == "name" and message == "GetLayerRequest"):
            return st.just(self._name), st.sampled_from(self._requests.layers) | texts
        if name.endswith("filter"):
            return self._requests.filters[self._name], texts
        if name == "wkt":
            return st.sampled_from(geometries.TEXTS), geometries.wkts
        if name.endswith(("token", "etag")):
            return st.just(""), self._requests.tokens
        if name == "paths":
            return st.sampled_from(["*", "geometry", "properties", *(f"properties.{each}" for each in named)]), texts
        if name in ("properties", "property", "match_property") or (name == "name" and message == "Column"):
            return st.sampled_from(named), texts
        return _keys, texts

    def _struct(self) -> bytes:
        """Properties by their names, or GeoJSON: where it stands in place of the other it is something to refuse."""
        if not self._draw(st.integers(0, 2)):
            return bytes(self._draw(geometries.geojsons))
        names = self._draw(st.lists(st.sampled_from([*self._layer.properties, "nothing"]), max_size=6, unique=True))
        return geometries.struct_bytes({name: self._value(name) for name in names})

    def _value(self, name: str) -> Any:
        kind = self._layer.properties.get(name, "").removeprefix("PROPERTY_TYPE_")
        return self._one_of(_values.get(kind, _any_value), _any_value)


def _framed(field: FieldDescriptor, content: bytes) -> bytes:
    return wire.tag(field.number, wire.LENGTH) + wire.varint(len(content)) + content
