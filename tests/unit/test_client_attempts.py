"""Whether and when a call is made again, and where a stream goes on."""

import pytest

from spatial.v1 import feature_pb2, query_pb2
from spatial_client import (
    Cancelled,
    DeadlineExceeded,
    InternalError,
    InvalidArgument,
    NotFound,
    ResourceExhausted,
    Retry,
    SpatialError,
    Unavailable,
)
from spatial_client._attempts import Attempts, is_cut, is_shed
from spatial_client._streams import ROWS, Resumption, stream_features

SHED = ResourceExhausted("later", reason="OVERLOADED", retry_after=0.2)
AWAY = Unavailable("gone")


class Clock:
    """Time that passes only when it is told to."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize(
    ("error", "shed", "cut"),
    [
        pytest.param(SHED, True, True, id="shed, with the time to come again"),
        pytest.param(ResourceExhausted("", reason="RESPONSE_TOO_LARGE"), False, False, id="too large"),
        pytest.param(AWAY, False, True, id="connection lost"),
        pytest.param(Unavailable("", reason="SHUTTING_DOWN", retry_after=1), False, True, id="shutting down"),
        pytest.param(Cancelled(""), False, True, id="cancelled by what is between"),
        pytest.param(InternalError(""), False, True, id="reset by what is between"),
        pytest.param(InternalError("", reason="INTERNAL"), False, False, id="a bug of the service"),
        pytest.param(DeadlineExceeded("", reason="STREAM_STALLED"), False, True, id="stalled"),
        pytest.param(DeadlineExceeded("", reason="STATEMENT_TIMEOUT"), False, False, id="statement timeout"),
        pytest.param(DeadlineExceeded(""), False, False, id="the caller's own timeout"),
        pytest.param(InvalidArgument("", reason="REQUIRED"), False, False, id="a mistake"),
        pytest.param(NotFound("", reason="LAYER_NOT_FOUND"), False, False, id="not found"),
    ],
)
def test_which_errors_pass(error: SpatialError, shed: bool, cut: bool) -> None:
    assert (is_shed(error), is_cut(error)) == (shed, cut)


def test_the_service_s_word_when_to_come_again_is_kept_and_a_little_added() -> None:
    pauses = [Attempts(Retry(), None, is_shed).pause_after(SHED) for _ in range(50)]

    assert all(0.2 <= pause <= 0.25 for pause in pauses)
    assert len(set(pauses)) > 1


def test_without_its_word_pauses_double_up_to_the_longest() -> None:
    attempts = Attempts(Retry(attempts=6, first_pause=1, longest_pause=5), None, is_cut)

    for expected in (1, 2, 4, 5, 5):
        assert expected <= attempts.pause_after(AWAY) <= expected * 1.25
    with pytest.raises(Unavailable):
        attempts.pause_after(AWAY)


def test_progress_begins_the_count_anew() -> None:
    attempts = Attempts(Retry(attempts=2), None, is_cut)

    for _ in range(5):
        attempts.pause_after(AWAY)
        attempts.progressed()


def test_one_attempt_means_never_again() -> None:
    with pytest.raises(ResourceExhausted):
        Attempts(Retry(attempts=1), None, is_shed).pause_after(SHED)


def test_what_does_not_pass_is_raised_at_once() -> None:
    with pytest.raises(Unavailable):
        Attempts(Retry(), None, is_shed).pause_after(AWAY)


def test_attempts_share_one_timeout() -> None:
    clock = Clock()
    attempts = Attempts(Retry(), 10, is_shed, clock)
    clock.now = 7

    assert attempts.remaining() == 3
    clock.now = 11
    assert attempts.remaining() == 0


def test_nobody_waits_for_an_attempt_that_would_come_too_late() -> None:
    clock = Clock()
    attempts = Attempts(Retry(), 1, is_shed, clock)
    clock.now = 0.85

    with pytest.raises(ResourceExhausted):
        attempts.pause_after(SHED)


def batch(*ids: str, token: str = "") -> feature_pb2.FeatureBatch:
    rows = feature_pb2.FeatureRows(features=[feature_pb2.Feature(id=each) for each in ids])
    return feature_pb2.FeatureBatch(rows=rows, resume_token=token)


def test_a_resumable_stream_goes_on_after_the_batch_that_came_last() -> None:
    resumption = Resumption(stream_features("zones", resumable=True), ROWS, Retry())
    assert resumption.request == query_pb2.StreamFeaturesRequest(
        query=query_pb2.LayerQuery(layer="zones"),
        output=query_pb2.Output(view="GEOMETRY_VIEW_FULL"),
        layout="BATCH_LAYOUT_ROWS",
        resumable=True,
    )

    assert [feature.id for feature in resumption.received(batch("1", "2", token="after 2"))] == ["1", "2"]
    resumption.pause_after(AWAY)

    assert resumption.request.resume_token == resumption.token == "after 2"


def test_a_stream_that_is_not_resumable_is_not_begun_anew_once_it_has_delivered() -> None:
    resumption = Resumption(stream_features("zones"), ROWS, Retry())
    resumption.pause_after(SHED)
    resumption.received(batch("1"))

    with pytest.raises(Unavailable):
        resumption.pause_after(AWAY)


def test_a_token_makes_a_stream_resumable() -> None:
    assert stream_features("zones", resume_token="after 2").request.resumable


def test_reading_a_stream_leaves_its_definition_as_it_was() -> None:
    stream = stream_features("zones", resumable=True)
    Resumption(stream, ROWS, Retry()).received(batch("1", token="after 1"))

    assert stream.request.resume_token == ""
