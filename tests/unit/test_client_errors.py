"""Errors as callers of the client see them."""

import pickle
from typing import Any, cast

import grpc
import pytest
from google.protobuf.any_pb2 import Any as Packed
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2

from service import errors as served
from service.interceptors.errors import STATUS, status
from spatial_client import InternalError, InvalidArgument, NotFound, ResourceExhausted, SpatialError, Unavailable
from spatial_client._errors import DETAILS, ERRORS, error_of_call, error_of_status


class Failed(grpc.RpcError):
    """As gRPC raises it."""

    def __init__(self, code: grpc.StatusCode, message: str, trailing: tuple[tuple[str, Any], ...] | None) -> None:
        self._said = (code, message, trailing)

    def code(self) -> grpc.StatusCode:
        return self._said[0]

    def details(self) -> str:
        return self._said[1]

    def trailing_metadata(self) -> Any:
        return self._said[2]


def details(*messages: Message) -> status_pb2.Status:
    packed = [Packed() for _ in messages]
    for each, message in zip(packed, messages, strict=True):
        each.Pack(message)
    return status_pb2.Status(code=3, message="no", details=packed)


def test_every_code_but_ok_has_an_error() -> None:
    assert set(ERRORS) == set(grpc.StatusCode) - {grpc.StatusCode.OK}


@pytest.mark.parametrize("kind", STATUS, ids=lambda kind: kind.__name__)
def test_an_error_of_the_service_has_the_same_name_here(kind: type[served.SpatialError]) -> None:
    assert ERRORS[STATUS[kind]].__name__ == kind.__name__


def test_all_that_the_service_says_of_an_error_arrives() -> None:
    said = served.InvalidArgument(
        served.Reason.OUT_OF_RANGE, "too far", field="query.radius_meters", metadata={"limit": "5"}, retry_after=1.5
    )
    trailing = (("x-request-id", "abc"), (DETAILS, status(STATUS[type(said)], said).SerializeToString()))

    error = error_of_call(Failed(grpc.StatusCode.INVALID_ARGUMENT, "query.radius_meters: too far", trailing))

    assert type(error) is InvalidArgument
    assert (error.code, error.reason, error.field) == ("INVALID_ARGUMENT", "OUT_OF_RANGE", "query.radius_meters")
    assert (error.metadata, error.retry_after, error.request_id) == ({"limit": "5"}, 1.5, "abc")
    assert str(error) == "query.radius_meters: too far (OUT_OF_RANGE, request abc)"


def test_an_error_that_the_service_did_not_write_has_no_reason() -> None:
    error = error_of_call(Failed(grpc.StatusCode.UNAVAILABLE, "Socket closed", None))

    assert type(error) is Unavailable
    assert (error.reason, error.retry_after, error.request_id) == (None, None, None)
    assert str(error) == "Socket closed (UNAVAILABLE)"


def test_a_reason_of_another_domain_is_not_taken_for_the_service_s() -> None:
    info = error_details_pb2.ErrorInfo(reason="RATE_LIMITED", domain="proxy.example", metadata={"limit": "5"})
    retry = error_details_pb2.RetryInfo(retry_delay=Duration(seconds=2))

    error = error_of_status(details(info, retry))

    assert (error.reason, error.metadata, error.retry_after) == (None, {}, 2.0)


def test_the_error_of_one_probe_is_read_like_that_of_a_call() -> None:
    said = served.NotFound(served.Reason.LAYER_NOT_FOUND, "no such layer", field="layer")

    error = error_of_status(status(STATUS[type(said)], said))

    assert type(error) is NotFound
    assert (error.code, error.reason, error.field) == ("NOT_FOUND", "LAYER_NOT_FOUND", "layer")


def test_a_code_that_grpc_does_not_have_is_an_internal_error() -> None:
    assert type(error_of_status(status_pb2.Status(code=99))) is InternalError


def test_an_error_can_be_handed_to_another_process() -> None:
    error = ResourceExhausted("full", code="RESOURCE_EXHAUSTED", reason="OVERLOADED", retry_after=0.5, request_id="x")

    copied = cast("SpatialError", pickle.loads(pickle.dumps(error)))

    assert type(copied) is ResourceExhausted
    assert (vars(copied), str(copied)) == (vars(error), str(error))
