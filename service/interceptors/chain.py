"""Wraps handlers in what happens around every call.

gRPC's own interceptors are asked anew for every call what to do with it; here each handler is wrapped once, when it is
registered, for all four kinds of RPC and for services that others wrote (health, reflection) alike.
"""

from __future__ import annotations  # grpc's classes are generic for type checkers only

import asyncio
import inspect
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from typing import Any

import grpc
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from grpc.aio import AbortError, InternalError, Server

from service.errors import DeadlineExceeded, Reason
from service.interceptors.call import Call, Context, Method, Observer
from service.interceptors.errors import abort, code_of

_TYPES = {
    (False, False): "unary",
    (False, True): "server_stream",
    (True, False): "client_stream",
    (True, True): "bidi_stream",
}


class Registrar:
    """Registers servicers on a server, with the observers around each of their handlers.

    The first observer is told first of a call's begin and last of its end.
    """

    def __init__(self, server: Server, observers: Sequence[Observer], stall_seconds: float) -> None:
        self._server = server
        self._observers = tuple(observers)
        self._stall_seconds = stall_seconds
        self.methods: list[Method] = []

    def add(self, service: ServiceDescriptor, *servicers: object) -> None:
        """Registers a service of ours: each method by its name, from the first servicer that has it."""
        handlers = {method.name: _handler(method, _found(servicers, method.name)) for method in service.methods}
        self.add_registered_method_handlers(service.full_name, handlers)

    def add_generic_rpc_handlers(self, handlers: Sequence[grpc.GenericRpcHandler]) -> None:
        """For generated `add_…_to_server` functions, which give each handler in this way and in the next."""

    def add_registered_method_handlers(
        self, service: str, handlers: Mapping[str, grpc.RpcMethodHandler[Any, Any]]
    ) -> None:
        wrapped = {name: self._wrapped(service, name, handler) for name, handler in handlers.items()}
        self._server.add_registered_method_handlers(service, wrapped)

    def _wrapped(
        self, service: str, name: str, handler: grpc.RpcMethodHandler[Any, Any]
    ) -> grpc.RpcMethodHandler[Any, Any]:
        streams = (bool(handler.request_streaming), bool(handler.response_streaming))
        method = Method(service, name, _TYPES[streams])
        self.methods.append(method)
        behaviour: Any = handler.unary_unary or handler.unary_stream or handler.stream_unary or handler.stream_stream
        if handler.response_streaming and not inspect.iscoroutinefunction(behaviour):
            handle = _streamed(method, behaviour, self._observers, self._stall_seconds)
        else:
            handle = _awaited(method, behaviour, self._observers)
        return _METHOD_HANDLERS[streams](
            handle,
            request_deserializer=handler.request_deserializer,
            response_serializer=handler.response_serializer,
        )


_METHOD_HANDLERS: Mapping[tuple[bool, bool], Callable[..., grpc.RpcMethodHandler[Any, Any]]] = {
    (False, False): grpc.unary_unary_rpc_method_handler,
    (False, True): grpc.unary_stream_rpc_method_handler,
    (True, False): grpc.stream_unary_rpc_method_handler,
    (True, True): grpc.stream_stream_rpc_method_handler,
}


def _found(servicers: Sequence[object], name: str) -> Callable[..., Any]:
    found: Callable[..., Any] = next(getattr(servicer, name) for servicer in servicers if hasattr(servicer, name))
    return found


def _handler(method: MethodDescriptor, behaviour: Callable[..., Any]) -> grpc.RpcMethodHandler[Any, Any]:
    make = _METHOD_HANDLERS[method.client_streaming, method.server_streaming]
    request: type[Message] = GetMessageClass(method.input_type)
    return make(behaviour, request_deserializer=request.FromString, response_serializer=_serialized)


def _serialized(response: Message | bytes) -> bytes:
    """Answers with many features are written as bytes by hand (codec/rows.py)."""
    return response if isinstance(response, bytes) else response.SerializeToString()


class _Served:
    """The time in which a call is served: tells the observers, and notes what the call ended as.

    Swallows the errors that are still to be answered with a status; `abort` does that once the observers know.
    """

    __slots__ = ("_call", "_observers")

    def __init__(self, method: Method, context: Context, observers: tuple[Observer, ...]) -> None:
        self._call = Call(method, context)
        self._observers = observers

    def __enter__(self) -> Call:
        return self._call

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> bool:
        call = self._call
        if error is not None:
            call.error = error
            call.code = code_of(call, error)
        for observer in reversed(self._observers[: call.known_to]):
            observer.ended(call)
        return isinstance(error, Exception) and not isinstance(error, AbortError)


def _begin(call: Call, observers: tuple[Observer, ...]) -> None:
    for observer in observers:
        observer.started(call)
        call.known_to += 1


def _awaited(
    method: Method, behaviour: Callable[..., Awaitable[Any]], observers: tuple[Observer, ...]
) -> Callable[..., Awaitable[Any]]:
    """For handlers that are coroutines: one response, or messages written to the context."""
    received = _receiver(method)

    async def handle(request: Any, context: Context) -> Any:
        with _Served(method, context, observers) as call:
            _begin(call, observers)
            response = await behaviour(received(request, call), context)
            call.sent = 1
            return response
        return await abort(call)

    return handle


def _streamed(
    method: Method,
    behaviour: Callable[..., AsyncGenerator[Any]],
    observers: tuple[Observer, ...],
    stall_seconds: float,
) -> Callable[..., Awaitable[Any]]:
    """For handlers that give an asynchronous generator. It is closed as soon as the call ends, however that is."""
    received = _receiver(method)

    async def handle(request: Any, context: Context) -> None:
        with _Served(method, context, observers) as call:
            _begin(call, observers)
            async with aclosing(behaviour(received(request, call), context)) as responses:
                async for response in responses:
                    if not call.sent:
                        await _open(context)
                    await _write(context, response, stall_seconds)
                    call.sent += 1
            return
        await abort(call)

    return handle


async def _open(context: Context) -> None:
    """Before the first message: gRPC would send this along with it, and again with the status of a call whose first
    message its reader has no room for; that fails, and the call would never end."""
    try:
        await context.send_initial_metadata(())
    except InternalError as error:
        raise asyncio.CancelledError from error


async def _write(context: Context, response: Any, stall_seconds: float) -> None:
    """Returns when the reader's window has room for more."""
    try:
        async with asyncio.timeout(stall_seconds):
            await context.write(response)
    except TimeoutError:
        raise DeadlineExceeded(
            Reason.STREAM_STALLED, f"the reader of this stream made no room for more within {stall_seconds:g} s"
        ) from None
    except InternalError as error:  # the call has ended, and its cancellation is on its way here
        raise asyncio.CancelledError from error


def _receiver(method: Method) -> Callable[[Any, Call], Any]:
    """Counts what comes in: one request, or each of a stream's as it is read."""

    def one(request: Any, call: Call) -> Any:
        call.received = 1
        return request

    async def each(requests: AsyncIterator[Any], call: Call) -> AsyncIterator[Any]:
        async for request in requests:
            call.received += 1
            yield request

    return each if method.type in ("client_stream", "bidi_stream") else one
