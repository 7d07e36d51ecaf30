"""From changes to responses."""

from functools import cache

from google.protobuf.descriptor import Descriptor
from google.protobuf.message import Message

from service.codec import wire
from service.codec.freshness import freshness_token


def with_freshness(response: type[Message], answer: bytes, position: int | None) -> bytes:
    """The bytes of a response: those that were answered, then the token of the position, where there is one."""
    if position is None:
        return answer
    return answer + wire.delimited(_tag(response.DESCRIPTOR), freshness_token(position).encode())


@cache
def _tag(response: Descriptor) -> bytes:
    return wire.tag(response.fields_by_name["freshness_token"].number, wire.LENGTH)
