"""A call with bytes that may be no message at all, and what must be true of how it ends."""

import time
from collections.abc import Sequence
from typing import Any, NamedTuple

import grpc
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from google.rpc import code_pb2, error_details_pb2, status_pb2

from service.errors import Reason
from spatial.v1 import query_pb2
from tests.fuzz.contract import Rpc

DEADLINE = 2.0
# Beyond the deadline, on a machine that is as slow as it likes.
LATE = 5.0
# The first three are faults of ours; the last is for a server that goes, or has no database.
NEVER = ("UNKNOWN", "INTERNAL", "DATA_LOSS", "UNAVAILABLE")
# Health is watched for ever.
ENOUGH = 3
_DETAILS = "grpc-status-details-bin"
_SHAPES = {
    (False, False): "unary_unary",
    (False, True): "unary_stream",
    (True, False): "stream_unary",
    (True, True): "stream_stream",
}


class Fault(AssertionError):
    """What a call must not do."""


class Outcome(NamedTuple):
    code: str
    reason: str
    said: str
    seconds: float
    answers: int


def call(channel: grpc.Channel, rpc: Rpc, messages: Sequence[bytes], deadline: float = DEADLINE) -> Outcome:
    """Fails with Fault where the call does what none may. A stream of requests has any number of messages."""
    make = getattr(channel, _SHAPES[rpc.client_streaming, rpc.server_streaming])
    invoke = make(rpc.path, request_serializer=None, response_deserializer=GetMessageClass(rpc.answers).FromString)
    asked = iter(messages) if rpc.client_streaming else b"".join(messages[:1])
    began = time.monotonic()
    code, reason, said, answers = "OK", "", "", 0
    try:
        answers = _read(rpc, invoke(asked, timeout=deadline))
    except grpc.RpcError as error:
        code, said = error.code().name, error.details() or ""
        reason = _reason(rpc, error)
    outcome = Outcome(code, reason, said, time.monotonic() - began, answers)
    if code in NEVER:
        raise Fault(f"{code}: {reason or said}")
    if outcome.seconds > deadline + LATE:
        raise Fault(f"{code} after {outcome.seconds:.1f} s, with a deadline of {deadline:g} s")
    return outcome


def _read(rpc: Rpc, answered: Any) -> int:
    if not rpc.server_streaming:
        return 1
    count = 0
    for answer in answered:
        count += 1
        if isinstance(answer, query_pb2.MatchResponse):
            _check_matches(answer)
        if not rpc.ours and count == ENOUGH:
            answered.cancel()
            break
    return count


def _check_matches(answer: query_pb2.MatchResponse) -> None:
    """An error that is part of an answer is like one that is the answer."""
    for match in answer.matches:
        if match.HasField("error"):
            code, reason = code_pb2.Code.Name(match.error.code), _reason_in(match.error)
            if code in NEVER:
                raise Fault(f"a match with {code}: {reason}")


def _reason(rpc: Rpc, error: Any) -> str:
    """The reason of ours that an error has. gRPC's own, for a deadline or a message too large, have none."""
    trailing: dict[str, Any] = dict(error.trailing_metadata() or ())
    if _DETAILS in trailing:
        return _reason_in(status_pb2.Status.FromString(trailing[_DETAILS]))
    by_grpc = ("DEADLINE_EXCEEDED", "CANCELLED", "RESOURCE_EXHAUSTED", *NEVER)
    if rpc.ours and error.code().name not in by_grpc:
        raise Fault(f"{error.code().name} without a reason: {error.details()}")
    return ""


def _reason_in(status: status_pb2.Status) -> str:
    info = error_details_pb2.ErrorInfo()
    found = [detail for detail in status.details if detail.Unpack(info)]
    if not found or info.domain != "spatial.v1" or info.reason not in Reason.__members__:
        raise Fault(f"{status.code} without a reason of ours: {status.message}")
    return str(info.reason)


def shown(rpc: Rpc, messages: Sequence[bytes]) -> str:
    """For whoever wants to see or repeat a call."""
    lines = [rpc.path]
    for data in messages:
        try:
            message: Message | None = GetMessageClass(rpc.takes).FromString(data)
        except Exception:
            message = None
        text = "no message" if message is None else " ".join(str(message).split())
        lines.append(f"  {data.hex()}\n  {text[:2000]}")
    return "\n".join(lines)
