"""What the batches of a stream have in common: how large they are, and what surrounds their features."""

from collections.abc import Sequence

from service.codec import wire
from service.codec.tokens import write_token
from service.domain import Key
from spatial.v1 import feature_pb2

BATCH_BYTES = 256 * 1024  # what a batch aims at
FULL_BYTES = BATCH_BYTES * 3 // 2  # up to which a batch is not divided: what came as one goes as one, if it may
MOST_BATCH_BYTES = 2 * 1024 * 1024  # what none exceeds, unless a single feature does

Bytes = bytes | memoryview

_FIELDS = feature_pb2.FeatureBatch.DESCRIPTOR.fields_by_name
_RESUME_TOKEN = wire.tag(_FIELDS["resume_token"].number, wire.LENGTH)
_SRID = wire.tag(_FIELDS["srid"].number, wire.VARINT)


class Frame:
    """What surrounds the features of a stream in one layout: the SRID, and where to go on after them.

    `bound_to` is what the tokens of a resumable stream are bound to; without it there are none.
    """

    def __init__(self, layout: str, srid: int, bound_to: bytes | None) -> None:
        self._tag = wire.tag(_FIELDS[layout].number, wire.LENGTH)
        self._srid = _SRID + wire.varint(srid)
        self._bound_to = bound_to

    def around(self, features: bytes, last: Key) -> bytes:
        """The bytes of the FeatureBatch whose last feature has the key `last`."""
        return self.around_parts([features], last)

    def around_parts(self, features: Sequence[Bytes], last: Key) -> bytes:
        """The same, of what is yet to be joined."""
        token = b""
        if self._bound_to is not None:
            token = wire.delimited(_RESUME_TOKEN, write_token(self._bound_to, last).encode())
        return b"".join((self._tag, wire.varint(sum(map(len, features))), *features, token, self._srid))
