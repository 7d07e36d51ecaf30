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
from google.protobuf.message import DecodeError, Message
from google.protobuf.message_factory import GetMessageClass
from grpc.aio import AbortError, Server

from service.errors import InvalidArgument, Reason
from service.interceptors.call import Call, Context, Method, Observer, Observers
from service.interceptors.errors import abort, code_of, ending
from service.interceptors.sending import open_stream, send
from service.interceptors.straight import Start, StraightCalls
from service.interceptors.straight_streams import StraightStream, opened

Read = Callable[[bytes], Any]

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

    def __init__(
        self,
        server: Server,
        observers: Sequence[Observer],
        stall_seconds: float,
        straight: StraightCalls | None = None,
    ) -> None:
        """`straight` serves the unary calls of our services, where `server` lets it."""
        self._server = server
        self._straight = straight
        self._observers = Observers(observers)
        self._stall_seconds = stall_seconds
        self.methods: list[Method] = []

    def add(self, service: ServiceDescriptor, *servicers: object) -> None:
        """Registers a service of ours: each method by its name, from the first servicer that has it. One may have
        `readers` of its own for what is sent to methods; others are given messages."""
        handlers = {method.name: _handler(method, *_found(servicers, method.name)) for method in service.methods}
        self.register(service.full_name, handlers, self._straight)

    def add_generic_rpc_handlers(self, handlers: Sequence[grpc.GenericRpcHandler]) -> None:
        """For generated `add_…_to_server` functions, which give each handler in this way and in the next."""

    def add_registered_method_handlers(
        self, service: str, handlers: Mapping[str, grpc.RpcMethodHandler[Any, Any]]
    ) -> None:
        """Coroutines for unary calls come straight: an answer about health takes fewer turns of the event loop. All
        others may need what grpc.aio alone offers them."""
        quick = {name: each for name, each in handlers.items() if inspect.iscoroutinefunction(each.unary_unary)}
        self.register(service, quick, self._straight)
        self.register(service, {name: each for name, each in handlers.items() if name not in quick})

    def register(
        self,
        service: str,
        handlers: Mapping[str, grpc.RpcMethodHandler[Any, Any]],
        straight: StraightCalls | None = None,
    ) -> None:
        left = {}
        for name, handler in handlers.items():
            method = Method(service, name, _TYPES[bool(handler.request_streaming), bool(handler.response_streaming)])
            self.methods.append(method)
            if straight is not None and method.type == "unary":
                straight.add(f"/{service}/{name}", _started(method, handler, self._observers))
            elif straight is not None and method.type == "server_stream":
                handle: Any = self._wrapped(method, handler).unary_stream
                start = opened(handle, handler.response_serializer or bytes)
                straight.add(f"/{service}/{name}", start, StraightStream)
            else:
                left[name] = self._wrapped(method, handler)
        self._server.add_registered_method_handlers(service, left)

    def _wrapped(self, method: Method, handler: grpc.RpcMethodHandler[Any, Any]) -> grpc.RpcMethodHandler[Any, Any]:
        streams = (bool(handler.request_streaming), bool(handler.response_streaming))
        behaviour: Any = handler.unary_unary or handler.unary_stream or handler.stream_unary or handler.stream_stream
        read: Any = handler.request_deserializer or bytes
        if handler.response_streaming and not inspect.iscoroutinefunction(behaviour):
            handle = _streamed(method, behaviour, read, self._observers, self._stall_seconds)
        else:
            handle = _awaited(method, behaviour, read, self._observers)
        return _METHOD_HANDLERS[streams](
            handle,
            request_deserializer=None,  # what is no message is refused by us: gRPC would answer UNKNOWN
            response_serializer=handler.response_serializer,
        )


_METHOD_HANDLERS: Mapping[tuple[bool, bool], Callable[..., grpc.RpcMethodHandler[Any, Any]]] = {
    (False, False): grpc.unary_unary_rpc_method_handler,
    (False, True): grpc.unary_stream_rpc_method_handler,
    (True, False): grpc.stream_unary_rpc_method_handler,
    (True, True): grpc.stream_stream_rpc_method_handler,
}


def _found(servicers: Sequence[object], name: str) -> tuple[Callable[..., Any], Read | None]:
    servicer = next(each for each in servicers if hasattr(each, name))
    return getattr(servicer, name), getattr(servicer, "readers", {}).get(name)


