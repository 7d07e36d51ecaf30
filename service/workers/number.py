"""How many workers there are, unless somebody says."""

import os
from pathlib import Path

from service.settings import Settings

# What container engines leave behind. Of Kubernetes' own nothing lies in a file: there we are the first process, or
# the root is made of layers, or the CPU is limited.
MARKS = ("/.dockerenv", "/run/.containerenv")
LIMIT = Path("/sys/fs/cgroup/cpu.max")
MOUNTS = Path("/proc/self/mountinfo")


def with_workers(settings: Settings) -> Settings:
    """Where a container is, something else decides how many of its kind there are; elsewhere all cores are for us."""
    if settings.workers is not None:
        return settings
    return settings.model_copy(update={"workers": 1 if in_container() else cores()})


def in_container() -> bool:
    return os.getpid() == 1 or any(map(os.path.exists, MARKS)) or _root_is_layered() or _cpu_limit() < 2


def cores() -> int:
    return min(len(os.sched_getaffinity(0)), int(_cpu_limit()))


def _root_is_layered() -> bool:
    words = [line.split() for line in _text(MOUNTS).splitlines()]
    return any(line[4] == "/" and line[line.index("-") + 1] == "overlay" for line in words)


def _cpu_limit() -> float:
    """In cores."""
    quota, _, period = _text(LIMIT).partition(" ")
    return float(quota) / float(period) if quota.isdigit() else float(os.cpu_count() or 1) + 2


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
