"""How much memory there is, and how much of it is used: this container's, or what a setting says of this process."""

import os
from collections.abc import Callable
from pathlib import Path

from service.limits.memory import Memory

STATM = Path("/proc/self/statm")
CGROUPS = Path("/sys/fs/cgroup")
_PAGE = os.sysconf("SC_PAGESIZE")
_UNLIMITED = 1 << 60  # version 1 says a number that no machine has


def memory_reader(limit: int, processes: int, groups: Path = CGROUPS) -> Callable[[], Memory] | None:
    """What tells how much memory is used, of how much: this process's share of `limit`, where there is one; else what
    the container has, all of its processes together. None where nothing sets a limit."""
    if limit:
        share = limit // processes
        return lambda: Memory(resident_bytes(), share)
    return _version_2(groups) or _version_1(groups / "memory")


def resident_bytes() -> int:
    """Of this process."""
    return int(STATM.read_bytes().split()[1]) * _PAGE


def _version_2(group: Path) -> Callable[[], Memory] | None:
    return _reader(group, "memory.current", "memory.max", "inactive_file")


def _version_1(group: Path) -> Callable[[], Memory] | None:
    return _reader(group, "memory.usage_in_bytes", "memory.limit_in_bytes", "total_inactive_file")


def _reader(group: Path, used: str, limit: str, cache: str) -> Callable[[], Memory] | None:
    """`cache` is the line of memory.stat about what the kernel takes back before it kills."""
    try:
        most = int((group / limit).read_text())
        (group / used).read_text()
    except (OSError, ValueError):  # "max", or another version
        return None
    if most >= _UNLIMITED:
        return None

    def read() -> Memory:
        stat = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
        return Memory(max(0, int((group / used).read_text()) - int(stat.get(cache, 0))), most)

    return read
