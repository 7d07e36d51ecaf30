"""The arithmetic of limits, on a clock of the tests' own: who is let in, and when the others may come again."""

from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

import pytest

from service.heap import give_back
from service.interceptors.backlog import Backlog
from service.limits.buckets import MOST_CALLERS, Buckets
from service.limits.comeback import FIRST, LAST, LEAST_RATE, MEMORY, SHARE, WINDOW, Comeback
from service.limits.door import ANSWERED, FEW, Door
from service.limits.memory import Memory, MemoryGuard, Pressure
from service.limits.used import memory_reader, resident_bytes

if TYPE_CHECKING:
    from service.interceptors.straight import StraightCalls

GIB = 1024**3


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def middle(low: float, high: float) -> float:
    return (low + high) / 2


# Token buckets.


def test_a_caller_has_its_burst_and_then_its_rate() -> None:
    clock = Clock()
    buckets = Buckets(rate=10, burst=3, clock=clock)
    assert [buckets.take("a") for _ in range(4)] == [0, 0, 0, pytest.approx(0.1)]
    clock.now += 0.05
    assert buckets.take("a") == pytest.approx(0.05)
    clock.now += 0.051
    assert buckets.take("a") == 0
    assert buckets.take("a") > 0


def test_a_pause_saves_no_more_than_the_burst() -> None:
    clock = Clock()
    buckets = Buckets(rate=10, burst=2, clock=clock)
    buckets.take("a")
    clock.now += 3600
    assert [buckets.take("a") > 0 for _ in range(3)] == [False, False, True]


def test_one_caller_takes_nothing_from_another() -> None:
    buckets = Buckets(rate=1, burst=1, clock=Clock())
    assert buckets.take("a") == 0
    assert buckets.take("a") > 0
    assert buckets.take("b") == 0


def test_callers_that_have_gone_are_forgotten() -> None:
    clock = Clock()
    buckets = Buckets(rate=1, burst=1, clock=clock)
    for number in range(MOST_CALLERS + 10):
        assert buckets.take(str(number)) == 0
    assert len(buckets) == MOST_CALLERS
    clock.now += 2
    buckets.take("another")
    assert len(buckets) == 1


# The door.


def served(door: Door, calls: int) -> int:
    """How many of so many calls are let in."""
    return sum(not door.refuses() for _ in range(calls))


def test_everybody_is_let_in_where_few_wait() -> None:
    door = Door(0.025)
    for _ in range(10):
        assert served(door, 2) == 2
        door.look(FEW, 0.05)


@pytest.mark.parametrize(("waiting", "refuses"), [(50, False), (51, True)])
def test_so_many_may_wait_as_are_taken_within_the_target(waiting: int, refuses: bool) -> None:
    door = Door(0.025)
    for _ in range(2):
        served(door, 100)  # 2,000 a second
        door.look(waiting, 0.05)
    assert door.room == 50
    assert any(door.refuses() for _ in range(ANSWERED)) is refuses


def test_a_burst_that_passes_is_not_refused() -> None:
    door = Door(0.025)
    for waiting in (500, 0, 500, 0):
        door.look(waiting, 0.05)
        assert served(door, 200) == 200


def test_of_those_beyond_the_room_one_in_four_is_answered_and_all_others_are() -> None:
    door = Door(0.025)
    for _ in range(2):
        door.look(FEW + 80, 0.05)
    assert served(door, 80) == 80 // ANSWERED
    assert served(door, 100) == 100


# When to come again.


def test_the_refused_come_one_after_the_other_at_a_share_of_the_rate_of_the_served() -> None:
    clock = Clock()
    comeback = Comeback(clock, middle)
    for _ in range(round(1000 * WINDOW)):
        clock.now += 0.001
        comeback.served(clock.now)
    turns = [comeback.seconds() for _ in range(100)]
    assert turns[0] == FIRST
    assert turns[-1] == pytest.approx(100 / (SHARE * 1000), rel=0.01)
    assert turns == sorted(turns)


def test_those_who_come_in_their_turn_make_room_for_others() -> None:
    clock = Clock()
    comeback = Comeback(clock, middle)
    first = [comeback.seconds() for _ in range(10)]
    clock.now += 10 / (SHARE * LEAST_RATE)
    assert [comeback.seconds() for _ in range(10)] == pytest.approx(first)


def test_nobody_is_sent_away_for_long_by_those_who_never_wait() -> None:
    comeback = Comeback(Clock(), middle)
    assert max(comeback.seconds() for _ in range(10_000)) == pytest.approx(LAST)


