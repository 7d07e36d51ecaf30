"""Matching many probes: the questions, and which probes are waiting, under way or answered. No I/O."""

import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Generic, TypeVar, Unpack

from spatial.v1 import query_pb2
from spatial_client._errors import InternalError
from spatial_client._geometry import Probe, Shape, probe_message, shape_message
from spatial_client._queries import DistanceModel, Output, Predicate, Shaping, View, enum
from spatial_client._values import Match, match_of

K = TypeVar("K")
CHUNK = 256
CHUNK_BYTES = 1024 * 1024
# Read ahead and not answered yet; a probe is never dropped, so this is what a caller's source may be ahead.
WINDOW = 8 * CHUNK


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked about each probe. `timeout` None sets no limit to all of it."""

    opening: query_pb2.MatchRequest
    timeout: float | None


class Matching(Generic[K]):
    """The probes between their source and their answers, over as many calls as it takes.

    Answers come in the order of the probes, so the caller's keys stay here and may be anything. What was sent but not
    answered when a call broke off is sent again by the next.
    """

    def __init__(self, question: Question, clock: Callable[[], float] = time.monotonic) -> None:
        self.exhausted = False  # whether the source has ended
        self._opening = question.opening
        self._clock = clock
        self._waiting: deque[tuple[K, query_pb2.MatchProbe]] = deque()
        self._opened = False
        self._sent = 0  # how many of those waiting this call has sent
        self._since = 0.0

    @property
    def has_room(self) -> bool:
        return len(self._waiting) < WINDOW

    @property
    def has_something_to_send(self) -> bool:
        return not self._opened or len(self._waiting) > self._sent

    @property
    def waiting_since(self) -> float | None:
        """Since when an answer is due; None while none is."""
        return self._since if self._sent else None

    def add(self, key: K, probe: Probe) -> None:
        self._waiting.append((key, query_pb2.MatchProbe(probe=probe_message(probe))))

    def begin(self) -> None:
        """A new call: whatever is not answered has yet to be sent."""
        self._opened = False
        self._sent = 0

    def request(self) -> query_pb2.MatchRequest | None:
        """The next message of this call, with what is there; None if it has said everything there is to say so far."""
        if not self.has_something_to_send:
            return None
        request = query_pb2.MatchRequest()
        if not self._opened:
            request.CopyFrom(self._opening)
            self._opened = True
        chunk = list(self._chunk())
        request.probes.extend(chunk)
        if not self._sent:
            self._since = self._clock()
        self._sent += len(chunk)
        return request

    def answers(self, response: query_pb2.MatchResponse) -> list[Match[K]]:
        if len(response.matches) > self._sent:
            raise InternalError("the service answered more probes than it was asked", code="INTERNAL")
        self._sent -= len(response.matches)
        self._since = self._clock()
        return [match_of(self._waiting.popleft()[0], match) for match in response.matches]

    def end(self) -> None:
        """The service has ended the call: as it should only once everything is answered."""
        if self._waiting:
            raise InternalError("the service left probes without an answer", code="INTERNAL")

    def _chunk(self) -> Iterable[query_pb2.MatchProbe]:
        size = 0
        for _, probe in islice(self._waiting, self._sent, self._sent + CHUNK):
            size += probe.ByteSize()
            if size > CHUNK_BYTES and size > probe.ByteSize():
                return
            yield probe


def match_radius(
    layer: str,
    radius_meters: float,
    *,
    limit: int = 10,
    distance_model: DistanceModel = "spheroid",
    filter: str = "",  # noqa: A002 - the contract's name
    properties: Sequence[str] | None = None,
    view: View = "full",
    freshness_token: str = "",
    timeout: float | None = None,
    **shaping: Unpack[Shaping],
) -> Question:
    """The features within a distance of each of many probes, nearest first: one `Match` a probe, in their order.

    `probes` yields (key, probe), for ever if need be; a key is anything, and comes back with the answer. Probes are
    sent as they come, and read at most about two thousand ahead of the answers. A probe that the service refuses is a
    Match with an `error` and ends nothing; a call that breaks off is made again with what was not answered. `limit` is
    for each probe, at most 1,000.
    """
    query = query_pb2.RadiusQuery(
        layer=layer,
        radius_meters=radius_meters,
        distance_model=enum("DISTANCE_MODEL", distance_model),
        filter=filter,
    )
    output = Output(properties, view, **shaping)
    return _question(query_pb2.Query(radius=query), output, limit, freshness_token, timeout)


def match_nearest(
    layer: str,
    *,
    limit: int = 1,
    max_distance_meters: float | None = None,
    within: Shape | None = None,
    distance_model: DistanceModel = "spheroid",
    filter: str = "",  # noqa: A002 - the contract's name
    properties: Sequence[str] | None = None,
    view: View = "full",
    freshness_token: str = "",
    timeout: float | None = None,
    **shaping: Unpack[Shaping],
) -> Question:
    """The features nearest to each of many probes, by true distance; see `match_radius` and `search_nearest`."""
    query = query_pb2.NearestQuery(
        layer=layer,
        max_distance_meters=max_distance_meters,
        distance_model=enum("DISTANCE_MODEL", distance_model),
        within=None if within is None else shape_message(within),
        filter=filter,
    )
    output = Output(properties, view, **shaping)
    return _question(query_pb2.Query(nearest=query), output, limit, freshness_token, timeout)


def match_intersects(
    layer: str,
    *,
    predicate: Predicate = "intersects",
    limit: int = 10,
    filter: str = "",  # noqa: A002 - the contract's name
    properties: Sequence[str] | None = None,
    view: View = "full",
    freshness_token: str = "",
    timeout: float | None = None,
    **shaping: Unpack[Shaping],
) -> Question:
    """The features that stand in a relation to each of many probes, in order of their keys; see `match_radius`."""
    query = query_pb2.IntersectsQuery(layer=layer, predicate=enum("PREDICATE", predicate), filter=filter)
    output = Output(properties, view, **shaping)
    return _question(query_pb2.Query(intersects=query), output, limit, freshness_token, timeout)


def _question(query: query_pb2.Query, output: Output, limit: int, fresh: str, timeout: float | None) -> Question:
    opening = query_pb2.MatchRequest(query=query, output=output.message(), limit=limit, freshness_token=fresh)
    return Question(opening, timeout)
