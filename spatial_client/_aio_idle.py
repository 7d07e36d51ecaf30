"""A limit on how long a call may be silent, for asyncio."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

from grpc import aio

from spatial_client._idle import silence


async def messages(
    call: Any, seconds: float, waiting_since: Callable[[], float | None] | None = None
) -> AsyncIterator[Any]:
    """The messages of a call. The time that the caller takes for one does not count; `waiting_since` may say since when
    something is due."""
    while True:
        asked = time.monotonic()
        message = await _read(call, seconds, asked, waiting_since)
        if message is aio.EOF:
            return
        yield message


async def _read(call: Any, seconds: float, asked: float, waiting_since: Callable[[], float | None] | None) -> Any:
    reading = asyncio.ensure_future(call.read())
    try:
        while True:
            since = waiting_since() if waiting_since else asked
            pause = seconds if since is None else since + seconds - time.monotonic()
            if pause <= 0:
                raise silence(seconds)
            if (await asyncio.wait({reading}, timeout=pause))[0]:
                return reading.result()
    finally:
        reading.cancel()
