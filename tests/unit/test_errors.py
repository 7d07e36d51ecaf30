"""One status for each kind of error, one reason in the contract for each in the code, and details built right."""

import asyncio
from time import perf_counter
from types import SimpleNamespace
from typing import Any, cast

import pytest
from google.rpc import error_details_pb2, status_pb2
from grpc import StatusCode

from service import errors
from service.errors import InvalidArgument, Reason, ResourceExhausted, SpatialError
from service.interceptors.call import Call
from service.interceptors.errors import DETAILS_KEY, STATUS, code_of, ending, status
from spatial.v1.errors_pb2 import ErrorReason

PREFIX = "ERROR_REASON_"
CALL = cast("Call", SimpleNamespace())


def kinds(of: type[SpatialError] = SpatialError) -> set[type[SpatialError]]:
    return {each for child in of.__subclasses__() for each in (child, *kinds(child))}


def test_every_kind_of_error_has_a_status_of_its_own() -> None:
    assert set(STATUS) == kinds()
    assert len(set(STATUS.values())) == len(STATUS)
    assert not {StatusCode.OK, StatusCode.UNKNOWN} & set(STATUS.values())


def test_the_statuses_bear_the_names_of_the_kinds() -> None:
    for kind, code in STATUS.items():
        name = kind.__name__.removesuffix("Error").lower()
        assert code.name.replace("_", "").lower() == name


def test_the_most_specific_class_wins() -> None:
    class Narrower(InvalidArgument): ...

    assert code_of(CALL, Narrower(Reason.REQUIRED, "")) is StatusCode.INVALID_ARGUMENT


def test_what_nobody_foresaw_is_internal() -> None:
    assert code_of(CALL, KeyError("x")) is StatusCode.INTERNAL


@pytest.mark.parametrize(
    ("passed", "remaining", "code"),
    [
        pytest.param(5.0, None, StatusCode.CANCELLED, id="no deadline"),
        pytest.param(5.0, 0.0, StatusCode.DEADLINE_EXCEEDED, id="over here"),
        pytest.param(0.9, 0.09, StatusCode.DEADLINE_EXCEEDED, id="over where the caller is"),
        pytest.param(29.7, 0.35, StatusCode.DEADLINE_EXCEEDED, id="rounded up"),
        pytest.param(0.8, 0.2, StatusCode.CANCELLED, id="before"),
        pytest.param(29.0, 1.0, StatusCode.CANCELLED, id="long before"),
        pytest.param(0.02, 0.03, StatusCode.CANCELLED, id="before a short one"),
    ],
)
def test_whoever_leaves_at_its_deadline_is_told_from_who_leaves_before(
    passed: float, remaining: float | None, code: StatusCode
) -> None:
    context = SimpleNamespace(time_remaining=lambda: remaining)
    call = cast("Call", SimpleNamespace(started=perf_counter() - passed, context=context))
    assert code_of(call, asyncio.CancelledError()) is code


def test_the_contract_and_the_code_have_the_same_reasons() -> None:
    published = {name.removeprefix(PREFIX) for name in ErrorReason.keys()} - {"UNSPECIFIED"}  # noqa: SIM118

    assert published == {reason.value for reason in Reason} == {reason.name for reason in Reason}


@pytest.mark.parametrize(
    "error",
    [
        ResourceExhausted(Reason.OVERLOADED, "later", metadata={"limit": "64"}, retry_after=0.25),
        ResourceExhausted(Reason.OVERLOADED, "later", metadata={"limit": "65"}, retry_after=1.2345),
        ResourceExhausted(Reason.OVERLOADED, "later", retry_after=0.25),
        ResourceExhausted(Reason.TOO_MANY_CALLS, "later", retry_after=0.0),
        ResourceExhausted(Reason.RESPONSE_TOO_LARGE, "smaller"),
        errors.Unavailable(Reason.SHUTTING_DOWN, "later", retry_after=0.25),
        InvalidArgument(Reason.REQUIRED, "must be set", field="query"),
    ],
    ids=str,
)
def test_the_details_that_are_sent_are_the_status_whatever_was_sent_before(error: SpatialError) -> None:
    code = code_of(CALL, error)
    for _ in range(2):
        call = cast("Call", SimpleNamespace(error=error, code=code, request_id="a"))
        sent = dict(ending(call)[2])[DETAILS_KEY]
        assert status_pb2.Status.FromString(cast("bytes", sent)) == status(code, error)


def details_of(error: SpatialError) -> dict[str, Any]:
    found = {}
    for packed in status(code_of(CALL, error), error).details:
        name = packed.TypeName().removeprefix("google.rpc.")
        message = getattr(error_details_pb2, name)()
        assert packed.Unpack(message)
        found[name] = message
    return found


def test_a_plain_error_has_its_reason_alone() -> None:
    details = details_of(errors.InternalError(Reason.INTERNAL, "internal error"))

    assert list(details) == ["ErrorInfo"]
    assert (details["ErrorInfo"].reason, details["ErrorInfo"].domain) == ("INTERNAL", "spatial.v1")
    assert not details["ErrorInfo"].metadata


def test_the_field_at_fault_is_named_with_its_whole_path() -> None:
    error = InvalidArgument(Reason.OUT_OF_RANGE, "too far", field="radius_meters", metadata={"limit": "5"}).at("query")
    details = details_of(error)

    (violation,) = details["BadRequest"].field_violations
    assert (violation.field, violation.description, violation.reason) == (
        "query.radius_meters",
        "too far",
        "OUT_OF_RANGE",
    )
    assert dict(details["ErrorInfo"].metadata) == {"limit": "5"}
    assert status(StatusCode.INVALID_ARGUMENT, error).message == "query.radius_meters: too far"


@pytest.mark.parametrize("seconds", [0.0, 0.001, 0.5, 1.0, 90.25])
def test_when_to_try_again(seconds: float) -> None:
    details = details_of(ResourceExhausted(Reason.OVERLOADED, "busy", retry_after=seconds))

    assert set(details) == {"ErrorInfo", "RetryInfo"}
    assert details["RetryInfo"].retry_delay.ToTimedelta().total_seconds() == seconds


@pytest.mark.parametrize("kind", STATUS)
def test_the_status_carries_its_code(kind: type[SpatialError]) -> None:
    made = status(STATUS[kind], kind(Reason.INTERNAL, "why"))

    assert (made.code, made.message) == (STATUS[kind].value[0], "why")


def test_at_puts_paths_in_front() -> None:
    assert InvalidArgument(Reason.REQUIRED, "x").at("a").at("b").field == "b.a"
