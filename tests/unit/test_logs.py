"""A line an event, for machines or for people."""

import json
import logging
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from service.observability.logs import REQUEST_ID, TRACE_ID, ConsoleLines, JsonLines, Sampling, configure
from service.settings import Settings


def record(message: str = "call", *arguments: object, level: int = logging.INFO, **more: Any) -> logging.LogRecord:
    made = logging.LogRecord("spatial.call", level, __file__, 1, message, arguments, more.pop("exc_info", None))
    made.created = 1_700_000_000.125
    vars(made).update(more)
    return made


@pytest.fixture
def request_id() -> Iterator[str]:
    token = REQUEST_ID.set("abc-1")
    yield "abc-1"
    REQUEST_ID.reset(token)


def failure() -> Any:
    try:
        raise ValueError("first line\nsecond line")
    except ValueError:
        return sys.exc_info()


def test_a_json_line_has_the_time_the_level_the_logger_the_message_and_the_request_id(request_id: str) -> None:
    assert json.loads(JsonLines().format(record("%s of %d", "one", 2, level=logging.WARNING))) == {
        "time": "2023-11-14T22:13:20.125+00:00",
        "level": "warning",
        "logger": "spatial.call",
        "message": "one of 2",
        "request_id": request_id,
    }


def test_outside_of_calls_the_request_id_is_a_dash() -> None:
    assert json.loads(JsonLines().format(record()))["request_id"] == "-"


def test_a_json_line_has_the_fields_of_its_event() -> None:
    line = json.loads(JsonLines().format(record(fields={"code": "OK", "milliseconds": 1.5, "odd": {1}})))
    assert (line["code"], line["milliseconds"], line["odd"]) == ("OK", 1.5, "{1}")


@pytest.mark.parametrize("message", ["two\nlines", 'quote "', "\u2028", "\x1b[31m"])
def test_whatever_is_logged_is_one_line_of_json(message: str) -> None:
    line = JsonLines().format(record(message, exc_info=failure()))
    assert len(line.splitlines()) == 1
    assert line.isascii()
    assert json.loads(line)["message"] == message
    assert "ValueError: first line\nsecond line" in json.loads(line)["exception"]


def test_a_line_for_people(request_id: str) -> None:
    line = ConsoleLines().format(record("call", fields={"code": "OK", "sent": 1}))
    assert line == "22:13:20 info    call code=OK sent=1 [abc-1]"


def test_a_failure_for_people_comes_with_its_trace() -> None:
    head, trace, *_ = ConsoleLines().format(record(exc_info=failure())).splitlines()
    assert head == "22:13:20 info    call [-]"
    assert trace == "Traceback (most recent call last):"


@pytest.fixture
def root() -> Iterator[logging.Logger]:
    """The root logger, put back as it was."""
    logger = logging.getLogger()
    handlers, level = list(logger.handlers), logger.level
    quieted = {name: logging.getLogger(name).level for name in ("alembic", "_cygrpc")}
    logger.handlers.clear()  # those of the test runner would be closed
    yield logger
    logger.handlers[:] = handlers
    logger.setLevel(level)
    for name, before in quieted.items():
        logging.getLogger(name).setLevel(before)


@pytest.mark.parametrize("form", ["json", "console"])
def test_logs_go_to_standard_error_in_the_form_that_is_set(
    root: logging.Logger, capsys: pytest.CaptureFixture[str], form: str
) -> None:
    configure(Settings(log_format=form, log_level="warning"))
    logging.getLogger("spatial.test").info("quiet")
    logging.getLogger("spatial.test").warning("loud")
    written = capsys.readouterr()
    assert written.out == ""
    (line,) = written.err.splitlines()
    assert ("loud" in line, line.startswith("{")) == (True, form == "json")


def test_chatty_libraries_are_heard_from_warnings_on(root: logging.Logger, capsys: pytest.CaptureFixture[str]) -> None:
    configure(Settings(log_level="debug"))
    logging.getLogger("alembic.runtime").info("Context impl PostgresqlImpl.")
    logging.getLogger("alembic.runtime").warning("watch out")
    assert [json.loads(line)["message"] for line in capsys.readouterr().err.splitlines()] == ["watch out"]


def test_a_json_line_of_a_traced_call_names_the_trace() -> None:
    token = TRACE_ID.set("0af7651916cd43dd8448eb211c80319c")
    try:
        assert json.loads(JsonLines().format(record()))["trace_id"] == "0af7651916cd43dd8448eb211c80319c"
    finally:
        TRACE_ID.reset(token)


def refused(**fields: str) -> logging.LogRecord:
    return record(fields={"method": "A/B", "code": "RESOURCE_EXHAUSTED", "reason": "OVERLOADED", **fields})


def test_of_a_flood_of_one_kind_so_many_lines_a_second_are_written_and_the_rest_is_counted() -> None:
    now = 0.0
    sampling = Sampling(3, clock=lambda: now)
    assert [sampling.filter(refused(peer=str(each))) for each in range(10)] == [True] * 3 + [False] * 7
    now = 1.0
    later = refused()
    assert sampling.filter(later)
    assert vars(later)["fields"]["left_out"] == 7
    again = refused()
    assert sampling.filter(again)
    assert "left_out" not in vars(again)["fields"]


def test_lines_that_would_be_left_out_need_not_be_made_and_are_counted_all_the_same() -> None:
    now = 0.0
    sampling = Sampling(3, clock=lambda: now)
    kind = ("spatial.test", logging.INFO, "hello", "A/B", "RESOURCE_EXHAUSTED", "OVERLOADED")
    made = [not sampling.leaves_out(kind) and sampling.filter(refused()) for _ in range(10)]
    assert made == [True] * 3 + [False] * 7
    now = 1.0
    assert not sampling.leaves_out(kind)
    later = refused()
    assert sampling.filter(later)
    assert vars(later)["fields"]["left_out"] == 7


@pytest.mark.parametrize("other", [{"method": "A/C"}, {"code": "UNAVAILABLE"}, {"reason": "RATE_LIMITED"}])
def test_a_flood_hides_no_line_of_another_kind(other: dict[str, str]) -> None:
    sampling = Sampling(1, clock=lambda: 0.0)
    assert sampling.filter(refused())
    assert not sampling.filter(refused())
    assert sampling.filter(refused(**other))


def test_lines_are_sampled_as_set(root: logging.Logger, capsys: pytest.CaptureFixture[str]) -> None:
    configure(Settings(log_rate=2))
    for _ in range(50):
        logging.getLogger("spatial.test").warning("again")
    assert len(capsys.readouterr().err.splitlines()) <= 4  # a second may have turned meanwhile
    configure(Settings(log_rate=0))
    for _ in range(50):
        logging.getLogger("spatial.test").warning("again")
    assert len(capsys.readouterr().err.splitlines()) == 50
