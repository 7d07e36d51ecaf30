"""Requests to create what most features are, read from their bytes.

To look at messages within messages costs more than what is in them. Whatever is out of the ordinary, or is to be
refused, is left to those who read messages, and say it better.
"""

from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import lru_cache
from struct import Struct

from google.protobuf import struct_pb2
from google.protobuf.message import DecodeError, Message

from service.catalog import Catalog, Layer, Property
from service.changes import Act, Edit, Placed
from service.codec import wire
from service.codec.arriving.edits import EditReader, everything
from service.codec.arriving.geometries import ArrivalReader
from service.codec.arriving.literals import Unfit, writer
from service.codec.arriving.promises import promise_of, writable_layer
from service.codec.arriving.texts import text_of
from service.domain import Key
from service.errors import SpatialError
from spatial.v1 import feature_pb2, geometry_pb2, write_pb2

MOST_BYTES = 64 * 1024  # of a request: larger ones are not read on the event loop
# Of a value that is a message: protobuf would refuse none of these for how deep it is, however deep they are in.
MOST_NESTED_BYTES = 160
MOST_KNOWN = 4096  # of their texts: many are alike, as a rule
_ONE_BYTE = 0x80
_TWO_BYTES = 1 << 14

Read = Callable[[bytes], str | None]
Values = tuple[tuple[str, str | None], ...]


def _tag(message: type[Message], field: str, wire_type: int = wire.LENGTH) -> int:
    return wire.tag(message.DESCRIPTOR.fields_by_name[field].number, wire_type)[0]


_LAYER = _tag(write_pb2.CreateFeatureRequest, "layer")
_FEATURE = _tag(write_pb2.CreateFeatureRequest, "feature")
_ID, _GEOMETRY, _PROPERTIES = (_tag(feature_pb2.Feature, name) for name in ("id", "geometry", "properties"))
_WKB, _WKT = (_tag(geometry_pb2.Geometry, name) for name in ("wkb", "wkt"))
_ENTRY, _NAME, _VALUE = _tag(struct_pb2.Struct, "fields"), 0x0A, 0x12  # a map's key and value
_STRING = _tag(struct_pb2.Value, "string_value")
_NUMBER = _tag(struct_pb2.Value, "number_value", wire.FIXED64)
_POINT = bytes([_WKB, 21])  # before WKB of a point's size
_double, _DOUBLE_BYTES = Struct("<xd").unpack, 9  # with its tag


class _Unfamiliar(Exception):
    """Others read it."""


# What others say better, besides.
_LEFT = (_Unfamiliar, LookupError, UnicodeDecodeError, DecodeError, SpatialError, Unfit)


