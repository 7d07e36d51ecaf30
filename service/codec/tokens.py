"""Page tokens: where an answer goes on, bound to the request that it came from. Opaque to callers."""

import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from binascii import Error as Base64Error
from hashlib import blake2b
from math import isfinite

from google.protobuf.message import Message

from service.catalog import BIGINT
from service.domain import Argument
from service.errors import InvalidArgument, Reason

DIGEST_BYTES = 12


def fingerprint(request: Message, *leaving_out: str) -> bytes:
    """The same for the same question, however it is paged."""
    question = type(request)()
    question.CopyFrom(request)
    for field in leaving_out:
        question.ClearField(field)
    name = request.DESCRIPTOR.full_name.encode()
    return blake2b(name + question.SerializeToString(deterministic=True), digest_size=DIGEST_BYTES).digest()


def write_token(bound_to: bytes, *position: Argument) -> str:
    return urlsafe_b64encode(bound_to + json.dumps(position, separators=(",", ":")).encode()).rstrip(b"=").decode()


def read_token(token: str, bound_to: bytes, parts: int) -> tuple[Argument, ...]:
    """The position in `token`, of so many parts; INVALID_PAGE_TOKEN if it is not one, or another request's."""
    try:
        raw = urlsafe_b64decode(token + "=" * (-len(token) % 4))
        position = json.loads(raw[DIGEST_BYTES:])
    except (Base64Error, ValueError, RecursionError):
        raise _invalid("it is malformed") from None
    if raw[:DIGEST_BYTES] != bound_to:
        raise _invalid("it belongs to another request")
    if not _is_position(position, parts):
        raise _invalid("it is malformed")
    return tuple(position)


def _is_position(position: object, parts: int) -> bool:
    """Finite distances, if any, and then the key."""
    if not isinstance(position, list) or len(position) != parts:
        return False
    *distances, key = position
    return (
        type(key) is int and key in BIGINT and all(type(each) in (int, float) and isfinite(each) for each in distances)
    )


def _invalid(why: str) -> InvalidArgument:
    return InvalidArgument(Reason.INVALID_PAGE_TOKEN, f"the page token cannot be used: {why}", field="page_token")
