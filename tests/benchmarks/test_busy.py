"""Whole commands on a machine that others use, or of which a part is allowed. Linux; it must be quiet otherwise."""

import os
import shutil
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import pytest
from benchmarks.test_extraction_speed import tell

from mlavl_cli.cores import cores

pytestmark = [
    pytest.mark.slow,
    pytest.mark.benchmark,
    pytest.mark.skipif(sys.platform != "linux", reason="affinity and quotas are Linux's"),
]
DEMO = Path(__file__).parents[2] / "weights" / "demo.mp4"
SPINS = "while True: pass"
MULTIPLIES = "import torch\na = torch.rand(2000, 2000)\nwhile True: a @ a"


def demo_s(rounds=5, prefix=(), **environment):
    """Median seconds of `mlavl score` of the demonstration video, from start to end."""
    found = []
    for _ in range(rounds):
        begin = time.perf_counter()
        command = [*prefix, sys.executable, "-m", "mlavl_cli", "score", DEMO, "-f", "json"]
        subprocess.run(command, check=True, capture_output=True, env={**os.environ, **environment})
        found.append(time.perf_counter() - begin)
    return sorted(found)[rounds // 2]


@contextmanager
def beside(code, count):
    """So many processes that run `code`, once they do."""
    busy = [subprocess.Popen([sys.executable, "-c", code], start_new_session=False) for _ in range(count)]
    try:
        time.sleep(5)
        yield
    finally:
        for process in busy:
            process.kill()
            process.wait()


@pytest.mark.parametrize(("name", "code", "count"), [("busy loops", SPINS, cores()), ("torch", MULTIPLIES, 1)])
def test_beside_other_work(capsys, name, code, count):
    alone = demo_s()
    with beside(code, count):
        shared = demo_s()
    tell(capsys, f"the demo {alone:.1f} s alone, {shared:.1f} s beside {name}: {shared / alone:.2f} x")
    assert shared <= 2.2 * alone


@pytest.mark.skipif(shutil.which("taskset") is None, reason="there is no taskset")
def test_on_one_core(capsys):
    """As fast as with the best number of threads that can be set by hand."""
    ours = demo_s(prefix=("taskset", "-c", "0"))
    by_hand = {n: demo_s(prefix=("taskset", "-c", "0"), OMP_NUM_THREADS=str(n)) for n in (1, 2)}
    best = min(by_hand.values())
    tell(
        capsys, f"the demo on one core: {ours:.1f} s; with threads set by hand {by_hand}: {ours / best:.2f} x the best"
    )
    assert ours <= 1.2 * best


def test_under_a_quota_of_one_core(capsys, quota):
    """A container's limit: one core's time on two cores."""
    ours = demo_s(prefix=quota)
    by_hand = {n: demo_s(prefix=quota, OMP_NUM_THREADS=str(n)) for n in (1, 2)}
    best = min(by_hand.values())
    tell(
        capsys,
        f"the demo under a quota: {ours:.1f} s; with threads set by hand {by_hand}: {ours / best:.2f} x the best",
    )
    assert ours <= 1.2 * best


@pytest.fixture
def quota():
    """What puts a command under a quota of one core; skips where no cgroup can be made."""
    name = f"mlavl-{os.getpid()}"
    for root, limits in (
        (Path("/sys/fs/cgroup"), {"cpu.max": "100000 100000"}),
        (Path("/sys/fs/cgroup/cpu"), {"cpu.cfs_period_us": "100000", "cpu.cfs_quota_us": "100000"}),
    ):
        folder = root / name
        if not (root / "cgroup.procs").exists():  # no hierarchy, but the folder in which they lie
            continue
        try:
            folder.mkdir()
            for file, value in limits.items():
                (folder / file).write_text(value)
        except OSError:
            if folder.is_dir():
                folder.rmdir()
            continue
        yield ("sh", "-c", f'echo $$ > {folder}/cgroup.procs && exec "$@"', "sh")
        time.sleep(1)
        folder.rmdir()
        return
    pytest.skip("no cgroup can be made here")
