"""Messages to the readers of streams."""

import asyncio
from typing import Any

from grpc.aio import InternalError

from service.errors import DeadlineExceeded, Reason
from service.interceptors.call import Context
from service.interceptors.straight_streams import StraightStream


async def open_stream(context: Context) -> None:
    """Before the first message: gRPC would send this along with it, and again with the status of a call whose first
    message its reader has no room for; that fails, and the call would never end."""
    if isinstance(context, StraightStream):
        return
    try:
        await context.send_initial_metadata(())
    except InternalError as error:
        raise asyncio.CancelledError from error


async def send(context: Context, response: Any, stall_seconds: float) -> None:
    """Returns when the reader's window has room for more."""
    try:
        if isinstance(context, StraightStream):
            await context.write_within(stall_seconds, response)
            return
        async with asyncio.timeout(stall_seconds):
            await context.write(response)
    except TimeoutError:
        raise DeadlineExceeded(
            Reason.STREAM_STALLED, f"the reader of this stream made no room for more within {stall_seconds:g} s"
        ) from None
    except InternalError as error:  # the call has ended, and its cancellation is on its way here
        raise asyncio.CancelledError from error
