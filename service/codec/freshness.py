"""Freshness tokens: how far the database's log had come when a write was in it. Opaque to callers."""

import struct
from base64 import urlsafe_b64decode, urlsafe_b64encode
from binascii import Error as Base64Error
from functools import lru_cache
from hashlib import blake2b

from google.protobuf.message import Message

from service.errors import InvalidArgument, Reason

# The version comes first, so that a later format can tell which one it has before it.
_PARTS = struct.Struct(">BQ3s")
VERSION = 1
LAST_POSITION = 2**64 - 1
FIELD = "freshness_token"


@lru_cache(maxsize=64)  # changes that are made together have one
def freshness_token(position: int) -> str:
    """The token of what was written up to `position`, a number of bytes of the log."""
    raw = _PARTS.pack(VERSION, position, _seal(VERSION, position))
    return urlsafe_b64encode(raw).decode()


def position_of(token: str) -> int:
    """The position in `token`; INVALID_FRESHNESS_TOKEN where it is none."""
    try:
        raw = urlsafe_b64decode(token)
        version, position, seal = _PARTS.unpack(raw)
    except (Base64Error, ValueError, struct.error):
        raise _invalid("it is malformed") from None
    if version != VERSION:
        raise _invalid("it is of a version that this server does not know")
    if seal != _seal(version, position) or urlsafe_b64encode(raw).decode() != token:
        raise _invalid("it is malformed")
    return int(position)


def wanted_position(request: Message) -> int:
    """What a request that may have a token wants to be read; 0 for what there is. A token that is none is refused."""
    token = getattr(request, FIELD, "")
    return position_of(token) if token else 0


def _seal(version: int, position: int) -> bytes:
    """Three bytes that a token cut, mistyped or made up does not have by chance."""
    return blake2b(b"%d %d" % (version, position), digest_size=3, person=b"freshness").digest()


def _invalid(why: str) -> InvalidArgument:
    return InvalidArgument(Reason.INVALID_FRESHNESS_TOKEN, f"the freshness token cannot be used: {why}", field=FIELD)
