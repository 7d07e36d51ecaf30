"""Tokens: where a page or a stream goes on, bound to the request that it came from. Opaque to callers."""

import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from binascii import Error as Base64Error
from collections.abc import Sequence
from enum import Enum
from hashlib import blake2b
from math import isfinite

from google.protobuf.message import Message

from service.catalog import Layer
from service.domain import Argument
from service.errors import InvalidArgument, Reason

DIGEST_BYTES = 12


class Kind(Enum):
    PAGE = "page"
    RESUME = "resume"

    @property
    def reason(self) -> Reason:
        return Reason.INVALID_PAGE_TOKEN if self is Kind.PAGE else Reason.INVALID_RESUME_TOKEN


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


def read_token(
    kind: Kind, token: str, bound_to: bytes, keys: Sequence[Layer], *, distances: int = 0
) -> tuple[Argument, ...]:
    """The position in `token`: so many distances and then a key of each layer. Refused if it is not one, or another
    request's."""
    try:
        raw = urlsafe_b64decode(token + "=" * (-len(token) % 4))
        position = json.loads(raw[DIGEST_BYTES:])
    except (Base64Error, ValueError, RecursionError):
        raise _invalid(kind, "it is malformed") from None
    if raw[:DIGEST_BYTES] != bound_to:
        raise _invalid(kind, "it belongs to another request")
    if not _is_position(position, keys, distances):
        raise _invalid(kind, "it is malformed")
    return tuple(position)


def _is_position(position: object, keys: Sequence[Layer], distances: int) -> bool:
    if not isinstance(position, list) or len(position) != distances + len(keys):
        return False
    measured, named = position[:distances], position[distances:]
    return all(type(each) in (int, float) and isfinite(each) for each in measured) and all(map(_is_key, keys, named))


def _is_key(layer: Layer, value: object) -> bool:
    if type(value) is not (int if layer.integer_key else str):
        return False
    try:
        layer.parse_key(str(value))
    except InvalidArgument:
        return False
    return True


def _invalid(kind: Kind, why: str) -> InvalidArgument:
    return InvalidArgument(kind.reason, f"the {kind.value} token cannot be used: {why}", field=f"{kind.value}_token")
