"""What several workers measured, as one."""

import json
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info, generate_latest

from service.workers.samples import Sum, of_leaving, packed


def measured(value: float) -> Any:
    """By a process, and as it arrives."""
    registry = CollectorRegistry()
    Counter("calls", "Calls.", ["method"], registry=registry).labels("Get").inc(value)
    Histogram("seconds", "Seconds.", buckets=(1, 10), registry=registry).observe(value)
    for name in ("calls_in_flight", "memory_used_ratio", "replica_lag_bytes", "spatial_ready", "process_open_fds"):
        Gauge(name, name, registry=registry).set(value)
    Info("build", "Build.", registry=registry).info({"version": "1"})
    return json.loads(json.dumps(packed(registry)))


def lines(found: Sum) -> dict[str, float]:
    text = generate_latest(found).decode()
    pairs = (line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    return {name: float(value) for name, value in pairs}


@pytest.fixture
def both() -> Sum:
    found = Sum()
    found.add(measured(3), "1")
    found.add(measured(4), "2")
    return found


@pytest.mark.parametrize(
    ("sample", "value"),
    [
        ('calls_total{method="Get"}', 7),
        ('seconds_bucket{le="1.0"}', 0),
        ('seconds_bucket{le="10.0"}', 2),
        ("seconds_sum", 7),
        ("calls_in_flight", 7),
        ("memory_used_ratio", 4),
        ("replica_lag_bytes", 4),
        ("spatial_ready", 3),
        ('build_info{version="1"}', 1),
        ('process_open_fds{worker="1"}', 3),
        ('process_open_fds{worker="2"}', 4),
    ],
)
def test_each_adds_up_in_its_own_way(both: Sum, sample: str, value: float) -> None:
    assert lines(both)[sample] == value


def test_of_a_worker_that_is_gone_its_counts_stay_and_nothing_else() -> None:
    found = Sum()
    found.add_counts(measured(3))
    names = {name.partition("{")[0] for name in lines(found)}
    assert names == {
        "calls_total",
        "calls_created",
        "seconds_bucket",
        "seconds_count",
        "seconds_sum",
        "seconds_created",
    }


def test_of_a_worker_that_leaves_it_does_not_matter_whether_it_is_ready() -> None:
    names = {name for name, *_ in of_leaving(measured(3))}
    assert {"calls", "seconds", "calls_in_flight"} <= names
    assert not names & {"spatial_ready", "process_open_fds"}


def test_what_is_added_to_a_copy_is_not_in_the_original(both: Sum) -> None:
    before = lines(both)
    both.copy().add(measured(5), "3")
    assert lines(both) == before
