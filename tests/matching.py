"""Streams of probes made short."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import grpc
from google.rpc import code_pb2, error_details_pb2

from spatial.v1 import geometry_pb2 as geometry
from spatial.v1 import query_pb2 as query
from tests.searches import ONLY_IDS, Found

Asked = query.RadiusQuery | query.NearestQuery | query.IntersectsQuery


def opening(asked: Asked, **fields: Any) -> query.MatchRequest:
    """The first message, about what `asked` asks but for its probe."""
    kind = asked.DESCRIPTOR.name.removesuffix("Query").lower()
    kinds: dict[str, Any] = {kind: asked}
    made = query.MatchRequest(query=query.Query(**kinds), **{"output": ONLY_IDS, **fields})
    getattr(made.query, kind).ClearField("probe" if kind == "intersects" else "center")
    return made


def keyed(probes: Iterable[geometry.Probe], start: int = 0) -> list[query.MatchProbe]:
    """Probes whose keys are their numbers."""
    return [query.MatchProbe(key=str(number), probe=probe) for number, probe in enumerate(probes, start)]


def in_messages(
    first: query.MatchRequest, probes: Sequence[query.MatchProbe], size: int
) -> Iterator[query.MatchRequest]:
    """The first message without probes, then so many in each."""
    yield first
    for start in range(0, len(probes), size):
        yield query.MatchRequest(probes=probes[start : start + size])


def matches(stub: Any, requests: Iterable[query.MatchRequest], timeout: float = 60) -> list[query.Match]:
    return [each for response in stub.MatchFeatures(iter(requests), timeout=timeout) for each in response.matches]


def match(
    stub: Any, asked: Asked, probes: Sequence[geometry.Probe], size: int = 100, **fields: Any
) -> list[query.Match]:
    """What is found for each probe; fails where a key is not that of its turn, or a probe was refused."""
    found = matches(stub, in_messages(opening(asked, **fields), keyed(probes), size))
    assert [each.key for each in found] == [str(number) for number in range(len(probes))]
    assert [each.error for each in found if each.HasField("error")] == []
    return found


def pairs(found: query.Match) -> Found:
    return [(int(feature.id), feature.distance_meters) for feature in found.features]


def told(found: query.Match) -> tuple[str, str, str]:
    """Code, reason and field of a match that is an error."""
    assert not found.features
    assert not found.more
    info, bad = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
    for detail in found.error.details:
        detail.Unpack(info)
        detail.Unpack(bad)
    assert info.domain == "spatial.v1"
    fields = [violation.field for violation in bad.field_violations]
    assert found.error.message.startswith(f"{fields[0]}: " if fields else "")
    return code_pb2.Code.Name(found.error.code), info.reason, fields[0] if fields else ""


def refused(stub: Any, requests: Iterable[query.MatchRequest]) -> grpc.RpcError:
    """The error that a stream ends with."""
    try:
        matches(stub, requests, timeout=10)
    except grpc.RpcError as error:
        return error
    raise AssertionError("the stream was not refused")