def test_a_rate_that_was_reached_is_not_forgotten_while_callers_are_away() -> None:
    clock = Clock()
    comeback = Comeback(clock, middle)
    for _ in range(1000):
        clock.now += 0.001
        comeback.served(clock.now)
    clock.now += 10  # nobody calls
    comeback.served(clock.now)
    hundredth = [comeback.seconds() for _ in range(100)][-1]
    assert hundredth == pytest.approx(100 / (SHARE * MEMORY * 1000), rel=0.01)


def test_no_two_come_at_the_same_moment() -> None:
    comeback = Comeback(Clock())
    assert len({comeback.seconds() for _ in range(50)}) == 50


# Memory.


@pytest.mark.parametrize(
    ("percent", "levels"),
    [
        pytest.param((84, 85, 81, 79), "NONE TIGHT TIGHT NONE", id="tight, until there is clearly more"),
        pytest.param((96, 91, 89, 81, 79), "FULL FULL TIGHT TIGHT NONE", id="full, then tight, then neither"),
        pytest.param((99, 10), "FULL NONE", id="all at once"),
    ],
)
def test_pressure_begins_at_a_threshold_and_ends_below_it(percent: tuple[int, ...], levels: str) -> None:
    guard = MemoryGuard(lambda: None)
    seen = []
    for each in percent:
        guard.look(Memory(each * GIB, 100 * GIB))
        seen.append(guard.pressure.name)
    assert " ".join(seen) == levels


def test_memory_is_given_back_when_it_gets_short_and_then_now_and_then() -> None:
    guard = MemoryGuard(lambda: None)
    assert not guard.look(Memory(10, 100))
    looks = [guard.look(Memory(90, 100)) for _ in range(41)]
    assert [number for number, due in enumerate(looks) if due] == [0, 20, 40]
    assert guard.pressure is Pressure.TIGHT


def test_a_setting_is_shared_among_processes_and_compared_with_what_this_one_has() -> None:
    read = memory_reader(4 * GIB, 4, Path("/nowhere"))
    assert read is not None
    assert read().most == GIB
    assert 0.5 < read().used / resident_bytes() < 2


def write(group: Path, **files: str) -> Path:
    group.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (group / name.replace("__", ".")).write_text(f"{text}\n")
    return group


def test_what_a_container_uses_is_without_what_the_kernel_would_take_back(tmp_path: Path) -> None:
    group = write(tmp_path, memory__current="900", memory__max="1000", memory__stat="anon 500\ninactive_file 300")
    read = memory_reader(0, 2, group)
    assert read is not None
    assert read() == Memory(600, 1000)


def test_containers_of_the_first_version_are_known_too(tmp_path: Path) -> None:
    stat = "total_inactive_file 100\ninactive_file 50"
    write(
        tmp_path / "memory",
        **{"memory.usage_in_bytes": "900", "memory.limit_in_bytes": "1000", "memory.stat": stat},
    )
    read = memory_reader(0, 1, tmp_path)
    assert read is not None
    assert read() == Memory(800, 1000)


@pytest.mark.parametrize(
    "files",
    [
        pytest.param({}, id="no container"),
        pytest.param({"memory.current": "900", "memory.max": "max", "memory.stat": ""}, id="version 2"),
        pytest.param(
            {"memory/memory.usage_in_bytes": "9", "memory/memory.limit_in_bytes": str(2**63 - 4096)}, id="version 1"
        ),
    ],
)
def test_without_a_limit_nobody_looks(tmp_path: Path, files: dict[str, str]) -> None:
    (tmp_path / "memory").mkdir()
    write(tmp_path, **files)
    assert memory_reader(0, 1, tmp_path) is None


def test_memory_can_be_given_back() -> None:
    give_back()


def test_grpc_is_asked_how_many_wait_only_where_not_all_calls_were_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """Here it knows of seven, of which three or nine have been taken and have not ended."""
    straight = SimpleNamespace(emptied=0)
    backlog = Backlog(straight=cast("StraightCalls", straight))
    monkeypatch.setattr(backlog, "calls", lambda: 7)
    assert backlog.waiting(3, streams=0) == 4
    straight.emptied += 1
    assert backlog.waiting(3, streams=0) == 0
    assert backlog.waiting(3, streams=0) == 4, "nothing was emptied since"
    straight.emptied += 1
    assert backlog.waiting(3, streams=1) == 4, "streams do not come straight"
    assert backlog.waiting(9, streams=0) == 0
