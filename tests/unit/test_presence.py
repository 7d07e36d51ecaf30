"""Whether callers wait just now: those of calls with one answer, while it could still come soon."""

from typing import Any

import pytest

from service.interceptors import presence
from service.interceptors.call import Call, Method
from service.interceptors.presence import QUIET_SECONDS, SLOW_SECONDS, Presence


class Nobody:
    def invocation_metadata(self) -> None:
        return None


def call(kind: str) -> Call:
    context: Any = Nobody()
    return Call(Method("spatial.v1.SpatialService", "Any", kind), context)


@pytest.fixture
def at(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Says what time it is."""

    def at(seconds: float) -> None:
        monkeypatch.setattr(presence, "perf_counter", lambda: 100.0 + seconds)

    at(0)
    return at


def test_nobody_has_called() -> None:
    assert not Presence().felt()


def test_a_caller_is_there_until_shortly_after_the_answer(at: Any) -> None:
    present = Presence()
    present.started(call("unary"))
    assert present.felt()
    at(0.01)
    present.ended(call("unary"))
    at(0.01 + QUIET_SECONDS / 2)
    assert present.felt()
    at(0.01 + QUIET_SECONDS * 2)
    assert not present.felt()


def test_a_caller_who_asked_for_something_slow_is_not_waited_for(at: Any) -> None:
    present = Presence()
    present.started(call("unary"))
    at(SLOW_SECONDS * 2)
    assert not present.felt()
    present.started(call("unary"))
    assert present.felt(), "the one who came since may be quick"


def test_streams_make_no_way_for_each_other(at: Any) -> None:
    present = Presence()
    for kind in ("server_stream", "bidi_stream", "client_stream"):
        present.started(call(kind))
        assert not present.felt()
        present.ended(call(kind))
        assert not present.felt()
