"""What happens around a call happens for all four kinds of RPC, whoever wrote the handler and however it ends."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc
import pytest
from google.protobuf.message import DecodeError

from service.errors import InvalidArgument, NotFound, Reason, ResourceExhausted
from service.interceptors.backlog import Backlog, servers
from service.interceptors.call import Call
from service.interceptors.chain import Registrar
from service.interceptors.request_id import RequestIds
from service.interceptors.straight import StraightCalls
from tests.servers import refusal
from tests.situations import eventually

SERVICE = "test.Kinds"
KINDS = ("Unary", "Straight", "Other", "ServerStream", "StraightStream", "ClientStream", "BidiStream")
ERRORS = {
    b"not found": NotFound(Reason.LAYER_NOT_FOUND, "no such layer", metadata={"layer": "x"}),
    b"invalid": InvalidArgument(Reason.REQUIRED, "must be set", field="query"),
    b"exhausted": ResourceExhausted(Reason.OVERLOADED, "later", retry_after=0.25),
    b"bug": ZeroDivisionError("a secret of ours"),
}


@dataclass
class Witness:
    """An observer that remembers what it was told; `refuse` is raised when a call begins."""

    refuse: Exception | None = None
    begun: list[str] = field(default_factory=list)
    calls: list[Call] = field(default_factory=list)
    there: asyncio.Event = field(default_factory=asyncio.Event)
    over: asyncio.Event = field(default_factory=asyncio.Event)

    def started(self, call: Call) -> None:
        self.begun.append(call.method.name)
        self.there.set()
        if self.refuse:
            raise self.refuse

    def ended(self, call: Call) -> None:
        self.calls.append(call)
        self.over.set()


class Handlers:
    """One handler of each kind: answers what it is sent, or raises the error of that name."""

    async def unary(self, request: bytes, context: Any) -> bytes:
        if request == b"wait":
            await asyncio.Event().wait()
        if request == b"abort":
            await context.abort(grpc.StatusCode.DATA_LOSS, "in its own words", (("more", "said"),))
        return self.answer(request)

    async def server_stream(self, request: bytes, context: Any) -> AsyncIterator[bytes]:
        yield b"first"
        if request == b"wait":
            await asyncio.Event().wait()
        yield self.answer(request)

    async def client_stream(self, requests: AsyncIterator[bytes], context: Any) -> bytes:
        return b",".join([self.answer(request) async for request in requests])

    async def bidi_stream(self, requests: AsyncIterator[bytes], context: Any) -> AsyncIterator[bytes]:
        async for request in requests:
            yield self.answer(request)

    def answer(self, request: bytes) -> bytes:
        if request in ERRORS:
            raise ERRORS[request]
        return request


@asynccontextmanager
async def served(*observers: Any) -> AsyncIterator[Any]:
    async with (
        listening(*observers) as address,
        grpc.aio.insecure_channel(address) as channel,
    ):
        yield channel


@asynccontextmanager
async def listening(*observers: Any) -> AsyncIterator[str]:
    """Calls with one request are served in each way: by grpc.aio, and straight, unary ones among others or first."""
    server = grpc.aio.server()
    straight = StraightCalls.of(server)
    assert straight is not None
    handlers = Handlers()
    methods: dict[str, Any] = {
        "Unary": grpc.unary_unary_rpc_method_handler(handlers.unary, _read),
        "ServerStream": grpc.unary_stream_rpc_method_handler(handlers.server_stream, _read),
        "ClientStream": grpc.stream_unary_rpc_method_handler(handlers.client_stream, _read),
        "BidiStream": grpc.stream_stream_rpc_method_handler(handlers.bidi_stream, _read),
    }
    observers = (RequestIds(), *observers)
    Registrar(server, observers, stall_seconds=60).add_registered_method_handlers(SERVICE, methods)
    registrar = Registrar(server, observers, 60, straight)
    unary: Any = grpc.unary_unary_rpc_method_handler(handlers.unary, _read)
    stream: Any = grpc.unary_stream_rpc_method_handler(handlers.server_stream, _read)
    registrar.register(SERVICE, {"Straight": unary, "StraightStream": stream}, straight)
    registrar.add_registered_method_handlers(SERVICE, {"Other": unary})
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    straight.begin()
    yield f"127.0.0.1:{port}"
    await server.stop(None)
    await straight.close()


def _read(request: bytes) -> bytes:
    if request == b"nonsense":
        raise DecodeError
    return request


async def call(channel: Any, kind: str, *messages: bytes) -> list[bytes]:
    path = f"/{SERVICE}/{kind}"
    if kind in ("Unary", "Straight", "Other"):
        return [await channel.unary_unary(path)(messages[0])]
    if kind in ("ServerStream", "StraightStream"):
        return [answer async for answer in channel.unary_stream(path)(messages[0])]
    if kind == "ClientStream":
        return [await channel.stream_unary(path)(iter(messages))]
    return [answer async for answer in channel.stream_stream(path)(iter(messages))]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("message", "code", "reason", "fields", "retry"),
    [
        (b"not found", "NOT_FOUND", "LAYER_NOT_FOUND", (), None),
        (b"invalid", "INVALID_ARGUMENT", "REQUIRED", ("query",), None),
        (b"exhausted", "RESOURCE_EXHAUSTED", "OVERLOADED", (), 0.25),
        (b"bug", "INTERNAL", "INTERNAL", (), None),
    ],
)
async def test_an_error_becomes_a_status_with_details(
    kind: str, message: bytes, code: str, reason: str, fields: tuple[str, ...], retry: float | None
) -> None:
    witness = Witness()
    async with served(witness) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call(channel, kind, message)
    seen = refusal(caught.value)
    assert (seen.code, seen.reason, seen.fields, seen.retry_seconds) == (code, reason, fields, retry)
    assert "secret" not in seen.message
    assert seen.request_id
    assert [each.code.name for each in witness.calls] == [code]


@pytest.mark.parametrize(
    ("kind", "messages", "received", "sent"),
    [
        ("Unary", [b"a"], 1, 1),
        ("Straight", [b"a"], 1, 1),
        ("ServerStream", [b"a"], 1, 2),
        ("StraightStream", [b"a"], 1, 2),
        ("ClientStream", [b"a", b"b", b"c"], 3, 1),
        ("BidiStream", [b"a", b"b", b"c"], 3, 3),
    ],
)
async def test_messages_are_counted_both_ways(kind: str, messages: list[bytes], received: int, sent: int) -> None:
    witness = Witness()
    async with served(witness) as channel:
        await call(channel, kind, *messages)
    (ended,) = witness.calls
    assert (ended.received, ended.sent, ended.code) == (received, sent, grpc.StatusCode.OK)


@pytest.mark.parametrize("kind", KINDS)
async def test_a_refusal_ends_the_call_and_only_those_who_were_told_of_it_hear_of_its_end(kind: str) -> None:
    before = Witness()
    gate = Witness(refuse=ResourceExhausted(Reason.OVERLOADED, "no room", retry_after=1.0))
    behind = Witness()
    async with served(before, gate, behind) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call(channel, kind, b"a")
    assert refusal(caught.value).reason == "OVERLOADED"
    assert (before.begun, len(before.calls)) == ([kind], 1)
    assert (gate.begun, len(gate.calls)) == ([kind], 0)
    assert (behind.begun, len(behind.calls)) == ([], 0)


@pytest.mark.parametrize("kind", ["ServerStream", "StraightStream"])
async def test_a_cancelled_stream_ends_as_cancelled(kind: str) -> None:
    witness = Witness()
    async with served(witness) as channel:
        stream = channel.unary_stream(f"/{SERVICE}/{kind}")(b"wait")
        assert await stream.read() == b"first"
        stream.cancel()
        async with asyncio.timeout(20):
            await witness.over.wait()
    assert [each.code for each in witness.calls] == [grpc.StatusCode.CANCELLED]


@pytest.mark.parametrize("kind", ["Unary", "Straight"])
async def test_a_call_whose_caller_leaves_ends_as_cancelled(kind: str) -> None:
    witness = Witness()
    async with served(witness) as channel:
        waiting = channel.unary_unary(f"/{SERVICE}/{kind}")(b"wait")
        async with asyncio.timeout(20):
            await witness.there.wait()
            waiting.cancel()
            await witness.over.wait()
    assert [each.code for each in witness.calls] == [grpc.StatusCode.CANCELLED]


@pytest.mark.parametrize("kind", ["Unary", "Straight"])
async def test_a_call_whose_deadline_passes_ends_as_that(kind: str) -> None:
    witness = Witness()
    async with served(witness) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await channel.unary_unary(f"/{SERVICE}/{kind}")(b"wait", timeout=2)
        async with asyncio.timeout(20):
            await witness.over.wait()
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert [each.code for each in witness.calls] == [grpc.StatusCode.DEADLINE_EXCEEDED]


@pytest.mark.parametrize("kind", ["Unary", "Straight"])
async def test_a_handler_may_end_its_call_itself(kind: str) -> None:
    witness = Witness()
    async with served(witness) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call(channel, kind, b"abort")
        async with asyncio.timeout(20):
            await witness.over.wait()
    assert (caught.value.code(), caught.value.details()) == (grpc.StatusCode.DATA_LOSS, "in its own words")
    assert dict(caught.value.trailing_metadata())["more"] == "said"
    assert [each.code for each in witness.calls] == [grpc.StatusCode.DATA_LOSS]


@pytest.mark.parametrize("kind", KINDS)
async def test_bytes_that_are_no_message_are_the_callers_mistake(kind: str) -> None:
    async with served() as channel:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call(channel, kind, b"nonsense")
    seen = refusal(caught.value)
    assert (seen.code, seen.reason) == ("INVALID_ARGUMENT", "INVALID_ENCODING")


async def test_calls_that_come_straight_know_who_calls_and_until_when() -> None:
    witness = Witness()
    async with served(witness) as channel:
        await channel.unary_unary(f"/{SERVICE}/Straight")(b"a", timeout=60)
        await channel.unary_unary(f"/{SERVICE}/Straight")(b"a", metadata=(("name", "value"),))
    first, second = (each.context for each in witness.calls)
    assert 0 < (first.time_remaining() or 0.0) <= 60
    assert second.time_remaining() is None
    assert ("name", "value") in (second.invocation_metadata() or ())
    assert first.peer().startswith("ipv4:127.0.0.1:")


async def test_many_calls_at_once_are_each_answered_with_their_own() -> None:
    """More than gRPC may hand over at once, and more steps than are taken in a row."""
    async with served() as channel:
        invoke = channel.unary_unary(f"/{SERVICE}/Straight")
        asked = [b"%d" % number for number in range(500)]
        assert await asyncio.gather(*(invoke(each) for each in asked)) == asked


async def test_others_do_not_wait_for_all_calls_of_a_method() -> None:
    """All are there before any is looked at."""
    known, witness = servers(), Witness()
    async with listening(witness) as address:
        with grpc.insecure_channel(address) as channel:  # the event loop stands still meanwhile
            straight: Any = channel.unary_unary(f"/{SERVICE}/Straight")
            other: Any = channel.unary_unary(f"/{SERVICE}/Other")
            calls = [each.future(b"a") for each in (*[straight] * 500, other)]
            eventually(lambda: Backlog(known).calls() == len(calls), within=20)
            assert not witness.begun
            for call in calls:
                assert await asyncio.to_thread(call.result, 20) == b"a"
    assert witness.begun.index("Other") < len(calls) / 2


async def test_a_server_that_stops_lets_straight_calls_end_and_cuts_off_those_that_do_not() -> None:
    witness = Witness()
    async with served(witness) as channel:
        waiting = channel.unary_unary(f"/{SERVICE}/Straight")(b"wait")
        async with asyncio.timeout(20):
            await witness.there.wait()
    with pytest.raises((grpc.aio.AioRpcError, asyncio.CancelledError)):
        await waiting
    async with asyncio.timeout(20):
        await witness.over.wait()
    assert [each.code for each in witness.calls] == [grpc.StatusCode.CANCELLED]


async def test_where_the_servers_core_is_not_found_no_call_comes_straight() -> None:
    assert StraightCalls.of(object()) is None  # type: ignore[arg-type]
