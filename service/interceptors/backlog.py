"""How many calls gRPC has that nobody has looked at yet."""

import json

from grpc._cython import cygrpc  # type: ignore[attr-defined]

from service.interceptors.straight import StraightCalls


class Backlog:
    """Counts by what gRPC itself knows of its servers (its "channelz", on unless switched off).

    Asking takes milliseconds, in which nothing else runs. So where all calls came straight, and all were taken at some
    moment since the last time, it is not asked."""

    def __init__(self, known: frozenset[int] = frozenset(), straight: StraightCalls | None = None) -> None:
        """Of the server that was made since the others were `known`; its unary calls may come `straight`."""
        self._server = max(servers() - known, default=None)
        self._straight = straight
        self._emptied = 0

    def waiting(self, taken: int, streams: int) -> int:
        """How many wait, where so many calls were taken and have not ended; since the last time, so many streams."""
        return 0 if self._caught_up() and not streams else max(0, self.calls() - taken)

    def _caught_up(self) -> bool:
        if self._straight is None:
            return False
        before, self._emptied = self._emptied, self._straight.emptied
        return self._emptied > before

    def calls(self) -> int:
        """Those that began and have not ended, in Python's hands or not; 0 where gRPC does not say."""
        if self._server is None:
            return 0
        try:
            data = json.loads(cygrpc.channelz_get_server(self._server))["server"]["data"]
        except ValueError:  # it has gone
            return 0
        return int(data["callsStarted"]) - int(data["callsSucceeded"]) - int(data["callsFailed"])


def servers() -> frozenset[int]:
    """The servers of this process, by gRPC's numbers."""
    found = json.loads(cygrpc.channelz_get_servers(0)).get("server", [])
    return frozenset(int(each["ref"]["serverId"]) for each in found)
