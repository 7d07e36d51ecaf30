"""Callers in a process: `python -m benchmarks.callers PORT CALLERS SECONDS honour|insist|pause`.

They never pause, unless they are said to: then the process has time for each answer as it comes. Those who are refused
come again when they are told to, give or take, if they honour that; else as after any call. What became of each call is
printed as JSON: seconds, and where it was refused the seconds until it may be tried again.
"""

import asyncio
import json
import random
import sys
import time
from dataclasses import asdict, dataclass, field
from typing import Any

import grpc
import uvloop
from google.rpc import error_details_pb2, status_pb2

from benchmarks.dataset import centres
from benchmarks.grpc_question import METHOD, request

WARM_UP_SECONDS = 0.5
CALLERS_PER_CHANNEL = 16
PAUSE_SECONDS = 0.05


@dataclass
class Heard:
    """What callers heard: how long answers took, and refusals, and when these said to come again; other errors."""

    answered: list[float] = field(default_factory=list)
    refused: list[float] = field(default_factory=list)
    hints: list[float | None] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)


async def _call_on_and_on(call: Any, message: bytes, since: float, until: float, heard: Heard, manner: str) -> None:
    while (begun := time.perf_counter()) < until:
        try:
            await call(message, timeout=30)
        except grpc.aio.AioRpcError as error:
            seconds = time.perf_counter() - begun
            hint = _hint(error)
            if begun >= since:
                _note(error, seconds, hint, heard)
            if manner == "honour" and hint is not None:
                await asyncio.sleep(hint * random.uniform(1, 1.25))
        else:
            if begun >= since:
                heard.answered.append(time.perf_counter() - begun)
        if manner == "pause":
            await asyncio.sleep(PAUSE_SECONDS * random.uniform(0.5, 1.5))


def _note(error: grpc.aio.AioRpcError, seconds: float, hint: float | None, heard: Heard) -> None:
    if error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED:
        heard.refused.append(seconds)
        heard.hints.append(hint)
    else:
        heard.errors.append(error.code().name)


def _hint(error: grpc.aio.AioRpcError) -> float | None:
    trailing: dict[str, Any] = dict(error.trailing_metadata() or ())
    for detail in status_pb2.Status.FromString(trailing.get("grpc-status-details-bin", b"")).details:
        retry = error_details_pb2.RetryInfo()
        if detail.Unpack(retry):
            seconds: float = retry.retry_delay.ToTimedelta().total_seconds()
            return seconds
    return None


async def _run(port: int, callers: int, seconds: float, manner: str) -> Heard:
    options = [("grpc.use_local_subchannel_pool", 1)]
    channels = [
        grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=options)
        for _ in range(-(-callers // CALLERS_PER_CHANNEL))
    ]
    calls: list[Any] = [channel.unary_unary(METHOD) for channel in channels]
    messages = [request(centre).SerializeToString() for centre in centres()]
    heard = Heard()
    since = time.perf_counter() + WARM_UP_SECONDS
    await asyncio.gather(
        *(
            _call_on_and_on(
                calls[number % len(calls)],
                messages[number % len(messages)],
                since,
                since + seconds,
                heard,
                manner,
            )
            for number in range(callers)
        )
    )
    for channel in channels:
        await channel.close()
    return heard


if __name__ == "__main__":
    port, callers, seconds, manner = sys.argv[1:]
    uvloop.install()
    json.dump(asdict(asyncio.run(_run(int(port), int(callers), float(seconds), manner))), sys.stdout)
