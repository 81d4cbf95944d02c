"""How many cores this process may use, whatever the machine has."""

import math
import os
from pathlib import Path

_CGROUP = Path("/sys/fs/cgroup")


def cores() -> int:
    """How many this process may use at once: by its affinity, and by the CPU quota of its container."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, math.ceil(min(allowed, _quota())))


def _quota() -> float:
    """CPUs by cgroup version 2 or 1, of this process's group and all above it; infinite without a limit."""
    found = [math.inf]
    for line in _lines(Path("/proc/self/cgroup")):
        _, controllers, name = line.split(":", 2)
        version_1 = "cpu" in controllers.split(",")
        if controllers and not version_1:
            continue
        root = _CGROUP / "cpu" if version_1 else _CGROUP
        # Inside a container the path may be the host's, and the limit stands at the root.
        for folder in {root, *(root / part for part in _and_above(name.strip("/")))}:
            found.append(_version_1(folder) if version_1 else _version_2(folder))
    return min(found)


def _and_above(name: str) -> list[str]:
    parts = name.split("/")
    return ["/".join(parts[:count]) for count in range(1, len(parts) + 1)]


def _version_2(folder: Path) -> float:
    for line in _lines(folder / "cpu.max"):
        quota, period = line.split()
        if quota != "max":
            return int(quota) / int(period)
    return math.inf


def _version_1(folder: Path) -> float:
    quota, period = (_lines(folder / f"cpu.cfs_{name}_us") for name in ("quota", "period"))
    return int(quota[0]) / int(period[0]) if quota and period and int(quota[0]) > 0 else math.inf


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text().splitlines()
    except OSError:
        return []