class CreateReader:
    """Means by a request what `edits` would."""

    def __init__(self, catalog: Catalog, arrivals: ArrivalReader, edits: EditReader) -> None:
        self._catalog = catalog
        self._arrivals = arrivals
        self._edits = edits
        self._known: dict[str, tuple[Layer, Mapping[bytes, Read | None]]] = {}
        self._texts = lru_cache(maxsize=MOST_KNOWN)(_made)

    def read(self, sent: bytes) -> Edit | write_pb2.CreateFeatureRequest:
        """What is to be created; or the message, where that is still to be found out. In the context of the call, which
        says what it may change. DecodeError where it is no message."""
        if len(sent) < MOST_BYTES:
            with suppress(*_LEFT):
                return self._edit(sent)
        return write_pb2.CreateFeatureRequest.FromString(sent)

    def _edit(self, sent: bytes) -> Edit:
        start, at = _content(sent, 0, _LAYER)
        layer = writable_layer(self._catalog, sent[start:at].decode())
        start, end = _content(sent, at, _FEATURE)
        besides = _besides(sent, end)
        key, geometry, values = self._feature(layer, sent, start, end, besides)
        if besides is None:
            output, validate_only, promise = everything(layer), False, None
        else:
            output, validate_only = self._edits.output(besides, layer), besides.validate_only
            promise = promise_of(write_pb2.CreateFeatureRequest.FromString(sent)) if besides.request_id else None
        return Edit(
            Act.CREATE,
            layer.name,
            key,
            values,
            geometry=geometry,
            output=output,
            validate_only=validate_only,
            promise=promise,
            revision=layer.revision,
        )

    def _feature(
        self, layer: Layer, sent: bytes, at: int, end: int, besides: write_pb2.CreateFeatureRequest | None
    ) -> tuple[Key | None, Placed | None, Values]:
        key = geometry = None
        values: Values = ()
        last = 0
        while at < end:
            tag = sent[at]
            if tag <= last:  # each once, and in their order
                raise _Unfamiliar
            last = tag
            start, at = _content(sent, at, tag)
            if tag == _PROPERTIES:
                values = self._values(layer, sent, start, at)
            elif tag == _GEOMETRY:
                geometry = self._geometry(layer, sent[start:at], besides)
            elif tag == _ID and at > start:
                key = layer.parse_key(sent[start:at].decode())
            else:
                raise _Unfamiliar
        if at != end:
            raise _Unfamiliar
        return key, geometry, values

    def _geometry(self, layer: Layer, data: bytes, besides: write_pb2.CreateFeatureRequest | None) -> Placed | None:
        if data.startswith(_POINT) and (point := self._arrivals.plain_point(data[len(_POINT) :], layer)) is not None:
            return point
        if data[0] not in (_WKB, _WKT):
            raise _Unfamiliar
        return self._arrivals.read(
            geometry_pb2.Geometry.FromString(data),
            layer,
            repair=besides is not None and besides.repair,
            own_srid_only=besides is not None and besides.require_layer_srid,
        )

    def _values(self, layer: Layer, sent: bytes, at: int, end: int) -> Values:
        """Of a Struct's entries."""
        readers = self._readers(layer)
        values: dict[bytes, tuple[str, str | None] | None] = {}
        while at < end:
            start, at = _content(sent, at, _ENTRY)
            start, middle = _content(sent, start, _NAME)
            name = sent[start:middle]
            start, last = _content(sent, middle, _VALUE)
            if last != at or name in values:
                raise _Unfamiliar
            read = readers[name]
            value = sent[start:last]
            if read is not None:
                values[name] = name.decode(), read(value)
            else:
                values[name] = None
                _pass_over(value)
        if at != end:
            raise _Unfamiliar
        return tuple(sorted(filter(None, values.values())))

    def _readers(self, layer: Layer) -> Mapping[bytes, Read | None]:
        """By the names of its properties; None for what cannot be written, and is passed over."""
        known = self._known.get(layer.name)
        if known is None or known[0] is not layer:
            named = layer.properties.items()
            made = {name.encode(): self._reader(layer, prop) if prop.writable else None for name, prop in named}
            known = self._known[layer.name] = layer, made
        return known[1]

    def _reader(self, layer: Layer, prop: Property) -> Read:
        """From the bytes of a property's value to the text that its column takes."""
        write, texts = writer(prop), self._texts

        def make(value: bytes) -> str | None:
            return text_of(layer, prop, struct_pb2.Value.FromString(value))

        def read(value: bytes) -> str | None:
            if value[0] == _STRING:
                start, end = _content(value, 0, _STRING)
                if end == len(value):
                    return write(value[start:].decode())
            elif value[0] == _NUMBER and len(value) == _DOUBLE_BYTES:
                return write(*_double(value))
            if len(value) > MOST_NESTED_BYTES:
                raise _Unfamiliar
            return texts(make, value)

        return read


def _content(sent: bytes, at: int, tag: int) -> tuple[int, int]:
    """Where the content of a field begins and ends that has this tag, and is shorter than 16 KiB."""
    if sent[at] != tag:
        raise _Unfamiliar
    size = sent[at + 1]
    if size < _ONE_BYTE:
        return at + 2, at + 2 + size
    size += (sent[at + 2] - 1) * _ONE_BYTE
    if not _ONE_BYTE <= size < _TWO_BYTES:
        raise _Unfamiliar
    return at + 3, at + 3 + size


def _besides(sent: bytes, end: int) -> write_pb2.CreateFeatureRequest | None:
    """What stands behind the feature; None for nothing."""
    if end == len(sent):
        return None
    besides = write_pb2.CreateFeatureRequest.FromString(sent[end:])
    # Nothing that stood before, not even what is empty, and would be said again.
    if end > len(sent) or besides.layer or besides.HasField("feature") or besides.ByteSize() != len(sent) - end:
        raise _Unfamiliar
    return besides


def _pass_over(value: bytes) -> None:
    """It need not be written, but must be one."""
    if len(value) > MOST_NESTED_BYTES:
        raise _Unfamiliar
    struct_pb2.Value.FromString(value)


def _made(make: Read, value: bytes) -> str | None:
    return make(value)
