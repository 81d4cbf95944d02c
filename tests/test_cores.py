"""How many cores a process may use: by affinity, and by the quota of cgroup version 1 and 2."""

import os
from pathlib import Path

import pytest

from mlavl_cli import cores


@pytest.fixture
def machine(monkeypatch, tmp_path):
    """Files as the kernel shows them, and eight cores."""
    monkeypatch.setattr(cores, "_CGROUP", tmp_path)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    real = Path.read_text

    def write(groups: str, **files: str) -> None:
        for name, text in files.items():
            path = tmp_path / name.replace("__", "/").replace("_dot_", ".")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        monkeypatch.setattr(
            Path, "read_text", lambda path, *a, **k: groups if str(path) == "/proc/self/cgroup" else real(path, *a, **k)
        )

    return write


def v1(quota: str, below: str = "") -> dict[str, str]:
    return {f"cpu__{below}cpu_dot_cfs_quota_us": quota, f"cpu__{below}cpu_dot_cfs_period_us": "100000"}


@pytest.mark.parametrize(
    ("groups", "files", "count"),
    [
        ("0::/\n", {}, 8),
        ("0::/\n", {"cpu_dot_max": "200000 100000\n"}, 2),
        ("0::/\n", {"cpu_dot_max": "max 100000\n"}, 8),
        ("0::/a/b\n", {"a__cpu_dot_max": "150000 100000\n", "a__b__cpu_dot_max": "max 100000\n"}, 2),  # of one above
        ("0::/a\n", {"a__cpu_dot_max": "10000 100000\n"}, 1),  # a tenth of a core is one thread
        ("4:cpu,cpuacct:/box\n0::/\n", v1("300000", "box__"), 3),
        ("4:cpu,cpuacct:/box\n0::/\n", v1("-1"), 8),
        ("4:cpu:/not/here\n", v1("100000"), 1),
    ],
)  # fmt: skip
def test_a_quota_is_a_number_of_cores(machine, groups, files, count):
    machine(groups, **files)
    assert cores.cores() == count


def test_affinity_counts_where_it_is_less(machine, monkeypatch):
    machine("0::/\n", cpu_dot_max="400000 100000\n")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 3})
    assert cores.cores() == 2
