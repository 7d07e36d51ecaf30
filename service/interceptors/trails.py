"""Lays the trail of each call, for those who read it when the call has ended."""

from service.interceptors.call import Call
from service.observability.trail import TRAIL, Trail


class Trails:
    def started(self, call: Call) -> None:
        call.trail = Trail()
        TRAIL.set(call.trail)

    def ended(self, call: Call) -> None:
        pass
