"""From changes to responses."""

from functools import cache

from google.protobuf.message import Message

from service.codec import wire
from service.codec.freshness import freshness_token


def with_freshness(response: type[Message], answer: bytes, position: int | None) -> bytes:
    """The bytes of a response: those that were answered, then the token of the position, where there is one."""
    if position is None:
        return answer
    number = response.DESCRIPTOR.fields_by_name["freshness_token"].number
    return answer + wire.delimited(_tag(number), freshness_token(position).encode())


@cache
def _tag(number: int) -> bytes:
    return wire.tag(number, wire.LENGTH)
