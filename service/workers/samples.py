"""What a worker has measured, as it travels to the supervisor, and how that of several is one."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from prometheus_client import CollectorRegistry, Metric

Labels = tuple[tuple[str, str], ...]
Travelling = list[tuple[str, str, str, list[tuple[str, list[tuple[str, str]], float]]]]

COUNTED = ("counter", "histogram", "summary")
# Of a process, and not of the service.
OF_PROCESS = "process_"
# Gauges of whether something is so: only where all say it.
ALL_SAY = ("_up", "_ready")


def packed(registry: CollectorRegistry) -> Travelling:
    """As JSON has it."""
    return [
        (
            family.name,
            family.type,
            family.documentation,
            [(sample.name, sorted(sample.labels.items()), sample.value) for sample in family.samples],
        )
        for family in registry.collect()
    ]


@dataclass
class Family:
    type: str
    documentation: str
    values: dict[tuple[str, Labels], float] = field(default_factory=dict)


@dataclass
class Sum:
    """Samples of several processes, added up: `families` by name."""

    families: dict[str, Family] = field(default_factory=dict)

    def add(self, travelling: Travelling, worker: str) -> None:
        """What is of a process gets a label with its `worker`."""
        for name, kind, documentation, samples in travelling:
            values = self._values(name, kind, documentation)
            own = [("worker", worker)] if name.startswith(OF_PROCESS) else []
            for sample, labels, value in samples:
                key = sample, tuple(sorted((label, text) for label, text in [*labels, *own]))
                values[key] = _joined(sample, kind)(values[key], float(value)) if key in values else float(value)

    def add_counts(self, travelling: Travelling) -> None:
        """What a process leaves behind: gauges go with it, and so does what was its own."""
        counted = [one for one in travelling if one[1] in COUNTED and not one[0].startswith(OF_PROCESS)]
        self.add(counted, "")

    def copy(self) -> "Sum":
        return Sum({name: Family(one.type, one.documentation, dict(one.values)) for name, one in self.families.items()})

    def collect(self) -> Iterator[Metric]:
        for name, family in self.families.items():
            metric = Metric(name, family.documentation, family.type)
            for (sample, labels), value in family.values.items():
                metric.add_sample(sample, dict(labels), value)
            yield metric

    def _values(self, name: str, kind: str, documentation: str) -> dict[tuple[str, Labels], float]:
        return self.families.setdefault(name, Family(kind, documentation)).values


def _joined(sample: str, kind: str) -> Callable[[float, float], float]:
    """Gauges add up, too: connections, calls, what is allowed of them. Not so a share or a lag, of which the worst
    counts."""
    if sample.endswith(("_created", "_expiry_seconds")) or (kind == "gauge" and sample.endswith(ALL_SAY)):
        return min
    if sample.endswith(("_info", "_ratio")) or "_lag_" in sample:
        return max
    return float.__add__


def of_leaving(travelling: Travelling) -> Travelling:
    """What still counts of a process that is going to end: neither whether it is ready, nor what is its own."""
    return [one for one in travelling if not one[0].startswith(OF_PROCESS) and not one[0].endswith(ALL_SAY)]
