"""How many calls gRPC has that nobody has looked at yet."""

import json

from grpc._cython import cygrpc  # type: ignore[attr-defined]


class Backlog:
    """Counts by what gRPC itself knows of its servers (its "channelz", on unless switched off)."""

    def __init__(self, known: frozenset[int] = frozenset()) -> None:
        """Of the server that was made since the others were `known`."""
        self._server = max(servers() - known, default=None)

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
