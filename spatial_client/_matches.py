"""Matching with threads: one reads the source, gRPC's sends what is there, the caller's reads answers."""

import time
from collections.abc import Callable, Generator, Iterable, Iterator
from threading import Condition, Thread
from typing import Any, Generic, TypeVar

import grpc

from spatial.v1 import query_pb2
from spatial_client._attempts import Attempts, is_cut
from spatial_client._channels import Settings
from spatial_client._errors import error_of_call
from spatial_client._geometry import Probe
from spatial_client._idle import IdleLimit
from spatial_client._matching import Matching, Question
from spatial_client._values import Match

K = TypeVar("K")
Requests = Iterator[query_pb2.MatchRequest]


class Matches(Generic[K]):
    """One run over a source of probes."""

    def __init__(self, question: Question, probes: Iterable[tuple[K, Probe]], settings: Settings) -> None:
        self._probes = iter(probes)
        self._matching: Matching[K] = Matching(question)
        self._attempts = Attempts(settings.retry, question.timeout, is_cut)
        self._idle_timeout = settings.idle_timeout
        self._changed = Condition()
        self._calls = 0  # so far; only the last may send
        self._closed = False
        self._fault: BaseException | None = None  # what the source raised

    def run(self, start: Callable[[Requests, float | None], Any]) -> Generator[Match[K], None, None]:
        Thread(target=self._feed, name="spatial-probes", daemon=True).start()
        try:
            while True:
                call = start(self._begin(), self._attempts.remaining())
                try:
                    with IdleLimit(call, self._idle_timeout, lambda: self._matching.waiting_since) as limit:
                        for response in limit.messages():
                            yield from self._answers(response)
                    break
                except grpc.RpcError as error:
                    pause = self._attempts.pause_after(error_of_call(error))
                time.sleep(pause)
        finally:
            self._change(closed=True)
        self._matching.end()
        if self._fault is not None:
            raise self._fault

    def _feed(self) -> None:
        try:
            while self._wait_for_room():
                key, probe = next(self._probes)
                with self._changed:
                    self._matching.add(key, probe)
                    self._changed.notify_all()
        except StopIteration:
            pass
        except BaseException as error:
            self._fault = error
        self._change(exhausted=True)

    def _wait_for_room(self) -> bool:
        with self._changed:
            self._changed.wait_for(lambda: self._matching.has_room or self._closed)
            return not self._closed

    def _begin(self) -> Requests:
        with self._changed:
            self._calls += 1
            self._matching.begin()
            self._changed.notify_all()
            return self._requests(self._calls)

    def _requests(self, call: int) -> Requests:
        while (request := self._next_request(call)) is not None:
            yield request

    def _next_request(self, call: int) -> query_pb2.MatchRequest | None:
        """Waits for something to send; None when there will be nothing more, or when another call has taken over."""
        with self._changed:
            self._changed.wait_for(lambda: self._may_go_on(call))
            return None if self._closed or call != self._calls else self._matching.request()

    def _may_go_on(self, call: int) -> bool:
        over = self._closed or call != self._calls
        return over or self._matching.has_something_to_send or self._matching.exhausted

    def _answers(self, response: query_pb2.MatchResponse) -> list[Match[K]]:
        with self._changed:
            self._attempts.progressed()
            answers = self._matching.answers(response)
            self._changed.notify_all()
        return answers

    def _change(self, *, closed: bool = False, exhausted: bool = False) -> None:
        with self._changed:
            self._closed |= closed
            self._matching.exhausted |= exhausted
            self._changed.notify_all()