def _handler(
    method: MethodDescriptor, behaviour: Callable[..., Any], read: Read | None
) -> grpc.RpcMethodHandler[Any, Any]:
    make = _METHOD_HANDLERS[method.client_streaming, method.server_streaming]
    request: type[Message] = GetMessageClass(method.input_type)
    return make(behaviour, request_deserializer=read or request.FromString, response_serializer=_serialized)


def _serialized(response: Message | bytes) -> bytes:
    """Answers with many features are written as bytes by hand (codec/rows.py)."""
    return response if isinstance(response, bytes) else response.SerializeToString()


def _started(method: Method, handler: grpc.RpcMethodHandler[Any, Any], observers: Observers) -> Start:
    """For unary calls that come straight: they are refused before anything is made of what was sent."""
    read: Any = handler.request_deserializer or bytes
    write: Any = handler.response_serializer or bytes
    behaviour: Any = handler.unary_unary
    loop = asyncio.get_running_loop()

    def start(context: Any, request: bytes) -> asyncio.Task[None] | None:
        call = Call(method, context)
        try:
            observers.begin(call)
        except Exception as error:
            _failed(call, error, observers)
            context.end(*ending(call))
            return None
        return loop.create_task(serve(call, context, request))

    async def serve(call: Call, context: Any, request: bytes) -> None:
        try:
            context.enter()
            response = write(await behaviour(_read(read, request, call), context))
        except (asyncio.CancelledError, AbortError) as error:
            _failed(call, error, observers)
        except Exception as error:
            _failed(call, error, observers)
            context.end(*ending(call))
        else:
            call.sent = 1
            observers.end(call)
            context.answer(response)
        finally:
            context.leave()

    return start


def _read(read: Callable[[bytes], Any], request: bytes, call: Call) -> Any:
    call.received += 1
    try:
        return read(request)
    except DecodeError:
        raise InvalidArgument(Reason.INVALID_ENCODING, "the request is no message of its type") from None


class _Served:
    """The time in which a call is served: tells the observers, and notes what the call ended as.

    Swallows the errors that are still to be answered with a status; `abort` does that once the observers know.
    """

    __slots__ = ("_call", "_observers")

    def __init__(self, method: Method, context: Context, observers: Observers) -> None:
        self._call = Call(method, context)
        self._observers = observers

    def __enter__(self) -> Call:
        return self._call

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> bool:
        if error is not None:
            _failed(self._call, error, self._observers)
        else:
            self._observers.end(self._call)
        return isinstance(error, Exception) and not isinstance(error, AbortError)


def _failed(call: Call, error: BaseException, observers: Observers) -> None:
    call.error = error
    call.code = code_of(call, error)
    observers.end(call)


def _awaited(
    method: Method,
    behaviour: Callable[..., Awaitable[Any]],
    read: Callable[[bytes], Any],
    observers: Observers,
) -> Callable[..., Awaitable[Any]]:
    """For handlers that are coroutines: one response, or messages written to the context."""
    received = _receiver(method, read)

    async def handle(request: Any, context: Context) -> Any:
        with _Served(method, context, observers) as call:
            observers.begin(call)
            response = await behaviour(received(request, call), context)
            call.sent = 1
            return response
        return await abort(call)

    return handle


def _streamed(
    method: Method,
    behaviour: Callable[..., AsyncGenerator[Any]],
    read: Callable[[bytes], Any],
    observers: Observers,
    stall_seconds: float,
) -> Callable[..., Awaitable[Any]]:
    """For handlers that give an asynchronous generator. It is closed as soon as the call ends, however that is."""
    received = _receiver(method, read)

    async def handle(request: Any, context: Context) -> None:
        with _Served(method, context, observers) as call:
            observers.begin(call)
            async with aclosing(behaviour(received(request, call), context)) as responses:
                async for response in responses:
                    if not call.sent:
                        await open_stream(context)
                    await send(context, response, stall_seconds)
                    call.sent += 1
            return
        await abort(call)

    return handle


def _receiver(method: Method, read: Callable[[bytes], Any]) -> Callable[[Any, Call], Any]:
    """Reads and counts what comes in: one request, or each of a stream's as it is asked for."""

    def one(request: bytes, call: Call) -> Any:
        return _read(read, request, call)

    async def each(requests: AsyncIterator[bytes], call: Call) -> AsyncIterator[Any]:
        async for request in requests:
            yield _read(read, request, call)

    return each if method.type in ("client_stream", "bidi_stream") else one
