"""Calls of one RPC after another: with bytes that may be no message, requests made from descriptors, and mutants."""

import time
from collections.abc import Callable, Sequence
from contextlib import suppress

from hypothesis import HealthCheck, Phase, given, note, seed, settings
from hypothesis import strategies as st

from tests.fuzz import goldens, mutations
from tests.fuzz.caller import Fault, call, shown
from tests.fuzz.contract import Rpc
from tests.fuzz.messages import Requests
from tests.fuzz.stage import Stage

MOST_EXAMPLES = 1_000_000


class Enough(BaseException):
    """The time for an RPC is over; no failure to look into."""


class Fuzzing:
    """Of a stage, whose calls as they should be are `known`."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self._known, world = goldens.recorded(stage.channel)
        self._requests = Requests(world)
        stage.warm()

    def run(self, rpc: Rpc, number: int, seconds: float) -> int:
        """So long, and how many calls that were. What fails is made smaller, and raised as a Fault."""
        until = time.monotonic() + seconds
        failed = False
        count = 0

        def once(messages: tuple[bytes, ...]) -> None:
            nonlocal failed, count
            if count and not failed and time.monotonic() > until:
                raise Enough
            count += 1
            try:
                self.once(rpc, messages)
            except Fault:
                failed = True
                note(f"{shown(rpc, messages)}\n{self.stage.last_error()}")
                raise

        self.stage.forget_log()
        with suppress(Enough):
            _repeated(self.calls(rpc), number)(once)
        self.stage.check_log()
        return count

    def once(self, rpc: Rpc, messages: Sequence[bytes]) -> None:
        outcome = call(self.stage.channel, rpc, messages)
        self.stage.told[outcome.code] += 1
        if outcome.code == "DEADLINE_EXCEEDED":
            self.stage.check_idle()
        self.stage.check_alive()

    def calls(self, rpc: Rpc) -> st.SearchStrategy[tuple[bytes, ...]]:
        """The messages of a call."""
        made = self._requests.of(rpc.takes)
        known = goldens.known_calls(rpc, self._known)
        streams = rpc.client_streaming
        several = st.lists(made, max_size=5).map(tuple) if streams else made.map(lambda each: (each,))
        noise = st.binary(max_size=64)
        arbitrary = st.lists(noise, max_size=3).map(tuple) if streams else noise.map(lambda each: (each,))
        return st.one_of(
            several, several, mutations.mutants(known, streams), mutations.mutants(known, streams), arbitrary
        )


def _repeated(
    strategy: st.SearchStrategy[tuple[bytes, ...]], number: int
) -> Callable[[Callable[[tuple[bytes, ...]], None]], None]:
    """Runs a test of one argument on examples that the number chooses."""
    limits = settings(
        max_examples=MOST_EXAMPLES,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        phases=(Phase.generate, Phase.shrink),
    )

    def run(test: Callable[[tuple[bytes, ...]], None]) -> None:
        seed(number)(limits(given(strategy)(test)))()

    return run
