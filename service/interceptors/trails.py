"""Lays the trail of each call, for those who read it when the call has ended."""

from service.interceptors.call import Call, Observer
from service.observability.trail import TRAIL, Trail


class Trails(Observer):
    def started(self, call: Call) -> None:
        call.trail = Trail()
        TRAIL.set(call.trail)
