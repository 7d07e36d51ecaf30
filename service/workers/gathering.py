"""The metrics and the status of all workers, and of those that there were, as one."""

from collections import Counter as Tally
from collections.abc import Callable, Iterable

from prometheus_client import CollectorRegistry, Counter, ProcessCollector
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from service import __version__
from service.workers.member import Member, State
from service.workers.samples import Sum, of_leaving, packed

SUPERVISOR = "supervisor"
CAUSES = ("crashed", "killed", "rolled")

Members = Callable[[], Iterable[Member]]


class Gathering:
    """Counters never fall: what a worker had counted when it was last heard of stays."""

    def __init__(self, members: Members) -> None:
        self._members = members
        self._departed = Sum()
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        self._registry.register(_States(members))
        self.restarts = Counter("spatial_worker_restarts", "Workers replaced.", ["cause"], registry=self._registry)
        for cause in CAUSES:
            self.restarts.labels(cause)

    def departed(self, member: Member) -> None:
        self._departed.add_counts(member.samples)

    def total(self) -> Sum:
        """Of what was heard last."""
        found = self._departed.copy()
        for member in self._members():
            leaving = member.state is State.DRAINING
            found.add(of_leaving(member.samples) if leaving else member.samples, str(member.number))
        found.add(packed(self._registry), SUPERVISOR)
        return found

    def status(self) -> dict[str, str]:
        staying = [member for member in self._members() if member.state is not State.DRAINING]
        problems = [
            f"worker {member.number}: {member.status.get('ready', member.state)}"
            for member in staying
            if not member.is_ready
        ]
        layers = next((member.status["layers"] for member in staying if "layers" in member.status), "")
        return {
            "version": __version__,
            "ready": "; ".join(problems) or ("yes" if staying else "no worker"),
            "layers": layers,
            "workers": ", ".join(f"{number} {state}" for state, number in _counted(self._members()).items() if number),
        }


class _States(Collector):
    def __init__(self, members: Members) -> None:
        self._members = members

    def collect(self) -> Iterable[GaugeMetricFamily]:
        family = GaugeMetricFamily("spatial_workers", "Worker processes.", labels=["state"])
        for state, number in _counted(self._members()).items():
            family.add_metric([state], number)
        return [family]


def _counted(members: Iterable[Member]) -> dict[State, int]:
    found = Tally(member.state for member in members)
    return {state: found[state] for state in State}
