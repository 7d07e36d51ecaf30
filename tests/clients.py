"""Both clients behind one face, so that a test says once what both must do."""

import asyncio
import inspect
from collections.abc import AsyncGenerator, Iterator
from typing import Any, Self

from spatial_client import AsyncSpatialClient, AsyncStream


class Blocking:
    """An `AsyncSpatialClient` for tests without an event loop: coroutines are run, what is asynchronous is iterated."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        self._runner = asyncio.Runner()
        self._object: Any = AsyncSpatialClient(*arguments, **options)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with self._runner:
            self._runner.run(self._object.close())

    def __getattr__(self, name: str) -> Any:
        return _blocking(getattr(self._object, name), self._runner)


class _BlockingStream:
    def __init__(self, stream: AsyncStream[Any], runner: asyncio.Runner) -> None:
        self._stream = stream
        self._runner = runner

    def __iter__(self) -> Iterator[Any]:
        return _iterated(self._stream.__aiter__(), self._runner)

    def __getattr__(self, name: str) -> Any:
        return _blocking(getattr(self._stream, name), self._runner)


def _blocking(value: Any, runner: asyncio.Runner) -> Any:
    if inspect.isroutine(value):
        return lambda *arguments, **options: _blocking(value(*arguments, **options), runner)
    if inspect.iscoroutine(value):
        return runner.run(value)
    if inspect.isasyncgen(value):
        return _iterated(value, runner)
    return _BlockingStream(value, runner) if isinstance(value, AsyncStream) else value


def _iterated(generator: Any, runner: asyncio.Runner) -> Iterator[Any]:
    async def following(of: AsyncGenerator[Any, None]) -> Any:
        return await anext(of, StopIteration)

    complete = runner.get_loop().run_until_complete  # half of what `run` costs, which counts where features are many
    try:
        while (each := complete(following(generator))) is not StopIteration:
            yield each
    finally:
        runner.run(generator.aclose())
