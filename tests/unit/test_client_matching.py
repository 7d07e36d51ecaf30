"""The probes between their source and their answers."""

import pytest
from google.rpc import status_pb2

from spatial.v1 import query_pb2
from spatial_client import InternalError
from spatial_client._matching import CHUNK, CHUNK_BYTES, WINDOW, Matching, match_radius

QUESTION = match_radius("facilities", 500)


def matching(count: int) -> Matching[int]:
    made: Matching[int] = Matching(QUESTION, clock=lambda: 7.0)
    for key in range(count):
        made.add(key, (key / 100, 0))
    return made


def longitudes(request: query_pb2.MatchRequest | None) -> list[float]:
    assert request
    return [probe.probe.point.longitude for probe in request.probes]


def answer(count: int) -> query_pb2.MatchResponse:
    return query_pb2.MatchResponse(matches=[query_pb2.Match()] * count)


def test_the_first_message_says_what_is_asked_and_brings_what_is_there() -> None:
    made = matching(2)

    request = made.request()

    assert request
    assert request.query.radius.layer == "facilities"
    assert longitudes(request) == [0, 0.01]
    assert made.request() is None


def test_later_messages_bring_probes_only() -> None:
    made = matching(1)
    made.request()
    made.add(1, (0.01, 0))

    request = made.request()

    assert request
    assert not request.HasField("query")
    assert longitudes(request) == [0.01]


def test_without_a_probe_the_question_is_asked_nevertheless() -> None:
    assert matching(0).request() == QUESTION.opening


def test_a_message_has_so_many_probes_at_most() -> None:
    made = matching(CHUNK + 1)

    assert [len(longitudes(made.request())) for _ in range(2)] == [CHUNK, 1]


def test_a_message_has_so_many_bytes_at_most_unless_one_probe_is_larger() -> None:
    made: Matching[int] = Matching(QUESTION)
    for key, size in enumerate([CHUNK_BYTES // 2, CHUNK_BYTES // 3, CHUNK_BYTES // 3, CHUNK_BYTES * 2, 10]):
        made.add(key, b"x" * size)

    sizes = []
    while request := made.request():
        sizes.append(len(request.probes))

    assert sizes == [2, 1, 1, 1]


def test_answers_come_back_under_the_caller_s_keys_in_order() -> None:
    made: Matching[object] = Matching(QUESTION)
    for key in ("a", 2, ("a", "tuple")):
        made.add(key, (0, 0))
    made.request()

    assert [match.key for match in made.answers(answer(2))] == ["a", 2]
    assert [match.key for match in made.answers(answer(1))] == [("a", "tuple")]


def test_a_refused_probe_has_its_error() -> None:
    made = matching(1)
    made.request()
    response = query_pb2.MatchResponse(matches=[query_pb2.Match(error=status_pb2.Status(code=3, message="not so"))])

    (match,) = made.answers(response)

    assert match.error
    assert (match.error.code, match.error.message, match.features) == ("INVALID_ARGUMENT", "not so", [])


def test_the_source_is_read_no_further_than_the_window() -> None:
    made = matching(WINDOW - 1)
    assert made.has_room
    made.add(WINDOW, (0, 0))
    assert not made.has_room

    made.request()
    made.answers(answer(1))

    assert made.has_room


def test_after_a_cut_what_was_not_answered_is_sent_again() -> None:
    made = matching(4)
    made.request()
    made.answers(answer(1))

    made.begin()
    request = made.request()

    assert request
    assert request.HasField("query")
    assert longitudes(request) == [0.01, 0.02, 0.03]
    assert [match.key for match in made.answers(answer(3))] == [1, 2, 3]
    made.end()


def test_an_answer_is_due_only_while_something_is_asked() -> None:
    made = matching(1)
    assert made.waiting_since is None
    made.request()
    assert made.waiting_since == 7.0
    made.answers(answer(1))
    assert made.waiting_since is None


def test_a_service_that_leaves_probes_unanswered_is_found_out() -> None:
    made = matching(1)
    made.request()

    with pytest.raises(InternalError):
        made.end()


def test_a_service_that_answers_too_much_is_found_out() -> None:
    made = matching(2)

    with pytest.raises(InternalError):
        made.answers(answer(1))
